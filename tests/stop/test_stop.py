"""What a job that may be stopped can rely on."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import (
    CheckpointManager,
    ProgressTracker,
    StopRequest,
    StopRequested,
)
from proteinflex_optimization.errors import InvalidArgumentError, InvalidTypeError
from proteinflex_optimization.progress import STOP_SECONDS


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0)  # The handler has run by now.


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGXCPU"])
def test_a_signal_asks_to_stop_and_its_former_handler_is_back_afterwards(name):
    before = signal.getsignal(signal.Signals[name])
    with StopRequest() as stop:
        assert not stop.requested
        assert stop.reason is None
        stop.check()
        send(signal.Signals[name])
        assert stop.requested
        assert stop.reason == name
        with pytest.raises(StopRequested, match=name) as raised:
            stop.check()
        assert raised.value.reason == name
    assert signal.getsignal(signal.Signals[name]) == before


def test_a_stop_is_not_taken_for_a_failure(tmp_path):
    tracker = ProgressTracker(checkpoint_dir=tmp_path)
    with StopRequest() as stop:
        send(signal.SIGTERM)

        def job():
            for _ in tracker.track(range(3), "t"):
                try:
                    stop.check()
                except Exception:
                    pytest.fail("it is no error")

        with pytest.raises(StopRequested):
            job()
    assert tracker.get_progress()["tasks"]["t"]["status"] == "running"
    tracker.close()


def test_a_second_ctrl_c_gets_out():
    with StopRequest() as stop:
        send(signal.SIGINT)
        assert stop.reason == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_former_handlers_are_called_too_whatever_the_order():
    called = []

    def theirs(number, frame):
        called.append(number)

    before = signal.signal(signal.SIGTERM, theirs)
    try:
        with StopRequest() as outer, StopRequest() as inner:
            send(signal.SIGTERM)
            assert outer.requested
            assert inner.requested
        assert called == [signal.SIGTERM]
        # A library that comes later calls ours, and goes on doing so after the block.
        with StopRequest() as stop:
            ours = signal.getsignal(signal.SIGTERM)
            composed = signal.signal(signal.SIGTERM, lambda *given: (theirs(*given), ours(*given)))
            send(signal.SIGTERM)
            assert stop.requested
        assert composed == ours
        called.clear()
        send(signal.SIGTERM)
        assert called == [signal.SIGTERM, signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_blocks_that_end_in_another_order_leave_the_former_handlers():
    before = signal.getsignal(signal.SIGTERM)
    first, second = StopRequest(), StopRequest()
    first.__enter__()
    with second:
        first.__exit__(None, None, None)
        send(signal.SIGTERM)  # And no handler of a block that has ended passes it on.
        assert second.requested
    assert signal.getsignal(signal.SIGTERM) == before
    with first:
        send(signal.SIGTERM)
        assert first.requested


def test_a_block_that_another_thread_ends_is_in_nobody_s_way():
    before = signal.getsignal(signal.SIGTERM)
    ended = StopRequest()
    ended.__enter__()
    thread = threading.Thread(target=ended.__exit__, args=(None, None, None))
    thread.start()
    thread.join()
    for stop in (StopRequest(), ended):
        with stop:
            send(signal.SIGTERM)
            assert stop.requested
        assert signal.getsignal(signal.SIGTERM) == before


HANDLED_IN_C = """
import faulthandler, os, signal
from proteinflex_optimization import StopRequest
faulthandler.register(signal.SIGUSR1, all_threads=False)
with StopRequest() as stop:
    os.kill(os.getpid(), signal.SIGUSR1)
    assert not stop.requested
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.requested
os.kill(os.getpid(), signal.SIGUSR1)
print("ended")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody tells of such handlers")
def test_a_handler_that_was_set_outside_of_python_is_left_alone():
    done = subprocess.run(
        [sys.executable, "-c", HANDLED_IN_C], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "ended\n", done.stderr
    assert "SIGUSR1 is handled outside of Python" in done.stderr
    assert done.stderr.count("most recent call first") == 2


def test_an_ignored_ctrl_c_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            send(signal.SIGINT)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGINT, before)


def test_one_object_may_be_used_again():
    stop = StopRequest()
    with stop:
        send(signal.SIGUSR1)
        with pytest.raises(InvalidArgumentError), stop:
            pass
    with stop:
        assert not stop.requested
        send(signal.SIGUSR2)
        assert stop.reason == "SIGUSR2"


def test_a_wait_ends_promptly_when_a_signal_comes():
    with StopRequest() as stop:
        assert not stop.wait(0.05)
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        started = time.monotonic()
        assert stop.wait(120)
        assert time.monotonic() - started < 60


class Clock:
    """The steady clock of `StopRequest`: it stands still until it is told to go on."""

    def __init__(self, real):
        self.real, self.began, self.ahead, self.goes = real, None, 0.0, False

    def __call__(self, which):
        now = self.real(which)
        if self.began is None:
            self.began = now
        return self.ahead + (now if self.goes else self.began)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock(time.clock_gettime)
    monkeypatch.setattr(time, "clock_gettime", clock)
    return clock


def test_a_walltime_asks_in_time(clock):
    with StopRequest(walltime=500.5, margin=500.0) as stop:
        assert not stop.requested
        assert stop.seconds_left == pytest.approx(500.5)
        clock.goes = True
        assert stop.wait(60)
        assert stop.reason == "walltime"
        assert 400 < stop.seconds_left <= 500
    soon = datetime.now(timezone.utc) + timedelta(seconds=1000)
    with StopRequest(walltime=soon) as stop:
        assert 900 < stop.seconds_left <= 1000
    with StopRequest(walltime=None) as stop:
        assert stop.seconds_left is None


@pytest.mark.parametrize("offset", [-3600.0, 3600.0])
def test_seconds_from_now_pass_whatever_becomes_of_the_clock(monkeypatch, clock, offset):
    real = time.time
    with StopRequest(walltime=3.0, margin=2.0) as stop:
        monkeypatch.setattr(time, "time", lambda: real() + offset)
        assert not stop.requested
        assert stop.seconds_left == pytest.approx(3)
        clock.goes = True
        assert stop.wait(60)
        assert stop.seconds_left <= 2


def test_seconds_may_be_any_real_number(clock):
    with StopRequest(walltime=np.int64(500), margin=np.float32(400)) as stop:
        assert stop.seconds_left == 500
        clock.ahead = 100.0
        assert stop.requested


def test_a_suspended_machine_uses_up_the_seconds(clock):
    """Its monotonic clock stands still, and the one that counts on goes ahead."""
    with StopRequest(walltime=100.0, margin=2.0) as stop:
        assert not stop.requested
        clock.ahead = 99.0
        assert stop.reason == "walltime"


def test_a_time_of_the_day_is_by_a_clock_that_is_set_meanwhile(monkeypatch):
    monkeypatch.setattr("proteinflex_optimization.stop.REFRESH_SECONDS", 0.1)
    real = time.time
    with StopRequest(walltime=datetime.now() + timedelta(seconds=1000), margin=2.0) as stop:
        assert not stop.wait(0.3)
        monkeypatch.setattr(time, "time", lambda: real() + 1000)
        assert stop.wait(60)


def test_in_other_threads_the_walltime_works_and_signals_are_left_alone():
    found = []

    def job():
        before = signal.getsignal(signal.SIGTERM)
        with StopRequest(walltime=0.1, margin=0.0) as stop:
            found.extend([signal.getsignal(signal.SIGTERM) == before, stop.wait(60), stop.reason])

    thread = threading.Thread(target=job)
    thread.start()
    thread.join()
    assert found == [True, True, "walltime"]


def test_a_forked_child_ends_as_if_nobody_listened():
    here, there = os.pipe()
    with StopRequest() as stop:
        child = os.fork()
        if child == 0:
            os.write(there, b"!")
            time.sleep(100)
            os._exit(0)
        # Python drops the signals that come before it has run in the child.
        os.read(here, 1)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM
        assert not stop.requested
        send(signal.SIGTERM)
        assert stop.requested
    os.close(here)
    os.close(there)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"signals": "SIGTERM"}, "signals='SIGTERM'"),
        ({"signals": ["SIGNOTHING"]}, "SIGNOTHING"),
        ({"signals": ["SIGKILL"]}, "SIGKILL"),
        ({"signals": ["SEGV"]}, "SIGSEGV"),
        ({"walltime": "1h"}, "walltime='1h'"),
        ({"walltime": -1.0}, "walltime=-1.0.* a datetime"),
        ({"walltime": float("nan")}, "walltime=nan"),
        ({"walltime": 10**400}, "walltime=1000"),
        ({"walltime": datetime.min}, "walltime=datetime"),
        ({"margin": True}, "margin=True"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, said):
    with pytest.raises(InvalidArgumentError, match=said):
        StopRequest(**arguments)


def test_what_notices_the_signals_of_this_process_is_not_sent_to_another():
    with pytest.raises(InvalidTypeError, match="StopRequest can't be pickled.*make one there"):
        pickle.dumps(StopRequest())


def test_asking_whether_to_stop_reads_the_steady_clock_once_and_does_nothing_else(monkeypatch):
    clocks = []
    with StopRequest(walltime=3600.0) as stop:
        steady = time.clock_gettime
        monkeypatch.setattr(stop, "_look", lambda: pytest.fail("it looks when the job ends"))
        monkeypatch.setattr(time, "clock_gettime", lambda one: clocks.append(one) or steady(one))
        assert not stop.requested
        assert len(clocks) == 1


# --- with a tracker ---


def saved(directory: Path) -> list[dict]:
    manager = CheckpointManager(directory)
    rows = manager.list_checkpoints()
    assert all(row["valid"] and manager.verify(row["path"])["ok"] for row in rows)
    return [manager.load_checkpoint(row["path"]) for row in rows]


def test_the_first_update_after_a_request_saves_and_stops(tmp_path):
    tracker = ProgressTracker(checkpoint_dir=tmp_path / "board")
    task = tracker.start_task("t", "T", 10)
    step = 0
    with StopRequest() as stop:
        tracker.checkpoint_with(
            CheckpointManager(tmp_path / "saved"), lambda: {"run": {"step": step}}, stop=stop
        )
        step = 1
        task.update()
        assert saved(tmp_path / "saved") == []
        send(signal.SIGTERM)
        step = 2
        with pytest.raises(StopRequested, match="SIGTERM"):
            task.update()
        # What tidies up may update, and is not stopped again, also when a checkpoint would be due.
        time.sleep(2 * STOP_SECONDS)
        task.update()
    assert saved(tmp_path / "saved") == [{"run": {"step": 2}}]
    tracker.close()


def test_a_stop_request_outside_of_its_block_is_refused_where_it_would_notice_nothing(tmp_path):
    tracker = ProgressTracker()
    stop = StopRequest()
    for _ in range(2):
        with pytest.raises(InvalidArgumentError, match="outside of its block: expected one in"):
            tracker.checkpoint_with(CheckpointManager(tmp_path), dict, stop=stop)
        with stop:
            tracker.checkpoint_with(CheckpointManager(tmp_path), dict, stop=stop)
    tracker.close()


def test_asking_before_the_block_is_a_warning_once(caplog):
    stop = StopRequest(walltime=0.0)
    assert repr(stop) == "<StopRequest not requested>"
    assert caplog.text == ""
    assert not stop.requested
    stop.check()
    assert caplog.text.count("is asked before its block begins") == 1
    caplog.clear()
    with stop:
        assert stop.requested
    assert stop.requested
    assert "before its block" not in caplog.text


def test_a_request_before_it_was_asked_for_counts(tmp_path):
    tracker = ProgressTracker()
    task = tracker.start_task("t", "T", 10)
    with StopRequest() as stop:
        send(signal.SIGTERM)
        tracker.checkpoint_with(CheckpointManager(tmp_path), lambda: {"m": {}}, stop=stop)
        with pytest.raises(StopRequested):
            task.update()
    assert saved(tmp_path) == [{"m": {}}]
    tracker.close()


def test_a_walltime_saves_too_and_regular_checkpoints_go_on_before(tmp_path, clock):
    tracker = ProgressTracker(checkpoint_interval=0.2)
    task = tracker.start_task("t", "T", None)
    counts = []

    def states():
        counts.append(len(counts))
        return {"m": counts[-1]}

    with StopRequest(walltime=1000.0, margin=0.2) as stop:
        tracker.checkpoint_with(CheckpointManager(tmp_path, max_checkpoints=50), states, stop=stop)
        started = time.monotonic()

        def job():
            while time.monotonic() - started < 60:
                task.update()
                time.sleep(0.001)
                if len(counts) == 3:
                    clock.ahead = 1000.0

        with pytest.raises(StopRequested, match="walltime"):
            job()
    assert len(counts) >= 4
    assert [state["m"] for state in saved(tmp_path)] == counts
    tracker.close()


def test_each_thread_is_stopped_and_the_main_thread_saves_what_it_has(tmp_path):
    tracker = ProgressTracker()
    counted, main = (tracker.start_task(name, name, None) for name in ("read", "work"))
    stopped, step = [], 0

    def prefetch():
        try:
            while True:
                counted.update()
                time.sleep(0.001)
        except StopRequested:
            stopped.append(threading.get_ident())

    threads = [threading.Thread(target=prefetch, daemon=True) for _ in range(2)]
    with StopRequest() as stop:
        tracker.checkpoint_with(CheckpointManager(tmp_path), lambda: {"m": step}, stop=stop)
        for thread in threads:
            thread.start()
        send(signal.SIGTERM)
        for thread in threads:
            thread.join(30)
        assert len(set(stopped)) == 2
        step = 2
        with pytest.raises(StopRequested):
            main.update()
    # The first thread, and the main one.
    assert [state["m"] for state in saved(tmp_path)] == [0, 2]
    tracker.close()


def test_a_thread_that_goes_on_all_the_same_still_saves(tmp_path):
    tracker = ProgressTracker(checkpoint_interval=0.1)
    task = tracker.start_task("t", "T", None)
    step = 0
    with StopRequest() as stop:
        tracker.checkpoint_with(CheckpointManager(tmp_path), lambda: {"m": step}, stop=stop)
        send(signal.SIGTERM)
        with pytest.raises(StopRequested):
            task.update()
        step, deadline = 2, time.monotonic() + 30
        while saved(tmp_path)[-1]["m"] != 2 and time.monotonic() < deadline:
            task.update()
            time.sleep(0.01)
        assert saved(tmp_path)[-1]["m"] == 2
    tracker.close()


def test_a_job_stops_also_where_its_last_save_fails(tmp_path, caplog):
    tracker = ProgressTracker()
    task = tracker.start_task("t", "T", 10)
    with StopRequest() as stop:
        tracker.checkpoint_with(
            CheckpointManager(tmp_path), lambda: {"m": {"v": iter(())}}, stop=stop
        )
        send(signal.SIGTERM)
        with pytest.raises(StopRequested) as raised:
            task.update()
    assert isinstance(raised.value.__context__, TypeError)
    assert "no checkpoint was made; the job stops" in caplog.text
    tracker.close()


# --- beside other libraries ---

DATA_LOADER = """
import os, signal, sys, time
import torch
from torch.utils.data import DataLoader, Dataset
from proteinflex_optimization import StopRequest

class Slow(Dataset):
    def __len__(self):
        return 1000
    def __getitem__(self, index):
        time.sleep(0.01)
        return torch.zeros(2)

with StopRequest() as stop:
    loader = iter(DataLoader(Slow(), num_workers=2, batch_size=2))
    next(loader)
    workers = [worker.pid for worker in loader._workers]
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.reason == "SIGTERM"
    next(loader)  # The workers of a job that stops in order are still there.
    os.kill(workers[0], signal.SIGTERM)
    try:
        for _ in loader:
            pass
    except RuntimeError as error:
        assert f"{workers[0]}) is killed by signal: Term" in str(error) or "exited" in str(error)
        print("ended")
"""


@pytest.mark.torch
def test_workers_of_a_data_loader_end_by_their_own_signal():
    done = subprocess.run(
        [sys.executable, "-c", DATA_LOADER], capture_output=True, text=True, timeout=250
    )
    assert done.stdout == "ended\n", done.stderr


LIGHTNING = """
import logging, os, signal, sys, warnings
warnings.simplefilter("ignore")
import torch
from lightning.pytorch import LightningModule, Trainer, Callback
from proteinflex_optimization import StopRequest

class Module(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
    def training_step(self, batch, index):
        return self.layer(batch).sum()
    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.zeros(64, 2), batch_size=2)
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

class Stop(Callback):
    def __init__(self, stop, name):
        self.stop, self.name = stop, name
    def on_train_batch_end(self, trainer, *rest):
        if trainer.global_step == 3:
            os.kill(os.getpid(), signal.Signals[self.name])
        if self.stop.requested:
            trainer.should_stop = True

def fit(stop, name):
    trainer = Trainer(max_epochs=3, logger=False, enable_checkpointing=False, accelerator="cpu",
                      enable_progress_bar=False, enable_model_summary=False,
                      callbacks=[Stop(stop, name)])
    try:
        trainer.fit(Module())
    except BaseException as error:
        return trainer, type(error).__name__
    return trainer, None

with StopRequest() as stop:
    trainer, error = fit(stop, "SIGUSR1")
    assert (stop.reason, error) == ("SIGUSR1", None), (stop.reason, error)
with StopRequest() as stop:
    trainer, error = fit(stop, "SIGTERM")
    # Lightning's own way of ending on SIGTERM goes on, and ours knows as well.
    assert stop.reason == "SIGTERM", stop.reason
    assert trainer._signal_connector.received_sigterm or error == "SIGTERMException", error
    handler = signal.getsignal(signal.SIGTERM)
    assert handler == stop._handle, handler
assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
print("ended")
"""


@pytest.mark.torch
def test_lightning_s_handlers_go_on_beside_ours():
    pytest.importorskip("lightning")
    done = subprocess.run(
        [sys.executable, "-c", LIGHTNING], capture_output=True, text=True, timeout=250
    )
    assert done.stdout.endswith("ended\n"), done.stderr
