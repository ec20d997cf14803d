"""Cells of three vectors, and whether lengths and angles say all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

TURNED = "its vectors are turned against the axes: lengths and angles mean another cell"
"""What the log says of a cell that is left out."""


def is_turned(vectors: Any) -> NDArray[np.bool_]:
    """Tell of cells, vectors in rows (..., 3, 3), whether lengths and angles mean another one.

    They mean a cell whose first vector is along x, and whose second is in xy. What is 0 or NaN all
    over is no cell, and not turned.
    """
    cells = np.asarray(vectors, np.float64)
    above = cells[..., [0, 0, 1], [1, 2, 2]]
    diagonal = cells[..., [0, 1, 2], [0, 1, 2]]
    tolerance = 1e-4 * np.abs(diagonal).max(axis=-1, keepdims=True)
    is_upright = ((np.abs(above) <= tolerance) & (diagonal > 0)).all(axis=-1)
    is_none = (np.isnan(cells) | (cells == 0)).all(axis=(-2, -1))
    turned: NDArray[np.bool_] = ~(is_upright | is_none)
    return turned
