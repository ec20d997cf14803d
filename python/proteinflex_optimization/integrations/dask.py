"""Trajectories as dask arrays, and sets of them analysed block by block by many processes at once.

    frames = handler.open(key).to_dask()              # a dask.array, nothing is read yet
    fluctuation = rmsf(handler.open(key))             # by the cluster of the current client
    tasks = map_blocks(function, urls)                # delayed results, a list for each trajectory

What is sent to workers is the place of an entry, never its frames: every worker opens the same
directory or URL by itself.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from proteinflex_optimization._needed import needed

with needed("dask", "dask"):
    import dask
    import dask.array
    from dask.utils import parse_bytes

from proteinflex_optimization._arguments import flag, instance, whole
from proteinflex_optimization.errors import InvalidArgumentError, InvalidTypeError
from proteinflex_optimization.remote.urls import is_url, without_credentials
from proteinflex_optimization.trajectory import Trajectory, open_trajectory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dask.delayed import Delayed
    from numpy.typing import NDArray

    from proteinflex_optimization.types import AtomSelection, StrPath

BLOCK_BYTES = 32 << 20
"""Bytes of decoded frames, at most, that one task of `rmsf` holds."""


MERGED = 16
"""Results of how many tasks of `rmsf` one task merges: a power of two, which leaves the order as it is."""


OPENED_AT_ONCE = 16
"""Trajectories that `map_blocks` opens at the same time: each waits for two answers of a server."""


class FrameSource:
    """One field of a trajectory, as dask takes arrays: shape, dtype, slices.

    Parameters
    ----------
    trajectory : Trajectory
        From `DataHandler.open`.
    field : str
        Which of its fields.
    """

    def __init__(self, trajectory: Trajectory, field: str) -> None:
        nothing = trajectory.read(0, 0, field=field)
        self._trajectory = trajectory
        self._field = field
        self.shape = (trajectory.n_frames, *nothing.shape[1:])
        self.dtype = nothing.dtype
        self.ndim = len(self.shape)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Read what slices and whole numbers select; of atoms, only the selected ones."""
        frames, *rest = index if isinstance(index, tuple) else (index,)
        number = None if isinstance(frames, slice) else frames
        start, stop, step = _bounds(frames, self.shape[0])
        atoms = rest[0] if rest and isinstance(rest[0], slice) else slice(None)
        every = atoms == slice(None) or atoms.indices(self.shape[1]) == (0, self.shape[1], 1)
        read = self._trajectory.read(
            start, stop, step, atoms=None if every else atoms, field=self._field
        )
        if rest and isinstance(rest[0], slice):
            rest[0] = slice(None)
        return read[(slice(None) if number is None else 0, *rest)]

    def __dask_tokenize__(self) -> tuple[str, ...]:
        """Name what is stored: equal content has equal names, wherever it lies."""
        return (f"{__name__}.FrameSource", self._trajectory.content_id, self._field)

    def __repr__(self) -> str:
        return f"<FrameSource {self._field!r} of {self._trajectory!r}>"


def to_dask(
    trajectory: Trajectory, field: str = "frames", *, frames_per_chunk: int | None = None
) -> Any:
    """Return a field of a trajectory as a dask array.

    Parameters
    ----------
    trajectory : Trajectory
        From `DataHandler.open`.
    field : str
        Which of its fields.
    frames_per_chunk : int, optional
        Frames in a chunk of the dask array, rounded up to whole stored chunks, for a part of those
        costs as much as the whole. Default: as many as fit into dask's ``array.chunk-size``.

    Returns
    -------
    dask.array.Array
        Its shape and dtype are the field's. Its name follows from what is stored.

    Raises
    ------
    InvalidArgumentError
        No such field, or a number of frames below 1.
    """
    instance("trajectory", trajectory, Trajectory, "a Trajectory")
    source = FrameSource(trajectory, field)
    if frames_per_chunk is None:
        per_frame = math.prod(source.shape[1:]) * source.dtype.itemsize
        limit = parse_bytes(dask.config.get("array.chunk-size"))
        aligned = _aligned_within(trajectory, limit, per_frame)
    else:
        aligned = _aligned(trajectory, whole("frames_per_chunk", frames_per_chunk))
    return dask.array.from_array(
        source,
        chunks=(aligned, *source.shape[1:]),
        asarray=False,
        fancy=False,
        meta=np.empty((0,) * source.ndim, source.dtype),
    )


def _aligned(trajectory: Trajectory, n_frames: int) -> int:
    """Round a number of frames up to whole stored chunks."""
    return -(-n_frames // trajectory.chunk_frames) * trajectory.chunk_frames


def _aligned_within(trajectory: Trajectory, n_bytes: int, per_frame: int) -> int:
    """Return the frames of as many whole stored chunks as fit, of one at least."""
    stored = trajectory.chunk_frames
    return max(1, n_bytes // (stored * max(1, per_frame))) * stored


def map_blocks(
    function: Callable[..., Any],
    trajectories: Iterable[Trajectory | StrPath],
    *args: Any,
    frames_per_block: int | None = None,
    **kwargs: Any,
) -> list[list[Delayed]]:
    """Prepare one call of a function for each block of frames of many trajectories.

    Parameters
    ----------
    function : callable
        Called as ``function(trajectory, start, stop, *args, **kwargs)``: it reads what it needs of
        these frames, where it runs.
    trajectories : iterable of Trajectory, str or path
        Open ones, or the paths or URLs of their files (`open_trajectory`).
    frames_per_block : int, optional
        Frames of one call, rounded up to whole stored chunks; to know how many blocks there are, each
        trajectory is opened now. Default: all frames of a trajectory in one call, and paths and URLs
        are first opened by the workers.
    *args, **kwargs
        Further arguments of the function.

    Returns
    -------
    list of list of dask.delayed.Delayed
        For each trajectory the results of its blocks, both in order: ``dask.compute(*tasks)`` gives
        them in lists of the same form, by the cluster of the current `dask.distributed.Client`, else
        by dask's own choice.

    Raises
    ------
    InvalidArgumentError
        `frames_per_block` is below 1, or `trajectories` is a single one.
    OSError, ProteinFlexError
        What `open_trajectory` raises, here or by the task.
    """
    if not callable(function):
        raise InvalidTypeError(
            f"function={function!r} is of type {type(function).__name__}: expected a function"
        )
    if isinstance(trajectories, (str, bytes, Trajectory)):
        raise InvalidTypeError(
            f"trajectories is of type {type(trajectories).__name__}: expected several of them, such as "
            "a list"
        )
    if frames_per_block is not None:
        whole("frames_per_block", frames_per_block)
    try:
        opened: list[Trajectory | StrPath] = list(trajectories)
    except TypeError:
        raise InvalidTypeError(
            f"trajectories is of type {type(trajectories).__name__}: expected a list of them"
        ) from None
    for one in opened:
        if is_url(one) and without_credentials(str(one)) != str(one):
            raise InvalidTypeError(
                f"trajectories has {without_credentials(str(one))!r}, a URL with credentials, which "
                "are sent nowhere: let the environment of the workers give them"
            )
    if frames_per_block is not None:
        with ThreadPoolExecutor(OPENED_AT_ONCE) as pool:
            opened = list(pool.map(_opened, opened))
    # Sent once, not with each task.
    further = dask.delayed((args, kwargs), traverse=False) if args or kwargs else ((), {})
    call = dask.delayed(_call)
    return [
        [
            call(function, source, start, stop, further)
            for start, stop in _blocks(trajectory, frames_per_block)
        ]
        for trajectory in opened
        # The handle, too.
        for source in [dask.delayed(trajectory, traverse=False)]
    ]


def _opened(trajectory: Trajectory | StrPath) -> Trajectory:
    return trajectory if isinstance(trajectory, Trajectory) else open_trajectory(trajectory)


def _blocks(
    trajectory: Trajectory | StrPath, frames_per_block: int | None
) -> list[tuple[int, int | None]]:
    """Return where blocks begin and end; None is the end of one that is not open yet."""
    if frames_per_block is None or not isinstance(trajectory, Trajectory):
        return [(0, None)]
    size, n_frames = _aligned(trajectory, frames_per_block), trajectory.n_frames
    return [(start, min(start + size, n_frames)) for start in range(0, n_frames, size)]


def _call(
    function: Callable[..., Any],
    source: Trajectory | StrPath,
    start: int,
    stop: int | None,
    further: tuple[tuple[Any, ...], dict[str, Any]],
) -> Any:
    """Return the result of one block: what one task of `map_blocks` does."""
    args, kwargs = further
    trajectory = _opened(source)
    return function(
        trajectory, start, trajectory.n_frames if stop is None else stop, *args, **kwargs
    )


def rmsf(
    trajectory: Trajectory,
    *,
    atoms: AtomSelection | None = None,
    superpose: bool = True,
    reference: Any = None,
    frames_per_block: int | None = None,
    scheduler: Any = None,
) -> NDArray[np.float64]:
    """Compute how far each atom moves about its mean position, block by block.

    Parameters
    ----------
    trajectory : Trajectory
        From `DataHandler.open`. Molecules have to be whole: no periodic images are mended.
    atoms : optional
        Which atoms, as `Trajectory.read` takes them. Only these are decoded.
    superpose : bool
        Whether each frame is first moved and rotated onto the reference, with the least RMSD
        (Kabsch, doi:10.1107/S0567739476001873). False for frames that are aligned already.
    reference : array-like, optional
        (n_selected, 3): what frames are superposed on. Default: the first frame.
    frames_per_block : int, optional
        Frames that one task reads, rounded up to whole stored chunks. Default: 32 MB of them.
    scheduler : optional
        As for `dask.compute`: ``"synchronous"`` computes in this process. Default: the cluster of
        the current `dask.distributed.Client`, else dask's own choice.

    Returns
    -------
    ndarray
        (n_selected,) float64, in the unit of the coordinates.

    Raises
    ------
    InvalidArgumentError
        No such atoms, no frames, or a reference of another shape; or a frame or reference that has to
        be superposed has a NaN or an infinite number. Without `superpose`, these make NaN.

    Notes
    -----
    Each block returns its number of frames, its mean and its sum of squares about that mean; these are
    merged in pairs (Chan, Golub and LeVeque, doi:10.1080/00031305.1983.10483115) in an order that
    only depends on the number of blocks. So the result is the same to the last bit, whether
    one process computes it, two, or a cluster. It depends on `frames_per_block` within rounding.
    """
    instance("trajectory", trajectory, Trajectory, "a Trajectory")
    flag("superpose", superpose)
    if trajectory.n_frames == 0:
        raise InvalidArgumentError("trajectory is not valid: expected one with frames")
    first = trajectory.read(0, 1, atoms=atoms)[0].astype(np.float64)
    try:
        onto = first if reference is None else np.asarray(reference, np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidTypeError(f"reference is not valid: expected positions ({error})") from None
    if onto.shape != first.shape:
        raise InvalidArgumentError(
            f"reference has the shape {onto.shape}: expected {first.shape}, as the selected atoms"
        )
    try:
        dask.base.get_scheduler(scheduler=scheduler)
    except ValueError as error:
        raise InvalidArgumentError(f"scheduler={scheduler!r} is not valid: {error}") from None
    if superpose:
        _check_finite(onto, "frame 0" if reference is None else "reference")
    centred = onto - onto.mean(axis=0) if superpose else None
    if frames_per_block is None:
        # Frames are decoded as they are stored, and worked on as three arrays of float64.
        size = _aligned_within(trajectory, BLOCK_BYTES, first.nbytes)
    else:
        size = _aligned(trajectory, whole("frames_per_block", frames_per_block))
    # The handle, the atoms and the reference are sent once, not with each task.
    shared = dask.delayed((trajectory, atoms, centred), pure=True, traverse=False)
    moments = dask.delayed(block_moments, pure=True)
    merge = dask.delayed(merged_all, pure=True)
    parts = [
        moments(shared, start, min(start + size, trajectory.n_frames))
        for start in range(0, trajectory.n_frames, size)
    ]
    while len(parts) > 1:
        parts = [merge(parts[at : at + MERGED]) for at in range(0, len(parts), MERGED)]
    ((count, _, squares),) = dask.compute(parts[0], scheduler=scheduler)
    fluctuation: NDArray[np.float64] = np.sqrt(squares.sum(axis=1) / count)
    return fluctuation


def _check_finite(positions: NDArray[Any], name: str) -> None:
    """Refuse positions that can't be superposed."""
    unknown = ~np.isfinite(positions).all(axis=-1)
    if unknown.any():
        raise InvalidArgumentError(
            f"{name} can't be superposed: selected atom {int(np.argmax(unknown))} has a NaN or an infinite "
            "position; expected finite ones, or superpose=False"
        )


Moments = tuple[int, "NDArray[np.float64]", "NDArray[np.float64]"]


def block_moments(shared: tuple[Trajectory, Any, Any], start: int, stop: int) -> Moments:
    """Return number, mean and squares about the mean of some frames: what one task of `rmsf` does.

    Parameters
    ----------
    shared : tuple
        The trajectory; the atoms; the frame to superpose on, centered, or None.
    start, stop : int
        The frames.
    """
    trajectory, atoms, reference = shared
    frames = trajectory.read(start, stop, atoms=atoms).astype(np.float64)
    if reference is not None:
        for number in np.flatnonzero(~np.isfinite(frames).all(axis=(1, 2))):
            _check_finite(frames[number], f"frame {start + number}")
        frames -= frames.mean(axis=1, keepdims=True)
        frames = _rotated(frames, reference)
    mean = frames.mean(axis=0)
    frames -= mean
    return stop - start, mean, np.square(frames, out=frames).sum(axis=0)


def merged_all(parts: list[Moments]) -> Moments:
    """Return the moments of all blocks together, merged in pairs."""
    while len(parts) > 1:
        pairs = [merged(*parts[at : at + 2]) for at in range(0, len(parts) - 1, 2)]
        parts = pairs + parts[2 * len(pairs) :]
    return parts[0]


def merged(one: Moments, other: Moments) -> Moments:
    """Return the moments of both blocks together."""
    count = one[0] + other[0]
    difference = other[1] - one[1]
    mean = one[1] + difference * (other[0] / count)
    return count, mean, one[2] + other[2] + difference**2 * (one[0] * other[0] / count)


def _rotated(frames: NDArray[Any], reference: NDArray[Any]) -> NDArray[Any]:
    """Rotate centred frames onto the centred reference.

    Sums over atoms are NumPy's own, for those of a BLAS depend on its threads, which are not the same
    in a worker and here.
    """
    covariance = np.empty((len(frames), 3, 3))
    for row in range(3):
        for column in range(3):
            products = frames[:, :, row] * reference[:, column]
            covariance[:, row, column] = products.sum(axis=1)
    left, _, right = np.linalg.svd(covariance)
    reflected = np.linalg.det(left) * np.linalg.det(right) < 0
    left[reflected, :, 2] *= -1
    rotation = np.einsum("fik,fkj->fij", left, right)
    rotated: NDArray[Any] = np.einsum("fai,fij->faj", frames, rotation)
    return rotated


def _bounds(frames: Any, n_frames: int) -> tuple[int | None, int | None, int]:
    if isinstance(frames, slice):
        return frames.start, frames.stop, frames.step or 1
    number = int(frames) % n_frames
    return number, number + 1, 1
