"""The command line as a whole: exit states, JSON, pipes, doctor and checkpoints."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import CheckpointManager, DataHandler, ProgressTracker
from proteinflex_optimization.cli import main

FLEXOPT = [sys.executable, "-m", "proteinflex_optimization"]


def flexopt(*arguments):
    return subprocess.run(
        [*FLEXOPT, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture
def checkpoints(tmp_path):
    manager = CheckpointManager(tmp_path / "checkpoints")
    for step in range(3):
        state = {"positions": np.full(1000, step)}
        manager.create_checkpoint(f"step-{step}", {"dynamics": state}, metadata={"step": step})
    return tmp_path / "checkpoints"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "there is too little memory"),
        (MemoryError("12 bytes for x"), "there is too little memory: 12 bytes for x"),
        (RuntimeError("can't start new thread"), "can't start new thread"),
    ],
)
def test_too_little_memory_or_threads_is_said_plainly(
    monkeypatch, capsys, checkpoints, error, said
):
    def fail(self, *arguments):
        raise error

    monkeypatch.setattr(CheckpointManager, "list_checkpoints", fail)
    assert main(["checkpoints", "ls", str(checkpoints)]) == 1
    assert capsys.readouterr().err == f"flexopt: {said}\n"


def test_no_command_or_a_wrong_one_is_wrong_usage():
    assert flexopt("nonsense").returncode == 2
    for command, offered in (([], "doctor"), (["cache"], "verify"), (["checkpoints"], "verify")):
        done = flexopt(*command)
        assert (done.returncode, done.stdout) == (2, "")
        assert offered in done.stderr


@pytest.mark.parametrize("url", ["s3://me:hunter2@box/run", "https://box/run?sig=hunter2"])
@pytest.mark.parametrize(
    "command",
    [
        "cache ls --sort URL",
        "cache stats URL",
        "cache URL",
        "cache ls --dir URL",
        "cache push URL --dir CACHE",
        "cache rm URL --dir CACHE",
        "watch URL",
        "demo --steps URL",
    ],
)
def test_an_error_shows_no_credentials_of_a_url(tmp_path, capsys, url, command):
    DataHandler(tmp_path)
    with contextlib.suppress(SystemExit):
        assert main(command.replace("URL", url).replace("CACHE", str(tmp_path)).split()) > 0
    shown = capsys.readouterr()
    assert url.partition(":")[0] + "://" in shown.err
    assert "hunter2" not in shown.out + shown.err


def test_every_command_explains_itself():
    assert flexopt("--version").stdout.startswith("flexopt 0.")
    for command in ("demo", "cache", "watch", "checkpoints", "gpus", "doctor"):
        done = flexopt(command, "--help")
        assert done.returncode == 0
        assert "usage: flexopt" in done.stdout


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_command_works_where_the_shell_has_closed_its_streams(checkpoints, closed):
    command = f'"$@" {closed}'
    arguments = ["checkpoints", "rm", str(checkpoints), "step-0"]
    done = subprocess.run(
        ["sh", "-c", command, "sh", *FLEXOPT, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not (checkpoints / "step-0").exists()
    # It would ask.
    done = subprocess.run(
        ["sh", "-c", command, "sh", *FLEXOPT, *arguments[:-1], "step-1", "step-2"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2
    assert "unexpected" not in done.stdout + done.stderr


def test_doctor_finds_this_file_system_fit(tmp_path):
    done = flexopt("doctor", tmp_path)
    assert done.returncode == 0, done.stdout
    assert "FAIL" not in done.stdout
    report = json.loads(flexopt("doctor", tmp_path, "--json").stdout)
    assert all(check["ok"] for check in report["checks"] if check["needed"])
    assert list(tmp_path.iterdir()) == []


def test_doctor_says_what_it_can_not_use(tmp_path):
    done = flexopt("doctor", tmp_path / "nowhere")
    assert done.returncode == 1
    assert done.stderr.startswith("flexopt: there is no directory")
    if Path("/proc/self").exists():
        # Where nothing can be made it is no such file.
        done = flexopt("doctor", "/proc")
        assert done.returncode == 1
        assert done.stderr.startswith("flexopt: nothing can be written in /proc")


def test_checkpoints_are_listed_newest_last(checkpoints):
    done = flexopt("checkpoints", "ls", checkpoints)
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()[2:5]] == [
        "step-0",
        "step-1",
        "step-2",
    ]
    listed = json.loads(flexopt("checkpoints", "ls", checkpoints, "--json").stdout)
    assert listed["latest"] == str(checkpoints / "step-2")
    assert listed["checkpoints"][0]["metadata"] == {"step": 0}


def test_a_damaged_checkpoint_is_named_and_the_newest_valid_one_offered(checkpoints):
    (checkpoints / "step-2" / "values").write_bytes(b"")
    done = flexopt("checkpoints", "ls", checkpoints)
    assert done.returncode == 1
    assert "step-2" in done.stdout
    assert "DAMAGED" in done.stdout
    assert f"newest valid: {checkpoints / 'step-1'}" in done.stdout
    done = flexopt("checkpoints", "verify", checkpoints)
    assert done.returncode == 1
    assert "step-2: DAMAGED" in done.stdout
    assert "step-1: whole" in done.stdout


def test_one_checkpoint_is_shown_and_removed(checkpoints):
    done = flexopt("checkpoints", "show", checkpoints, "step-1")
    assert "  dynamics\n" in done.stdout
    assert "positions" in done.stdout
    assert "step: 1" in done.stdout
    done = flexopt("checkpoints", "show", checkpoints, "step-1", "--component", "dynamcis")
    assert done.returncode == 2
    assert "--component='dynamcis' is not valid: there are dynamics" in done.stderr
    assert flexopt("checkpoints", "rm", checkpoints, "step-1").returncode == 0
    assert not (checkpoints / "step-1").exists()
    done = flexopt("checkpoints", "rm", checkpoints, "step-1")
    assert done.returncode == 1
    assert "no checkpoint" in done.stderr


@pytest.mark.parametrize(
    "arguments", [("checkpoints", "rm", "", "step-1", "--yes"), ("doctor", ""), ("watch", "")]
)
def test_an_empty_path_is_not_the_current_directory(checkpoints, run, arguments):
    """As that of a variable of the shell that is not set."""
    before = sorted(os.listdir(checkpoints))
    done = run(*arguments, cwd=checkpoints)
    assert (done.returncode, done.stdout) == (2, "")
    assert ": '' is not valid: expected a path" in done.stderr
    assert sorted(os.listdir(checkpoints)) == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("cache", "import", "run.npz", "--precision", "0"), "--precision=0.0"),
        (("cache", "import", "run.npz", "--precision", "x=1"), "--precision['x']=1.0"),
        (("cache", "import", "run.npz", "--dt", "5"), "--dt=5.0"),
        (("cache", "import", "run.npz", "--id", ""), "--id=''"),
        (("cache", "import", "empty.npz"), "FILE='empty.npz'"),
        (("cache", "import", "empty.pdb"), "FILE='empty.pdb'"),
        (("cache", "import", "empty.xtc"), "FILE='empty.xtc'"),
        (("cache", "export", "md", "."), "FILE='.'"),
        (("cache", "export", "zeros", "new.xtc"), "KEY='s-"),
        (("cache", "push", "md", "bucket"), "URL='bucket'"),
        (("gpus", "--select", "md=5GB", "--max-gpus", "0"), "--max-gpus=0"),
    ],
)
def test_a_wrong_value_is_named_as_it_was_typed(tmp_path, monkeypatch, capsys, arguments, named):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROTEINFLEX_CACHE_DIR", "cache")
    frames = np.zeros((2, 3, 3), np.float32)
    DataHandler().store_trajectory({"frames": frames}, "md")
    DataHandler().store_structure({"x": np.zeros(3)}, "zeros")
    np.savez("run.npz", frames=frames)
    for name in ("empty.npz", "empty.pdb", "empty.xtc"):
        (tmp_path / name).touch()
    assert main(list(arguments)) == 2
    assert capsys.readouterr().err.startswith(f"flexopt: {named}")


def test_names_in_a_checkpoint_can_not_steer_the_terminal(checkpoints):
    manager = CheckpointManager(checkpoints)
    manager.create_checkpoint("steers", {"md\x1b[2J": 1}, metadata={"\x1b[31m": "red"})
    for arguments in (("ls", checkpoints), ("show", checkpoints, "steers")):
        text = flexopt("checkpoints", *arguments).stdout
        assert "md\\x1b[2J" in text
        assert "\x1b" not in text


def test_a_reader_that_has_seen_enough_is_no_error(checkpoints):
    command = f"{' '.join(FLEXOPT)} checkpoints ls {checkpoints} | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stdout == f"{checkpoints}\n"
    assert done.stderr == ""


def test_a_reader_that_goes_away_never_makes_a_failed_task_a_success(tmp_path):
    with ProgressTracker(checkpoint_dir=tmp_path) as tracker:
        tracker.start_task("fold", "Folding", 10).fail("out of memory")
    watch = [*FLEXOPT, "watch", str(tmp_path), "--once"]
    assert subprocess.run(watch, capture_output=True, check=False).returncode == 1
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(watch, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")
