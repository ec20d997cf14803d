"""Whose memory is in use: what a holder and those that it has started use is of its reservation."""

import contextlib
import os

import pytest
from proteinflex_optimization import GPUManager, InsufficientGPUMemoryError
from waiting import until


def test_memory_in_use_is_not_counted_twice(machine):
    manager = GPUManager({"work": 8000}, prefer_single_gpu=True)
    machine.write(machine.gpu(0, total=16000))
    assert manager.allocate_gpus("work") == [0]
    # The holder has filled what it reserved: 8000 MB are still there for another.
    machine.write(machine.gpu(0, total=16000, used=8000, procs=f"{os.getpid()}:8000"))
    assert GPUManager({"work": 8000}).allocate_gpus("work") == [0]


STARTS_A_PROGRAM = """
import subprocess, sys
from proteinflex_optimization import GPUManager
manager = GPUManager({"dynamics": 8000})
manager.allocate_gpus("dynamics")
with subprocess.Popen(["sleep", "300"]) as program:
    print(program.pid, flush=True)
    sys.stdin.readline()
    print(manager.get_optimal_batch_size("dynamics", [0]), flush=True)
    program.kill()
"""


def test_memory_that_a_program_of_the_holder_uses_is_not_counted_twice(machine):
    """As that of `gmx mdrun`, or of the workers of a pool."""
    machine.write(machine.gpu(0, total=24000))
    holder = machine.start(STARTS_A_PROGRAM)
    program = int(holder.stdout.readline())
    in_use = {"used": 8000, "procs": f"{program}:8000"}
    machine.write(machine.gpu(0, total=24000, **in_use))
    other = GPUManager({"work": 12000})
    assert other.allocate_gpus("work") == [0]
    # What another has reserved, and not in use yet, is not for the holder's batches.
    out, err = holder.communicate("go on\n", timeout=60)
    assert (out, err) == ("1\n", "")


def test_what_a_child_with_a_reservation_of_its_own_uses_counts_for_that(machine):
    machine.write(machine.gpu(0, total=24000))
    script = """
import os, sys
from proteinflex_optimization import GPUManager
manager = GPUManager({"parent": 8000, "child": 6000})
manager.allocate_gpus("parent")
child = os.fork()
if child == 0:
    manager.allocate_gpus("child")
    print(os.getpid(), flush=True)
    os.read(0, 1)
    os._exit(0)
os.waitpid(child, 0)
"""
    holder = machine.start(script)
    child = int(holder.stdout.readline())
    machine.write(machine.gpu(0, total=24000, used=6000, procs=f"{child}:6000"))
    with pytest.raises(InsufficientGPUMemoryError, match="8000 reserved and not yet in use"):
        GPUManager({"work": 10001}).allocate_gpus("work")
    assert GPUManager({"work": 10000}).allocate_gpus("work") == [0]
    holder.communicate("go on\n", timeout=60)


def session(pid):
    """The session of a process; None where it has ended by now."""
    with contextlib.suppress(ProcessLookupError):
        return os.getsid(pid)


def test_a_forked_worker_outlives_its_parent_and_keeps_the_memory(machine):
    machine.write(machine.gpu(0, total=10000))
    script = """
import os, sys
from proteinflex_optimization import GPUManager
manager = GPUManager({"work": 8000})
manager.allocate_gpus("work")
if os.fork():
    print("parent", flush=True)
    os._exit(0)
sys.stdin.readline()
os._exit(0)
"""
    process = machine.start(script)
    assert process.stdout.readline() == "parent\n"
    process.wait(60)
    manager = GPUManager({"work": 8000})
    assert len(manager.reservations()) == 1
    # What it uses is of what was reserved.
    (worker,) = (pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc")))
                 if session(pid) == process.pid)  # fmt: skip
    machine.write(machine.gpu(0, total=24000, used=8000, procs=f"{worker}:8000"))
    other = GPUManager({"work": 16000})
    assert other.allocate_gpus("work") == [0]
    other.release_gpus()
    machine.write(machine.gpu(0, total=10000))
    process.communicate("end\n", timeout=60)
    until(lambda: not manager.reservations())
    assert manager.allocate_gpus("work") == [0]
