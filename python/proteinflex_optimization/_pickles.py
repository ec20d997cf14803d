"""Pickles inside a checkpoint, where both sides ask for them by name.

Those of one state are one stream with one memo: an object that several of them hold is one object again
after loading. The memory of tensors is not in it but with that of the state's other tensors.
"""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any

from ._classes import same_everywhere
from .errors import CheckpointError, InvalidTypeError, ProteinFlexError

if TYPE_CHECKING:
    from ._tensors import Storages, Tensors


class Pickler(pickle.Pickler):
    """Pickles values of one state, one after the other.

    Parameters
    ----------
    storages : Storages or None
        Takes the memory of tensors; None where torch is not imported.
    """

    def __init__(self, storages: Storages | None) -> None:
        self._file = io.BytesIO()
        super().__init__(self._file, protocol=5)
        self._storages = storages
        self._place: tuple[str, list[str]] = ("", [])
        self._numbers: set[int] = set()

    def pickled(self, value: Any, place: str, keys: list[str]) -> list[Any]:
        """Return a value's part of the stream, and the numbers of the storages in it.

        Raises
        ------
        InvalidTypeError
            It can't be pickled; the message says where it is.
        """
        self._place, self._numbers = (place, keys), set()
        try:
            self.dump(value)
        except MemoryError:
            raise
        except Exception as error:
            raise InvalidTypeError(
                f"{place} is of type {type(value).__name__}, which pickle can't store either "
                f"({type(error).__name__}: {error})"
            ) from error
        content = self._file.getvalue()
        self._file.seek(0)
        self._file.truncate()
        return [content, sorted(self._numbers)]

    def reducer_override(self, value: Any) -> Any:
        """Reduce a storage of torch's to what the state knows it by."""
        # Not by `persistent_id`, which is called for every number and text.
        found = None if self._storages is None else self._storages.number(value, *self._place)
        if found is None:
            return NotImplemented
        self._numbers.add(found[0])
        return memory, found


def memory(number: int, dtype: str | None, device: str) -> Any:
    """Stand in a pickle for `Tensors.storage`, which has the memory."""
    raise pickle.UnpicklingError(f"it refers to the memory {number}, which is not there")


class Unpickler(pickle.Unpickler):
    """Makes the values of one state, in the order in which they were pickled. It may run any code.

    Parameters
    ----------
    device
        Where tensors go; what such a function raises is the caller's.
    path : str
        The file that is read, for messages.
    """

    def __init__(self, device: Any, path: str) -> None:
        self._file = io.BytesIO()
        super().__init__(self._file)
        self._device = device
        self._path = path
        self._tensors: Tensors | None = None

    def unpickled(self, content: bytes, tensors: Tensors | None) -> Any:
        """Make the next value; `tensors` has the memory that it refers to.

        Raises
        ------
        CheckpointError
            Its classes do not make it again.
        """
        self._tensors = tensors
        self._file.seek(0)
        self._file.truncate()
        self._file.write(content)
        self._file.seek(0)
        try:
            return self.load()
        except (ProteinFlexError, MemoryError):
            raise
        except Exception as error:
            if error is getattr(self._device, "error", None):
                raise
            raise CheckpointError(
                f"{self._path}: a pickled value can't be loaded ({type(error).__name__}: {error})"
            ) from error

    def find_class(self, module: str, name: str) -> Any:
        """Return a class or a function by its name."""
        if self._tensors is not None:
            if (module, name) == (__name__, memory.__name__):
                return self._tensors.storage
            if (module, name) == ("torch._utils", "_rebuild_tensor_v3"):
                return self._tensors.rebuilt
        return super().find_class(same_everywhere(module), name)
