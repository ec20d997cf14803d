"""Instances of GPUs that MIG has cut."""

import pytest
from proteinflex_optimization import GPUManager, InsufficientGPUMemoryError


def test_compute_instances_of_one_gpu_instance_share_its_memory(machine, monkeypatch):
    machine.write(
        machine.gpu(0, mig=1, total=40000),
        machine.mig(1, total=20000, gi=5, ci=0),
        machine.mig(2, total=20000, gi=5, ci=1),
        machine.mig(3, total=10000, gi=6, ci=0),
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-00000001-1111")
    first = GPUManager({"work": 15000})
    assert first.allocate_gpus("work") == [0]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-00000002-1111")
    with pytest.raises(InsufficientGPUMemoryError, match="15000 MB held by work"):
        GPUManager({"work": 15000}).allocate_gpus("work")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-00000003-1111")
    other = GPUManager({"work": 9000})
    assert other.allocate_gpus("work") == [0]


def test_what_one_instance_can_not_hold_names_the_rule(machine):
    machine.write(machine.gpu(0, mig=1, total=40000), machine.mig(1), machine.mig(2))
    with pytest.raises(InsufficientGPUMemoryError, match="MIG instance, of which CUDA shows"):
        GPUManager({"work": 15000}).allocate_gpus("work")


def test_an_instance_that_is_gone_is_gone_at_once(machine, monkeypatch):
    machine.write(machine.gpu(0, mig=1), machine.mig(1), machine.mig(2))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-00000002-1111")
    manager = GPUManager({"work": 5000})
    assert manager.allocate_gpus("work") == [0]
    machine.write(machine.gpu(0, mig=1), machine.mig(1))
    assert manager.get_available_gpus() == []
    assert manager.allocate_gpus("work") == []


def test_a_gpu_that_is_cut_into_nothing_offers_nothing(machine):
    machine.write(machine.gpu(0, mig=1), machine.gpu(1))
    assert [entry["uuid"][:12] for entry in GPUManager().get_available_gpus()] == ["GPU-00000001"]


def test_an_instance_that_can_not_be_read_is_listed_and_never_selected(machine):
    machine.write(machine.gpu(0, mig=1), machine.mig(1, err__nvmlDeviceGetMemoryInfo_v2=15))
    manager = GPUManager({"work": 10})
    (entry,) = manager.get_available_gpus()
    assert (entry["status"], entry["memory_free"]) == ("lost", 0)
    with pytest.raises(InsufficientGPUMemoryError, match="lost"):
        manager.allocate_gpus("work")
