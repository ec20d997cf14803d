"""A structure of any source, as plain arrays."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import gemmi
import numpy as np
from numpy.typing import NDArray

from proteinflex_optimization._arguments import flag, path_text
from proteinflex_optimization._log import get_logger
from proteinflex_optimization.errors import InvalidArgumentError, InvalidTypeError
from proteinflex_optimization.types import StructureData

from . import objects
from .altlocs import best_rows
from .atoms import Atoms, Source
from .content import find_format, read_content
from .mmcif import MMCIFSource
from .pdb import PDBSource
from .residue_kinds import letter

logger = get_logger()

REPRESENTATIVES = ("CA", "P", "C1'")
"""Whose B-factor is that of a polymer's residue."""


def read_structure(
    source: Any,
    *,
    model: int | Literal["all"] = 1,
    altlocs: Literal["best", "all"] = "best",
    plddt: bool | None = None,
) -> StructureData:
    """Read a structure as plain arrays, atoms and residues in the order of the source.

    Parameters
    ----------
    source : str or path or object
        A PDB, mmCIF or mmJSON file, plain or compressed with gzip, bzip2 or xz, told by its content;
        a `gemmi.Structure`; Biotite's `AtomArray` or `AtomArrayStack`; OpenMM's `PDBFile`,
        `PDBxFile` or `Modeller`, or a pair of topology and positions.
    model : int or 'all'
        Which model, counted from 1. ``'all'`` takes all of them, where they have the same atoms.
    altlocs : {'best', 'all'}
        Of alternative locations, ``'best'`` takes those with the highest occupancy, one for a whole
        residue where that has each atom; equal ones by their order in the file. ``'all'`` keeps
        them all, and adds ``altlocs``.
    plddt : bool, optional
        Whether the B-factors are a predictor's confidence. Default: where the file says so.

    Returns
    -------
    dict
        Of each atom: ``positions`` (n_atoms, 3) float32, in Å; (n_models, n_atoms, 3) of all models;
        ``atom_names``; ``elements``, guessed by name and residue where the source has none, ``'X'``
        of what has none (virtual sites); ``residue_index``; ``b_factors`` and ``occupancies``,
        float32, where the source has them, NaN of atoms that have none.

        Of each residue: ``residue_names``, ``residue_numbers`` and ``insertion_codes`` (the
        authors'; a residue without a number is counted on from the one before), ``chains``,
        ``segment_ids`` where the file has some, ``is_polymer``; ``plddt`` or ``residue_b_factors``,
        float32: that of its Cα (nucleic acids: its P, else C1'), else the mean of its atoms.

        ``sequences``: one letter for each polymer residue that is there, by chain; X where it has
        none. ``n_models``: how many the source has. ``cell``: lengths and angles (Å, degrees) of
        the model, where it has one that is not a placeholder.

        Of all models, ``cell``, B-factors, occupancies and pLDDT have a row for each where theirs
        differ, NaN of those without.

    Raises
    ------
    InvalidArgumentError
        It can't be read, has no atoms, no such model, or models of different atoms. What is wrong
        with a file is said with its path and line.
    OSError
        The file can't be opened.
    """
    if altlocs not in ("best", "all"):
        raise InvalidArgumentError(f"altlocs={altlocs!r} is not valid: expected 'best' or 'all'")
    if plddt is not None:
        flag("plddt", plddt)
    opened = _open(source)
    models = [opened.model(number) for number in _numbers(opened, model)]
    rows = [
        np.arange(len(atoms.names)) if altlocs == "all" else best_rows(atoms) for atoms in models
    ]
    _check_same_atoms(models, rows, model)
    exact = np.stack([atoms.positions[chosen] for atoms, chosen in zip(models, rows, strict=True)])
    with np.errstate(over="ignore"):
        positions = exact.astype(np.float32)
    is_finite = np.isfinite(positions).all(axis=2)
    if not is_finite.all():
        place = tuple(np.argwhere(~is_finite)[0])
        raise InvalidArgumentError(
            f"source is not valid: {opened.label}: the position of atom {place[1]} is not finite as "
            f"float32: {exact[place].tolist()}"
        )
    data: dict[str, Any] = {"positions": positions if model == "all" else positions[0]}
    data |= _described(models[0], rows[0])
    if altlocs == "all":
        data["altlocs"] = models[0].altlocs
    data |= _factors(data, models, rows, opened.says_plddt, plddt)
    highest = np.fmax.reduce(data.get("plddt", []), axis=None, initial=0)
    if 0 < highest <= 1:
        logger.warning(
            "%s: its pLDDT is %g at most, as on a scale of 0 to 1, and is kept so; expected 0 to 100",
            opened.label,
            highest,
        )
    data["sequences"] = _sequences(data)
    data["n_models"] = opened.n_models
    cell = _of_all([one.cell for one in models])
    if cell is not None:
        data["cell"] = cell
    if opened.n_models > len(models):
        logger.info("%s: took model %s of %d", opened.label, model, opened.n_models)
    return cast(StructureData, data)


def _open(source: Any) -> Source:
    if isinstance(source, (str, os.PathLike)):
        path = Path(path_text("source", source))
        content = read_content(path)
        found = find_format(path, content)
        if found == "PDB":
            return PDBSource(path, content)
        return MMCIFSource(path, content, is_json=found == "mmJSON")
    if isinstance(source, gemmi.Structure):
        return objects.GemmiSource(source)
    if objects.is_biotite(source):
        return objects.from_biotite(source)
    if objects.is_openmm(source):
        return objects.from_openmm(source)
    raise InvalidTypeError(
        f"source is of type {type(source).__name__}: expected a PDB or mmCIF file, or a structure "
        "of gemmi, Biotite or OpenMM"
    )


def _numbers(source: Source, model: int | str) -> list[int]:
    if source.n_models == 0:
        raise objects.no_atoms()
    if model == "all":
        return list(range(1, source.n_models + 1))
    is_number = isinstance(model, (int, np.integer)) and not isinstance(model, bool)
    if not is_number or not 1 <= int(model) <= source.n_models:
        raise InvalidArgumentError(
            f"model={model!r} is not valid: expected 'all' or a number from 1 to {source.n_models}"
        )
    return [int(model)]


def _check_same_atoms(models: list[Atoms], rows: list[NDArray[np.intp]], model: int | str) -> None:
    def identity(atoms: Atoms, chosen: NDArray[np.intp]) -> list[NDArray[Any]]:
        of = atoms.residue_index[chosen]
        residues = atoms.residues
        return [
            atoms.names[chosen],
            residues.names[of],
            residues.numbers[of],
            residues.insertion_codes[of],
            residues.chains[of],
            np.unique(of, return_inverse=True)[1],
        ]

    expected = identity(models[0], rows[0])
    for number, (atoms, chosen) in enumerate(zip(models[1:], rows[1:], strict=True), 2):
        if not all(map(np.array_equal, identity(atoms, chosen), expected)):
            raise InvalidArgumentError(
                f"model={model!r} is not valid: model {number} has other atoms than the first; "
                "expected the number of one model"
            )


def _described(atoms: Atoms, rows: NDArray[np.intp]) -> dict[str, Any]:
    kept, index = np.unique(atoms.residue_index[rows], return_inverse=True)
    residues = atoms.residues
    described: dict[str, Any] = {
        "atom_names": atoms.names[rows],
        "elements": atoms.elements[rows],
        "residue_index": index.astype(np.int32),
        "residue_names": residues.names[kept],
        "residue_numbers": residues.numbers[kept],
        "insertion_codes": residues.insertion_codes[kept],
        "chains": residues.chains[kept],
        "is_polymer": residues.is_polymer[kept],
    }
    if (residues.segment_ids != "").any():
        described["segment_ids"] = residues.segment_ids[kept]
    return described


def _factors(
    data: dict[str, Any],
    models: list[Atoms],
    rows: list[NDArray[np.intp]],
    says_plddt: bool,
    plddt: bool | None,
) -> dict[str, Any]:
    factors: dict[str, Any] = {}
    for column in ("occupancies", "b_factors"):
        values = [getattr(atoms, column) for atoms in models]
        pairs = zip(values, rows, strict=True)
        found = _of_all([None if one is None else one[chosen] for one, chosen in pairs])
        if found is not None:
            factors[column] = found
    if "b_factors" in factors:
        b_factors = factors["b_factors"]
        is_plddt = says_plddt if plddt is None else plddt
        name = "plddt" if is_plddt else "residue_b_factors"
        each = np.stack([_residue_factors(data, one) for one in np.atleast_2d(b_factors)])
        factors[name] = each if b_factors.ndim == 2 else each[0]
    elif plddt:
        raise InvalidArgumentError(
            "plddt=True is not valid: the source has no B-factors that could be a confidence"
        )
    return factors


def _residue_factors(data: dict[str, Any], b_factors: NDArray[np.float32]) -> NDArray[np.float32]:
    index, names = data["residue_index"], data["atom_names"]
    n_residues = len(data["residue_names"])
    is_there = ~np.isnan(b_factors)
    counts = np.bincount(index[is_there], minlength=n_residues)
    sums = np.bincount(index[is_there], b_factors[is_there].astype(np.float64), n_residues)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        factors = (sums / counts).astype(np.float32)  # NaN where no atom has one.
    # The most telling last, so that it is what stays; of a name that repeats, the last atom.
    for name in reversed(REPRESENTATIVES):
        rows = np.flatnonzero((names == name) & data["is_polymer"][index])
        factors[index[rows]] = b_factors[rows]
    return factors


def _sequences(data: dict[str, Any]) -> dict[str, str]:
    sequences: dict[str, str] = {}
    chains, names = data["chains"][data["is_polymer"]], data["residue_names"][data["is_polymer"]]
    for chain, name in zip(chains.tolist(), names.tolist(), strict=True):
        sequences[chain] = sequences.get(chain, "") + letter(name)
    return sequences


def _of_all(found: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    """Return what all models have; where theirs differ, a row of each, NaN of those without."""
    known = next((one for one in found if one is not None), None)
    if known is None:
        return None
    rows = np.stack([np.full_like(known, np.nan) if one is None else one for one in found])
    is_same = np.array_equal(rows, np.broadcast_to(rows[0], rows.shape), equal_nan=True)
    return rows[0] if is_same else rows
