"""What a job of a batch system can rely on: its time limit, and who made what it keeps."""

import contextlib
import os
import signal
import time
from datetime import datetime, timedelta

import pytest
from proteinflex_optimization import (
    CheckpointManager,
    ProgressTracker,
    StopRequest,
)
from proteinflex_optimization.cli import main
from proteinflex_optimization.errors import ProteinFlexError

JOB = "JobId=17 JobName={name} StartTime=2026-11-01T00:00:00 EndTime={end} Deadline=N/A\n"


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A `scontrol` that answers from a file, and notes what it was asked."""
    answer, asked = tmp_path / "answer", tmp_path / "asked"
    script = tmp_path / "bin" / "scontrol"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\necho "$@" >>{asked}\ncat {answer} && exec sh {answer}.then\n')
    script.chmod(0o755)
    (tmp_path / "answer.then").write_text("exit 0\n")
    asked.touch()
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)

    class Slurm:
        def ends_in(self, seconds: float) -> None:
            end = datetime.now() + timedelta(seconds=seconds)
            self.says(JOB.format(name="fold", end=f"{end:%Y-%m-%dT%H:%M:%S}"))

        def says(self, text: str, then: str = "exit 0") -> None:
            answer.write_text(text)
            (tmp_path / "answer.then").write_text(then)

        def asked(self) -> list[str]:
            return asked.read_text().splitlines()

    return Slurm()


def test_the_end_of_a_slurm_job_is_asked_once(slurm):
    slurm.ends_in(500)
    with StopRequest() as stop:
        for _ in range(100):
            assert not stop.requested
        assert 400 < stop.seconds_left <= 500
    assert slurm.asked() == ["show job --oneliner 17"]


def go_on(monkeypatch, seconds):
    """Let so many seconds pass at once."""
    clock, steady = time.time, time.clock_gettime
    monkeypatch.setattr(time, "time", lambda: clock() + seconds)
    monkeypatch.setattr(time, "clock_gettime", lambda which: steady(which) + seconds)


def test_a_limit_that_was_extended_is_noticed_before_the_job_stops(slurm, monkeypatch):
    slurm.ends_in(500)
    with StopRequest(margin=200.0) as stop:
        slurm.ends_in(2000)
        go_on(monkeypatch, 400)
        assert not stop.requested
        assert stop.seconds_left > 1000
    assert len(slurm.asked()) == 2


def test_a_limit_that_was_lifted_and_set_again_is_noticed(slurm, monkeypatch):
    monkeypatch.setattr("proteinflex_optimization.stop.RECENT_SECONDS", 0.0)
    monkeypatch.setattr("proteinflex_optimization.stop.REFRESH_SECONDS", 0.2)
    slurm.ends_in(500)
    with StopRequest(margin=200.0) as stop:
        slurm.says(JOB.format(name="x", end="Unknown"))
        go_on(monkeypatch, 400)
        assert not stop.requested
        assert stop.seconds_left is None
        slurm.ends_in(1)
        assert stop.wait(60)


def test_an_extended_limit_counts_also_where_slurm_does_not_answer_later(slurm, monkeypatch):
    monkeypatch.setattr("proteinflex_optimization.stop.RECENT_SECONDS", 0.0)
    monkeypatch.setattr("proteinflex_optimization.stop.REFRESH_SECONDS", 0.2)
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 4))
    slurm.ends_in(300)
    with StopRequest(margin=2.0) as stop:
        while stop.seconds_left < 200 and not stop.requested:
            time.sleep(0.02)
        slurm.says("", "exit 1")
        assert not stop.wait(2.5)
        assert stop.seconds_left > 200


def test_the_name_of_a_job_is_not_its_end(slurm):
    slurm.says(JOB.format(name="run EndTime=2001-01-01T00:00:00 x", end="Unknown"))
    with StopRequest() as stop:
        assert not stop.requested


def test_an_array_s_job_is_asked_for_by_its_index(slurm, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "17")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    slurm.ends_in(1)
    with StopRequest(margin=60.0) as stop:
        assert stop.reason == "walltime"
        stop.requeue()
    assert slurm.asked() == ["show job --oneliner 17_3", "requeue 17_3"]


def test_the_environment_s_end_time_needs_no_question(slurm, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 400))
    with StopRequest() as stop:
        assert 300 < stop.seconds_left <= 400
    assert slurm.asked() == []


def test_a_program_that_begins_after_the_limit_was_extended_is_not_stopped(slurm, monkeypatch):
    """The environment has the limit with which the job began."""
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 30))
    slurm.ends_in(500)
    with StopRequest(margin=60) as stop:
        assert not stop.requested
        assert stop.seconds_left > 400


@pytest.mark.parametrize("variable", [None, "soon"])
@pytest.mark.parametrize("text", ["", "what\n"])
def test_an_end_that_is_not_known_is_asked_for_again(slurm, monkeypatch, caplog, text, variable):
    monkeypatch.setattr("proteinflex_optimization.stop.RECENT_SECONDS", 0.0)
    monkeypatch.setattr("proteinflex_optimization.stop.REFRESH_SECONDS", 0.2)
    if variable:
        monkeypatch.setenv("SLURM_JOB_END_TIME", variable)
    slurm.says(text, "exit 1")
    with StopRequest() as stop:
        assert "SLURM does not say when this job ends" in caplog.text
        assert stop.seconds_left is None
        assert not stop.wait(0.3)
        slurm.ends_in(30)
        assert stop.wait(60)
        assert stop.reason == "walltime"


def test_a_job_without_a_limit_runs_on(slurm, caplog):
    slurm.says(JOB.format(name="x", end="Unknown"))
    with StopRequest() as stop:
        assert stop.seconds_left is None
        assert not stop.requested
    assert caplog.text == ""


def test_why_a_job_is_not_requeued_is_said(slurm, monkeypatch):
    slurm.says("", "echo Requested operation is presently disabled >&2; exit 1")
    with pytest.raises(ProteinFlexError, match="requeue 17: Requested operation is presently"):
        StopRequest().requeue()
    monkeypatch.delenv("SLURM_JOB_ID")
    with pytest.raises(ProteinFlexError, match="only jobs of SLURM"):
        StopRequest().requeue()


def take_status(*_):
    with contextlib.suppress(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize("handler", [signal.SIG_IGN, take_status])
def test_a_requeue_is_refused_though_others_take_the_status_of_children(slurm, handler):
    slurm.says("", "echo Requested operation is presently disabled >&2; exit 1")
    before = signal.signal(signal.SIGCHLD, handler)
    try:
        with pytest.raises(ProteinFlexError, match="requeue 17: Requested operation is presently"):
            StopRequest().requeue()
        slurm.says("")
        StopRequest().requeue()
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_checkpoints_and_boards_keep_the_job_that_made_them(slurm, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "15")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    monkeypatch.setenv("SLURMD_NODENAME", "n7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "4")
    expected = {
        "system": "slurm",
        "job_id": "17",
        "array_job_id": "15",
        "array_index": 2,
        "node": "n7",
        "restart_count": 4,
    }
    manager = CheckpointManager(tmp_path / "checkpoints")
    manager.create_checkpoint("one", {"m": {"v": 1}}, metadata={"batch": "the user's own"})
    manager.create_checkpoint_async("two", {"m": {"v": 1}}).result()
    for row in manager.list_checkpoints():
        assert row["batch"] == expected
    assert manager.list_checkpoints()[0]["metadata"] == {"batch": "the user's own"}
    board = tmp_path / "board"
    with ProgressTracker(checkpoint_dir=board) as tracker:
        tracker.start_task("mine", "Mine", 2).fail("no luck")
    monkeypatch.delenv("SLURM_JOB_ID")
    with ProgressTracker(checkpoint_dir=board) as tracker:
        tracker.start_task("other", "Other", 2)
        assert tracker.get_progress()["tasks"]["mine"]["batch"] == expected
    found = ProgressTracker.attach(board).get_progress()
    assert found["tasks"]["mine"]["batch"] == expected
    assert found["tasks"]["other"]["batch"] is None
    assert found["batch"] == expected


def test_an_array_s_job_of_pbs_is_shown_by_the_id_that_its_commands_take(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("PBS_JOBID", "12[3].server")
    monkeypatch.setenv("PBS_ARRAY_INDEX", "3")
    CheckpointManager(tmp_path).create_checkpoint("one", {"m": {"v": 1}})
    assert main(["checkpoints", "show", str(tmp_path), "one"]) == 0
    assert "pbs job 12[3].server on" in capsys.readouterr().out
