"""What an entry has beside its frames: arrays such as masses, and plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proteinflex_optimization.data_handler import DataHandler
from proteinflex_optimization.errors import CacheKeyError

if TYPE_CHECKING:
    from proteinflex_optimization.trajectory import Trajectory

LARGEST_TO_LOAD = 1 << 30
"""In bytes: plain values come with all data, and arrays are listed without them. Larger entries come
from a `TrajectoryWriter`, which takes nothing but frames, or are loaded if they list arrays."""


def static_items(trajectory: Trajectory) -> dict[str, Any]:
    """Return by name the arrays and plain values of a trajectory that belong to no frame.

    Parameters
    ----------
    trajectory : Trajectory
        From `DataHandler.open`.

    Raises
    ------
    CacheKeyError
        It is no longer in the cache, or another one has taken its place.
    """
    handler = DataHandler(trajectory.cache_dir, read_only=True)
    if handler.open(trajectory.key).content_id != trajectory.content_id:
        raise CacheKeyError(
            f"the trajectory {trajectory.data_id!r} was replaced after it had been opened: open it "
            "again by its key"
        )
    fields = set(trajectory.fields)
    names = {array["name"] for array in handler.info(trajectory.key)["arrays"]}
    if names <= fields and trajectory.raw_bytes > LARGEST_TO_LOAD:
        return {}
    data = handler.load_data(trajectory.key)
    return {name: value for name, value in data.items() if name not in fields}
