"""Numbers come back bit by bit in whatever mode a thread computes with floats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import DataHandler

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("flushed", ["stored", "read"])
def test_exact_numbers_come_back_where_small_ones_are_flushed_to_zero(
    tmp_path: Path, flushed: str
) -> None:
    random = np.random.default_rng(3)
    chain = np.cumsum(random.normal((0.9, 0.4, 0.2), 0.8, (300, 3)), axis=0)
    frames = (chain + random.normal(0, 0.05, (20, 300, 3))).astype("f4")
    frames[..., 2] *= 1e-39
    handler = DataHandler(tmp_path)
    try:
        assert torch.set_flush_denormal(flushed == "stored")
        handler.store_trajectory({"frames": frames}, "flat", {})
        torch.set_flush_denormal(flushed == "read")
        read = handler.load_data("flat")["frames"]
    finally:
        torch.set_flush_denormal(False)
    np.testing.assert_array_equal(read.view("u4"), frames.view("u4"))
