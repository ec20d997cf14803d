"""Lightning's checkpoints, saved and loaded by `CheckpointManager`.

With ``Trainer(plugins=[FlexCheckpointIO()])`` the paths stay the same and become directories that are
whole or absent, verified, and need no pickle. Files that ``torch.save`` made are read as before.

``Module.load_from_checkpoint`` has no way to name a plugin. Importing this module makes it, and the
data modules' one, read these directories too.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import CheckpointIO, TorchCheckpointIO
from lightning.pytorch.core import saving

from proteinflex_optimization._arguments import flag, path_text
from proteinflex_optimization.checkpoint import CheckpointManager
from proteinflex_optimization.errors import CheckpointError, CorruptDataError, InvalidArgumentError

__all__ = ["FlexCheckpointIO"]

MANIFEST = "manifest.json"


class FlexCheckpointIO(CheckpointIO):  # type: ignore[misc]
    """Lightning's plugin for where checkpoints go.

    Parameters
    ----------
    allow_pickle : bool
        Whether hyperparameters and callback states that are not plain values are pickled; loading
        then runs code, as ``torch.load(…, weights_only=False)`` does.
    """

    def __init__(self, allow_pickle: bool = False) -> None:
        self._allow_pickle = flag("allow_pickle", allow_pickle)
        self._files = TorchCheckpointIO()

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Save a checkpoint, each of its entries as a component.

        A file of ``torch.save`` or a link at this path is renamed to ``PATH.replaced`` meanwhile, and
        removed once the checkpoint is durable; what a link leads to stays. Where the name begins with
        ``.``, as those of Lightning's tuner, a file is written by ``torch.save`` instead.

        Raises
        ------
        InvalidTypeError
            A value can't be stored; the message says where it is.
        InvalidArgumentError
            `storage_options` were given, which have no meaning here, the path is not local, or its
            name is not one that `CheckpointManager.create_checkpoint` takes as an id.
        """
        if storage_options is not None:
            raise InvalidArgumentError(f"storage_options={storage_options!r}: expected None")
        target = _local(path)
        if target.name.startswith("."):
            # What Lightning's tuner saves for a moment; no checkpoint of a manager has such a name.
            self._files.save_checkpoint(checkpoint, target)
            return
        replaced = None
        if target.is_file() or target.is_symlink():
            replaced = target.rename(target.with_name(f"{target.name}.replaced"))
        manager = CheckpointManager(target.parent, auto_cleanup=False)
        try:
            manager.create_checkpoint(target.name, checkpoint, allow_pickle=self._allow_pickle)
        except BaseException:
            if replaced is not None:
                replaced.rename(target)
            raise
        if replaced is not None:
            replaced.unlink()

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any | None = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Load a checkpoint, verified; a file of ``torch.save`` as Lightning loads it.

        Parameters
        ----------
        path : str or path
            The checkpoint.
        map_location : optional
            Where tensors go, as ``torch.load`` takes it; default: where they were, or the CPU where
            there is no such device.
        weights_only : bool, optional
            ``False`` allows pickled values, ``True`` refuses them; default: what the plugin was made
            with.

        Raises
        ------
        CheckpointError
            There is none.
        CorruptDataError
            It is damaged, or a file that ``torch.save`` did not make; the message names the file.
        """
        target = _local(path)
        if target.is_file():
            return self._load_file(target, map_location, weights_only)
        allow_pickle = self._allow_pickle if weights_only is None else not weights_only
        return _load(target, map_location, allow_pickle)

    def _load_file(
        self, path: str | Path, map_location: Any | None, weights_only: bool | None
    ) -> dict[str, Any]:
        options: dict[str, Any] = {"weights_only": weights_only}
        if map_location is not None:
            options["map_location"] = map_location
        try:
            loaded: dict[str, Any] = self._files.load_checkpoint(path, **options)
        except MemoryError:
            raise
        except Exception as error:
            # What torch says of a whole file, such as which class is missing, is for the caller, and
            # what the system says of one that can't be opened.
            if getattr(error, "filename", None) or _is_whole(path):
                raise
            raise CorruptDataError(
                f"{path}: it is damaged, or no file of torch.save ({type(error).__name__}: {error})"
            ) from error
        return loaded

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint. A missing one is not an error: Lightning may remove it twice."""
        target = _local(path)
        if target.is_file() or target.is_symlink():
            target.unlink()
        elif target.is_dir():
            CheckpointManager(target.parent, auto_cleanup=False).delete(target.name)


def _is_whole(path: str | Path) -> bool:
    """Return whether this is an archive as ``torch.save`` makes it, with the bytes that were written."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # Damage makes it raise anything.
        return False


def _local(path: str | Path) -> Path:
    if "://" in str(path):
        raise InvalidArgumentError(
            f"path={str(path)!r} is not valid: expected a directory of this machine's file systems; "
            "leave FlexCheckpointIO out to save there"
        )
    return Path(path_text("path", path))


def _load(path: Path, map_location: Any, allow_pickle: bool) -> dict[str, Any]:
    # `last.ckpt` may be a link to the checkpoint that was saved last.
    target = path.resolve() if path.is_symlink() else path
    if not target.is_dir():
        raise CheckpointError(f"{path} holds no checkpoint: there is no such file or directory")
    manager = CheckpointManager(target.parent, auto_cleanup=False)
    return manager.load_checkpoint(target, device=map_location, allow_pickle=allow_pickle)


def _load_either(path: Any, *arguments: Any, **options: Any) -> Any:
    """Load a directory of ours by ourselves, and everything else as Lightning does."""
    is_local = isinstance(path, (str, Path)) and "://" not in str(path)
    if is_local and (_local(path) / MANIFEST).is_file():
        map_location = arguments[0] if arguments else options.get("map_location")
        return _load(_local(path), map_location, options.get("weights_only") is False)
    return _lightning_load(path, *arguments, **options)


_lightning_load = saving.pl_load
saving.pl_load = _load_either
