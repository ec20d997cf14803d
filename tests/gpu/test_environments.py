"""Which GPU is which in the environments of real jobs: each against a truth that is written down.

A row is a machine, what its scheduler, container or user has set, and the UUIDs that ``cuda:0``,
``cuda:1``, … are there.
"""

import os

import pytest
from proteinflex_optimization import GPUError, GPUManager, _cuda


def gpu(number, **keys):
    """A GPU of a row."""
    return "gpu", number, keys


def mig(number, **keys):
    """An instance of the GPU before it."""
    return "mig", number, keys


def build(machine, sections):
    machine.write(*(getattr(machine, kind)(number, **keys) for kind, number, keys in sections))


A, B, C, D = (f"GPU-{number:08d}-aaaa-bbbb-cccc-dddddddddddd" for number in range(4))
M1, M2, M3 = (f"MIG-{number:08d}-1111" for number in range(1, 4))

FOUR = [gpu(number) for number in range(4)]
MIXED = [gpu(0, name="Tesla T4", cc="7.5"), gpu(1, name="NVIDIA H100", cc="9.0")]
CUT = [gpu(0, mig=1, total=40000), mig(1, slot=0), mig(2, slot=1), mig(3, slot=4)]
DENIED = {"err__nvmlDeviceGetHandleByIndex_v2": 4}
LOST = {"err__*": 15}

ENVIRONMENTS = {
    "a workstation": (FOUR, {}, [A, B, C, D]),
    "SLURM, all four given, others in the job's cgroup": (
        FOUR,
        {"CUDA_VISIBLE_DEVICES": "0,1,2,3", "SLURM_JOB_GPUS": "4,5,6,7"},
        [A, B, C, D],
    ),
    "SLURM, one of four given, and renumbered": (
        [gpu(2)],
        {"CUDA_VISIBLE_DEVICES": "0", "SLURM_JOB_GPUS": "2"},
        [C],
    ),
    "SLURM, two of four given, not constrained": (
        FOUR,
        {"CUDA_VISIBLE_DEVICES": "2,3", "SLURM_JOB_GPUS": "2,3"},
        [C, D],
    ),
    "SLURM, a step without GPUs": (FOUR, {"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, []),
    "SLURM, a shard of one GPU": (
        FOUR,
        {"CUDA_VISIBLE_DEVICES": "1", "SLURM_SHARDS_ON_NODE": "4"},
        [B],
    ),
    "Kubernetes, GPUs by UUID": (FOUR, {"NVIDIA_VISIBLE_DEVICES": "void"}, [A, B, C, D]),
    "a worker that its parent gave one GPU by UUID": (FOUR, {"CUDA_VISIBLE_DEVICES": C}, [C]),
    "Ray, a fraction of a GPU": (FOUR, {"CUDA_VISIBLE_DEVICES": "3"}, [D]),
    "reversed by hand": (FOUR, {"CUDA_VISIBLE_DEVICES": "3,2,1,0"}, [D, C, B, A]),
    "the driver's order is not the one of the bus": (
        [gpu(3), gpu(1), gpu(0), gpu(2)],
        {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1,3"},
        [B, D],
    ),
    "different models in the order of the bus": (
        MIXED,
        {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
        [A, B],
    ),
    "different models by UUID": (MIXED, {"CUDA_VISIBLE_DEVICES": f"{B},{A}"}, [B, A]),
    "MIG, the first instance": (CUT, {}, [M1]),
    "MIG, an instance by UUID": (CUT, {"CUDA_VISIBLE_DEVICES": M2}, [M2]),
    "MIG, two instances named, of which CUDA shows one": (
        CUT,
        {"CUDA_VISIBLE_DEVICES": f"{M3},{M1}"},
        [M3],
    ),
    "MIG, by the older name": (CUT, {"CUDA_VISIBLE_DEVICES": f"MIG-{A}/3/0"}, [M3]),
    "MIG beside a whole GPU": ([*CUT, gpu(1)], {}, [M1]),
    "MIG beside a whole GPU that was named": ([*CUT, gpu(1)], {"CUDA_VISIBLE_DEVICES": B}, [B]),
    "one denied of four, the others by UUID": (
        [gpu(0), gpu(1, **DENIED), gpu(2), gpu(3)],
        {"CUDA_VISIBLE_DEVICES": f"{D},{A}"},
        [D, A],
    ),
    "one lost of four, the others by UUID": (
        [gpu(0), gpu(1, **LOST), gpu(2), gpu(3)],
        {"CUDA_VISIBLE_DEVICES": f"{C},{A}"},
        [C, A],
    ),
    "a GPU that is not there ends the list": (
        FOUR,
        {"CUDA_VISIBLE_DEVICES": f"{A},GPU-99999999,{B}"},
        [A],
    ),
}


@pytest.mark.parametrize("situation", ENVIRONMENTS)
def test_the_index_is_what_cuda_calls_it(machine, monkeypatch, situation):
    sections, variables, truth = ENVIRONMENTS[situation]
    build(machine, sections)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    manager = GPUManager()
    found = manager.get_available_gpus()
    assert [entry["uuid"] for entry in found] == truth
    assert [entry["index"] for entry in found] == list(range(len(truth)))
    # A child that is given each of them sees that one, and nothing besides.
    for index, uuid in enumerate(truth):
        given = manager.cuda_env([index])
        assert given == {"CUDA_VISIBLE_DEVICES": uuid}
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        assert [entry["uuid"] for entry in GPUManager().get_available_gpus()] == [uuid]
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        for name, value in variables.items():
            monkeypatch.setenv(name, value)


def test_cuda_is_asked_once_how_it_numbers_different_models(machine, monkeypatch):
    build(machine, MIXED)
    asked = []

    def answer(visible, is_pci_order, seconds):
        asked.append((visible, is_pci_order))
        assert 0 < seconds <= float(os.environ["PROTEINFLEX_GPU_TIMEOUT"])
        return [B[4:], A[4:]]

    monkeypatch.setattr(_cuda, "_results", {})
    monkeypatch.setattr(_cuda, "_queried_uuids", answer)
    for _ in range(3):
        assert [entry["uuid"] for entry in GPUManager().get_available_gpus()] == [B, A]
    assert asked == [(None, False)]


def test_a_cuda_that_does_not_answer_in_time_is_asked_again(machine, monkeypatch):
    import subprocess

    build(machine, MIXED)

    def hang(visible, is_pci_order, seconds):
        raise subprocess.TimeoutExpired("python", seconds)

    monkeypatch.setattr(_cuda, "_results", {})
    monkeypatch.setattr(_cuda, "_queried_uuids", hang)
    with pytest.raises(GPUError, match="could not be asked"):
        GPUManager().get_available_gpus()
    monkeypatch.setattr(_cuda, "_queried_uuids", lambda *_: [B[4:], A[4:]])
    assert [entry["uuid"] for entry in GPUManager().get_available_gpus()] == [B, A]
