"""Frames of cached trajectories as a torch `Dataset`.

    dataset = TrajectoryDataset([handler.open(key) for key in keys], stride=10)
    for batch in DataLoader(dataset, batch_size=32, shuffle=True, num_workers=2): ...

The dataset pickles as the places of its entries, so workers cost no memory of their own, however they
are started: by fork, spawn or forkserver.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from proteinflex_optimization._needed import needed

with needed("torch", "torch"):
    import torch
    from torch.utils.data import Dataset

from proteinflex_optimization import _native
from proteinflex_optimization._arguments import callback, flag, iterable, whole
from proteinflex_optimization.errors import InvalidArgumentError, InvalidTypeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proteinflex_optimization.trajectory import Trajectory
    from proteinflex_optimization.types import AtomSelection

PER_CELL = "box"
"""The field whose first axis is never the atoms, even where it has as many."""


class TrajectoryDataset(Dataset):  # type: ignore[misc]
    """The frames of one or many cached trajectories, one item each.

    Parameters
    ----------
    trajectories : Trajectory or iterable of Trajectory
        From `DataHandler.open`. Their frames follow each other in this order.
    fields : str or sequence of str
        One field: items are tensors. Several: items are dicts of tensors by name.
    atoms : optional
        Which atoms of each frame, as `Trajectory.read` takes them. It applies to every field whose
        items have one row per atom.
    start, stop, stride : int, optional
        Which frames of each trajectory, as in a slice; `stride` is 1 or more.
    transform : callable, optional
        Applied to each item; it has to pickle where workers are spawned.
    copy : bool
        True: each item is new memory, as a training loop expects that changes it in place. False:
        where a trajectory is stored without compression and all atoms are taken, items share the
        mapped file's memory. Then what is written to an item is seen by later items of this
        process; it never reaches the file.

    Raises
    ------
    InvalidArgumentError
        A field is not there or torch has no such dtype; atoms that are not there; no trajectory.

    Notes
    -----
    Units are those of the stored fields. What was decoded is kept, up to ``PROTEINFLEX_DECODED_MB``
    (128) in each process, so shuffled epochs of trajectories that fit decode each frame once. Larger
    ones are best stored with ``enable_compression=False`` where ``shuffle=True``: a batch is read in
    the order in which its frames are stored, but has frames of many chunks.
    """

    def __init__(
        self,
        trajectories: Trajectory | Iterable[Trajectory],
        fields: str | Sequence[str] = "frames",
        *,
        atoms: AtomSelection | None = None,
        start: int | None = None,
        stop: int | None = None,
        stride: int = 1,
        transform: Callable[[Any], Any] | None = None,
        copy: bool = True,
    ) -> None:
        single = isinstance(trajectories, _native.Trajectory)
        self._trajectories: list[Any] = (
            [trajectories]
            if single
            else list(iterable("trajectories", trajectories, "one or several of them"))
        )
        self._is_plain = isinstance(fields, str)
        self._fields: list[str] = (
            [fields]
            if isinstance(fields, str)
            else list(iterable("fields", fields, "names of fields"))
        )
        callback("transform", transform)
        self._transform = transform
        self._copy = flag("copy", copy)
        if not self._trajectories or not self._fields:
            raise InvalidArgumentError(
                "trajectories and fields are not valid: expected at least one of each"
            )
        whole("stride", stride)
        for name, value in (("start", start), ("stop", stop)):
            if value is not None and not isinstance(value, (int, np.integer)):
                raise InvalidTypeError(
                    f"{name}={value!r} is of type {type(value).__name__}: expected an int or None"
                )
        for trajectory in self._trajectories:
            if not isinstance(trajectory, _native.Trajectory):
                raise InvalidTypeError(
                    f"trajectories has an item of type {type(trajectory).__name__}: expected what "
                    "DataHandler.open gives"
                )
        self._frames = [
            range(*slice(start, stop, stride).indices(trajectory.n_frames))
            for trajectory in self._trajectories
        ]
        self._ends = list(accumulate(len(frames) for frames in self._frames))
        # Lists would be turned into arrays for every frame.
        is_slice = atoms is None or isinstance(atoms, slice)
        self._atoms: Any = atoms if is_slice else np.asarray(atoms)
        self._by_atom = [self._fields_by_atom(trajectory) for trajectory in self._trajectories]

    def __len__(self) -> int:
        """Return the number of frames of all trajectories together."""
        return self._ends[-1]

    def __getitem__(self, index: int) -> Any:
        """Return one frame; negative numbers count from the end."""
        which, frame = self._place(index)
        items = {field: self._tensor(which, field, frame) for field in self._fields}
        item = items[self._fields[0]] if self._is_plain else items
        return item if self._transform is None else self._transform(item)

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Return several frames, read in the order in which they are stored."""
        items: list[Any] = [None] * len(indices)
        for position in sorted(range(len(indices)), key=lambda at: self._number(indices[at])):
            items[position] = self[indices[position]]
        return items

    def __repr__(self) -> str:
        return (
            f"<TrajectoryDataset {len(self)} frames of {len(self._trajectories)} "
            f"{'trajectory' if len(self._trajectories) == 1 else 'trajectories'}, "
            f"{', '.join(self._fields)}>"
        )

    def source(self, index: int) -> tuple[Trajectory, int]:
        """Return which trajectory an item is from, and the number of its frame there."""
        which, frame = self._place(index)
        return self._trajectories[which], frame

    def _number(self, index: Any) -> int:
        try:
            number = int(index.__index__())
        except (AttributeError, TypeError):
            raise InvalidTypeError(
                f"index={index!r} is of type {type(index).__name__}: expected a whole number"
            ) from None
        if not -len(self) <= number < len(self):
            raise IndexError(f"frame {number} of a dataset of {len(self)} frames")
        return number % len(self)

    def _place(self, index: Any) -> tuple[int, int]:
        number = self._number(index)
        which = bisect_right(self._ends, number)
        before = self._ends[which - 1] if which else 0
        return which, self._frames[which][number - before]

    def _tensor(self, which: int, field: str, frame: int) -> torch.Tensor:
        trajectory = self._trajectories[which]
        atoms = self._atoms if field in self._by_atom[which] else None
        array: NDArray[Any] | None = None
        if atoms is None and not self._copy:
            array = trajectory._frames_in_place(frame, frame + 1, field)
        if array is None:
            array = trajectory.read(frame, frame + 1, atoms=atoms, field=field)
        return torch.from_numpy(array)[0]

    def _fields_by_atom(self, trajectory: Any) -> frozenset[str]:
        """Return the fields that `atoms` applies to; refuses what no item could be made of."""
        found = set()
        for field in self._fields:
            nothing = trajectory.read(0, 0, field=field)
            try:
                torch.from_numpy(nothing)
            except (TypeError, ValueError) as error:
                raise InvalidArgumentError(
                    f"fields={field!r} is not valid: torch has no tensors of dtype {nothing.dtype}"
                ) from error
            has_atoms = nothing.ndim > 1 and nothing.shape[1] == trajectory.n_atoms
            if self._atoms is not None and has_atoms and field != PER_CELL:
                trajectory.read(0, 0, atoms=self._atoms, field=field)
                found.add(field)
        return frozenset(found)
