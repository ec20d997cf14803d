"""Structure files and other libraries' structures, as the plain arrays that the cache stores.

    key = handler.import_structure("AF-P69905-F1-model_v4.cif", "P69905")
    handler.load_data(key)["plddt"]

Files are read by gemmi, which knows the odd corners of PDB and mmCIF.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

try:
    import gemmi
except ImportError as error:
    raise ImportError(
        'this needs gemmi: install it with `pip install "proteinflex-optimization[structures]"`'
    ) from error

from proteinflex_optimization.errors import InvalidArgumentError, InvalidTypeError
from proteinflex_optimization.integrations import _structure_objects as objects
from proteinflex_optimization.types import StructureData

logger = logging.getLogger("proteinflex_optimization")

PREDICTED = re.compile(r"\b(ALPHAFOLD|ESMFOLD)\b.*\bPREDICTION FOR\b", re.IGNORECASE)
"""How predictors say in a PDB file's title that its B-factor column is a confidence."""

FORCE_FIELD_NAMES = {
    **dict.fromkeys(("HSD", "HSE", "HSP", "HID", "HIE", "HIP"), "H"),
    **dict.fromkeys(("CYM", "CYX"), "C"),
    "ASH": "D",
    "GLH": "E",
    "LYN": "K",
}
"""What CHARMM and Amber call states of protonation, which gemmi's tables don't have."""

NO_ALTLOC = "\0"


def read_structure(
    source: Any,
    *,
    model: int | Literal["all"] = 1,
    altlocs: Literal["best", "all"] = "best",
    plddt: bool | None = None,
) -> StructureData:
    """Read a structure as plain arrays.

    Parameters
    ----------
    source : str or path or object
        A PDB or mmCIF file, gzipped or not; a `gemmi.Structure`; Biotite's `AtomArray` or
        `AtomArrayStack`; OpenMM's `PDBFile`, `PDBxFile` or `Modeller`, or a pair of topology and
        positions.
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
        ``atom_names``, ``elements``, ``residue_index``; ``b_factors`` and ``occupancies``, float32,
        where the source has them.

        Of each residue: ``residue_names``, ``residue_numbers`` and ``insertion_codes`` (the
        authors'), ``chains``, ``is_polymer``; ``plddt`` or ``residue_b_factors``, float32: that of
        its Cα (nucleic acids: its P, else C1'), else the mean of its atoms.

        ``sequences``: one letter for each polymer residue that is there, by chain; X where it has
        none. ``n_models``: how many the source has. ``cell``: lengths and angles (Å, degrees), of
        crystals.

    Raises
    ------
    InvalidArgumentError
        It can't be read, has no atoms, no such model, or models of different atoms.
    OSError
        The file can't be opened.
    """
    if altlocs not in ("best", "all"):
        raise InvalidArgumentError(f"altlocs={altlocs!r} is not valid: expected 'best' or 'all'")
    structure, has_factors, says_plddt = _structure(source)
    models = _models(structure, model)
    chosen = [list(_residues(one, altlocs)) for one in models]
    atoms = _same_atoms(chosen, model)
    data: dict[str, Any] = {"positions": atoms if model == "all" else atoms[0]}
    data |= _described(chosen[0], altlocs)
    if has_factors:
        data |= _factors(chosen[0], says_plddt if plddt is None else plddt)
    data["sequences"] = _sequences(chosen[0])
    data["n_models"] = len(structure)
    if structure.cell.is_crystal():
        data["cell"] = np.array(structure.cell.parameters)
    if len(structure) > len(models):
        logger.info("%s: took model %s of %d", structure.name, model, len(structure))
    return cast(StructureData, data)


def _structure(source: Any) -> tuple[Any, bool, bool]:
    """Return a gemmi structure of its own, whether it has B-factors, and whether they are pLDDT."""
    if isinstance(source, (str, os.PathLike)):
        structure, says_plddt = _read(Path(source))
        has_factors = True
    elif isinstance(source, gemmi.Structure):
        structure, has_factors = source.clone(), True
        says_plddt = _is_predicted(structure)
    elif objects.is_biotite(source):
        structure, has_factors = objects.from_biotite(source)
        says_plddt = False
    elif objects.is_openmm(source):
        structure, has_factors, says_plddt = objects.from_openmm(source), False, False
    else:
        raise InvalidTypeError(
            f"source is of type {type(source).__name__}: expected a PDB or mmCIF file, or a structure "
            "of gemmi, Biotite or OpenMM"
        )
    # Tells polymers from ligands and water where the source does not.
    structure.setup_entities()
    return structure, has_factors, says_plddt


def _read(path: Path) -> tuple[Any, bool]:
    with path.open("rb"):
        pass  # What can't be opened is the system's own error.
    document = gemmi.cif.Document()
    try:
        structure = gemmi.read_structure(
            str(path), format=gemmi.CoorFormat.Detect, save_doc=document
        )
    except (RuntimeError, ValueError, IndexError) as error:
        raise InvalidArgumentError(
            f"source={str(path)!r} is not valid: expected a PDB or mmCIF file ({error})"
        ) from error
    metrics = [
        kind.lower() for block in document for kind in block.find_values("_ma_qa_metric.type")
    ]
    return structure, "plddt" in metrics or _is_predicted(structure)


def _is_predicted(structure: Any) -> bool:
    info = structure.info
    return "_struct.title" in info and PREDICTED.search(info["_struct.title"]) is not None


def _models(structure: Any, model: int | str) -> list[Any]:
    n_models = len(structure)
    if n_models == 0 or structure[0].count_atom_sites() == 0:
        raise InvalidArgumentError("source is not valid: expected a structure that has atoms")
    if model == "all":
        return list(structure)
    is_number = isinstance(model, (int, np.integer)) and not isinstance(model, bool)
    if not is_number or not 1 <= int(model) <= n_models:
        raise InvalidArgumentError(
            f"model={model!r} is not valid: expected 'all' or a number from 1 to {n_models}"
        )
    return [structure[int(model) - 1]]


class _Residue:
    """A residue and its atoms that were chosen."""

    def __init__(self, chain: str, residue: Any, atoms: list[Any]) -> None:
        self.chain = chain
        self.name = residue.name
        self.seqid = residue.seqid
        self.is_polymer = residue.entity_type == gemmi.EntityType.Polymer
        self.atoms = atoms


def _residues(model: Any, altlocs: str) -> Iterator[_Residue]:
    for chain in model:
        group: list[Any] = []
        for residue in chain:
            # Residues of one number that follow each other are alternatives of each other.
            same = group and altlocs == "best" and residue.seqid == group[0].seqid
            if group and not (same and _is_alternative(group[0], residue)):
                yield from _best(chain.name, group, altlocs)
                group = []
            group.append(residue)
        if group:
            yield from _best(chain.name, group, altlocs)


def _is_alternative(one: Any, other: Any) -> bool:
    """Return whether all atoms of both are alternative locations: a point mutation in the crystal."""
    return all(atom.has_altloc() for residue in (one, other) for atom in residue)


def _best(chain: str, group: list[Any], altlocs: str) -> Iterator[_Residue]:
    if altlocs == "all":
        yield from (_Residue(chain, residue, list(residue)) for residue in group if len(residue))
        return
    occupancies: dict[str, list[float]] = {}
    for residue in group:
        for atom in residue:
            if atom.has_altloc():
                occupancies.setdefault(atom.altloc, []).append(atom.occ)
    # The first of equals, for `max` keeps it.
    label = max(occupancies, key=lambda at: np.mean(occupancies[at]), default=NO_ALTLOC)
    holds = [residue for residue in group if any(atom.altloc == label for atom in residue)]
    residue = (holds or group)[0]
    # Names without an alternative may repeat, and all of these atoms are kept.
    chosen: dict[Any, Any] = {}
    plain = {atom.name for atom in residue if not atom.has_altloc()}
    for number, atom in enumerate(residue):
        if not atom.has_altloc():
            chosen[number] = atom
        elif atom.name not in plain:
            before = chosen.get(atom.name)
            if before is None or _rank(atom, label) > _rank(before, label):
                chosen[atom.name] = atom
    if chosen:
        yield _Residue(chain, residue, list(chosen.values()))


def _rank(atom: Any, label: str) -> tuple[bool, float]:
    return atom.altloc == label, atom.occ


def _same_atoms(models: list[list[_Residue]], model: int | str) -> np.ndarray[Any, Any]:
    """Return the positions of all models, which have to have the same atoms."""

    def names(residues: list[_Residue]) -> list[Any]:
        return [
            (residue.chain, str(residue.seqid), residue.name, [atom.name for atom in residue.atoms])
            for residue in residues
        ]

    expected = names(models[0])
    for number, residues in enumerate(models[1:], 2):
        if names(residues) != expected:
            raise InvalidArgumentError(
                f"model={model!r} is not valid: model {number} has other atoms than the first; "
                "expected the number of one model"
            )
    positions = np.array(
        [
            [atom.pos.tolist() for residue in residues for atom in residue.atoms]
            for residues in models
        ]
    )
    finite = np.isfinite(positions).all(axis=(0, 2))
    if not finite.all():
        raise InvalidArgumentError(
            f"source is not valid: the position of atom {int(np.argmin(finite))} is not finite"
        )
    return positions.astype(np.float32)


def _described(residues: list[_Residue], altlocs: str) -> dict[str, Any]:
    atoms = [atom for residue in residues for atom in residue.atoms]
    counts = [len(residue.atoms) for residue in residues]
    described: dict[str, Any] = {
        "atom_names": np.array([atom.name for atom in atoms]),
        "elements": np.array([atom.element.name for atom in atoms]),
        "residue_index": np.repeat(np.arange(len(residues), dtype=np.int32), counts),
        "residue_names": np.array([residue.name for residue in residues]),
        "residue_numbers": np.array([residue.seqid.num for residue in residues], np.int32),
        "insertion_codes": np.array([residue.seqid.icode.strip() for residue in residues]),
        "chains": np.array([residue.chain for residue in residues]),
        "is_polymer": np.array([residue.is_polymer for residue in residues]),
    }
    if altlocs == "all":
        described["altlocs"] = np.array([atom.altloc.strip(NO_ALTLOC) for atom in atoms])
    return described


def _factors(residues: list[_Residue], is_plddt: bool) -> dict[str, Any]:
    atoms = [atom for residue in residues for atom in residue.atoms]
    per_residue = np.array([_factor(residue) for residue in residues], np.float32)
    return {
        "b_factors": np.array([atom.b_iso for atom in atoms], np.float32),
        "occupancies": np.array([atom.occ for atom in atoms], np.float32),
        "plddt" if is_plddt else "residue_b_factors": per_residue,
    }


def _factor(residue: _Residue) -> float:
    if residue.is_polymer:
        by_name = {atom.name: atom.b_iso for atom in residue.atoms}
        for name in ("CA", "P", "C1'"):
            if name in by_name:
                return float(by_name[name])
    return float(np.mean([atom.b_iso for atom in residue.atoms]))


def _sequences(residues: list[_Residue]) -> dict[str, str]:
    sequences: dict[str, str] = {}
    for residue in residues:
        if residue.is_polymer:
            known = gemmi.find_tabulated_residue(residue.name).one_letter_code.strip().upper()
            letter = known or FORCE_FIELD_NAMES.get(residue.name, "X")
            sequences[residue.chain] = sequences.get(residue.chain, "") + letter
    return sequences
