"""Batch sizes: learned from what was observed, kept between runs, never 0."""

import builtins
import contextlib
import os

import pytest
from proteinflex_optimization import (
    GPUManager,
    InsufficientGPUMemoryError,
    InvalidArgumentError,
    UnknownTaskError,
)


@pytest.fixture
def one_gpu(machine):
    machine.write(machine.gpu(0, total=40000))
    return machine


def test_a_batch_that_was_observed_to_fit_is_proposed_though_observations_contradict(one_gpu):
    manager = GPUManager({"work": 100})
    for peak in (100, 20_000):
        manager.observe("work", 8, peak)
    assert manager.get_optimal_batch_size("work", [0]) == 8


def test_without_observations_the_requirement_counts_per_item(one_gpu):
    manager = GPUManager({"prediction": 6000})
    assert manager.get_optimal_batch_size("prediction", [0]) == 6
    assert manager.get_optimal_batch_size("prediction", manager.allocate_gpus("prediction")) == 6


def test_what_was_allocated_holds_at_least_one_item(one_gpu):
    one_gpu.write(one_gpu.gpu(0, total=16100), one_gpu.gpu(1, total=9000, name="NVIDIA A10"))
    manager = GPUManager({"tight": 16000})
    assert manager.get_optimal_batch_size("tight", [0]) == 1


def test_a_set_that_holds_the_task_together_runs_one_item(one_gpu):
    one_gpu.write(one_gpu.gpu(0, total=10000), one_gpu.gpu(1, total=10000))
    manager = GPUManager({"large": 16000})
    gpus = manager.allocate_gpus("large")
    assert gpus == [0, 1]
    assert manager.get_optimal_batch_size("large", gpus) == 1


def test_nothing_fits_says_what_there_is(one_gpu):
    with pytest.raises(InsufficientGPUMemoryError, match=r"needs 90000 MB .*40000 MB"):
        GPUManager({"huge": 90_000}).get_optimal_batch_size("huge", [0])


def test_observations_make_the_batch_and_outlive_the_manager(one_gpu):
    manager = GPUManager({"prediction": 16000}, safety_margin=0.05)
    for batch in (1, 2, 4, 8):
        manager.observe("prediction", batch, 1900 + 1000 * batch, gpu_indices=[0])
    del manager
    # 1900 + 1000·B within 95 % of 40000 is B = 36.
    assert GPUManager().get_optimal_batch_size("prediction", [0]) == 36


def test_longer_proteins_make_smaller_batches(one_gpu):
    manager = GPUManager()
    for batch, length in [(1, 128), (2, 128), (1, 256), (2, 256), (1, 384), (1, 512)]:
        manager.observe("prediction", batch, 1000 + 0.02 * batch * length**2, length)
    sizes = [
        manager.get_optimal_batch_size("prediction", [0], length=length)
        for length in (128, 256, 512, 1024)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[3] == 1
    with pytest.raises(InsufficientGPUMemoryError, match=r"up to 1[0-9]{3} residues fit"):
        manager.get_optimal_batch_size("prediction", [0], length=3000)
    # Without a length the longest one seen is meant.
    longest = manager.get_optimal_batch_size("prediction", [0], length=512)
    assert manager.get_optimal_batch_size("prediction", [0]) == longest


def test_each_model_of_gpu_has_observations_of_its_own(one_gpu, monkeypatch):
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    one_gpu.write(one_gpu.gpu(0, total=40000), one_gpu.gpu(1, total=40000, name="NVIDIA L4"))
    manager = GPUManager({"work": 10000})
    manager.observe("work", 4, 4000, gpu_indices=[1])
    assert manager.get_optimal_batch_size("work", [0]) == 3
    assert manager.get_optimal_batch_size("work", [1]) > 30
    # A batch must fit on each of the GPUs.
    assert manager.get_optimal_batch_size("work", [1, 0]) == 3


def test_memory_that_others_reserved_is_not_counted(one_gpu):
    manager, other = GPUManager({"a": 10000}), GPUManager({"b": 20000})
    assert manager.get_optimal_batch_size("a", [0]) == 3
    other.allocate_gpus("b")
    assert manager.get_optimal_batch_size("a", [0]) == 1


def test_a_damaged_record_is_said_and_learned_again(one_gpu, tmp_path, caplog):
    manager = GPUManager({"work": 10000})
    manager.observe("work", 1, 1000, gpu_indices=[0])
    (path,) = (tmp_path / "state").glob("peaks-*/*.peaks")
    path.write_bytes(path.read_bytes()[:-3] + b"xyz")
    assert manager.get_optimal_batch_size("work", [0]) == 3
    assert "is damaged" in caplog.text
    manager.observe("work", 1, 1000, gpu_indices=[0])
    assert manager.get_optimal_batch_size("work", [0]) == 16
    assert path.with_suffix(".damaged").exists()


def test_the_cpu_has_at_least_one_item_and_observations_of_its_own(one_gpu):
    manager = GPUManager({"work": 10**9, "small": 1})
    assert manager.get_optimal_batch_size("work", []) == 1
    assert manager.get_optimal_batch_size("small", []) > 100
    manager.observe_out_of_memory("small", 1, gpu_indices=[])
    with pytest.raises(InsufficientGPUMemoryError, match="the machine"):
        manager.get_optimal_batch_size("small", [])


@pytest.mark.parametrize(("limit", "field"), [("RLIMIT_AS", 0), ("RLIMIT_DATA", 5)])
def test_a_limit_of_the_process_bounds_batches_on_the_cpu(one_gpu, limit, field):
    """As `ulimit -v` and Grid Engine's h_vmem set it: what is proposed can be allocated."""
    script = f"""
import resource
from proteinflex_optimization import GPUManager
manager = GPUManager({{"work": 100}})
used = int(open("/proc/self/statm").read().split()[{field}]) * resource.getpagesize()
resource.setrlimit(resource.{limit}, (used + (1 << 30),) * 2)
batch = manager.get_optimal_batch_size("work", [])
memory = bytearray(batch * 100 << 20)
print(batch)
"""
    assert 5 <= int(one_gpu.run(script)) <= 9


def test_a_peak_that_no_memory_could_hold_is_refused_and_changes_nothing(one_gpu):
    manager = GPUManager({"work": 10000})
    manager.observe("work", 2, 8000)
    before = manager.get_optimal_batch_size("work", [0])
    for peak in (8_000_000_000, 40001, 1e300):
        with pytest.raises(InvalidArgumentError, match=r"peak_mb=.*MB \(MiB.*40000 MB of GPU 0"):
            manager.observe("work", 2, peak)
    with pytest.raises(InvalidArgumentError, match=r"peak_mb=.*MB of the machine"):
        manager.observe("work", 2, 1e12, gpu_indices=[])
    assert manager.get_optimal_batch_size("work", [0]) == before
    manager.observe("work", 2, 40000)


def test_wrong_observations_can_be_cleared_and_the_error_says_how(one_gpu):
    manager = GPUManager({"work": 10000, "other": 10000})
    manager.clear_observations("work")
    manager.observe("other", 1, 1000, gpu_indices=[0])
    for wrong in (
        lambda: manager.observe("work", 1, 40000),
        lambda: manager.observe_out_of_memory("work", 1, gpu_indices=[0]),
    ):
        wrong()
        with pytest.raises(InsufficientGPUMemoryError, match=r'clear_observations\("work"\)'):
            manager.get_optimal_batch_size("work", [0])
        GPUManager({"work": 10000}).clear_observations("work")
        assert manager.get_optimal_batch_size("work", [0]) == 3
    assert manager.get_optimal_batch_size("other", [0]) == 16
    with pytest.raises(UnknownTaskError):
        manager.clear_observations("docking")


def test_many_proteins_are_planned_as_batches_that_fit(one_gpu):
    one_gpu.write(one_gpu.gpu(0, total=40000), one_gpu.gpu(1, total=40000))
    manager = GPUManager()
    for length in (128, 256, 512):
        for batch in (1, 2, 4):
            manager.observe("prediction", batch, 1000 + 0.02 * batch * length**2, length)
    lengths = [100, 900, 110, 500, 480, 105, 95, 890]
    plan = manager.plan_batches("prediction", lengths, [1, 0])
    assert sorted(item for batch in plan for item in batch["items"]) == list(range(8))
    assert {batch["gpu"] for batch in plan} == {0, 1}
    for batch in plan:
        assert batch["length"] == max(lengths[item] for item in batch["items"])
        most = manager.get_optimal_batch_size("prediction", [0, 1], length=batch["length"])
        assert len(batch["items"]) <= most
    assert manager.plan_batches("prediction", [], [0]) == []
    assert manager.plan_batches("dynamics", [5], []) == [{"items": [0], "length": 5, "gpu": None}]
    for wrong in ("12", 5, [0], [True], [1.5], [10**9]):
        with pytest.raises(InvalidArgumentError, match="lengths"):
            manager.plan_batches("prediction", wrong, [0])


class Library:
    """Something that holds so many items."""

    def __init__(self, holds, error):
        self.holds = holds
        self.error = error
        self.tried = []

    def __call__(self, batch):
        self.tried.append(batch)
        if batch > self.holds:
            raise self.error
        return f"done with {batch}"


def test_a_batch_that_runs_out_of_memory_is_halved_and_remembered(one_gpu):
    manager = GPUManager({"work": 1000})
    library = Library(5, RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert manager.run_with_oom_backoff(library, "work", [0]) == "done with 4"
    assert library.tried == [38, 19, 9, 4]
    assert GPUManager({"work": 1000}).get_optimal_batch_size("work", [0]) == 8


def test_what_does_not_fit_is_said_with_a_reason_also_where_the_error_has_no_text(one_gpu):
    manager = GPUManager({"work": 1000, "other": 1000})
    for task, error, reason in (
        ("work", MemoryError(), "MemoryError"),
        ("other", MemoryError("2 GiB"), "2 GiB"),
    ):
        with pytest.raises(InsufficientGPUMemoryError, match=f"of this machine: {reason}$"):
            manager.run_with_oom_backoff(Library(0, error), task, [])


def test_other_errors_pass_through_at_once(one_gpu):
    library = Library(0, RuntimeError("CUDA error: device-side assert triggered"))
    with pytest.raises(RuntimeError, match="assert"):
        GPUManager().run_with_oom_backoff(library, "dynamics", [0])
    assert len(library.tried) == 1


def raised_from(cause):
    error = RuntimeError("prediction of protein 5 failed")
    error.__cause__ = cause
    return error


def groups_of(*errors):
    group = getattr(builtins, "ExceptionGroup", None)
    return [] if group is None else [group("two tasks failed", errors)]


def test_lack_of_memory_is_recognised_in_subclasses_causes_and_groups(one_gpu):
    class OutOfMemoryError(RuntimeError):
        pass

    class OwnError(OutOfMemoryError):
        pass

    looped = raised_from(MemoryError())
    looped.__cause__.__cause__ = looped
    for error in (
        OwnError("x"),
        raised_from(OutOfMemoryError("x")),
        looped,
        OSError(12, "Cannot allocate memory"),
        *groups_of(ValueError("other"), raised_from(OwnError("x"))),
    ):
        library = Library(4, error)
        assert GPUManager().run_with_oom_backoff(library, "dynamics", [0], batch_size=8)
        assert library.tried == [8, 4], error


def test_errors_that_quote_a_lack_of_memory_pass_through(one_gpu):
    said = "CUDA out of memory. Tried to allocate 2.00 GiB"
    implicit = ValueError("the file is empty")
    implicit.__context__ = MemoryError()
    for error in (
        FileNotFoundError(2, "No such file or directory", f"/data/{said}.log"),
        AssertionError(f"expected {said!r} in the log"),
        KeyError(said),
        ImportError(f"no module named {said!r}"),
        implicit,
    ):
        library = Library(0, error)
        with pytest.raises(type(error)):
            GPUManager().run_with_oom_backoff(library, "dynamics", [0], batch_size=8)
        assert library.tried == [8], error


def test_where_no_item_fits_the_librarys_error_is_the_cause(one_gpu):
    library = Library(0, RuntimeError("RESOURCE_EXHAUSTED: Out of memory"))
    manager = GPUManager({"work": 10000})
    with pytest.raises(InsufficientGPUMemoryError, match="RESOURCE_EXHAUSTED") as caught:
        manager.run_with_oom_backoff(library, "work", [0], batch_size=4)
    assert library.tried == [4, 2, 1]
    assert caught.value.__cause__ is library.error
    with pytest.raises(InsufficientGPUMemoryError, match="ran out of memory before"):
        manager.get_optimal_batch_size("work", [0])
    library = Library(0, raised_from(MemoryError("of the host")))
    with pytest.raises(InsufficientGPUMemoryError, match="protein 5 failed") as caught:
        manager.run_with_oom_backoff(library, "work", [0], batch_size=2)
    assert isinstance(caught.value.__cause__.__cause__, MemoryError)


def test_the_memory_of_a_failed_batch_is_let_go_before_the_next(one_gpu):
    import weakref

    class Tensor:
        pass

    alive = []

    def work(batch):
        assert not [seen for seen in alive if seen() is not None]
        tensor = Tensor()
        alive.append(weakref.ref(tensor))
        if batch > 1:
            raise MemoryError
        return batch

    assert GPUManager().run_with_oom_backoff(work, "dynamics", [], batch_size=8) == 1


@pytest.fixture(params=["no lock", "newer"])
def unwritable(request, one_gpu, tmp_path):
    """A directory of the state in which what is observed can't be written."""
    place = tmp_path / "place"
    if request.param == "no lock":
        (place / f"peaks-{os.geteuid()}" / "lock").mkdir(parents=True)
    else:
        GPUManager({"work": 100}, state_dir=place).observe("work", 1, 100, gpu_indices=[])
        (path,) = place.glob("peaks-*/*.peaks")
        written = bytearray(path.read_bytes())
        written[8] = 99
        path.write_bytes(written)
    return place


def test_finished_work_is_not_lost_where_its_peak_can_not_be_written(unwritable, caplog):
    manager = GPUManager({"work": 100}, state_dir=unwritable)
    with manager.measure("work", 4, gpu_indices=[]):
        block = bytearray(200 << 20)
        block[::4096] = b"x" * len(block[::4096])
    assert "what a batch of work has needed is not remembered" in caplog.text
    # What ran out of memory is the error, and not what can't be written of it.
    with pytest.raises(MemoryError), manager.measure("work", 4, gpu_indices=[]):
        raise MemoryError


def test_a_batch_is_halved_also_where_its_failure_can_not_be_written(unwritable, caplog):
    manager = GPUManager({"work": 100}, state_dir=unwritable)
    library = Library(2, MemoryError())
    assert manager.run_with_oom_backoff(library, "work", [], batch_size=8) == "done with 2"
    assert library.tried == [8, 4, 2]
    assert caplog.text.count("is not remembered") == 2


def test_gpus_that_there_are_not_are_refused_before_the_work(one_gpu):
    library = Library(0, MemoryError())
    with pytest.raises(InvalidArgumentError, match="gpu_indices"):
        GPUManager().run_with_oom_backoff(library, "dynamics", [9], batch_size=8)
    assert library.tried == []


def test_measuring_on_the_cpu_remembers_the_growth(one_gpu):
    much = {"work": 10**8}
    manager = GPUManager(much)
    assert manager.get_optimal_batch_size("work", []) == 1
    with manager.measure("work", 4, gpu_indices=[]):
        block = bytearray(200 << 20)
        block[::4096] = b"x" * len(block[::4096])
    del block
    with pytest.raises(ValueError, match="no"), manager.measure("work", 1, gpu_indices=[]):
        raise ValueError("no")
    for one in (manager, GPUManager(much)):
        assert one.get_optimal_batch_size("work", []) >= 4


class Noting(GPUManager):
    """Notes with which chunk it is asked for a batch, and told of one."""

    def __init__(self, required_memory):
        super().__init__(required_memory)
        self.chunks = []

    def get_optimal_batch_size(self, *_, chunk, **__):
        self.chunks.append(chunk)
        return 2

    def observe(self, *_, chunk, **__):
        self.chunks.append(chunk)

    observe_out_of_memory = observe


@pytest.mark.parametrize("holds", [0, 1, 2])
def test_a_chunk_is_told_wherever_a_batch_is_tried(one_gpu, holds):
    manager = Noting({"work": 1000})
    library = Library(holds, MemoryError("no more"))
    with contextlib.suppress(InsufficientGPUMemoryError):
        manager.run_with_oom_backoff(library, "work", [0], length=100, chunk=16)
    assert manager.chunks == [16] * (1 + 2 - holds)


@pytest.mark.parametrize("fails", [False, True])
def test_a_chunk_is_told_wherever_a_batch_is_measured(one_gpu, fails):
    manager = Noting({"work": 10**8})

    def work():
        with manager.measure("work", 2, 100, chunk=16, gpu_indices=[]):
            block = bytearray(200 << 20)
            block[::4096] = b"x" * len(block[::4096])
            if fails:
                raise MemoryError

    with pytest.raises(MemoryError) if fails else contextlib.nullcontext():
        work()
    assert manager.chunks == [16]


def test_arguments_are_checked(one_gpu):
    manager = GPUManager()
    for peak in (0, -1, float("nan"), float("inf"), "5", True, None):
        with pytest.raises(InvalidArgumentError, match="peak_mb"):
            manager.observe("dynamics", 1, peak)
    for batch in (0, -1, True, 1.5, "1", 10**12):
        with pytest.raises(InvalidArgumentError, match="batch_size"):
            manager.observe("dynamics", batch, 100)
        with pytest.raises(InvalidArgumentError, match="batch_size"):
            manager.run_with_oom_backoff(print, "dynamics", [0], batch_size=batch)
    for length in (0, -5, True, 1.5, "100", 10**12):
        with pytest.raises(InvalidArgumentError, match="length"):
            manager.get_optimal_batch_size("dynamics", [0], length=length)
    with pytest.raises(UnknownTaskError):
        manager.observe("docking", 1, 100)
    with pytest.raises(InvalidArgumentError, match="function"):
        manager.run_with_oom_backoff(5, "dynamics", [0])
