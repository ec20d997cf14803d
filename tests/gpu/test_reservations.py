"""Reservations: seen by every process, freed by every kind of death, never given twice."""

import contextlib
import fcntl
import json
import os
import pickle
import signal
import threading
import time
from collections import Counter

import pytest
from proteinflex_optimization import (
    GPUError,
    GPUManager,
    InsufficientGPUMemoryError,
    InvalidArgumentError,
    UnknownTaskError,
)
from waiting import until

CONTENDER = """
import sys
from proteinflex_optimization import GPUManager, InsufficientGPUMemoryError
manager = GPUManager({"work": 8000}, prefer_single_gpu=True)
sys.stdin.readline()
try: print(*manager.allocate_gpus("work"), flush=True)
except InsufficientGPUMemoryError: print("none", flush=True)
sys.stdin.readline()
"""


def ask_at_once(machine, count):
    """Start processes that allocate at the same time, and give each with its answer."""
    processes = [machine.start(CONTENDER) for _ in range(count)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    return [(process, process.stdout.readline().strip()) for process in processes]


def end(processes):
    for process, _ in processes:
        process.communicate("end\n", timeout=60)


def test_eight_processes_at_once_never_get_the_same_memory(machine):
    machine.write(*(machine.gpu(number, total=9000) for number in range(4)))
    answers = ask_at_once(machine, 8)
    try:
        assert Counter(answer for _, answer in answers) == {
            "0": 1, "1": 1, "2": 1, "3": 1, "none": 4,
        }  # fmt: skip
    finally:
        end(answers)
    assert GPUManager().reservations() == []


def test_threads_of_one_process_never_get_the_same_memory(machine):
    machine.write(*(machine.gpu(number, total=20000) for number in range(2)))
    managers = [GPUManager({"work": 8000}, prefer_single_gpu=True) for _ in range(8)]
    found = []

    def ask(manager):
        for _ in range(50):
            try:
                found.append(manager.allocate_gpus("work")[0])
            except InsufficientGPUMemoryError:
                found.append(None)
            reserved = Counter()
            for entry in managers[0].reservations():
                reserved.update(entry["memory"])
            # All that a GPU has may be taken: the rest of both holds a third task together.
            assert all(memory <= 20000 for memory in reserved.values()), reserved
            manager.release_gpus()

    threads = [threading.Thread(target=ask, args=(manager,)) for manager in managers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 400


def test_a_process_that_can_open_no_more_files_overlooks_no_reservation(machine):
    machine.write(machine.gpu(0, total=10000))
    script = """
import os, resource
from proteinflex_optimization import GPUManager, InsufficientGPUMemoryError
holder, other = (GPUManager({"work": 8000}) for _ in range(2))
holder.allocate_gpus("work")
other.get_available_gpus()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
fillers = []
try:
    while True:
        fillers.append(os.dup(0))
except OSError:
    pass
for _ in range(8):
    try:
        print(len(other.reservations()), end=" ")
    except OSError as error:
        print(os.strerror(error.errno), end=" ")
    try:
        print("gets", other.allocate_gpus("work"))
    except (OSError, InsufficientGPUMemoryError) as error:
        print("gets", type(error).__name__)
    os.close(fillers.pop())
"""
    lines = machine.run(script).splitlines()
    assert set(lines) == {"Too many open files gets OSError", "1 gets OSError",
                          "1 gets InsufficientGPUMemoryError"}  # fmt: skip


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM, "exit"])
def test_the_death_of_a_holder_frees_its_memory(machine, kind):
    machine.write(machine.gpu(0, total=10000))
    (holder, answer) = ask_at_once(machine, 1)[0]
    assert answer == "0"
    manager = GPUManager({"work": 8000})
    with pytest.raises(InsufficientGPUMemoryError, match=f"work .pid {holder.pid},"):
        manager.allocate_gpus("work")
    (entry,) = manager.get_available_gpus()
    assert entry["memory_reserved_by_others"] == 8000
    assert entry["reservations"][0]["pid"] == holder.pid
    if kind == "exit":
        holder.communicate("end\n", timeout=60)
    else:
        holder.send_signal(kind)
        holder.wait(60)
    assert manager.allocate_gpus("work") == [0]
    manager.release_gpus()
    for stream in (holder.stdin, holder.stdout, holder.stderr):
        stream.close()


def test_a_stopped_holder_keeps_its_memory(machine):
    machine.write(machine.gpu(0, total=10000))
    answers = ask_at_once(machine, 1)
    holder = answers[0][0]
    holder.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(InsufficientGPUMemoryError):
            GPUManager({"work": 8000}).allocate_gpus("work")
    finally:
        holder.send_signal(signal.SIGCONT)
        end(answers)


def test_a_task_keeps_its_gpus_and_another_manager_gets_others(machine):
    one, other = (GPUManager(prefer_single_gpu=True) for _ in range(2))
    first = one.allocate_gpus("prediction")
    assert one.allocate_gpus("prediction") == first
    assert other.allocate_gpus("prediction") != first
    one.release_gpus("prediction")
    one.release_gpus("prediction")
    with one.reserve("dynamics") as gpus:
        assert gpus
        assert len(one.reservations()) == 2
    assert len(one.reservations()) == 1
    del other
    assert one.reservations() == []


def test_a_task_that_asks_for_fewer_of_its_gpus_keeps_all(machine):
    machine.write(machine.gpu(0), machine.gpu(1))
    manager, other = GPUManager({"work": 20000}), GPUManager({"other": 20000})
    held = manager.allocate_gpus("work")
    assert len(held) == 2
    assert manager.allocate_gpus("work", max_gpus=1) == held[:1]
    with manager.reserve("work", max_gpus=1) as gpus:
        assert gpus == held[:1]
    with pytest.raises(InsufficientGPUMemoryError):
        other.allocate_gpus("other", max_gpus=1)
    assert manager.allocate_gpus("work") == held


def test_a_task_that_needs_its_gpus_together_is_not_given_some_of_them(machine):
    machine.write(machine.gpu(0, total=10000), machine.gpu(1, total=10000))
    manager = GPUManager({"large": 16000})
    assert manager.allocate_gpus("large") == [0, 1]
    with pytest.raises(InvalidArgumentError, match=r"max_gpus=1\D.*at least 2\D.*release_gpus"):
        manager.allocate_gpus("large", max_gpus=1)
    assert len(manager.reservations()[0]["memory"]) == 2


def test_a_forked_child_has_reservations_of_its_own(machine):
    machine.write(machine.gpu(0), machine.gpu(1))
    script = """
import os
from proteinflex_optimization import GPUManager, InsufficientGPUMemoryError
manager = GPUManager({"work": 20000}, prefer_single_gpu=True)
mine = manager.allocate_gpus("work")
child = os.fork()
if child == 0:
    theirs = manager.allocate_gpus("work")
    print(mine, theirs, len(manager.reservations()), flush=True)
    manager.release_gpus()
    print(len(manager.reservations()), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(len(manager.get_available_gpus()), len(manager.reservations()), flush=True)
"""
    assert machine.run(script).splitlines() == ["[0] [1] 2", "1", "2 1"]


def test_waiting_ends_when_memory_is_freed(machine):
    machine.write(machine.gpu(0, total=10000))
    holder, waiter = GPUManager({"work": 8000}), GPUManager({"work": 8000})
    holder.allocate_gpus("work")
    with pytest.raises(InsufficientGPUMemoryError, match=r"after waiting \d+\.\d s"):
        waiter.wait_for_gpus("work", 0.3)
    threading.Timer(0.3, holder.release_gpus).start()
    assert waiter.wait_for_gpus("work", 60) == [0]


def test_those_who_wait_are_served_in_their_order(machine):
    machine.write(machine.gpu(0, total=10000))
    holder = GPUManager({"work": 8000})
    holder.allocate_gpus("work")
    served = []

    def wait(name):
        manager = GPUManager({"work": 8000})
        manager.wait_for_gpus("work", 120)
        served.append(name)
        manager.release_gpus()

    threads = []
    for name in range(4):
        threads.append(threading.Thread(target=wait, args=(name,)))
        with one_more_lease(machine):
            threads[-1].start()
    holder.release_gpus()
    for thread in threads:
        thread.join()
    assert served == [0, 1, 2, 3]


@contextlib.contextmanager
def one_more_lease(machine):
    """Wait at the end until there is a lease or ticket that was not there."""
    directory = machine.path.parent / "state" / "reservations"

    def leases():
        return set(directory.glob("*/*.lease"))

    before = leases()
    yield
    until(lambda: not leases() <= before)


def waits(machine, task_mb=16000):
    """A process that waits for GPUs, once its ticket is there."""
    script = f"""
from proteinflex_optimization import GPUManager
manager = GPUManager({{"large": {task_mb}}}, prefer_single_gpu=True)
print(*manager.wait_for_gpus("large", 120, max_gpus=1), flush=True)
manager.release_gpus()
"""
    with one_more_lease(machine):
        return machine.start(script)


def test_one_who_needs_much_is_not_starved_by_those_who_need_little(machine):
    machine.write(machine.gpu(0, total=20000), machine.gpu(1, total=10000))
    small = GPUManager({"small": 6000}, prefer_single_gpu=True)
    others = [GPUManager({"small": 6000}, prefer_single_gpu=True) for _ in range(2)]
    assert [other.allocate_gpus("small") for other in others] == [[1], [0]]
    waiter = waits(machine)
    # There is room on GPU 0, which the waiter stands in line for; GPU 1 can't hold its task.
    with pytest.raises(InsufficientGPUMemoryError, match=r"(?s)large \(pid \d+.* goes first"):
        small.allocate_gpus("small")
    others[0].release_gpus()
    assert small.allocate_gpus("small") == [1]
    others[1].release_gpus()
    out, err = waiter.communicate(timeout=120)
    assert (out, err) == ("0\n", "")
    small.release_gpus()
    others[0].allocate_gpus("small")
    assert small.allocate_gpus("small") == [0]


def stop_between_looks(waiter, lock):
    """Stop a waiter, but not while it chooses, when others have to wait for it."""
    while True:
        waiter.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, waiter.pid, os.WSTOPPED)
        with lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiter.send_signal(signal.SIGCONT)
            else:
                return


def test_a_waiter_that_is_stopped_or_killed_holds_nobody_up(machine):
    machine.write(machine.gpu(0, total=20000))
    small = GPUManager({"small": 6000})
    assert small.allocate_gpus("small") == [0]
    waiter = waits(machine)
    other = GPUManager({"other": 6000})
    reservations = machine.path.parent / "state" / "reservations"
    stop_between_looks(waiter, next(reservations.glob("*/lock")))
    try:
        with pytest.raises(InsufficientGPUMemoryError, match="goes first"):
            other.allocate_gpus("other")
        # The clock may have been set back since it looked.
        for away in (-11, 3600):
            last = time.time() + away
            for ticket in reservations.glob("*/*.lease"):
                os.utime(ticket, (last, last))
            assert other.allocate_gpus("other") == [0]
            other.release_gpus()
    finally:
        waiter.send_signal(signal.SIGCONT)
    deadline = time.monotonic() + 60
    while True:
        # It looked again, and stands in line again.
        try:
            other.allocate_gpus("other")
        except InsufficientGPUMemoryError:
            break
        assert time.monotonic() < deadline
        other.release_gpus()
        time.sleep(0.05)
    waiter.kill()
    waiter.communicate()
    assert other.allocate_gpus("other") == [0]


def test_a_memory_limit_of_mps_is_all_there_is(machine, monkeypatch):
    machine.write(machine.gpu(0, used=1000), machine.gpu(1), machine.gpu(2))
    monkeypatch.setenv("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "0=10G,GPU-00000001=4096M")
    manager = GPUManager({"work": 8000, "large": 17000, "rest": 3000}, prefer_single_gpu=True)
    found = manager.get_available_gpus()
    assert [entry["memory_total"] for entry in found] == [10240, 4096, 24000]
    assert [entry["memory_free"] for entry in found] == [10240, 4096, 24000]
    assert manager.allocate_gpus("large") == [2]
    assert manager.allocate_gpus("work") == [0]
    with pytest.raises(InsufficientGPUMemoryError, match="of 4096 free"):
        GPUManager({"work": 8000}).allocate_gpus("work", max_gpus=1)
    # What this process has reserved is taken from its limit, what others have is not.
    assert manager.allocate_gpus("rest") == [1]
    assert GPUManager({"a": 2240}).allocate_gpus("a", max_gpus=1) == [0]
    monkeypatch.setenv("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "0=10G")
    assert GPUManager({"a": 14000}).allocate_gpus("a") == [1]
    script = """
from proteinflex_optimization import GPUManager
print(*GPUManager({"work": 10240}, prefer_single_gpu=True).allocate_gpus("work"))
"""
    limits = "0=10G,1=5G,2=5G"
    assert machine.run(script, CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=limits) == "0\n"


def test_waiting_for_what_no_gpu_has_fails_at_once(machine):
    start = time.monotonic()
    with pytest.raises(InsufficientGPUMemoryError, match="needs 200000 MB"):
        GPUManager({"work": 200_000}).wait_for_gpus("work", 120)
    assert time.monotonic() - start < 60


def test_all_gpus_one_gpu_or_a_set(machine, monkeypatch):
    machine.write(
        machine.gpu(0, total=12000),
        machine.gpu(1, total=24000),
        machine.gpu(2, total=24000, used=100),
    )
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    tasks = {"small": 8000, "large": 20000, "set": 40000}
    many, one = GPUManager(tasks), GPUManager(tasks, prefer_single_gpu=True)

    def chosen(manager, task, **options):
        with manager.reserve(task, **options) as gpus:
            return gpus

    assert chosen(many, "small") == [1, 2, 0]
    assert chosen(many, "small", max_gpus=1) == [0]
    assert chosen(many, "large") == [1, 2]
    assert chosen(one, "small") == [0]
    assert chosen(one, "large") == [1]
    assert chosen(many, "set") == chosen(one, "set") == [1, 2]
    with pytest.raises(InsufficientGPUMemoryError, match="on one GPU"):
        one.allocate_gpus("set", max_gpus=1)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"format": 2}, r"its format is 2, .* reads 1"),
        ({"more": "x" * 70_000}, "longer than 65536"),
        ({"shares": None}, "makes no sense"),
    ],
)
def test_no_gpu_is_given_while_a_held_reservation_can_not_be_read(
    machine, tmp_path, changes, problem
):
    """As one of a newer version of the package: how much memory it takes is not known."""
    mine, other = GPUManager({"work": 8000}), GPUManager({"work": 8000})
    held = mine.allocate_gpus("work")
    (lease,) = (tmp_path / "state" / "reservations").glob("*/*.lease")
    text = json.dumps({**json.loads(lease.read_text()), **changes})
    strange = lease.with_name("strange.lease")
    with strange.open("w") as file:
        file.write(text)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        for ask in (other.allocate_gpus, lambda task: other.wait_for_gpus(task, 5)):
            with pytest.raises(GPUError, match=f"strange.lease is held, .*{problem}"):
                ask("work")
        # Those who hold GPUs already go on.
        assert mine.allocate_gpus("work") == held
        assert len(mine.reservations()) == 1
    assert other.allocate_gpus("work") == held


def test_hostile_files_in_the_directory_are_no_reservations(machine, tmp_path):
    manager = GPUManager({"work": 100})
    manager.allocate_gpus("work")
    (directory,) = (tmp_path / "state" / "reservations").iterdir()
    (directory / "garbage.lease").write_text("{")
    (directory / "huge.lease").write_bytes(b"x" * 200_000)
    (directory / "link.lease").symlink_to("/etc/passwd")
    os.mkfifo(directory / "pipe.lease")
    assert len(manager.reservations()) == 1
    GPUManager({"work": 100}).allocate_gpus("work")
    assert not (directory / "garbage.lease").exists()


def test_a_directory_that_can_not_be_written_is_an_error(machine, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises((OSError, InvalidArgumentError)):
        GPUManager(state_dir=tmp_path / "file").allocate_gpus("dynamics")


@pytest.mark.parametrize("named", ["argument", "variable"])
def test_a_relative_state_directory_is_made_where_the_manager_was(machine, named):
    code = """
import os, sys
from proteinflex_optimization import GPUManager
os.chdir(sys.argv[1])
manager = GPUManager({"work": 100}, state_dir="state" if sys.argv[2] == "argument" else None)
if sys.argv[2] == "argument":
    os.chdir("/")
assert manager.allocate_gpus("work")
assert len(GPUManager(state_dir=sys.argv[1] + "/state").reservations()) == 1
"""
    place = machine.path.parent / "place"
    place.mkdir()
    code = code.replace("sys.argv[1]", repr(str(place))).replace("sys.argv[2]", repr(named))
    machine.run(code, PROTEINFLEX_GPU_STATE_DIR="state" if named == "variable" else "")


@pytest.mark.parametrize(
    "value",
    ["16GB", [], 5, {"prediction": "16GB"}, {"prediction": 0}, {"prediction": -1},
     {"prediction": True}, {"prediction": float("nan")}, {"prediction": float("inf")},
     {"prediction": 10**30}, {"prediction": None}, {1: 5}, {"": 5}, {"x" * 1025: 5}],
)  # fmt: skip
def test_requirements_that_make_no_sense_are_refused(value):
    with pytest.raises(InvalidArgumentError, match="required_memory"):
        GPUManager(value)


@pytest.mark.parametrize(
    "options",
    [{"prefer_single_gpu": 1}, {"prefer_single_gpu": "no"}, {"safety_margin": 1.0},
     {"safety_margin": -0.1}, {"safety_margin": float("nan")}, {"safety_margin": "5%"},
     {"safety_margin": True}, {"state_dir": 5}, {"state_dir": ""}],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(InvalidArgumentError, match=next(iter(options))):
        GPUManager(**options)


def test_arguments_are_checked(machine):
    manager = GPUManager()
    with pytest.raises(UnknownTaskError, match="dynamics, prediction"):
        manager.allocate_gpus("docking")
    with pytest.raises(KeyError):
        GPUManager({}).allocate_gpus("prediction")
    for most in (0, -1, True, 1.5, "1"):
        with pytest.raises(InvalidArgumentError, match="max_gpus"):
            manager.allocate_gpus("dynamics", max_gpus=most)
    for timeout in (-1, float("nan"), True, "1", float("inf")):
        with pytest.raises(InvalidArgumentError, match="timeout"):
            manager.wait_for_gpus("dynamics", timeout)
    for indices in ([9], [0, 0], [-1], [True], [0.0], ["0"], "0", 0, None, [10**30]):
        with pytest.raises(InvalidArgumentError, match="gpu_indices"):
            manager.get_optimal_batch_size("dynamics", indices)
    with pytest.raises(InvalidArgumentError, match="task"):
        manager.allocate_gpus(5)
    assert manager.reservations() == []


def test_a_manager_travels_to_another_process_without_its_reservations(machine):
    manager = GPUManager({"work": 8000}, True, safety_margin=0.1)
    manager.allocate_gpus("work")
    copy = pickle.loads(pickle.dumps(manager))
    assert (copy.required_memory, copy.prefer_single_gpu, copy.safety_margin) == (
        {"work": 8000}, True, 0.1,
    )  # fmt: skip
    assert len(copy.reservations()) == 1
