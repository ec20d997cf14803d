"""Checkpoints while others save, replace and remove them: with locks, without, and after a fork."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import refused_calls
from proteinflex_optimization import CheckpointError, CheckpointManager, ProteinFlexError

SAVE = """
import sys, time, numpy as np
from proteinflex_optimization import CheckpointManager
base, how, keep, seconds = sys.argv[1:]
manager = CheckpointManager(base, max_checkpoints=int(keep), durable=False)
until, step = time.monotonic() + float(seconds), 0
while time.monotonic() < until or step < 10:
    step += 1
    name = "last" if how == "same" else f"{how}{step}"
    state = {"m": {"a": np.full(1000 + step % 50, float(step))}, "s": {"n": step}}
    manager.create_checkpoint(name, state)
print(step)
"""


@pytest.mark.parametrize(("how", "keep"), [("same", 3), ("ab", 1), ("ab", 2)])
@pytest.mark.parametrize("locks", ["work", *refused_calls.LOCKS])
def test_a_valid_checkpoint_is_found_at_every_moment(tmp_path, how, keep, locks):
    without_locks = ""
    if locks in refused_calls.LOCKS:
        without_locks = refused_calls.prelude(refused_calls.LOCKS[locks], "flock")
    manager = CheckpointManager(tmp_path, auto_cleanup=False)
    manager.create_checkpoint("last" if how == "same" else "first", {"m": {"a": np.zeros(10)}})
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", without_locks + SAVE, str(tmp_path), name, str(keep), "1.5"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in (["same", "same"] if how == "same" else how)
    ]
    looks = 0
    while any(job.poll() is None for job in jobs):
        latest = manager.latest()
        assert latest is not None
        rows = manager.list_checkpoints()
        assert [row["valid"] for row in rows] == [True] * max(len(rows), 1)
        try:
            loaded = manager.load_checkpoint(latest)
            assert (loaded["m"]["a"] == loaded["m"]["a"][0]).all()
        except CheckpointError:
            if how == "same":
                raise
            # It was removed after it was found.
        looks += 1
    saved = [int(job.communicate()[0]) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0]
    assert looks > 0
    assert min(saved) >= 10
    manager.create_checkpoint("end", {})
    rows = manager.list_checkpoints()
    assert all(manager.verify(row["path"])["ok"] for row in rows)


def test_a_save_of_another_pid_namespace_is_taken_to_be_alive(tmp_path):
    unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode != 0:
        unshare = ["unshare", "--pid", "--fork", "--mount-proc"]
        if subprocess.run([*unshare, "true"], capture_output=True).returncode != 0:
            pytest.skip("no namespaces of processes here")
    code = (
        "import sys; from proteinflex_optimization import CheckpointManager\n"
        "manager = CheckpointManager(sys.argv[1])\n"
        "shared = manager._begin('theirs'); print('begun', flush=True); sys.stdin.readline()\n"
        "part = manager._write_components(shared.directory, 0, {'x': 1}, None, False)\n"
        "print(manager._publish(shared, [part]))\n"
    )
    with subprocess.Popen(
        [*unshare, sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as job:
        assert job.stdout.readline() == "begun\n"
        for step in range(3):
            CheckpointManager(tmp_path, max_checkpoints=2).create_checkpoint(f"s{step}", {"x": 2})
        job.stdin.write("go\n")
        job.stdin.close()
        assert job.stdout.readline() == f"{tmp_path}/theirs\n"
    assert CheckpointManager(tmp_path).load_checkpoint("theirs") == {"x": 1}


def test_a_stopped_writer_is_alive(tmp_path):
    code = (
        "import sys, time; from proteinflex_optimization import CheckpointManager\n"
        "shared = CheckpointManager(sys.argv[1])._begin('theirs'); print('begun', flush=True)\n"
        "time.sleep(300)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as job:
        assert job.stdout.readline() == "begun\n"
        os.kill(job.pid, signal.SIGSTOP)
        manager = CheckpointManager(tmp_path)
        manager.create_checkpoint("mine", {"x": 1})
        manager.wait()
        staged = [name for name in os.listdir(tmp_path) if name.startswith(".theirs")]
        assert len(staged) == 1
        job.kill()
        job.wait()
        manager.create_checkpoint("mine", {"x": 2})
        manager.wait()
        assert sorted(os.listdir(tmp_path)) == [".lock", "mine"]


@pytest.mark.parametrize("how", ["create_checkpoint", "create_checkpoint_async"])
def test_what_a_thread_changes_while_it_is_stored_can_be_read(tmp_path, how):
    manager = CheckpointManager(tmp_path, durable=False)
    array = np.zeros(1_500_000)
    stop = threading.Event()

    def change():
        while not stop.is_set():
            array.__iadd__(1)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            made = getattr(manager, how)("x", {"m": {"a": array}})
            path = made if isinstance(made, str) else made.result()
            assert manager.verify(path)["ok"]
            loaded = manager.load_checkpoint(path)["m"]["a"]
            assert loaded.shape == array.shape
            assert loaded.max() <= array.max()
    finally:
        stop.set()
        thread.join()


FORK = """
import os, sys, time, numpy as np
from proteinflex_optimization import CheckpointError, CheckpointManager
base = sys.argv[1]
manager = CheckpointManager(base, max_checkpoints=3, durable=False)
state = {"m": {"a": np.arange(300_000.0)}}
for round_ in range(40):
    pending = manager.create_checkpoint_async(f"p{round_}", state)
    child = os.fork()
    if child == 0:
        try:
            for question in (pending.done, pending.result):
                try:
                    question()
                    os._exit(3)
                except CheckpointError:
                    pass
            assert manager.latest() is not None or round_ == 0
            made = manager.create_checkpoint_async(f"c{round_}", state).result(timeout=60)
            manager.create_checkpoint(f"d{round_}", state)
            manager.list_checkpoints()
            manager.wait()
            manager.release_memory()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(2)
    until = time.monotonic() + 60
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > until:
            os.kill(child, 9)
            sys.exit("the child hangs")
        time.sleep(0.001)
    assert os.waitstatus_to_exitcode(ended[1]) == 0, ended
    assert pending.result().endswith(f"p{round_}")
manager.wait()
assert all(row["valid"] for row in manager.list_checkpoints())
print("done")
"""


def test_a_forked_child_saves_on_its_own_while_its_parent_saves(tmp_path):
    job = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert job.stdout == "done\n", job.stderr


def test_odd_things_in_place_of_files_neither_hang_nor_are_followed(tmp_path):
    manager = CheckpointManager(tmp_path)
    path = manager.create_checkpoint("odd", {"m": {"v": 1}})
    good = manager.create_checkpoint("good", {"m": {"v": 2}})
    manifest = os.path.join(path, "manifest.json")
    os.rename(manifest, tmp_path / "kept")
    for put in (
        lambda: os.mkfifo(manifest),
        lambda: os.symlink(tmp_path / "kept", manifest),
        lambda: os.symlink("/dev/zero", manifest),
        lambda: os.mkdir(manifest),
    ):
        put()
        assert manager.latest() == good
        rows = {row["checkpoint_id"]: row["valid"] for row in manager.list_checkpoints()}
        assert rows == {"odd": False, "good": True}
        for look in (manager.load_checkpoint, manager.verify, manager.outline):
            with pytest.raises(ProteinFlexError, match="not a regular file"):
                look(path)
        manager.create_checkpoint("good", {"m": {"v": 2}})
        os.rmdir(manifest) if os.path.isdir(manifest) else os.unlink(manifest)
    lock = tmp_path / ".lock"
    lock.unlink()
    os.mkfifo(lock)
    with pytest.raises(OSError, match="lock"):
        manager.create_checkpoint("good", {"m": {"v": 3}})
    assert manager.load_checkpoint("good") == {"m": {"v": 2}}
