"""Callbacks and hostile objects: ordinary exceptions, never a panic, a deadlock or a lost error."""

import logging
import signal
import sys
from types import SimpleNamespace

import pytest
from proteinflex_optimization import (
    GPUError,
    GPUManager,
    InsufficientGPUMemoryError,
    InvalidArgumentError,
    ProteinFlexError,
)

pytestmark = pytest.mark.timeout(200)


class BoomError(Exception):
    """What hostile objects raise."""


def ordinary(call, *arguments, **options):
    """Call, and return the exception if there is one: never a panic, which is no Exception."""
    try:
        call(*arguments, **options)
    except Exception as error:
        return error
    return None


def test_requirements_that_change_while_they_are_read_are_read_or_refused(machine):
    tasks = {}

    class Growing:
        def __float__(self):
            tasks[f"more{len(tasks)}"] = 5
            return 8000.0

    class Shrinking:
        def __float__(self):
            tasks.clear()
            return 8000.0

    for kind in (Growing, Shrinking):
        tasks.clear()
        tasks.update({"one": kind(), "two": kind()})
        assert GPUManager(tasks).required_memory == {"one": 8000, "two": 8000}


def test_what_a_requirement_raises_reaches_the_caller(machine):
    class Raising:
        def __float__(self):
            raise BoomError

        def __repr__(self):
            raise BoomError

    with pytest.raises(BoomError):
        GPUManager({"task": Raising()})


def test_a_mapping_whose_items_are_none_is_refused(machine):
    from collections.abc import Mapping

    class Odd(Mapping):
        def __getitem__(self, key):
            raise BoomError

        def __iter__(self):
            raise BoomError

        def __len__(self):
            return 2

        def items(self):
            return [1, (2,)]

    assert isinstance(ordinary(GPUManager, Odd()), (TypeError, ValueError, BoomError))


class Meddling:
    """Indices that use the manager whenever they are looked at."""

    def __init__(self, manager, indices=(0,)):
        self.manager = manager
        self.indices = indices

    def __iter__(self):
        for index in self.indices:
            self.manager.allocate_gpus("work")
            self.manager.release_gpus()
            self.manager.get_optimal_batch_size("work", [0])
            yield Index(self.manager, index)


class Index:
    """An index that uses the manager whenever it is read."""

    def __init__(self, manager, value):
        self.manager = manager
        self.value = value

    def __index__(self):
        self.manager.allocate_gpus("work")
        self.manager.release_gpus()
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


def test_indices_may_use_the_manager_while_they_are_read(machine):
    manager = GPUManager({"work": 8000})
    meddling = Meddling(manager)
    assert manager.get_optimal_batch_size("work", meddling) == 2
    assert manager.plan_batches("work", [5], meddling)[0]["items"] == [0]
    assert manager.cuda_env(meddling)["CUDA_VISIBLE_DEVICES"].startswith("GPU-00000000")
    assert manager.optimize_memory_usage("work", meddling)["gpu_indices"] == [0]
    manager.observe("work", 1, 5000, gpu_indices=meddling)
    manager.observe_out_of_memory("work", 30, gpu_indices=meddling)
    assert manager.run_with_oom_backoff(lambda batch: batch, "work", meddling) > 0
    with manager.measure("work", 1, gpu_indices=meddling):
        pass
    assert manager.reservations() == []


@pytest.mark.parametrize("value", [BoomError("no"), "no index", 10**30, -1])
def test_indices_that_raise_are_ordinary_errors(machine, value):
    manager = GPUManager({"work": 8000})
    meddling = [Index(manager, value)]
    for call in (
        lambda: manager.get_optimal_batch_size("work", meddling),
        lambda: manager.plan_batches("work", [5], meddling),
        lambda: manager.plan_batches("work", meddling, [0]),
        lambda: manager.cuda_env(meddling),
        lambda: manager.optimize_memory_usage("work", meddling),
        lambda: manager.observe("work", 1, 5000, gpu_indices=meddling),
        lambda: manager.observe("work", meddling[0], 5000),
        lambda: manager.run_with_oom_backoff(print, "work", meddling),
        lambda: manager.measure("work", 1, gpu_indices=meddling).__enter__(),
        lambda: manager.allocate_gpus("work", max_gpus=meddling[0]),
        lambda: manager.wait_for_gpus("work", 0, max_gpus=meddling[0]),
    ):
        assert isinstance(ordinary(call), (InvalidArgumentError, BoomError, TypeError))
    assert manager.reservations() == []


def test_indices_of_an_iterator_are_read_once_and_count_for_every_attempt(machine):
    """An iterator is empty after its first use: the failure is the GPU's, not the CPU's."""
    manager = GPUManager({"work": 1000})

    def work(batch):
        if batch > 2:
            raise MemoryError
        return batch

    assert manager.run_with_oom_backoff(work, "work", iter([0]), batch_size=4) == 2
    assert manager.get_optimal_batch_size("work", [0]) == 3


@pytest.mark.parametrize("indices", ["0", b"0", 5, None])
def test_indices_of_a_wrong_type_are_refused_by_every_call(machine, indices):
    manager = GPUManager({"work": 8000})
    with pytest.raises(InvalidArgumentError, match="gpu_indices"):
        manager.run_with_oom_backoff(print, "work", indices)
    if indices is not None:
        with pytest.raises(InvalidArgumentError, match="gpu_indices"):
            manager.measure("work", 1, gpu_indices=indices).__enter__()


def test_a_task_name_that_is_no_text_is_refused(machine):
    class Name(str):
        def __str__(self):
            raise BoomError

        def __hash__(self):
            raise BoomError

        def __eq__(self, other):
            raise BoomError

    manager = GPUManager({"work": 8000})
    assert manager.allocate_gpus(Name("work"))
    manager.release_gpus(Name("work"))
    for name in ("\udcff", b"work", 5, None, object()):
        assert isinstance(ordinary(manager.allocate_gpus, name), ProteinFlexError)
        assert isinstance(ordinary(manager.wait_for_gpus, name, 0), ProteinFlexError)
        assert isinstance(ordinary(manager.optimize_memory_usage, name, []), ProteinFlexError)
        assert isinstance(ordinary(manager.observe, name, 1, 5), ProteinFlexError)
    assert isinstance(ordinary(GPUManager, {"\udcff": 5}), ProteinFlexError)


def test_a_measured_block_may_use_the_manager(machine):
    manager = GPUManager({"work": 8000, "other": 1000})
    with manager.measure("work", 1, gpu_indices=[]):
        held = manager.allocate_gpus("other")
        with manager.measure("work", 2, gpu_indices=[]):
            manager.release_gpus()
        assert manager.allocate_gpus("other") == held

    def release_and_raise():
        with manager.measure("work", 1, gpu_indices=[]):
            manager.release_gpus()
            raise BoomError

    assert isinstance(ordinary(release_and_raise), BoomError)
    assert manager.reservations() == []


def test_a_function_that_is_tried_may_use_the_manager(machine):
    manager = GPUManager({"work": 8000, "other": 1000})
    tried = []

    def work(batch):
        tried.append(batch)
        manager.allocate_gpus("other")
        manager.release_gpus("other")
        with manager.reserve("work"):
            if batch > 1:
                inner = manager.run_with_oom_backoff(lambda size: size, "other", [0], batch_size=3)
                assert inner == 3
                raise MemoryError
        return batch

    assert manager.run_with_oom_backoff(work, "work", [0], batch_size=4) == 1
    assert tried == [4, 2, 1]
    assert manager.reservations() == []


def test_an_error_that_can_not_be_printed_passes_through_as_it_is(machine):
    class MuteError(Exception):
        def __str__(self):
            raise BoomError

    manager = GPUManager({"work": 8000})
    for error in (MuteError(), RuntimeError("\udcff"), BoomError()):

        def work(batch, error=error):
            raise error

        with pytest.raises(type(error)) as caught:
            manager.run_with_oom_backoff(work, "work", [0])
        assert caught.value is error
        with pytest.raises(type(error)) as caught, manager.measure("work", 1, gpu_indices=[]):
            raise error
        assert caught.value is error


def test_a_batch_size_is_read_once(machine):
    sizes = [4, 0, -1]

    class Changing:
        def __index__(self):
            return sizes.pop(0)

    tried = []
    GPUManager({"work": 8000}).run_with_oom_backoff(
        tried.append, "work", [0], batch_size=Changing()
    )
    assert tried == [4]


def test_forks_inside_callbacks_keep_the_parents_reservations(machine):
    script = """
import os
from proteinflex_optimization import GPUManager
manager = GPUManager({"work": 8000, "other": 1000}, True)

def in_child(check):
    child = os.fork()
    if child == 0:
        ok = False
        try:
            ok = check()
        finally:
            os._exit(0 if ok else 3)
    assert os.waitpid(child, 0)[1] == 0

def use():
    manager.allocate_gpus("other")
    manager.release_gpus()
    return len(manager.reservations()) == 1

class Forking:
    def __index__(self):
        in_child(use)
        return 0

def work(batch):
    in_child(use)
    return batch

with manager.reserve("work") as gpus:
    assert manager.get_optimal_batch_size("work", [Forking()]) >= 1
    assert manager.run_with_oom_backoff(work, "work", gpus) >= 1
    with manager.measure("work", 1, gpu_indices=[]):
        in_child(use)
    assert len(manager.reservations()) == 1
    # A child that leaves the block releases nothing of its parent's.
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        assert len(manager.reservations()) == 1
if child == 0:
    os._exit(0)
print(len(manager.reservations()))
"""
    assert machine.run(script) == "0\n"


def test_a_signal_handler_may_use_the_manager_while_it_waits(machine):
    machine.write(machine.gpu(0, total=10000))
    holder, waiter = GPUManager({"work": 8000}), GPUManager({"work": 8000})
    holder.allocate_gpus("work")

    def release(*_):
        assert waiter.get_available_gpus()
        assert isinstance(ordinary(waiter.allocate_gpus, "work"), InsufficientGPUMemoryError)
        holder.release_gpus()

    before = signal.signal(signal.SIGALRM, release)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        assert waiter.wait_for_gpus("work", 60) == [0]
        signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(BoomError()))
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(BoomError):
            holder.wait_for_gpus("work", 60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    waiter.release_gpus()
    assert holder.reservations() == []


class Handler(logging.Handler):
    """A log handler that calls something once, and keeps the messages."""

    def __init__(self, call):
        super().__init__()
        self.call = call
        self.messages = []
        self.error = None

    def emit(self, record):
        self.messages.append(record.getMessage())
        call, self.call = self.call, None
        if call is not None:
            self.error = ordinary(call)


@pytest.fixture
def on_log():
    logger = logging.getLogger("proteinflex_optimization")
    handlers = []

    def add(call):
        handlers.append(Handler(call))
        logger.addHandler(handlers[-1])
        return handlers[-1]

    level = logger.level
    logger.setLevel(logging.INFO)
    yield add
    logger.setLevel(level)
    for handler in handlers:
        logger.removeHandler(handler)


def test_a_log_handler_may_observe_while_a_damaged_record_is_quarantined(machine, tmp_path, on_log):
    manager = GPUManager({"work": 10000})
    manager.observe("work", 1, 1000, gpu_indices=[0])
    (path,) = (tmp_path / "state").glob("peaks-*/*.peaks")
    path.write_bytes(b"damage")
    handler = on_log(lambda: manager.observe("work", 2, 2000, gpu_indices=[0]))
    manager.observe("work", 1, 1000, gpu_indices=[0])
    assert handler.error is None
    assert any("damaged" in message for message in handler.messages)


def test_a_log_handler_may_allocate_while_a_strange_lease_is_reported(machine, tmp_path, on_log):
    import fcntl

    manager, other = GPUManager({"work": 8000}), GPUManager({"work": 8000})
    manager.allocate_gpus("work")
    manager.release_gpus()
    (directory,) = (tmp_path / "state" / "reservations").iterdir()
    with (directory / "strange.lease").open("w") as strange:
        fcntl.flock(strange, fcntl.LOCK_EX)
        handler = on_log(lambda: other.allocate_gpus("work"))
        with pytest.raises(GPUError, match="strange.lease is held"):
            manager.allocate_gpus("work")
    # Refused as the other, and not for a lock that is held.
    assert "strange.lease is held" in str(handler.error)
    assert any("strange.lease" in message for message in handler.messages)
    assert manager.allocate_gpus("work")


def test_a_log_handler_may_allocate_while_it_is_told_that_there_is_no_gpu(machine, on_log):
    denied = {"err__nvmlDeviceGetHandleByIndex_v2": 4}
    machine.write(machine.gpu(0, **denied))
    manager = GPUManager({"work": 8000})
    handler = on_log(lambda: GPUManager({"work": 8000}).allocate_gpus("work"))
    assert manager.allocate_gpus("work") == []
    assert handler.error is None
    assert any("no GPU is used" in message for message in handler.messages)


def test_a_torch_that_uses_the_manager_while_it_is_asked_for_its_gpus(machine, monkeypatch):
    """It is asked before the reservations are locked, so that it can reserve."""
    manager, inner = GPUManager({"work": 8000}), GPUManager({"work": 8000})
    uuids = [entry["uuid"] for entry in manager.get_available_gpus()]
    errors, is_busy = [], []

    def is_initialized():
        if not is_busy:
            is_busy.append(True)
            errors.append(ordinary(inner.allocate_gpus, "work"))
            is_busy.clear()
        return True

    cuda = SimpleNamespace(
        is_initialized=is_initialized,
        device_count=lambda: len(uuids),
        get_device_properties=lambda index: SimpleNamespace(uuid=uuids[index][4:]),
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert manager.allocate_gpus("work") == [0, 1, 2, 3]
    assert errors
    assert set(errors) == {None}


@pytest.mark.parametrize(
    ("answer", "found"), [(BoomError(), 4), (None, 4), (5, 0), ([5], 0), ("GPU", 0)]
)
def test_a_torch_that_can_not_say_which_gpus_it_has_is_passed_over(
    machine, monkeypatch, answer, found
):
    """One whose answers are not those of any GPU here has none of them."""

    def is_initialized():
        if isinstance(answer, Exception):
            raise answer
        return True

    cuda = SimpleNamespace(
        is_initialized=is_initialized,
        device_count=lambda: 1,
        get_device_properties=lambda index: SimpleNamespace(uuid=answer),
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert len(GPUManager({"work": 8000}).get_available_gpus()) == found
