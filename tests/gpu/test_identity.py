"""What CUDA calls each GPU in this process: a written-down truth for each environment."""

import pytest
from proteinflex_optimization import GPUError, GPUManager

A, B, C, D = (f"GPU-{number:08d}-aaaa-bbbb-cccc-dddddddddddd" for number in range(4))

TRUTH = [
    (None, [A, B, C, D]),
    ("", []),
    ("-1", []),
    ("NoDevFiles", []),
    ("junk", []),
    ("1,0", [B, A]),
    (" 1 , 0 ", [B, A]),
    ("+1", [B]),
    ("1gpu2,2ampere", [B, C]),
    ("0x1", [A]),
    ("0,-1,1", [A]),
    ("0,9,1", [A]),
    ("0,0", []),
    ("3,1", [D, B]),
    (B, [B]),
    (f"{D},{A}", [D, A]),
    ("GPU-00000002", [C]),
    ("GPU-0000000", []),
    (f"{A},1", [A]),
    (f"{A},GPU-ffff,{B}", [A]),
    (f"{A},{A}", []),
    (f"{A},GPU-00000000", []),
    ("MIG-unknown", []),
]


@pytest.mark.parametrize(("mask", "truth"), TRUTH)
def test_the_index_is_cudas(machine, monkeypatch, mask, truth):
    if mask is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", mask)
    found = GPUManager().get_available_gpus()
    assert [entry["uuid"] for entry in found] == truth
    assert [entry["index"] for entry in found] == list(range(len(truth)))


def test_numbers_are_read_as_torch_reads_them(machine, monkeypatch):
    torch = pytest.importorskip("torch")
    for mask, truth in TRUTH:
        if mask is None or "GPU" in mask or "MIG" in mask:
            continue
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", mask)
        numbers = torch.cuda._parse_visible_devices()
        kept = numbers[: next((at for at, number in enumerate(numbers) if number > 3), 9)]
        assert [(A, B, C, D)[number] for number in kept] == truth, mask


def test_nvmls_order_is_not_cudas(machine):
    machine.write(machine.gpu(3), machine.gpu(1), machine.gpu(0))
    assert [entry["uuid"] for entry in GPUManager().get_available_gpus()] == [A, B, D]


def test_different_gpus_are_not_numbered_by_a_guess(machine, monkeypatch):
    machine.write(
        machine.gpu(0, name="Tesla T4", cc="7.5"), machine.gpu(1, name="NVIDIA H100", cc="9.0")
    )
    with pytest.raises(GPUError, match="CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        GPUManager().get_available_gpus()
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert [entry["uuid"] for entry in GPUManager().get_available_gpus()] == [A, B]
    monkeypatch.delenv("CUDA_DEVICE_ORDER")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"{B},{A}")
    assert [entry["uuid"] for entry in GPUManager().get_available_gpus()] == [B, A]


def test_torchs_own_order_is_the_truth_where_it_is_at_work(machine, monkeypatch):
    from types import SimpleNamespace

    order = [C, A]
    fake = SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: len(order),
        get_device_properties=lambda number: SimpleNamespace(uuid=order[number][4:]),
    )
    monkeypatch.setitem(__import__("sys").modules, "torch", SimpleNamespace(cuda=fake))
    assert [entry["uuid"] for entry in GPUManager().get_available_gpus()] == order


def test_a_child_sees_the_gpus_that_it_was_given(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1,0")
    environment = GPUManager().cuda_env([2, 0])
    assert environment == {"CUDA_VISIBLE_DEVICES": f"{A},{D}"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", environment["CUDA_VISIBLE_DEVICES"])
    assert [entry["uuid"] for entry in GPUManager().get_available_gpus()] == [A, D]
