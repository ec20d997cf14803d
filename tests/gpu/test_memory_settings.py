"""optimize_memory_usage: what was set is really set, and what was not is said."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from proteinflex_optimization import GPUManager, InvalidArgumentError, UnknownTaskError


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    # Set first, so that monkeypatch also undoes what is set later.
    for variable in ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)


def fake_torch(is_initialized=False, is_available=True, build="12.8"):
    calls = []
    cuda = SimpleNamespace(
        is_initialized=lambda: is_initialized,
        is_available=lambda: is_available,
        set_per_process_memory_fraction=lambda *given: calls.append(given),
        reset_peak_memory_stats=lambda index: None,
        empty_cache=lambda: calls.append("empty_cache"),
        is_bf16_supported=lambda: True,
        device_count=lambda: 0,
    )
    matmul = SimpleNamespace(allow_tf32=False)
    backends = SimpleNamespace(cuda=SimpleNamespace(matmul=matmul))
    return SimpleNamespace(
        cuda=cuda, backends=backends, version=SimpleNamespace(cuda=build), calls=calls
    )


def told(report, kind, what):
    return next(entry for entry in report[kind] if entry["what"].startswith(what))


def test_without_torch_the_allocator_is_set_for_later(machine, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    report = GPUManager().optimize_memory_usage("dynamics", [0])
    assert told(report, "set", "torch allocator")["value"].endswith("expandable_segments:True")
    assert "not imported" in told(report, "not_set", "torch memory limit")["why"]
    assert report["openmm"] == {
        "platform": "CUDA",
        "properties": {"DeviceIndex": "0", "Precision": "mixed"},
    }


def test_the_limit_is_what_is_reserved_less_the_context(machine, monkeypatch):
    torch = fake_torch()
    manager = GPUManager({"work": 12600})
    gpus = manager.allocate_gpus("work", max_gpus=1)
    monkeypatch.setitem(sys.modules, "torch", torch)
    for _ in range(2):
        report = manager.optimize_memory_usage("work", gpus)
        assert told(report, "set", "torch memory limit")["value"] == 0.5
    assert torch.calls == [(0.5, 0), "empty_cache"] * 2
    assert not torch.backends.cuda.matmul.allow_tf32
    assert told(report, "not_set", "TF32")


@pytest.mark.parametrize(("build", "why"), [(None, "built without CUDA"), ("12.8", "no usable")])
def test_a_torch_that_has_no_gpu_is_said(machine, monkeypatch, build, why):
    monkeypatch.setitem(sys.modules, "torch", fake_torch(is_available=False, build=build))
    report = GPUManager().optimize_memory_usage("dynamics", [0])
    assert why in told(report, "not_set", "torch memory limit")["why"]


def test_once_cuda_is_in_use_it_is_too_late_for_the_allocator(machine, monkeypatch):
    torch = fake_torch(is_initialized=True)
    uuids = [entry["uuid"] for entry in GPUManager().get_available_gpus()]
    torch.cuda.device_count = lambda: 4
    torch.cuda.get_device_properties = lambda number: SimpleNamespace(uuid=uuids[number])
    monkeypatch.setitem(sys.modules, "torch", torch)
    report = GPUManager().optimize_memory_usage("dynamics", [1])
    assert "too late" in told(report, "not_set", "torch allocator")["why"]


def test_the_users_own_allocator_setting_stays(machine, monkeypatch):
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "backend:cudaMallocAsync")
    report = GPUManager().optimize_memory_usage("dynamics", [0])
    assert "cudaMallocAsync" in told(report, "not_set", "torch allocator")["why"]


def test_nothing_is_set_for_the_cpu(machine, monkeypatch):
    import os

    report = GPUManager().optimize_memory_usage("dynamics", [])
    assert report["set"] == []
    assert report["openmm"] == {"platform": "CPU", "properties": {}}
    assert "PYTORCH_CUDA_ALLOC_CONF" not in os.environ


def test_a_truth_of_numpy_is_one():
    assert GPUManager({"work": 1}, prefer_single_gpu=np.True_) is not None
    with pytest.raises(TypeError, match="prefer_single_gpu"):
        GPUManager({"work": 1}, prefer_single_gpu=1)


def test_arguments_are_checked(machine):
    with pytest.raises(UnknownTaskError):
        GPUManager().optimize_memory_usage("docking", [])
    with pytest.raises(InvalidArgumentError, match="gpu_indices"):
        GPUManager().optimize_memory_usage("dynamics", [7])
