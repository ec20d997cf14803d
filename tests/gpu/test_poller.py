"""The driver asked in the background: readers never wait, and know how old the answer is."""

import contextlib
import pickle
import statistics
import threading
import time
from pathlib import Path

import pytest
from proteinflex_optimization import GPUError, GPUManager, InvalidArgumentError
from waiting import until


def poller_threads():
    names = []
    for path in Path("/proc/self/task").glob("*/comm"):
        # A thread may end between the listing and the look.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            names.append(path.read_text().strip())
    return names.count("proteinflex-gpu")


def free(manager):
    return [entry["memory_free"] for entry in manager.get_available_gpus()]


def test_no_thread_without_being_asked_for(machine):
    GPUManager().get_available_gpus()
    assert GPUManager().poll_interval is None
    manager = GPUManager(poll_interval=0.1)
    until(lambda: poller_threads() == 0)  # Of an earlier test one may still be ending.
    assert manager.poll_interval == 0.1


def test_changes_are_seen_within_the_interval(machine):
    machine.write(machine.gpu(0))
    manager = GPUManager(poll_interval=0.1)
    assert free(manager) == [24000]
    machine.write(machine.gpu(0, used=5000), machine.gpu(1))
    until(lambda: free(manager) == [19000, 24000])


def test_an_answer_has_its_age(machine):
    manager = GPUManager(poll_interval=60)
    first = manager.get_available_gpus()[0]["age"]
    time.sleep(0.2)
    assert manager.get_available_gpus()[0]["age"] >= first + 0.2
    asked = time.monotonic()
    age = GPUManager().get_available_gpus()[0]["age"]
    assert age <= time.monotonic() - asked


def test_reservations_are_those_of_this_moment(machine):
    machine.write(machine.gpu(0))
    looking, other = GPUManager(poll_interval=60), GPUManager({"work": 20000})
    assert looking.get_available_gpus()[0]["reservations"] == []
    other.allocate_gpus("work")
    assert looking.get_available_gpus()[0]["reservations"][0]["memory"] == 20000
    other.release_gpus()
    assert looking.get_available_gpus()[0]["reservations"] == []


def test_decisions_never_use_an_old_answer(machine):
    machine.write(machine.gpu(0))
    manager = GPUManager({"work": 20000}, poll_interval=60)
    assert free(manager) == [24000]
    machine.write(machine.gpu(0, used=10000), machine.gpu(1))
    assert manager.allocate_gpus("work") == [1]
    assert free(manager) == [24000]


def test_a_hanging_driver_blocks_no_reader(machine, monkeypatch):
    monkeypatch.setenv("PROTEINFLEX_GPU_TIMEOUT", "1")
    manager = GPUManager(poll_interval=0.1)
    took, errors = [], []

    def is_well():
        start = time.monotonic()
        try:
            return len(manager.get_available_gpus()) == 4
        except GPUError as error:
            errors.append(str(error))
            return False
        finally:
            took.append(time.monotonic() - start)

    until(is_well)
    errors.clear()
    healthy = machine.path.read_text()
    machine.become("sleep.nvmlDeviceGetCount_v2 = 4\n" + healthy)
    # First the old answer with its age, then what a question would have led to.
    until(lambda: not is_well())
    assert "did not answer within 1 s" in errors[0]
    for _ in range(100):
        is_well()
    # A busy machine may hold up some of them, the driver would hold up most.
    assert statistics.median(took) < 0.5
    machine.become(healthy)
    until(is_well)


def test_the_thread_ends_with_the_manager(machine):
    managers = [GPUManager(poll_interval=0.1) for _ in range(3)]
    for manager in managers:
        manager.get_available_gpus()
    until(lambda: poller_threads() == 3)
    del manager, managers
    until(lambda: poller_threads() == 0)


def test_readers_in_many_threads_see_whole_answers(machine):
    """Each GPU has the memory of one answer. Of a change between two questions to the driver, the GPUs
    that were asked first know nothing; what was published later never comes before them."""
    manager = GPUManager(poll_interval=0.1)
    stop = threading.Event()
    wrong = []

    def read():
        while not stop.is_set():
            found = free(manager)
            if found != sorted(found, reverse=True) or found[0] - found[-1] > 1000:
                wrong.append(found)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for used in range(0, 10000, 1000):
        machine.write(*(machine.gpu(number, used=used) for number in range(4)))
        # Of two changes at once an answer could have both.
        until(lambda used=used: free(manager)[-1] == 24000 - used)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_forked_child_polls_for_itself(machine):
    script = """
import os, sys, time
from pathlib import Path
from proteinflex_optimization import GPUManager
world = Path(os.environ["NVML_STUB_WORLD"])
manager = GPUManager(poll_interval=0.1)
print(len(manager.get_available_gpus()), flush=True)
child = os.fork()
if child == 0:
    # The parent's thread is not here, nor is what it last published taken for news.
    print(len(manager.get_available_gpus()), flush=True)
    fresh = world.with_suffix(".new")
    fresh.write_text(world.read_text().split("[gpu]")[0] + "[gpu]" + world.read_text().split("[gpu]")[1])
    fresh.replace(world)
    deadline = time.monotonic() + 60
    while len(manager.get_available_gpus()) != 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    print(len(manager.get_available_gpus()), flush=True)
    del manager
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
deadline = time.monotonic() + 60
while len(manager.get_available_gpus()) != 1 and time.monotonic() < deadline:
    time.sleep(0.02)
print(len(manager.get_available_gpus()), flush=True)
"""
    assert machine.run(script).split() == ["4", "4", "1", "1"]


def test_the_interpreter_ends_with_a_poller_at_work(machine):
    script = """
from proteinflex_optimization import GPUManager
manager = GPUManager(poll_interval=0.1)
manager.get_available_gpus()
print("ends")
"""
    assert machine.run(script) == "ends\n"
    machine.become("sleep.nvmlDeviceGetCount_v2 = 600\n" + machine.path.read_text())
    script = script.replace("manager.get", "try: manager.get").replace(
        'print("ends")', 'except Exception: print("ends")'
    )
    assert machine.run(script, PROTEINFLEX_GPU_TIMEOUT="0.5") == "ends\n"


def test_a_poller_ticks_while_python_holds_the_gil(machine):
    script = """
import ctypes, os, time
from pathlib import Path
from proteinflex_optimization import GPUManager
world = Path(os.environ["NVML_STUB_WORLD"])
manager = GPUManager(poll_interval=0.1)
manager.get_available_gpus()
start = time.monotonic()
ctypes.PyDLL(None).usleep(3_000_000)  # holds the GIL, unlike CDLL
print(manager.get_available_gpus()[0]["age"] < time.monotonic() - start - 0.5)
"""
    assert machine.run(script) == "True\n"


@pytest.mark.parametrize("protocol", range(6))
def test_a_manager_travels_with_its_interval(machine, protocol):
    manager = pickle.loads(pickle.dumps(GPUManager(poll_interval=0.5), protocol))
    assert manager.poll_interval == 0.5
    assert manager.get_available_gpus()


@pytest.mark.parametrize("interval", [0, -1, 0.01, 1e9, float("nan"), float("inf"), "1", True])
def test_intervals_that_make_no_sense_are_refused(interval):
    with pytest.raises(InvalidArgumentError, match="poll_interval"):
        GPUManager(poll_interval=interval)
