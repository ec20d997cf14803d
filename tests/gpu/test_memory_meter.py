"""What `GPUManager.measure` takes for the need of a block that is not alone in its process."""

import threading

import numpy as np
import pytest
from proteinflex_optimization import GPUManager
from proteinflex_optimization._memory_meter import GpuMeter

LARGE = 200  # MiB


@pytest.fixture
def observed(monkeypatch, machine):
    """The peaks by task, as they are observed."""
    peaks = {}

    def observe(self, task, batch_size, peak_mb, length=None, **options):
        peaks.setdefault(task, []).append(peak_mb)

    monkeypatch.setattr(GPUManager, "observe", observe)
    return peaks


def use(mib):
    np.ones(mib << 17)


def test_a_block_keeps_its_peak_while_it_measures_others(observed):
    manager = GPUManager({"whole": 1, "part": 1})
    with manager.measure("whole", 1, gpu_indices=[]):
        use(LARGE)
        with manager.measure("part", 1, gpu_indices=[]):
            use(10)
    assert observed["whole"][0] > 0.9 * LARGE
    assert observed["part"][0] < 0.5 * LARGE


def test_a_block_keeps_its_peak_while_another_thread_measures(observed):
    manager = GPUManager({"one": 1, "other": 1})

    def other():
        with manager.measure("other", 1, gpu_indices=[]):
            use(10)

    with manager.measure("one", 1, gpu_indices=[]):
        use(LARGE)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert observed["one"][0] > 0.9 * LARGE


def test_work_that_is_done_again_needs_as_much(observed):
    manager = GPUManager({"work": 1})
    kept = []
    for _ in range(4):
        with manager.measure("work", 8, gpu_indices=[]):
            arrays = [np.ones(300) for _ in range(32_000)]
            kept.append(np.ones(300))  # Above the others in the heap, which so stays as large.
        del arrays
    assert min(observed["work"]) > 0.8 * max(observed["work"])


class Cuda:
    """One GPU of torch's, whose peak is set back."""

    reserved = peak = 0

    def use(self, mib):
        self.reserved = mib << 20
        self.peak = max(self.peak, self.reserved)

    def reset_peak_memory_stats(self, index):
        self.peak = self.reserved

    def max_memory_reserved(self, index):
        return self.peak

    def memory_reserved(self, index):
        return self.reserved

    def synchronize(self, index):
        pass


class Torch:
    cuda = Cuda()


def test_a_block_on_a_gpu_keeps_its_peak_while_others_are_measured():
    def budgets():
        return [{"index": 0, "used_here": Torch.cuda.reserved >> 20, "memory_total": 40_000}]

    outer = GpuMeter(Torch, budgets)
    Torch.cuda.use(3000)
    Torch.cuda.use(100)
    inner = GpuMeter(Torch, budgets)
    Torch.cuda.use(500)
    assert (inner.peak_mb(), outer.peak_mb()) == (500, 3000)
