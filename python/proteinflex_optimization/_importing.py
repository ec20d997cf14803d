"""A cache into which files of other programs are read: trajectories and structures."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from ._arguments import renamed
from ._integrations import integration
from .errors import InvalidArgumentError
from .remote.tiered_cache import TieredCache
from .types import Precision, Profile, StrPath


class ImportingCache(TieredCache):
    __doc__ = TieredCache.__doc__

    def import_trajectory(
        self,
        topology: Any,
        trajectory: StrPath | Sequence[StrPath],
        data_id: str,
        metadata: dict[str, Any] | None = None,
        *,
        format: Any = None,
        topology_format: Any = None,
        overlap: Literal["remove", "keep"] = "remove",
        allow_truncated: bool = False,
        precision: Precision | None = None,
        profile: Profile | None = None,
        frames_per_block: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        **options: Any,
    ) -> str:
        """Store a trajectory that MDAnalysis can read, or a ``.fxt``, ``.npz`` or ``.zarr`` of ours.

        Parameters
        ----------
        topology : str or path or Topology or None
            What MDAnalysis takes, or a `Topology`: it is kept in the entry. None where the trajectory
            tells its number of atoms by itself.
        trajectory : str, path or sequence of these
            A file, or the parts of a run in their order.
        data_id : str
            The name of the trajectory in the cache. A finished one that is there is replaced; the
            frames of an unfinished one stay until `remove_unfinished` drops them.
        metadata : dict, optional
            Plain values that are kept with it.
        format, topology_format : str, optional
            MDAnalysis's names of formats, such as ``'LAMMPSDUMP'``, or ``'FXT'``, ``'NPZ'`` and
            ``'ZARR'``, where the suffix does not tell them.
        overlap : {'remove', 'keep'}
            Frames that the next part of a run has, too, by time or step, are left out, or kept.
        allow_truncated : bool
            Whether of a file that was cut the whole frames are stored, rather than nothing.
        precision, profile : optional
            As for `store_trajectory`; the units are Å, Å/ps and kJ/mol/nm.
        frames_per_block : int, optional
            How many frames that MDAnalysis reads are in memory at a time, at most. Default: 64.
        progress : callable, optional
            Called with the number of frames that were read and of all.
        **options
            For MDAnalysis's reader, such as ``dt`` (ps between frames, where the file has no times).

        Returns
        -------
        str
            The key. Lengths are in Å, times in ps, velocities in Å/ps, forces in kJ/mol/nm.

        Raises
        ------
        ImportError
            MDAnalysis is not installed.
        InvalidArgumentError
            The file can't be read, or MDAnalysis would read something else than what it means; or an
            argument is for MDAnalysis, and the file is one of ours.
        ProteinFlexError
            The file ends before its last frame; nothing appears in the cache.

        Notes
        -----
        A field that some frames lack is NaN there. What is left out is logged as a warning.
        """
        if frames_per_block is not None:
            options["frames_per_block"] = frames_per_block
        arrays = _format_of_arrays(trajectory, format)
        if arrays is not None:
            given = {"topology": topology, "topology_format": topology_format, **options}
            given["overlap"] = None if overlap == "remove" else overlap
            given["allow_truncated"] = allow_truncated or None
            for name, value in given.items():
                if value is not None:
                    raise InvalidArgumentError(
                        f"{name}={value!r} is not valid for {arrays} files: they need none"
                    )
            import_arrays = getattr(integration(arrays), f"import_{arrays}")
            with renamed("path", "trajectory"):
                key: str = import_arrays(
                    self,
                    trajectory,
                    data_id,
                    metadata,
                    precision=precision,
                    profile=profile,
                    progress=progress,
                )
            return key
        key = integration("mdanalysis").import_trajectory(
            self,
            topology,
            trajectory,
            data_id,
            metadata,
            format=format,
            topology_format=topology_format,
            overlap=overlap,
            allow_truncated=allow_truncated,
            precision=precision,
            profile=profile,
            progress=progress,
            **options,
        )
        return key

    def import_structure(
        self,
        source: Any,
        data_id: str,
        metadata: dict[str, Any] | None = None,
        *,
        model: int | Literal["all"] = 1,
        altlocs: Literal["best", "all"] = "best",
        plddt: bool | None = None,
    ) -> str:
        """Store a PDB or mmCIF file, or a structure of gemmi, Biotite or OpenMM, as plain arrays.

        Parameters
        ----------
        source : str or path or object
            A file, plain or compressed; a `gemmi.Structure`; Biotite's `AtomArray` or `AtomArrayStack`;
            OpenMM's `PDBFile`, `PDBxFile` or `Modeller`, or a pair of topology and positions.
        data_id : str
            The name of the structure in the cache.
        metadata : dict, optional
            Plain values that are kept with it.
        model : int or 'all'
            Which model, counted from 1; ``'all'`` for an ensemble of the same atoms.
        altlocs : {'best', 'all'}
            Which alternative locations: those with the highest occupancy, or all.
        plddt : bool, optional
            Whether the B-factors are a predictor's confidence. Default: where the file says so.

        Returns
        -------
        str
            The key. `integrations.structures.read_structure` says what is stored.

        Raises
        ------
        InvalidArgumentError
            It can't be read, has no atoms, no such model, or models of different atoms; the message
            has file and line.
        ImportError
            gemmi is not installed.
        """
        read_structure = integration("structures").read_structure
        data = read_structure(source, model=model, altlocs=altlocs, plddt=plddt)
        return self.store_structure(data, data_id, metadata)


def _format_of_arrays(
    trajectory: StrPath | Sequence[StrPath], format: Any
) -> Literal["fxt", "npz", "zarr"] | None:
    """Return which of the package's own formats a file has, or one of several, if one of these."""
    names = [str(format).lower()]
    if format is None:
        is_one = isinstance(trajectory, (str, os.PathLike))
        files = [trajectory] if is_one or not isinstance(trajectory, Sequence) else trajectory
        names = [
            Path(file).suffix.lower().lstrip(".")
            for file in files
            if isinstance(file, (str, os.PathLike))
        ]
        # Several arrays are not joined here; MDAnalysis says that it does not know them.
        names = names if is_one else [name for name in names if name == "fxt"]
    for known in ("fxt", "npz", "zarr"):
        if known in names:
            return known
    return None
