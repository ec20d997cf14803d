"""Lightning's checkpoints, saved and loaded by `CheckpointManager`.

With ``Trainer(plugins=[FlexCheckpointIO()])`` the paths stay the same and become directories that are
whole or absent, verified, and need no pickle.
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
        manager, checkpoint_id = _manager_of(path)
        manager.create_checkpoint(checkpoint_id, checkpoint, allow_pickle=self._allow_pickle)

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
        manager, _id = _manager_of(path)
        device = None if callable(map_location) or map_location is None else str(map_location)
        return manager.load_checkpoint(path, device=device, allow_pickle=self._allow_pickle)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint. A missing one is no error: Lightning may remove it twice."""
        manager, checkpoint_id = _manager_of(path)
        if Path(path).is_dir():
            manager.delete(checkpoint_id)


def _manager_of(path: str | Path) -> tuple[CheckpointManager, str]:
    """Return a manager that keeps all checkpoints (Lightning removes them), and the id of this one."""
    directory = Path(path)
    return CheckpointManager(directory.parent, auto_cleanup=False), directory.name
