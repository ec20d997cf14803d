"""`flexopt watch` of many jobs: which boards it finds, what it says of them, and how it exits."""

import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import pytest
from proteinflex_optimization import ProgressTracker
from proteinflex_optimization.cli import boards, main, queued
from waiting import until

JOB = """
import os, sys, time
from proteinflex_optimization import ProgressTracker
tracker = ProgressTracker(checkpoint_dir=sys.argv[1])
task = tracker.start_task("md", "Dynamics", 10)
task.update(3, "heating")
print("ready", flush=True)
if sys.argv[2] == "die":
    os._exit(9)
while True:
    time.sleep(0.1)
"""
UPDATED = 38
"""The word of a counter file that says when an update was noted: docs/format-progress.md."""
LAST_TICK_WALL = 26
"""The word of a counter file with the wall clock of the last sign of life: docs/format-progress.md."""


def job(directory, fate):
    environment = {
        **os.environ,
        "SLURM_JOB_ID": "102",
        "SLURM_ARRAY_JOB_ID": "100",
        "SLURM_ARRAY_TASK_ID": "2",
        "SLURMD_NODENAME": "n7",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", JOB, str(directory), fate],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    with process.stdout as stdout:
        assert stdout.readline() == "ready\n"
    return process


def board(directory, *, done=True):
    with ProgressTracker(checkpoint_dir=directory) as tracker:
        task = tracker.start_task("fold", "Folding", 4)
        task.update(2)
        if done:
            task.complete()


@pytest.fixture
def runs(tmp_path):
    """An array: one board each that is done, failed, stopped, running and damaged."""
    board(tmp_path / "runs" / "10")
    with ProgressTracker(checkpoint_dir=tmp_path / "runs" / "9") as tracker:
        tracker.start_task("dock", "Docking", 4).fail("no memory\x1b[2J")
    job(tmp_path / "runs" / "2", "die").wait()
    board(tmp_path / "runs" / "1")
    for file in (tmp_path / "runs" / "1" / ".progress").iterdir():
        if file.is_file():
            file.write_bytes(b"other" * 2000)
    running = job(tmp_path / "runs" / "3", "live")
    yield tmp_path / "runs"
    running.kill()
    running.wait()


def records(capsys, *arguments):
    status = main(["watch", *map(str, arguments), "--once", "--json"])
    result = json.loads(capsys.readouterr().out)
    return status, {row["directory"].rsplit("/", 1)[-1]: row for row in result["boards"]}, result


def test_an_array_is_told_by_records_with_problems_first(runs, capsys):
    status, rows, result = records(capsys, runs)
    assert status == 1
    assert list(rows) == ["9", "2", "1", "3", "10"]
    states = {name: row["status"] for name, row in rows.items()}
    assert states == {
        "9": "failed",
        "2": "stopped",
        "1": "unreadable",
        "3": "running",
        "10": "completed",
    }
    assert "no memory" in rows["9"]["reason"]
    assert rows["2"]["job_id"] == "102"
    assert (rows["2"]["array_job_id"], rows["2"]["array_index"]) == ("100", 2)
    assert rows["2"]["host"] == "n7"
    assert rows["10"]["host"] == os.uname().nodename
    assert str(runs / "1") in rows["1"]["reason"]
    # What becomes a table as it is: the same keys in each, and plain values.
    assert len({tuple(row) for row in result["boards"]}) == 1
    values = [value for row in result["boards"] for value in row.values()]
    assert all(value is None or isinstance(value, (bool, int, float, str)) for value in values)


def test_a_table_of_an_array_names_jobs_and_reasons(runs, capsys):
    assert main(["watch", str(runs), "--once"]) == 1
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert re.match(r"failed +.*runs/9 .*no memory", lines[1])
    assert re.match(r"stopped +.*runs/2 +100_2 +n7 ", lines[2])
    assert lines[-1].startswith(
        "5 boards: 1 failed, 1 stopped, 1 unreadable, 1 running, 1 completed"
    )
    assert "\x1b" not in text


@pytest.mark.parametrize("columns", ["20", "45", "70", "130"])
def test_the_table_fits_a_terminal(runs, in_terminal, monkeypatch, columns):
    pyte = pytest.importorskip("pyte")
    monkeypatch.setenv("TERM", "xterm-256color")
    shown, status = in_terminal("watch", runs, "--once", columns=columns)
    assert status == 1
    screen = pyte.Screen(int(columns), 100)
    pyte.Stream(screen).feed(shown)
    lines = [line for line in screen.display if line.strip()]
    states = [line.split()[0] for line in lines[2:7]]
    assert states == ["failed", "stopped", "unreadable", "running", "completed"], "one row each"
    assert f"{runs}/1" in "".join(line.strip() for line in lines[7:]), "what has no place there"


def failed_board(directory, name, message):
    with ProgressTracker(checkpoint_dir=directory) as tracker:
        tracker.start_task("dock", name, 100).fail(message)


@pytest.mark.parametrize("columns", ["30", "80"])
def test_a_terminal_shows_why_a_task_of_a_long_name_failed(
    tmp_path, in_terminal, monkeypatch, columns
):
    pytest.importorskip("rich")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.chdir(tmp_path)
    name = "Docking of 4AKE against the fragment library"
    failed_board(tmp_path / "runs" / "17", name, "out of memory")
    failed_board(tmp_path / "runs" / "18", name, "no " + "space " * 30 + "at all")
    shown, status = in_terminal("watch", "runs", "--once", columns=columns)
    assert status == 1
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    words = " ".join(text.split())
    if columns == "80":
        assert re.search(r'failed runs/17 .* "Docking.*…" failed: out of memory', text)
        assert words.count("out of memory") == 1, "it is in the table"
    assert "failed: out of memory" in words
    assert f'"{name}" failed: no space' in words
    assert "at all" in words, "whole, below the table"


def test_a_terminal_of_another_encoding_has_no_row_that_is_too_wide(
    tmp_path, in_terminal, monkeypatch
):
    pytest.importorskip("rich")
    for variable, value in {"TERM": "xterm", "PYTHONIOENCODING": "ascii:strict"}.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.chdir(tmp_path)
    failed_board(tmp_path / "runs" / "é", "Ångström " * 20, "no place")
    shown, _ = in_terminal("watch", "runs", "--once", columns="60")
    row = next(line for line in shown.splitlines() if "runs/" in line and "%" in line)
    row = re.sub(r"\x1b\[[0-9;]*m", "", row)
    assert r"runs/\xe9" in row
    assert "..." in row
    assert len(row.rstrip()) <= 60


def test_a_job_that_hangs_is_stalled_and_no_failure(tmp_path, capsys):
    board(tmp_path / "a")
    process = job(tmp_path / "b", "live")
    try:
        (counters,) = (tmp_path / "b" / ".progress").glob("counters-*")
        until(lambda: counters.read_bytes()[8 * UPDATED :][:8] != bytes(8))
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        with counters.open("r+b") as file:
            file.seek(8 * LAST_TICK_WALL)
            file.write(struct.pack("<Q", int((time.time() - 600) * 1e6)))
        status, rows, _ = records(capsys, tmp_path)
        assert (status, rows["b"]["status"]) == (0, "stalled")
        assert 600 <= time.time() - datetime.fromisoformat(rows["b"]["updated"]).timestamp() < 900
        assert main(["watch", str(tmp_path / "b"), "--once"]) == 0
        assert re.search(r"no update for 1\d:", capsys.readouterr().out)
    finally:
        process.kill()
        process.wait()


def test_boards_are_found_below_several_directories_each_once(tmp_path, capsys):
    for name in ("x/deep/er", "y", "y/inner", "y/z"):
        board(tmp_path / name)
    (tmp_path / "y" / "again").symlink_to(tmp_path / "y")
    (tmp_path / "x" / "loop").symlink_to("..")
    os.mkfifo(tmp_path / "x" / "pipe")
    os.mkfifo(tmp_path / "x" / ".progress")
    status, rows, _ = records(capsys, tmp_path / "x", tmp_path / "y", tmp_path / "y" / "z")
    assert sorted(rows) == ["er", "inner", "x", "y", "z"]
    assert (status, rows["x"]["status"]) == (1, "unreadable")
    # Caches and hidden folders hold no boards.
    board(tmp_path / "c" / "below")
    board(tmp_path / "c" / ".hidden")
    (tmp_path / "c" / "CACHEDIR.TAG").touch()
    assert main(["watch", str(tmp_path / "c"), "--once"]) == 1
    assert "no job has counted there or below" in capsys.readouterr().err


def test_one_board_is_shown_as_ever_and_one_that_is_missing_is_an_error(tmp_path, capsys):
    board(tmp_path / "run")
    assert main(["watch", str(tmp_path / "run"), "--once", "--json"]) == 0
    assert "tasks" in json.loads(capsys.readouterr().out)
    assert main(["watch", str(tmp_path / "run"), str(tmp_path / "nothing"), "--once"]) == 1
    assert "there is no directory" in capsys.readouterr().err


def test_a_search_that_would_take_long_ends_and_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(boards, "MAX_ENTRIES", 50)
    for number in range(40):
        (tmp_path / "tree" / str(number) / "x").mkdir(parents=True)
    board(tmp_path / "a")
    assert main(["watch", str(tmp_path), "--once"]) == 0
    assert "stopped looking for boards after" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_directories_without_permission_are_named_and_do_not_end_the_look(capsys):
    # Not below `tmp_path`, which only its owner may enter.
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        board(place / "a")
        board(place / "b" / "c")
        (place / "b").chmod(0)
        os.seteuid(65534)
        try:
            status = main(["watch", str(place), str(place / "a"), "--once"])
        finally:
            os.seteuid(0)
        output = capsys.readouterr()
    assert "permissions deny a look into" in output.err
    assert output.out.splitlines()[1].startswith("completed")
    assert status == 0


def test_boards_that_come_and_go_while_watching(tmp_path):
    board(tmp_path / "a", done=False)
    running = job(tmp_path / "b", "live")
    command = [sys.executable, "-m", "proteinflex_optimization", "watch", str(tmp_path)]
    with subprocess.Popen(
        [*command, "--json", "--interval", "0.1"], stdout=subprocess.PIPE, text=True
    ) as watch:
        seen = []
        for line in watch.stdout:
            names = [row["directory"][-1] for row in json.loads(line)["boards"]]
            if names != seen and names == ["a", "b"]:
                board(tmp_path / "c")
            elif names != seen and names == ["a", "b", "c"]:
                subprocess.run(["rm", "-r", str(tmp_path / "a")], check=True)
            elif names != seen and names == ["b", "c"]:
                running.kill()
                running.wait()
            seen = names
        assert watch.wait(timeout=60) == 1, "it ends when no job is left, and one has stopped"
    assert seen == ["b", "c"]


@pytest.mark.parametrize("fate", ["renamed", "removed"])
def test_a_board_that_goes_is_looked_for_again_and_its_loss_is_no_success(tmp_path, fate):
    runs = tmp_path / "runs"
    running = job(runs / "a", "live")
    command = [sys.executable, "-m", "proteinflex_optimization", "watch", str(runs), "--json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, "--interval", "0.1"], **pipes) as watch:
        assert '"directory": "' + str(runs / "a") in watch.stdout.readline()
        (runs / "a").rename(runs / "b" if fate == "renamed" else tmp_path / "elsewhere")
        if fate == "renamed":
            while str(runs / "b") not in watch.stdout.readline():
                assert watch.poll() is None
        else:
            assert watch.wait(timeout=60) == 1
            assert f"no progress in {runs} any more" in watch.stderr.read()
        running.kill()
        running.wait()
        watch.communicate(timeout=60)
        assert watch.returncode == 1


@pytest.mark.parametrize("boards_of_the_array", [1, 2])
def test_between_two_tasks_of_an_array_it_waits_for_the_next(
    tmp_path, capsys, monkeypatch, boards_of_the_array
):
    runs, asked = tmp_path / "runs", tmp_path / "asked"
    for number in range(boards_of_the_array):
        job(runs / str(number), "die").wait()
    squeue = tmp_path / "bin" / "squeue"
    squeue.parent.mkdir()
    # The third time nothing is left.
    squeue.write_text(
        f'#!/bin/sh\necho "$@" >>{asked}\n[ $(wc -l <{asked}) = 3 ] || echo "100_[3-9]"\n'
    )
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{squeue.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(queued, "PAUSE", 0.01)
    where = runs / "0" if boards_of_the_array == 1 else runs
    assert main(["watch", str(where), "--json", "--interval", "0.05"]) == 1
    assert asked.read_text().splitlines() == ["--noheader --jobs=100"] * 3
    assert capsys.readouterr().err.count("waiting for those that SLURM has in its queue") == 1
    # Where there is no SLURM, nothing is waited for; nor is it asked by a single look.
    monkeypatch.setenv("PATH", "")
    assert main(["watch", str(where), "--json"]) == 1
    assert main(["watch", str(where), "--once"]) == 1
    assert len(asked.read_text().splitlines()) == 3


def test_ctrl_c_ends_a_live_table(runs):
    command = [sys.executable, "-m", "proteinflex_optimization", "watch", str(runs)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watch:
        assert watch.stdout.readline().startswith("failed: ")
        watch.send_signal(signal.SIGINT)
        _, error = watch.communicate(timeout=60)
    assert (watch.returncode, error) == (130, "")
