"""Torch tensors as arrays, and back; tensors that view one storage share it again.

A tensor is a view of a storage, and several tensors may view the same one: tied weights, slices of a
buffer. Each storage is stored once, trimmed to the bytes that its tensors reach, and each tensor is
stored as its view: storage number, dtype, shape, strides and offset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from proteinflex_optimization._log import get_logger

from .errors import InvalidArgumentError, InvalidTypeError

logger = get_logger()

# Item types that NumPy lacks, and safetensors' names for them: stored as integers of the same size.
LABELS = {
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
PLAIN_CLASSES = tuple(
    kind
    for kind in (torch.Tensor, torch.nn.Parameter, getattr(torch.nn, "Buffer", None))
    if kind is not None
)
CARRIERS = {1: torch.uint8, 2: torch.int16}
# Views of the same memory that torch resolves as it reads them: whether one is such, and what makes
# and unmakes it.
FLIPS = {
    "conj": (torch.Tensor.is_conj, torch.conj),
    "neg": (torch.Tensor.is_neg, torch._neg_view),  # pyright: ignore[reportPrivateImportUsage]
}
# A trimmed storage begins at a multiple of this.
START_ALIGNMENT = 64


def as_array(value: Any, place: str) -> Any:
    """Return a tensor as a NumPy array of the same values; None where it is not a tensor.

    NumPy has no bfloat16 and no 8-bit floats: such tensors become float32, which holds all their
    values exactly.
    """
    if not isinstance(value, torch.Tensor):
        return None
    _check_class(value, place)
    _check_layout(value, place)
    _check_memory(value, place)
    tensor = value.detach().resolve_conj().resolve_neg().cpu()
    try:
        return tensor.numpy()
    except TypeError:
        wider = torch.complex64 if tensor.is_complex() else torch.float32
    try:
        return tensor.to(wider).numpy()
    except RuntimeError as error:
        raise InvalidTypeError(
            f"{place} is a tensor of {value.dtype}, whose items no array holds: expected another dtype"
        ) from error


@dataclass
class _Storage:
    storage: Any
    keys: list[str]
    views: list[Any] = field(default_factory=list)
    places: list[str] = field(default_factory=list)

    def add(self, tensor: Any, place: str) -> None:
        # Several storages may begin at one address, as those of an array and of its first rows do:
        # the longest one holds the items of all.
        self.storage = max(self.storage, tensor.untyped_storage(), key=lambda one: one.nbytes())
        self.views.append(tensor)
        self.places.append(place)


class Storages:
    """The storages of one state's tensors, numbered as they are met."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, int], int] = {}
        self._storages: list[_Storage] = []

    def reduce(self, value: Any, place: str, keys: list[str]) -> tuple[str, Any] | None:
        """Reduce a tensor or another plain value of torch's."""
        if isinstance(value, torch.Size):
            return "torch.Size", list(value)
        if isinstance(value, torch.dtype):
            return "torch.dtype", str(value).removeprefix("torch.")
        if isinstance(value, torch.device):
            return "torch.device", str(value)
        if not isinstance(value, torch.Tensor):
            return None
        _check_class(value, place)
        _check_layout(value, place)
        _check_memory(value, place)
        tensor = value.detach()
        # What is conjugated or negated as it is read is stored as it is in memory, which others share.
        flips = [name for name, (is_flipped, _) in FLIPS.items() if is_flipped(tensor)]
        for name in flips:
            tensor = FLIPS[name][1](tensor)
        return "torch.Tensor", [
            self._number(tensor, place, keys),
            str(tensor.dtype).removeprefix("torch."),
            list(tensor.shape),
            list(tensor.stride()),
            _first_byte(tensor),
            value.requires_grad,
            type(value).__name__,
            str(value.device),
            *flips,
        ]

    def number(self, value: Any, place: str, keys: list[str]) -> tuple[int, str | None, str] | None:
        """Return a storage's number, its item type and device; None where the value is no storage.

        All of it is stored.
        """
        if issubclass(type(value), torch.storage.TypedStorage):
            storage, dtype = value._untyped_storage, str(value.dtype).removeprefix("torch.")
        elif issubclass(type(value), torch.UntypedStorage):
            storage, dtype = value, None
        else:
            return None
        flat = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
        _check_memory(flat, place)
        return self._number(flat, place, keys), dtype, str(flat.device)

    def _number(self, tensor: torch.Tensor, place: str, keys: list[str]) -> int:
        storage = tensor.untyped_storage()
        # Empty storages have no address; none of them is shared.
        address = storage.data_ptr() or -len(self._storages) - 1
        number = self._numbers.setdefault((str(tensor.device), address), len(self._storages))
        if number == len(self._storages):
            self._storages.append(_Storage(storage, keys))
        self._storages[number].add(tensor, place)
        return number

    def arrays(self) -> list[tuple[Any, int, str | None, list[str]]]:
        """Return of each storage the bytes in use: array, first byte, label of its items, name."""
        arrays = [_array(storage) for storage in self._storages]
        # The copies from all GPUs have been started; wait for them together.
        for device in {storage.views[0].device for storage in self._storages}:
            if device.type == "cuda":
                torch.cuda.current_stream(device).synchronize()
        return arrays


def _to_host(tensor: torch.Tensor) -> torch.Tensor:
    """Copy a tensor to the CPU; from a GPU asynchronously, into pinned memory.

    A GPU writes to pinned memory directly, and torch's allocator keeps it for the next copy.
    """
    if tensor.device.type != "cuda":
        return tensor.cpu()
    try:
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    except RuntimeError:
        # The system has no more of it.
        return tensor.cpu()
    return host.copy_(tensor, non_blocking=True)


def _array(storage: _Storage) -> tuple[Any, int, str | None, list[str]]:
    # Again, for the state may have changed since it was walked.
    for view, place in zip(storage.views, storage.places, strict=True):
        _check_memory(view, place)
    tensor = storage.views[0]
    layouts = {(v.dtype, v.shape, v.stride(), v.storage_offset()) for v in storage.views}
    if len(layouts) == 1 and tensor.is_contiguous():
        # The usual case, and the readable one: the tensor as it is.
        start = _first_byte(tensor)
        label = LABELS.get(tensor.dtype)
        if label is not None:
            carried = _to_host(tensor).view(CARRIERS[tensor.element_size()])
            return carried.numpy(), start, label, storage.keys
        try:
            return _to_host(tensor).numpy(), start, None, storage.keys
        except TypeError:
            pass
    # Views without items may begin anywhere.
    ranges = [
        (_first_byte(v), _first_byte(v) + _reach(v.element_size(), v.shape, v.stride()))
        for v in storage.views
        if v.numel() > 0
    ]
    start = min((first for first, _ in ranges), default=0) // START_ALIGNMENT * START_ALIGNMENT
    end = max((end for _, end in ranges), default=0)
    flat = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(storage.storage)
    return _to_host(flat[start:end]).numpy(), start, None, storage.keys


class Tensors:
    """Restores tensors from the storages of one state.

    Parameters
    ----------
    storages : list
        Pairs of array and first byte, in the order of their numbers.
    device : str, torch.device, dict, callable or None
        Where tensors go, as the ``map_location`` of ``torch.load``. None: where they were, or the CPU
        where there is no such device.
    """

    def __init__(self, storages: list[Any], device: Any) -> None:
        self._storages = storages
        is_function = callable(device) or isinstance(device, dict) or device is None
        self._device = device if is_function else _device(device)
        self._loaded: dict[tuple[int, str], Any] = {}

    def restore(self, tag: str, content: Any) -> Any:
        """Make the value that `Storages.reduce` reduced."""
        if tag == "torch.Size":
            return torch.Size(content)
        if tag == "torch.dtype":
            return _dtype(content)
        if tag == "torch.device":
            return named_device(content)
        number, dtype_name, shape, stride, offset, requires_grad, kind, device_name, *flips = (
            content
        )
        dtype = _dtype(dtype_name)
        array, start = self._storages[number]
        first = _first_item(array.nbytes, start, dtype.itemsize, shape, stride, offset)
        storage = self._storage(number, self._device_for(device_name))
        tensor = torch.empty(0, dtype=dtype, device=storage.device)
        tensor.set_(storage, first, tuple(shape), tuple(stride))
        for name in flips:
            tensor = FLIPS[name][1](tensor)
        if kind == "Parameter":
            return torch.nn.Parameter(tensor, requires_grad=requires_grad)
        if kind == "Buffer":
            return torch.nn.Buffer(tensor)
        return tensor.requires_grad_(requires_grad)

    def storage(self, number: int, dtype: str | None, device: str) -> Any:
        """Make the storage that `Storages.number` numbered."""
        storage = self._storage(number, self._device_for(device))
        if dtype is None:
            return storage
        return torch.storage.TypedStorage(wrap_storage=storage, dtype=_dtype(dtype), _internal=True)

    @staticmethod
    def rebuilt(storage: Any, *arguments: Any) -> Any:
        """Make a tensor of an item type that no typed storage has (float8, uint16): torch expects one."""
        typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.uint8, _internal=True)
        return torch._utils._rebuild_tensor_v3(typed, *arguments)

    def _storage(self, number: int, device: torch.device) -> Any:
        loaded = self._loaded.get((number, str(device)))
        if loaded is None:
            array = self._storages[number][0]
            flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            loaded = torch.from_numpy(flat).to(device).untyped_storage()
            self._loaded[number, str(device)] = loaded
        return loaded

    def _device_for(self, name: str) -> torch.device:
        if isinstance(self._device, torch.device):
            return self._device
        if callable(self._device):
            # A storage without memory shows where the function moves others.
            moved = self._device(torch.UntypedStorage(0), name)
            if moved is not None:
                return _device_of(moved)
        mapped = self._device.get(name) if isinstance(self._device, dict) else None
        device = named_device(name) if mapped is None else _device(mapped)
        if not is_here(device):
            logger.info("there is no %s here: its tensors are loaded to the CPU", device)
            return torch.device("cpu")
        return device


def is_here(device: torch.device) -> bool:
    """Tell whether tensors can be on a device in this process."""
    if device.type == "cuda":
        return (device.index or 0) < int(torch.cuda.device_count())
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ImportError):
        # What torch raises where it was built without it, or its driver is missing, differs by kind.
        return False
    return True


def _device_of(storage: Any) -> torch.device:
    try:
        return torch.device(storage.device)
    except (AttributeError, TypeError) as error:
        raise InvalidArgumentError(
            f"device= is a function that returned {storage!r}: expected a storage or None"
        ) from error


def named_device(name: str) -> torch.device:
    """Return the device of a name that a file has."""
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"a stored value is of the device {name!r}, which torch does not know"
        ) from error


def _device(device: Any) -> torch.device:
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InvalidArgumentError(
            f"device={device!r} is not valid: expected None or a device of torch's, such as 'cpu' or "
            f"'cuda:0' ({error})"
        ) from error


def _check_class(value: Any, place: str) -> None:
    if type(value) not in PLAIN_CLASSES:
        raise InvalidTypeError(
            f"{place} is a {type(value).__name__}: expected a plain torch.Tensor or Parameter"
            # FSDP2 and tensor parallelism.
            + (", such as its full_tensor() or to_local()" * hasattr(value, "full_tensor"))
        )


def _check_layout(value: Any, place: str) -> None:
    if value.layout is not torch.strided or value.is_quantized or value.is_nested or value.is_meta:
        raise InvalidTypeError(
            f"{place} is a tensor of layout {value.layout} on {value.device}"
            f"{', quantized' if value.is_quantized else ''}: expected a dense tensor with data"
        )


def _check_memory(value: Any, place: str) -> None:
    """Refuse a tensor that is larger than its memory: reading it would read another's."""
    try:
        size = value.untyped_storage().nbytes()
        value.untyped_storage().data_ptr()
    except RuntimeError as error:
        # Such as one that `torch.vmap` passes to a function, or of zeros that are nowhere.
        raise InvalidTypeError(
            f"{place} is a tensor without memory of its own ({error}): expected a dense tensor with data"
        ) from error
    start = value.storage_offset() * value.element_size()
    reach = _reach(value.element_size(), value.shape, value.stride())
    if reach > 0 and start + reach > size:
        raise InvalidArgumentError(
            f"{place} is a tensor of shape {tuple(value.shape)} whose memory has only {size} bytes: "
            "expected a tensor with its data (its storage was resized, as FSDP does between steps)"
        )


def _first_byte(tensor: Any) -> int:
    return int(tensor.storage_offset() * tensor.element_size())


def _reach(item: int, shape: Sequence[int], stride: Sequence[int]) -> int:
    """Return the bytes from a view's first item to the end of its last."""
    if 0 in shape:
        return 0
    return item * (1 + sum((n - 1) * s for n, s in zip(shape, stride, strict=True)))


def _first_item(
    size: int, start: int, item: int, shape: list[int], stride: list[int], offset: int
) -> int:
    """Return where a view begins in its storage, and refuse one that reaches outside."""
    if len(shape) != len(stride) or any(n < 0 for n in (*shape, *stride)):
        raise ValueError("a stored tensor's shape makes no sense")
    if 0 in shape:
        return 0
    first = offset - start
    if first < 0 or first % item != 0 or first + _reach(item, shape, stride) > size:
        raise ValueError("a stored tensor reaches outside its memory")
    return first // item


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"a stored tensor has the dtype {name!r}, which torch does not know")
    return dtype
