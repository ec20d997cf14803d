"""Who takes part: everybody that can keep the promise, exact or within half a spacing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from . import array_files, biomd, compressors, md_files, molly, ours
from .contender import CHUNK_FRAMES, Contender, Missing

#: Frames that BIOMD is given together: alone, as its authors measure it, and as many as ours.
BIOMD_FRAMES = (1, 20, CHUNK_FRAMES)


def lineup(
    spacing: float | None, is_on_grid: bool, only: Sequence[str] = ("",)
) -> Iterator[Contender | Missing]:
    """Yield the contenders, and those that are missing.

    Parameters
    ----------
    spacing
        Of the grid that coordinates may be rounded to, in Å; `None` to keep every bit.
    is_on_grid
        Whether they lie on the grid of 0.01 Å already, so that XTC keeps them.
    only
        How the names begin of those that are wanted.
    """
    if spacing is None:
        makers = _exact()
        if is_on_grid:
            makers |= _xtc(0.01)
    else:
        makers = _xtc(spacing) | _bounded(spacing)
    for name, make in makers.items():
        if not name.startswith(tuple(only)):
            continue
        try:
            yield make()
        except ImportError as error:
            yield Missing(name, str(error))


def _xtc(spacing: float) -> dict[str, Callable[[], Contender]]:
    makers = {
        "XTC, MDAnalysis": partial(md_files.xtc_by_mdanalysis, spacing),
        "XTC, molly": partial(molly.xtc_by_molly, spacing),
    }
    if spacing == 0.01:
        makers["XTC, mdtraj"] = md_files.xtc_by_mdtraj
    return makers


def _exact() -> dict[str, Callable[[], Contender]]:
    return {
        "ours": partial(ours.compressed, None),
        "ours, archive": partial(ours.compressed, None, "archive"),
        "ours, uncompressed": ours.uncompressed,
        "DCD": md_files.dcd,
        "zarr v3": array_files.zarr_default,
        "HDF5, shuffle + gzip": array_files.hdf5_gzip,
        "blosc2, shuffle": compressors.blosc2_shuffle,
        "blosc2, bytedelta": compressors.blosc2_bytedelta,
        "pco": compressors.pco,
        "fpzip": compressors.fpzip,
        "zfp": partial(compressors.zfp, None),
    }


def _bounded(spacing: float) -> dict[str, Callable[[], Contender]]:
    return {
        "ours": partial(ours.compressed, spacing),
        "ours, archive": partial(ours.compressed, spacing, "archive"),
        "rounding + pco": partial(compressors.pco_rounded, spacing),
        "zfp": partial(compressors.zfp, spacing),
        "SZ3, pysz": partial(compressors.sz3, spacing),
        "HDF5, SZ3": partial(array_files.hdf5_sz3, spacing),
        **_biomd(spacing),
    }


def _biomd(spacing: float) -> dict[str, Callable[[], Contender]]:
    makers = {f"BIOMD, {count}": partial(biomd.biomd, spacing, count) for count in BIOMD_FRAMES}
    longest = BIOMD_FRAMES[-1]
    return makers | {"BIOMD, equal": partial(biomd.biomd, spacing, longest, is_equal=True)}
