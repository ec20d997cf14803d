"""Make the pictures of `flexopt watch --web` in docs/: ``python tools/make_watch_page.py``.

Needs Chromium, and what the dependency group `test` brings. What they show runs while they are made: a
job array of processes with trajectories, checkpoints and a cache, one of them killed, one failed.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
JOBS = 10
SECONDS = 45
"""How long the jobs run before the pictures are taken: the charts need some time to show."""
PHASES = {"minimize": 40, "equilibrate": 160, "production": 800}
FATES = {3: "fails", 7: "dies", 1: "ends", 5: "ends"}
PROTEINS = ["1ubq", "2f4k", "1l2y", "1enh", "2wxc", "1prb", "2hba", "1mi0", "1lmb", "1yrf"]


def main() -> int:
    """Run the array, look at it and take the pictures."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory(prefix="flexopt-") as name, ExitStack() as stack:
        jobs = [start(Path(name), index) for index in range(JOBS)]
        for job in jobs:
            stack.callback(job.kill)
        command = [sys.executable, "-m", "proteinflex_optimization", "watch", "folding"]
        page = stack.enter_context(
            subprocess.Popen([*command, "--web", "0"], cwd=name, stdout=subprocess.PIPE, text=True)
        )
        stack.callback(page.kill)
        assert page.stdout is not None
        url = page.stdout.readline().strip()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            desktop = browser.new_page(viewport={"width": 1240, "height": 900})
            phone = browser.new_page(
                viewport={"width": 390, "height": 780}, device_scale_factor=2, color_scheme="dark"
            )
            for view in (desktop, phone):
                view.goto(url)
                view.get_by_role("button", name="1enh" if view is phone else "1mi0").click()
            time.sleep(SECONDS)
            desktop.mouse.move(0, 0)
            desktop.screenshot(path=DOCS / "watch-page.png", full_page=True)
            phone.screenshot(path=DOCS / "watch-page-phone.png")
            browser.close()
    for picture in DOCS.glob("watch-page*.png"):
        # Few colours: a third of the bytes.
        Image.open(picture).convert("RGB").quantize(128).save(picture, optimize=True)
    return 0


def start(directory: Path, index: int) -> subprocess.Popen[bytes]:
    """Start a job of the array as a batch system would."""
    environment = {
        **os.environ,
        "SLURM_JOB_ID": str(48210 + index),
        "SLURM_ARRAY_JOB_ID": "48210",
        "SLURM_ARRAY_TASK_ID": str(index),
        "SLURMD_NODENAME": f"n{1 + index // 4:02}",
    }
    command = [sys.executable, __file__, "job", str(index)]
    return subprocess.Popen(command, cwd=directory, env=environment)


def run(index: int) -> None:
    """Do what a folding job does, without the physics: count, store frames, save checkpoints."""
    import numpy as np
    from proteinflex_optimization import CheckpointManager, DataHandler, ProgressTracker

    rng, name, fate = random.Random(index), PROTEINS[index], FATES.get(index, "")
    run = Path("folding") / name
    handler = DataHandler("folding/cache", max_cache_size=0.004)
    checkpoints = CheckpointManager(run / "checkpoints", max_checkpoints=3)
    atoms = rng.randint(300, 1200)
    noise = np.random.default_rng(index)
    start = noise.uniform(0, 30, (atoms, 3)).astype("f4")
    with (
        ProgressTracker(checkpoint_dir=run) as tracker,
        tracker.start_task("md", f"Dynamics of {name}", sum(PHASES.values())) as whole,
        handler.trajectory_writer(name) as frames,
    ):
        for phase, steps in PHASES.items():
            with tracker.start_task(phase, phase.capitalize(), steps, "md") as task:
                for step in range(steps):
                    # The first jobs are ahead, and no two steps take the same time.
                    pace = 0.008 if fate == "ends" else 0.05 + 0.01 * index
                    time.sleep(pace * rng.uniform(0.8, 1.25) * (1.4 if step % 97 < 30 else 1.0))
                    task.update(1, f"frame {step}")
                    whole.update()
                    if step % 100 == 99:
                        moved = noise.normal(0, 0.3, (20, atoms, 3)).astype("f4")
                        frames.append((start + np.cumsum(moved, axis=0)).round(3))
                        state = {"positions": np.zeros((atoms, 3)), "step": step}
                        checkpoints.create_checkpoint(f"{phase}-{step + 1}", {"system": state})
                    if phase == "production" and step == 60 and fate == "fails":
                        raise FloatingPointError("particle coordinate is NaN at step 260")
                    if phase == "production" and step == 90 and fate == "dies":
                        os.kill(os.getpid(), 9)


if __name__ == "__main__":
    if sys.argv[1:2] == ["job"]:
        run(int(sys.argv[2]))
    else:
        raise SystemExit(main())
