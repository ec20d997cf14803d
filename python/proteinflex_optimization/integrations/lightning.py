"""Lightning's checkpoints, saved and loaded by `CheckpointManager`.

``Trainer(plugins=[FlexCheckpointIO()])`` is all that changes: paths stay what they were, but are
directories that are whole or absent, verified, and need no pickle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.fabric.plugins import CheckpointIO

from proteinflex_optimization.checkpoint import CheckpointManager
from proteinflex_optimization.errors import InvalidArgumentError

__all__ = ["FlexCheckpointIO"]


class FlexCheckpointIO(CheckpointIO):  # type: ignore[misc]
    """Lightning's plugin for where checkpoints go.

    Parameters
    ----------
    allow_pickle : bool
        Whether hyperparameters and callback states that are no plain values are pickled; loading
        then runs code, as ``torch.load`` does.
    """

    def __init__(self, allow_pickle: bool = False) -> None:
        self._allow_pickle = allow_pickle

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Save a checkpoint, each of its entries as a component.

        Raises
        ------
        InvalidTypeError
            A value can't be stored; the message says where it is.
        InvalidArgumentError
            `storage_options` were given, which have no meaning here.
        """
        if storage_options is not None:
            raise InvalidArgumentError(f"storage_options={storage_options!r}: expected None")
        manager, name = _place(path)
        manager.create_checkpoint(name, checkpoint, allow_pickle=self._allow_pickle)

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, **_: Any
    ) -> dict[str, Any]:
        """Load a checkpoint, verified.

        Raises
        ------
        CheckpointError
            There is none.
        CorruptDataError
            It is damaged; the message names the file.
        """
        manager, _name = _place(path)
        device = None if callable(map_location) or map_location is None else str(map_location)
        return manager.load_checkpoint(path, device=device, allow_pickle=self._allow_pickle)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint; none is no error, because Lightning may ask twice."""
        manager, name = _place(path)
        if Path(path).is_dir():
            manager.delete(name)


def _place(path: str | Path) -> tuple[CheckpointManager, str]:
    """Lightning decides which checkpoints stay, so the manager keeps all."""
    place = Path(path)
    return CheckpointManager(place.parent, auto_cleanup=False), place.name
