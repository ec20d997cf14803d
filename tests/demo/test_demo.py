"""The main job as a user runs it: complete, interrupted, killed, and again."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import DataHandler
from waiting import until

FLEXOPT = [sys.executable, "-m", "proteinflex_optimization"]
SHORT = ["--steps", "600", "--frame-interval", "20", "--checkpoint-interval", "100"]


def demo(output, *options, check=True):
    done = subprocess.run(
        [*FLEXOPT, "demo", "--output", str(output), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def run_directory(output):
    (directory,) = (path.parent for path in output.glob("*/progress"))
    return directory


def steps_stored(output):
    """The simulation step of every stored frame, read back from the cache."""
    handler = DataHandler(str(output / "cache"))
    (key,) = handler.keys("trajectory")
    trajectory = handler.load_data(key)
    assert np.isfinite(trajectory["frames"]).all()
    assert trajectory["frames"].shape[1:] == (582, 3)
    return trajectory["step"].tolist()


def stop_half_way(output, number):
    job = subprocess.Popen(
        [*FLEXOPT, "demo", "--output", str(output), *SHORT],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        saved = "*/checkpoints/dynamics-step-000000300"
        until(lambda: job.poll() is not None or list(output.glob(saved)))
        assert job.poll() is None, job.stdout.read()
        os.kill(job.pid, number)
        text, _ = job.communicate(timeout=60)
    finally:
        job.kill()
    return job.returncode, text


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    output = tmp_path_factory.mktemp("demo")
    return output, demo(output, *SHORT).stdout


def test_a_complete_run_leaves_figure_summary_and_every_frame(complete):
    output, text = complete
    directory = run_directory(output)
    assert (directory / "flexibility.png").read_bytes().startswith(b"\x89PNG")
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["n_atoms"] == 582
    assert summary["n_frames"] == 30
    assert summary["resumed_at_steps"] == []
    assert len(summary["rmsf_A"]) == 35
    assert all(0 < value < 10 for value in summary["rmsf_A"].values())
    assert 5 < summary["mean_radius_of_gyration_A"] < 20
    assert summary["trajectory_saved_percent"] > 0
    assert steps_stored(output) == list(range(20, 601, 20))
    assert "flexopt watch" in text


def test_the_same_run_again_takes_its_result_from_the_cache(complete):
    output, _ = complete
    before = json.loads((run_directory(output) / "summary.json").read_text())
    again = demo(output, *SHORT).stdout
    assert "taken from the cache" in again
    assert "times faster" in again
    assert json.loads((run_directory(output) / "summary.json").read_text()) == before


def test_the_summary_is_all_that_json_prints(complete):
    output, _ = complete
    done = demo(output, *SHORT, "--json")
    assert json.loads(done.stdout) == json.loads(
        (run_directory(output) / "summary.json").read_text()
    )
    assert "taken from the cache" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_run_resumes_with_no_frame_missing_or_doubled(tmp_path, number):
    status, text = stop_half_way(tmp_path, number)
    if number == signal.SIGKILL:
        assert status == -signal.SIGKILL
    else:
        assert status == 130, text
        assert "stopped at step" in text
    resumed = demo(tmp_path, *SHORT).stdout
    assert "resuming from the checkpoint at step" in resumed
    summary = json.loads((run_directory(tmp_path) / "summary.json").read_text())
    (at,) = summary["resumed_at_steps"]
    assert 300 <= at < 600
    assert summary["n_frames"] == 30
    assert steps_stored(tmp_path) == list(range(20, 601, 20))


def test_a_residue_that_the_force_field_lacks_is_named(tmp_path):
    from proteinflex_optimization.cli.demo import villin

    pdb = tmp_path / "modified.pdb"
    text = villin().read_text().replace("PHE", "XYZ")
    pdb.write_text("".join(line for line in text.splitlines(True) if "HOH" not in line))
    done = demo(tmp_path / "out", "--pdb", str(pdb), check=False)
    assert done.returncode == 1
    assert "has no parameters for XYZ 6, XYZ 10, XYZ 17, XYZ 35; --drop-unknown" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--pdb", "/nowhere.pdb"], "--pdb="),
        (["--steps", "0"], "--steps=0"),
        (["--steps", "99999999999999999999"], "--steps=99999999999999999999"),
        (["--seed", "2147483648"], "--seed=2147483648"),
        (["--stop-margin", "-1"], "--stop-margin=-1.0"),
        (["--stop-margin", "nan"], "--stop-margin=nan"),
        (["--precision", "-1"], "--precision=-1"),
        (["--precision", "frames=0.001"], "'frames=0.001' is not valid: expected a number, in Å"),
        (["--steps", "10", "--frame-interval", "20"], "--frame-interval=20"),
    ],
)
def test_wrong_options_are_named_and_nothing_is_written(tmp_path, options, named):
    done = demo(tmp_path / "out", *options, check=False)
    assert done.returncode == 2
    assert named in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_example_script_is_the_same_command(tmp_path):
    script = Path(__file__).parents[2] / "examples" / "pipeline.py"
    done = subprocess.run(
        [sys.executable, str(script), "--steps", "0"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "steps=0" in done.stderr
