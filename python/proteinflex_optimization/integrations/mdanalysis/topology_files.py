"""Topology files, as MDAnalysis reads them, or where it can't, as `import_structure` does."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import MDAnalysis
import numpy as np
from MDAnalysis.topology.core import get_parser_for

from proteinflex_optimization._log import get_logger
from proteinflex_optimization._packed import checked_path, unpacked
from proteinflex_optimization._system_errors import is_of_system
from proteinflex_optimization.errors import InvalidArgumentError, ProteinFlexError
from proteinflex_optimization.integrations.mdanalysis.encodings import write_utf8
from proteinflex_optimization.integrations.mdanalysis.topology import (
    bonded_atoms,
    topology_from_mdanalysis,
    topology_to_mdanalysis,
)
from proteinflex_optimization.topology import MMCIF, Topology, of_structure_file

logger = get_logger()

STRUCTURES = frozenset({"PDB", "ENT", "CIF", "MMCIF"})
"""MDAnalysis's names of topologies that `import_structure` reads as well."""

BY_SERIALS = {"PDB", "ENT", "XPDB"}
"""In which bonds are between serial numbers, which MDAnalysis takes for those of the last atoms."""

NO_UTF8 = "codec can't decode"
"""What MDAnalysis says of text in another encoding."""

LISTS_OF_FORMATS = re.compile(r"\s(?:The FORMATs|You can use)\s")
"""Where MDAnalysis's messages begin to list all that it knows."""


def topology_of_file(path: Any) -> Topology:
    """Return the topology of a file that MDAnalysis can read, such as GRO, PSF, PRMTOP and TPR.

    Raises
    ------
    InvalidArgumentError
        MDAnalysis can't read it.
    """
    path = checked_path("source", path)
    try:
        universe = _read(path, None, MDAnalysis.Universe)
    except Exception as error:
        if is_clear(error):
            raise
        read = _of_structure(path, None)
        if read is not None:
            return read
        raise InvalidArgumentError(
            f"source={path!r} is not valid: expected a topology that MDAnalysis can read. "
            f"It says: {reason_of(error)}"
        ) from error
    bonded_atoms(universe, f"source={path!r}")
    return topology_from_mdanalysis(universe)


def universe_of(path: str, topology_format: Any, make: Callable[[Any, Any], Any]) -> Any:
    """Return what `make` makes of a topology file and its format.

    Of a PDB or mmCIF file that MDAnalysis's parser fails on, it is made of what `import_structure`
    reads.
    """
    try:
        if _is_mmcif_of_another_name(path, topology_format):
            raise ValueError("it is an mmCIF file, by another name")
        return _read(path, topology_format, lambda readable: make(readable, topology_format))
    except Exception as error:
        read = None if is_clear(error) else _of_structure(path, topology_format)
        if read is None:
            raise
        universe = make(topology_to_mdanalysis(read), None)
        logger.warning(
            "%s: the topology is as import_structure reads it, without bonds; MDAnalysis does not: %s",
            path,
            reason_of(error),
        )
        return universe


def is_structure(path: Any, topology_format: Any) -> bool:
    """Whether MDAnalysis takes a file for PDB or mmCIF, or for nothing that it knows."""
    names = _formats(path, topology_format)
    return not STRUCTURES.isdisjoint(names) or (not names and topology_format is None)


def _formats(path: Any, topology_format: Any) -> set[str]:
    """Return MDAnalysis's names of the format of a file; none if it does not know that."""
    try:
        formats = get_parser_for(str(path), topology_format).format
    except ValueError:
        return set()
    return {name.upper() for name in ([formats] if isinstance(formats, str) else formats)}


def _is_mmcif_of_another_name(path: str, topology_format: Any) -> bool:
    """Whether MDAnalysis would read mmCIF by the columns of PDB, which gives atoms without sense."""
    if "PDB" not in _formats(path, topology_format) or not Path(path).is_file():
        return False
    return MMCIF.match(next(unpacked("topology", Path(path)), b"")) is not None


def is_clear(error: Exception) -> bool:
    """Whether an error says by itself what is wrong: no file, no library, no memory."""
    return is_of_system(error) or isinstance(error, (ImportError, ProteinFlexError))


def reason_of(error: Exception) -> str:
    """Return the message of an error of MDAnalysis, without the dozens of formats that it knows."""
    said = str(error) or str(error.__context__ or "")
    return LISTS_OF_FORMATS.split(f"{type(error).__name__}: {said}")[0].strip()


def _of_structure(path: str, topology_format: Any) -> Topology | None:
    return of_structure_file(path) if is_structure(path, topology_format) else None


def _read(path: str, topology_format: Any, make: Callable[[str], Any]) -> Any:
    """Return what `make` makes of a file, without the bonds of which it does not tell the atoms."""
    universe = _read_as_utf8(path, make)
    bonds = getattr(universe._topology, "bonds", None)
    if bonds is None or not len(bonds.values) or not _formats(path, topology_format) & BY_SERIALS:
        return universe
    _, which, counts = np.unique(universe.atoms.ids, return_inverse=True, return_counts=True)
    pairs = np.array(bonds.values)
    unclear = (counts[which] > 1)[pairs].any(axis=1)
    if unclear.any():
        universe.delete_bonds([tuple(pair) for pair in pairs[unclear].tolist()])
        logger.warning(
            "%s: %d bonds of CONECT are left out, for several atoms have the serial numbers in them",
            path,
            np.count_nonzero(unclear),
        )
    return universe


def _read_as_utf8(path: str, make: Callable[[str], Any]) -> Any:
    """Return what `make` makes of a file; where a title is no UTF-8, of a copy in which it is."""
    try:
        return make(path)
    except Exception as error:
        if NO_UTF8 not in str(error):
            raise
        with TemporaryDirectory() as directory:
            universe = make(str(write_utf8("topology", Path(path), Path(directory))))
        universe.filename = path
        return universe
