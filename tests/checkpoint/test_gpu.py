"""Tensors of a real GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
from proteinflex_optimization import CheckpointManager

pytestmark = [pytest.mark.torch, pytest.mark.gpu]


def test_tensors_of_a_gpu_come_back_to_it_unchanged(tmp_path: Path):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    manager = CheckpointManager(tmp_path)
    base = torch.randn(1000, 1000, device="cuda")
    state = {
        "whole": base,
        "part": base[10:20, ::3],
        "half": torch.randn(50_000, device="cuda").to(torch.bfloat16),
        "turned": torch.randn(64, 32, device="cuda").T,
        "on the CPU": torch.arange(5),
    }
    for path in (
        manager.create_checkpoint("now", {"s": state}),
        manager.create_checkpoint_async("later", {"s": state}).result(),
    ):
        loaded = manager.load_checkpoint(path)["s"]
        for name, tensor in state.items():
            assert loaded[name].device == tensor.device
            assert torch.equal(loaded[name], tensor), name
        assert loaded["part"].untyped_storage().data_ptr() == (
            loaded["whole"].untyped_storage().data_ptr()
        )
    assert manager.load_checkpoint(path, device="cpu")["s"]["whole"].device.type == "cpu"
