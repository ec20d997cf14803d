"""A trajectory whose file's name was taken while it was written: neither of the two is lost."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import InvalidArgumentError, create_trajectory, open_trajectory

FRAMES = np.random.default_rng(0).normal(size=(200, 7, 3)).astype(np.float32)


def assert_whole(path):
    np.testing.assert_array_equal(open_trajectory(path)[:], FRAMES)


def taken_meanwhile(path):
    """A writer of all frames that was refused its name, and what it said."""
    writer = create_trajectory(path)
    writer.append(FRAMES)
    path.write_bytes(b"another's")
    with pytest.raises(InvalidArgumentError, match="there already") as refused:
        writer.close()
    return writer, str(refused.value)


def test_a_name_that_is_taken_meanwhile_is_not_replaced_and_the_frames_are_kept(tmp_path):
    path = tmp_path / "run.fxt"
    writer, message = taken_meanwhile(path)
    assert path.read_bytes() == b"another's"
    (hidden,) = (file for file in tmp_path.iterdir() if file != path)
    assert repr(str(hidden)) in message
    assert "overwrite=True" in message
    assert "--force" not in message
    with pytest.raises(InvalidArgumentError, match='"run": its writer is closed'):
        writer.append(FRAMES)
    # Whatever becomes of the writer, the file stays.
    del writer
    hidden.rename(tmp_path / "other.fxt")
    assert_whole(tmp_path / "other.fxt")


def test_leaving_a_block_keeps_what_was_refused_its_name(tmp_path):
    def write_while_it_is_taken():
        with create_trajectory(tmp_path / "run.fxt") as writer:
            writer.append(FRAMES)
            (tmp_path / "run.fxt").write_bytes(b"another's")

    with pytest.raises(InvalidArgumentError, match="there already"):
        write_while_it_is_taken()
    (hidden,) = tmp_path.glob(".run-*")
    assert_whole(hidden)


def test_a_writer_that_was_refused_its_name_gets_it_once_that_is_free_or_is_discarded(tmp_path):
    path = tmp_path / "run.fxt"
    writer, _ = taken_meanwhile(path)
    path.rename(tmp_path / "another")
    assert writer.close() == path
    assert_whole(path)
    assert sorted(os.listdir(tmp_path)) == ["another", "run.fxt"]

    path.unlink()
    writer, _ = taken_meanwhile(path)
    writer.discard()
    assert sorted(os.listdir(tmp_path)) == ["another", "run.fxt"]


def test_what_was_refused_its_name_is_kept_when_the_program_ends(tmp_path):
    script = (
        "import sys, test_taken_names as tests, pathlib\n"
        "writer, _ = tests.taken_meanwhile(pathlib.Path(sys.argv[1]))\n"
    )
    environment = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", script, str(tmp_path / "run.fxt")]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": environment}, check=True)
    (hidden,) = tmp_path.glob(".run-*")
    assert_whole(hidden)
