"""Reservations beyond one user, one container and one well-kept directory."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from proteinflex_optimization import GPUManager, InsufficientGPUMemoryError

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def shared(machine, monkeypatch):
    """A machine whose reservations are in a directory for all users, as an administrator makes it."""
    directory = Path(tempfile.mkdtemp(prefix="pfx-gpu-", dir="/tmp"))
    directory.chmod(0o755)
    reservations = directory / "state" / "reservations"
    reservations.mkdir(parents=True)
    reservations.chmod(0o1777)
    world = directory / "world"
    machine.path = world
    machine.write(machine.gpu(0, total=10000), machine.gpu(1, total=10000))
    world.chmod(0o644)
    monkeypatch.setenv("NVML_STUB_WORLD", str(world))
    monkeypatch.setenv("PROTEINFLEX_GPU_STATE_DIR", str(directory / "state"))
    yield machine
    shutil.rmtree(directory)


AS_NOBODY = f"""
import os, sys
from proteinflex_optimization import GPUManager, InsufficientGPUMemoryError
manager = GPUManager({{"work": 8000}}, True)
manager.get_available_gpus()  # all that must be read is read while that is allowed
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
def ask():
    try: print(*manager.allocate_gpus("work"), flush=True)
    except InsufficientGPUMemoryError: print("none", flush=True)
ask()
for line in sys.stdin:
    manager.release_gpus()
    ask()
"""


@needs_root
def test_users_see_each_others_reservations(shared):
    mine = GPUManager({"work": 8000}, True)
    assert mine.allocate_gpus("work") == [0]
    other = shared.start(AS_NOBODY)
    assert other.stdout.readline() == "1\n"
    with pytest.raises(InsufficientGPUMemoryError, match=f"user {NOBODY}"):
        GPUManager({"work": 8000}).allocate_gpus("work")
    assert {entry["user"] for entry in mine.reservations()} == {0, NOBODY}
    other.kill()
    other.communicate()
    second = GPUManager({"work": 8000}, True)
    assert second.allocate_gpus("work") == [1]


@needs_root
def test_what_another_user_left_dead_is_passed_over(shared):
    """In a directory with the sticky bit a user can't remove what another one left."""
    holder = shared.start(
        "from proteinflex_optimization import GPUManager\n"
        "manager = GPUManager({'work': 8000})\n"
        "print(manager.allocate_gpus('work'), flush=True)\n"
        "input()\n"
    )
    assert holder.stdout.readline() == "[0, 1]\n"
    holder.kill()
    holder.communicate()
    directory = Path(os.environ["PROTEINFLEX_GPU_STATE_DIR"]) / "reservations"
    assert list(directory.glob("*.lease"))
    other = shared.start(AS_NOBODY)
    assert other.stdout.readline() == "0\n"
    assert len(list(directory.glob("*.lease"))) == 2
    other.communicate("", timeout=30)
    # Its own user tidies up.
    manager = GPUManager({"work": 8000}, True)
    assert manager.allocate_gpus("work") == [0]
    assert len(list(directory.glob("*.lease"))) == 1


def test_a_holder_in_another_process_namespace_is_alive(machine):
    """As in another container: its process id means nothing here, and its lock does."""
    unshare = shutil.which("unshare")
    flags = [] if unshare is None else [unshare, "--pid", "--fork", "--mount-proc", "--kill-child"]
    if unshare is None or subprocess.run([*flags, "true"], capture_output=True).returncode:
        pytest.skip("no process-id namespace can be made here")
    machine.write(machine.gpu(0, total=10000))
    script = (
        "import os\n"
        "from proteinflex_optimization import GPUManager\n"
        "manager = GPUManager({'work': 8000})\n"
        "print(os.getpid(), *manager.allocate_gpus('work'), flush=True)\n"
        "input()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    holder = subprocess.Popen(
        [*flags, sys.executable, "-c", script], env=machine.environment(), **pipes
    )
    try:
        pid, index = holder.stdout.readline().split()
        assert (int(pid) < 10, index) == (True, "0")
        manager = GPUManager({"work": 8000})
        assert len(manager.reservations()) == 1
        with pytest.raises(InsufficientGPUMemoryError, match=rf"pid {pid},"):
            manager.allocate_gpus("work")
    finally:
        holder.communicate("\n", timeout=30)
    assert manager.allocate_gpus("work") == [0]


def test_two_who_want_two_gpus_each_get_all_or_nothing(machine):
    """Whichever way round they see them: nobody holds one and waits for the other."""
    machine.write(*(machine.gpu(number, total=10000) for number in range(2)))
    script = """
import sys
from proteinflex_optimization import GPUManager
manager = GPUManager({"set": 18000})
sys.stdin.readline()
for _ in range(20):
    assert sorted(manager.wait_for_gpus("set", 60)) == [0, 1]
    manager.release_gpus()
print("done")
"""
    masks = ("0,1", "1,0")
    workers = [machine.start(script, CUDA_VISIBLE_DEVICES=mask) for mask in masks]
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    assert [worker.communicate(timeout=120)[0] for worker in workers] == ["done\n"] * 2
