"""Whether a file holds what MDAnalysis reads of it: whole frames, all of them, and nothing else.

Readers count frames by the size of the first one, or by the marks at their beginning, and most pass
over what follows. So each format is looked at here for how it ends. What a format can't tell, nobody
can: a text file that was cut exactly between two frames is a shorter one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from proteinflex_optimization.integrations.mdanalysis import (
    binary_files,
    lammps_dump,
    text_files,
)
from proteinflex_optimization.integrations.mdanalysis.findings import Findings
from proteinflex_optimization.integrations.mdanalysis.tng_blocks import tng

Examiner: TypeAlias = Callable[[Any, Path, Findings], None]

EXAMINERS: dict[str, Examiner] = {
    "DCD": binary_files.dcd,
    "LAMMPS": binary_files.dcd,
    "NCDF": binary_files.netcdf,
    "H5MD": binary_files.h5md,
    "TRZ": binary_files.trz,
    "COOR": binary_files.namdbin,
    "GSD": binary_files.gsd,
    "XYZ": text_files.xyz,
    "TXYZ": text_files.tinker,
    "LAMMPSDUMP": lammps_dump.lammps_dump,
    "TRJ": text_files.mdcrd,
    "PDBQT": text_files.pdbqt,
    "GRO": text_files.gro,
    "HISTORY": text_files.history,
    "CONFIG": text_files.text,
    "INPCRD": text_files.inpcrd,
    "CRD": text_files.crd,
    "PQR": text_files.text,
    "MOL2": text_files.mol2,
    "DATA": lammps_dump.lammps_data,
    "IN": text_files.ended_lines,
    "GMS": text_files.gamess,
}
"""By the name of the reader; of other formats, frames that can't be read are all that is noticed."""


BEFORE_OPENING: dict[str, Callable[[Path, Findings], None]] = {
    "XTC": binary_files.walk_xtc,
    "TRR": binary_files.walk_trr,
    "TNG": tng,
    "PDB": text_files.pdb,
    "XPDB": text_files.pdb,
    "TRC": text_files.trc,
}
"""What these refuse, the reader would not refuse clearly: it would hang, or end the process."""


TEXTS = frozenset(
    {
        *("CIF", "CONFIG", "CRD", "DATA", "GMS", "GRO", "HISTORY", "IN", "INPCRD", "LAMMPSDUMP"),
        *("MOL2", "PDB", "PDBQT", "PQR", "TRC", "TRJ", "TXYZ", "XPDB", "XYZ"),
    }
)
"""Formats of text, which have to be UTF-8 for their readers."""


def examine_before_opening(path: Path, name: str) -> Findings:
    """Look at a file before its reader does.

    Raises
    ------
    InvalidArgumentError
        The reader can't be trusted with it.
    """
    findings = Findings()
    examiner = BEFORE_OPENING.get(name)
    if examiner is not None:
        examiner(path, findings)
    return findings


def examine(reader: Any, path: Path, name: str, findings: Findings) -> None:
    """Look at a file for what its reader passes over.

    Raises
    ------
    InvalidArgumentError
        The reader would give something else than what the file means.
    """
    examiner = EXAMINERS.get(name)
    if examiner is not None:
        examiner(reader, path, findings)


__all__ = ["TEXTS", "Findings", "examine", "examine_before_opening"]
