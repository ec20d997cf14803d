"""Make the picture of a notebook in docs/: ``python tools/make_notebook_picture.py``.

Needs Chromium, and what the dependency groups `test` and `docs` bring. The cells are run by a kernel, as
a reader would run them; what they show is what the objects show of themselves.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
CELLS = [
    """
import warnings

import MDAnalysis as mda
import numpy as np
from MDAnalysisTests.datafiles import DCD, PSF
from models.optimization import CheckpointManager, DataHandler, ProgressTracker

warnings.filterwarnings("ignore", module="MDAnalysis")
handler = DataHandler("cache")
adk = mda.Universe(PSF, DCD)
frames = adk.trajectory.timeseries(order="fac")
key = handler.store_trajectory({"frames": frames}, "adk", structure=adk)
for name in ("1enh", "1ubq", "1yrf"):
    handler.store_structure({"plddt": np.linspace(40, 98, 300)}, name)
handler""",
    """trajectory = handler.open(key)
trajectory""",
    """tracker = ProgressTracker(400, "progress")
for name, total, done in [("minimize", 40, 40), ("equilibrate", 160, 160), ("production", 200, 118)]:
    tracker.start_task(name, name, total)
    tracker.update_task(name, done)
tracker""",
    """manager = CheckpointManager("checkpoints")
for step in (40, 80, 118):
    manager.create_checkpoint(f"step-{step:03}", {"model": {"weights": np.zeros(100 * step)}})
manager""",
]


def main() -> int:
    """Run the cells and take the picture."""
    import nbformat
    from nbclient import NotebookClient
    from nbconvert import HTMLExporter
    from PIL import Image
    from playwright.sync_api import sync_playwright

    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in CELLS]
    )
    with tempfile.TemporaryDirectory(prefix="flexopt-") as name:
        NotebookClient(notebook, resources={"metadata": {"path": name}}).execute()
        page, _ = HTMLExporter(template_name="lab").from_notebook_node(notebook)
        # Where it happened to run is nobody's concern.
        page = page.replace(name, "~/adk")
        path = Path(name) / "notebook.html"
        path.write_text(page, encoding="utf-8")
        picture = DOCS / "notebook.png"
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            view = browser.new_page(viewport={"width": 980, "height": 900})
            view.goto(path.as_uri(), wait_until="domcontentloaded")
            view.screenshot(path=picture, full_page=True)
            browser.close()
    Image.open(picture).convert("RGB").quantize(64).save(picture, optimize=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
