"""Forks, threads and long lives: nothing hangs, nothing leaks."""

import os
import threading

import pytest
from proteinflex_optimization import GPUError, GPUManager, InsufficientGPUMemoryError

FORK_WHILE_SCANNING = """
import faulthandler, os, sys, threading
from proteinflex_optimization import GPUManager
stop = threading.Event()
manager, polling = GPUManager(), GPUManager(poll_interval=0.1)
def scan():
    while not stop.is_set():
        manager.get_available_gpus()
        polling.get_available_gpus()
threads = [threading.Thread(target=scan, daemon=True) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(FORKS):
    child = os.fork()
    if child == 0:
        # Where it hangs, its stacks are shown, and it ends.
        faulthandler.dump_traceback_later(60, exit=True)
        whole = len(manager.get_available_gpus()) == len(polling.get_available_gpus()) == 4
        os._exit(0 if whole else 3)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in threads:
    thread.join()
print("done")
"""


@pytest.mark.parametrize("forks", [50, pytest.param(1000, marks=pytest.mark.soak)])
def test_a_fork_in_the_middle_of_a_question_harms_neither(machine, forks):
    script = FORK_WHILE_SCANNING.replace("FORKS", str(forks))
    process = machine.start(script)
    out, err = process.communicate(timeout=280)
    assert (process.returncode, out) == (0, "done\n"), err


@pytest.mark.parametrize("processes", [6, pytest.param(300, marks=pytest.mark.soak)])
def test_a_fork_beside_the_very_first_calls_of_threads_harms_neither(machine, processes):
    """What a process makes once, at its first call, must not be half made in a child."""
    for _ in range(processes):
        process = machine.start(FORK_WHILE_SCANNING.replace("FORKS", "6"))
        out, err = process.communicate(timeout=280)
        assert (process.returncode, out) == (0, "done\n"), err


@pytest.mark.parametrize(("hang", "least"), [(0.6, 0.2), (100, 0.9)])
def test_a_fork_waits_for_a_question_and_not_for_ever(machine, hang, least):
    machine.become(f"sleep.nvmlDeviceGetCount_v2 = {hang}\n" + machine.path.read_text())
    script = """
import os, threading, time
from proteinflex_optimization import GPUManager
def ask():
    try: GPUManager().get_available_gpus()
    except Exception: pass
took = 0
for _ in range(20):  # On a busy machine a question may not have begun by then, or be over.
    threading.Thread(target=ask, daemon=True).start()
    time.sleep(0.2)
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    took = time.monotonic() - start
    if took > LEAST:
        break
print(took, flush=True)
os._exit(0)
"""
    assert least < float(machine.run(script.replace("LEAST", str(least)))) < 50


def test_after_a_fork_the_driver_is_used_anew(machine):
    """NVML answers nobody but the process that initialised it."""
    script = """
import os
from proteinflex_optimization import GPUManager
manager = GPUManager()
manager.get_available_gpus()
for _ in range(2):
    child = os.fork()
    if child == 0:
        grandchild = os.fork()
        found = len(manager.get_available_gpus())
        if grandchild == 0:
            os._exit(0 if found == 4 else 3)
        status = os.waitpid(grandchild, 0)[1]
        os._exit(0 if found == 4 and status == 0 else 3)
    assert os.waitpid(child, 0)[1] == 0
    print(len(manager.get_available_gpus()))
"""
    assert machine.run(script).split() == ["4", "4"]


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_managers_travel_to_workers(machine, method):
    # In a process of its own: the one that forks for others keeps the environment that it began with.
    script = f"""
import multiprocessing
from proteinflex_optimization import GPUManager
manager = GPUManager({{"work": 1000}})
with multiprocessing.get_context("{method}").Pool(2) as pool:
    print(pool.map(manager.allocate_gpus, ["work"]))
"""
    assert machine.run(script).strip() == "[[0, 1, 2, 3]]"


def test_many_threads_may_ask_at_once(machine):
    manager = GPUManager()
    found = []

    def ask():
        found.extend(len(manager.get_available_gpus()) for _ in range(50))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [4] * 400


def resident_kb():
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


@pytest.mark.parametrize("scans", [5_000, pytest.param(100_000, marks=pytest.mark.soak)])
def test_looking_leaks_neither_memory_nor_files(machine, scans):
    manager = GPUManager({"work": 1000})
    manager.allocate_gpus("work")
    for _ in range(1000):
        manager.get_available_gpus()
    files, before = len(os.listdir("/proc/self/fd")), resident_kb()
    for _ in range(scans):
        manager.get_available_gpus()
    assert len(os.listdir("/proc/self/fd")) <= files + 1
    assert resident_kb() - before < 4096


def test_a_replaced_program_gives_its_reservations_back(machine):
    script = """
import os, sys
from proteinflex_optimization import GPUManager
manager = GPUManager({"work": 20000}, prefer_single_gpu=True)
manager.allocate_gpus("work")
code = (
    "from proteinflex_optimization import GPUManager;"
    "print(len(GPUManager().reservations()))"
)
os.execv(sys.executable, [sys.executable, "-c", code])
"""
    assert machine.run(script).strip() == "0"


def test_a_gpu_that_is_lost_between_two_questions_of_one_scan_is_not_half_there(machine):
    for call in range(1, 4):
        for function in ("nvmlDeviceGetName", "nvmlDeviceGetMemoryInfo_v2"):
            machine.write(machine.gpu(0, **{f"err__{function}": f"15@{call}"}), machine.gpu(1))
            script = """
from proteinflex_optimization import GPUManager
manager = GPUManager()
for _ in range(4):
    for entry in manager.get_available_gpus():
        assert (entry["status"] == "ok") == (entry["memory_total"] == 24000), entry
        assert (entry["reason"] is None) == (entry["status"] == "ok"), entry
print(entry["status"] if entry["uuid"].startswith("GPU-00000000") else "ok",
      [one["status"] for one in manager.get_available_gpus()])
"""
            assert "'lost'" in machine.run(script)


def test_a_task_whose_gpu_was_lost_gets_another_one(machine):
    manager = GPUManager({"work": 20000}, prefer_single_gpu=True)
    (first,) = manager.allocate_gpus("work")
    lost = {"err__nvmlDeviceGetMemoryInfo_v2": 15}
    machine.write(
        *(machine.gpu(number, **(lost if number == first else {})) for number in range(4))
    )
    (other,) = manager.allocate_gpus("work")
    assert other != first
    assert len(manager.reservations()) == 1
    with pytest.raises(GPUError, match="lost|fallen off"):
        manager.get_optimal_batch_size("work", [first])
    machine.write(*(machine.gpu(number, **lost) for number in range(4)))
    with pytest.raises(InsufficientGPUMemoryError, match="fallen off the bus"):
        GPUManager({"work": 1}).allocate_gpus("work")


def test_a_task_that_loses_one_of_its_gpus_keeps_the_other(machine):
    machine.write(machine.gpu(0), machine.gpu(1))
    manager = GPUManager({"work": 20000})
    assert manager.allocate_gpus("work") == [0, 1]
    machine.write(machine.gpu(0, err__nvmlDeviceGetMemoryInfo_v2=15), machine.gpu(1))
    assert manager.allocate_gpus("work") == [1]
    # Where it needs several together, its own reservation does not stand in its way.
    machine.write(*(machine.gpu(number, total=10000) for number in range(3)))
    manager = GPUManager({"work": 16000})
    assert manager.allocate_gpus("work", max_gpus=2) == [0, 1]
    machine.write(
        machine.gpu(0, total=10000, err__nvmlDeviceGetMemoryInfo_v2=15),
        machine.gpu(1, total=10000),
        machine.gpu(2, total=10000),
    )
    assert manager.allocate_gpus("work", max_gpus=2) == [1, 2]
    assert len(manager.reservations()) == 1
