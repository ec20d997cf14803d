"""An import changes what is there once it is whole, and leaves nothing where it ends before."""

import os
import signal

import mdtraj
import numpy as np
import pytest
from proteinflex_optimization import InvalidArgumentError
from proteinflex_optimization.cli import main
from proteinflex_optimization.integrations.mdanalysis import export_trajectory
from proteinflex_optimization.integrations.mdtraj import store_mdtraj
from proteinflex_optimization.integrations.npz import export_npz
from proteinflex_optimization.integrations.zarr import export_zarr

N_FRAMES = 300
N_ATOMS = 5
FORMATS = ["xyz", "fxt", "npz", "zarr", "mdtraj"]


class EndedError(Exception):
    """What ends an import."""


def refuse(*_):
    raise EndedError


def importer(handler, suffix, directory):
    """What imports a trajectory of this format as 'md', with what is called after the first frames."""
    frames = np.ones((N_FRAMES, N_ATOMS, 3), "f4")
    stored = handler.open(handler.store_trajectory({"frames": frames}, "source"))
    path = directory / f"run.{suffix}"
    if suffix == "xyz":
        frame = f"{N_ATOMS}\n\n" + "C 1.0 1.0 1.0\n" * N_ATOMS
        path.write_text(frame * N_FRAMES)
    elif suffix == "fxt":
        export_trajectory(stored, path)
    elif suffix == "npz":
        export_npz(handler.load_data(stored.key), path)
    elif suffix == "zarr":
        export_zarr(stored, path)
    handler.remove("source")
    if suffix != "mdtraj":
        return lambda progress: handler.import_trajectory(None, path, "md", progress=progress)

    def store(progress):
        def parts():
            for number in range(3):
                if number:
                    progress(number, 3)
                yield mdtraj.Trajectory(frames[: N_FRAMES // 3, :0], mdtraj.Topology())

        store_mdtraj(handler, parts(), "md")

    return store


def leave_unfinished(handler, n_frames):
    writer = handler.trajectory_writer("md")
    writer.append(np.zeros((n_frames, N_ATOMS, 3), "f4"))
    writer.suspend()


def listed(handler):
    finished = [info["data_id"] for info in handler.entries()]
    return [(one["data_id"], one["n_frames"]) for one in handler.unfinished()], finished


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_import_that_fails_leaves_the_frames_that_wait_to_be_resumed(handler, tmp_path, suffix):
    run = importer(handler, suffix, tmp_path)
    leave_unfinished(handler, 100)
    with pytest.raises(EndedError):
        run(refuse)
    # A .fxt or .npz is whole before it is told how far it is.
    assert listed(handler) == ([("md", 100)], ["md"] if suffix in ("fxt", "npz") else [])


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_import_that_is_whole_drops_no_frames_that_wait_to_be_resumed(handler, tmp_path, suffix):
    run = importer(handler, suffix, tmp_path)
    leave_unfinished(handler, 100)
    run(lambda *_: None)
    assert listed(handler) == ([("md", 100)], ["md"])
    assert handler.open("md").n_frames == N_FRAMES
    with pytest.raises(InvalidArgumentError, match="remove_unfinished"):
        handler.trajectory_writer("md", resume=True)


def test_an_import_that_is_killed_leaves_nothing_to_resume(handler, tmp_path):
    run = importer(handler, "xyz", tmp_path)
    with handler.trajectory_writer("md") as writer:
        writer.append(np.zeros((10, N_ATOMS, 3), "f4"))
    child = os.fork()
    if child == 0:
        run(lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert listed(handler) == ([], ["md"])
    with handler.trajectory_writer("md", resume=True) as writer:
        assert writer.n_frames == 10


def test_the_command_replaces_what_waits_to_be_resumed_only_when_forced(handler, tmp_path):
    importer(handler, "xyz", tmp_path)
    leave_unfinished(handler, 100)
    command = ["cache", "import", str(tmp_path / "run.xyz"), "--id", "md"]
    command += ["--dir", str(handler.cache_dir)]
    assert main(command) == 2
    assert listed(handler) == ([("md", 100)], [])
    assert main([*command, "--force"]) == 0
    assert listed(handler) == ([], ["md"])
