"""Pickles inside a checkpoint, where both sides ask for them by name."""

from __future__ import annotations

import io
import pickle
from typing import Any

from ._classes import same_everywhere
from .errors import CheckpointError, InvalidTypeError, ProteinFlexError


def dump(value: Any, place: str) -> bytes:
    """Pickle a value.

    Raises
    ------
    InvalidTypeError
        It can't be pickled; the message says where it is.
    """
    try:
        return pickle.dumps(value, protocol=5)
    except MemoryError:
        raise
    except Exception as error:
        raise InvalidTypeError(
            f"{place} is of type {type(value).__name__}, which pickle can't store either "
            f"({type(error).__name__}: {error})"
        ) from error


def load(content: bytes, device: Any, path: str) -> Any:
    """Make the value that was pickled, which may run any code.

    Tensors in it go to `device`, as the ``map_location`` of ``torch.load``.

    Raises
    ------
    CheckpointError
        Its classes do not make it again.
    """
    try:
        return _Unpickler(io.BytesIO(content), device).load()
    except (ProteinFlexError, MemoryError):
        raise
    except Exception as error:
        if error is getattr(device, "error", None):
            raise
        raise CheckpointError(
            f"{path}: a pickled value can't be loaded ({type(error).__name__}: {error})"
        ) from error


class _Unpickler(pickle.Unpickler):
    """Puts tensors where they are asked for: pickled ones hold their memory as `torch.save` does."""

    def __init__(self, file: io.BytesIO, device: Any) -> None:
        super().__init__(file)
        self._device = device

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return self._storage
        return super().find_class(same_everywhere(module), name)

    def _storage(self, content: bytes) -> Any:
        import torch

        return torch.load(io.BytesIO(content), map_location=self._device, weights_only=False)
