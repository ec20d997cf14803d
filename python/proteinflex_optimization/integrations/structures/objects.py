"""Structures of gemmi, Biotite and OpenMM; the latter two without importing the library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gemmi
import numpy as np
from numpy.typing import NDArray

from proteinflex_optimization.errors import InvalidArgumentError

from .atoms import Atoms, Grouping, Residues, Text, group_residues
from .elements import guess_elements
from .pdb import PREDICTED
from .polymers import find_polymers
from .residue_numbers import NotANumberError, decode_numbers


class GemmiSource:
    """The models of a `gemmi.Structure`, in its order."""

    def __init__(self, structure: Any) -> None:
        self._structure = structure.clone()
        # Tells polymers from ligands and water where the source does not.
        self._structure.setup_entities()
        self.label = structure.name or "structure"
        self.n_models = len(structure)
        title = dict(structure.info).get("_struct.title", "")
        self.says_plddt = PREDICTED.search(title) is not None

    def model(self, number: int) -> Atoms:
        """Return a model, counted from 1."""
        pairs = [
            (chain.name, residue)
            for chain in self._structure[number - 1]
            for residue in chain
            if len(residue)
        ]
        atoms = [atom for _, residue in pairs for atom in residue]
        if not atoms:
            raise no_atoms()
        sizes = [len(residue) for _, residue in pairs]
        chains = [chain for chain, _ in pairs]
        texts = [
            "" if residue.seqid.num is None else str(residue.seqid.num) for _, residue in pairs
        ]
        codes = np.array([residue.seqid.icode.strip() for _, residue in pairs])
        places = list(zip(chains, texts, codes.tolist(), strict=True))
        cell = self._structure.cell
        return Atoms(
            np.array([atom.name for atom in atoms]),
            np.array([atom.element.name for atom in atoms]),
            np.array([atom.pos.tolist() for atom in atoms]),
            np.array([atom.altloc.strip("\0 ") for atom in atoms]),
            np.array([atom.b_iso for atom in atoms], np.float32),
            np.array([atom.occ for atom in atoms], np.float32),
            np.repeat(np.arange(len(pairs)), sizes),
            Residues(
                np.array([residue.name for _, residue in pairs]),
                decode_numbers(texts, chains)[0],
                codes,
                np.array(chains),
                np.array([residue.segment for _, residue in pairs]),
                np.array([residue.entity_type == gemmi.EntityType.Polymer for _, residue in pairs]),
                np.cumsum([n > 0 and place != places[n - 1] for n, place in enumerate(places)]),
            ),
            np.array(cell.parameters) if cell.is_crystal() else None,
        )


class ArraySource:
    """Models that share everything but their positions."""

    def __init__(
        self,
        label: str,
        positions: NDArray[np.float64],
        cells: list[NDArray[np.float64] | None],
        build: Callable[[NDArray[np.float64], NDArray[np.float64] | None], Atoms],
    ) -> None:
        self.label = label
        self.n_models = len(positions)
        self.says_plddt = False
        self._positions = positions
        self._cells = cells
        self._build = build

    def model(self, number: int) -> Atoms:
        """Return a model, counted from 1."""
        return self._build(self._positions[number - 1], self._cells[number - 1])


def is_biotite(source: Any) -> bool:
    """Recognise Biotite's `AtomArray` and `AtomArrayStack` by what they have."""
    return hasattr(source, "coord") and hasattr(source, "get_annotation_categories")


def from_biotite(source: Any) -> ArraySource:
    """Take the models of Biotite's arrays; they keep the order of the atoms."""
    label = "Biotite's structure"
    known = source.get_annotation_categories()
    n_atoms = source.array_length()
    if n_atoms == 0:
        raise no_atoms()
    positions = np.asarray(source.coord, np.float64).reshape(-1, n_atoms, 3)

    def text(name: str) -> Text:
        if name not in known:
            return np.full(n_atoms, "")
        found = np.char.strip(np.asarray(getattr(source, name)).astype(str))
        return np.where(np.isin(found, (".", "?")), "", found)

    def number(name: str) -> NDArray[np.float32] | None:
        if name not in known:
            return None
        try:
            return np.asarray(getattr(source, name), np.float32)
        except (TypeError, ValueError) as error:
            raise InvalidArgumentError(
                f"source is not valid: {label} has a {name} that is no number ({error})"
            ) from error

    def build(xyz: NDArray[np.float64], cell: NDArray[np.float64] | None) -> Atoms:
        chains, numbers, codes = text("chain_id"), text("res_id"), text("ins_code")
        names, altlocs, residue_names = text("atom_name"), text("altloc_id"), text("res_name")
        grouping = group_residues(
            [chains, numbers, codes], residue_names, names, altlocs, numbers != ""
        )
        hetero = np.asarray(getattr(source, "hetero", np.zeros(n_atoms, bool)), bool)
        return _built(
            label,
            grouping,
            names,
            text("element"),
            xyz,
            altlocs,
            (number("b_factor"), number("occupancy")),
            (residue_names, numbers, codes, chains, hetero),
            cell,
        )

    box = getattr(source, "box", None)
    cells: list[Any] = [None] * len(positions)
    if box is not None:
        cells = [cell_of_vectors(vectors) for vectors in np.reshape(box, (-1, 3, 3))]
    return ArraySource(label, positions, cells, build)


def is_openmm(source: Any) -> bool:
    """Recognise OpenMM's files and modellers, and pairs of a topology and positions."""
    if isinstance(source, tuple):
        return len(source) == 2 and hasattr(source[0], "residues")
    return hasattr(source, "topology") and hasattr(source, "positions")


def from_openmm(source: Any) -> ArraySource:
    """Take positions and their topology; lengths are in nm where positions have no unit."""
    from openmm import unit

    label = "OpenMM's structure"
    if isinstance(source, tuple):
        topology, positions = source
    else:
        topology, positions = source.topology, source.positions
    try:
        if unit.is_quantity(positions):
            positions = positions.value_in_unit(unit.angstrom)
        else:
            positions = np.asarray(positions, np.float64) * 10
        positions = np.array([tuple(position) for position in positions], np.float64).reshape(-1, 3)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"source is not valid: {label} has positions that are no lengths in three directions "
            f"({error})"
        ) from error
    if positions.shape != (topology.getNumAtoms(), 3):
        raise InvalidArgumentError(
            f"source has positions of shape {positions.shape}: expected "
            f"({topology.getNumAtoms()}, 3), as its topology"
        )
    atoms = list(topology.atoms())
    if not atoms:
        raise no_atoms()
    box = topology.getPeriodicBoxVectors()
    # A list of vectors with units is kept as such.
    vectors = [vector.value_in_unit(unit.angstrom) for vector in box or ()]
    cell = cell_of_vectors(vectors) if vectors else None

    def build(xyz: NDArray[np.float64], cell: NDArray[np.float64] | None) -> Atoms:
        index = np.array([atom.residue.index for atom in atoms])
        _, first, index = np.unique(index, return_index=True, return_inverse=True)
        residues = [atom.residue for atom in atoms]
        names = np.array([str(atom.name) for atom in atoms])
        elements = np.array(
            ["X" if atom.element is None else atom.element.symbol for atom in atoms]
        )
        return _built(
            label,
            Grouping(index, first, np.arange(len(first))),
            names,
            elements,
            xyz,
            np.full(len(atoms), ""),
            (None, None),
            (
                np.array([str(residue.name) for residue in residues]),
                np.array([str(residue.id) for residue in residues]),
                np.array([str(residue.insertionCode).strip() for residue in residues]),
                np.array([str(residue.chain.id).strip() for residue in residues]),
                np.zeros(len(atoms), bool),
            ),
            cell,
        )

    return ArraySource(label, positions[None], [cell], build)


def cell_of_vectors(vectors: Any) -> NDArray[np.float64] | None:
    """Return the lengths and angles (degrees) of a cell of three vectors; None of zeros."""
    a, b, c = np.array([tuple(vector) for vector in vectors], np.float64)
    lengths = np.linalg.norm([a, b, c], axis=1)
    if not (lengths > 0).all() or not np.isfinite(lengths).all():
        return None
    pairs = ((b, c), (a, c), (a, b))
    cosines = [one @ two / np.linalg.norm(one) / np.linalg.norm(two) for one, two in pairs]
    return np.concatenate([lengths, np.degrees(np.arccos(np.clip(cosines, -1, 1)))])


def _built(
    label: str,
    grouping: Grouping,
    names: Text,
    symbols: Text,
    positions: NDArray[np.float64],
    altlocs: Text,
    factors: tuple[NDArray[np.float32] | None, NDArray[np.float32] | None],
    of_residues: tuple[Text, Text, Text, Text, NDArray[np.bool_]],
    cell: NDArray[np.float64] | None,
) -> Atoms:
    residue_names, numbers, codes, chains, hetero = of_residues
    first = grouping.first
    try:
        decoded, _ = decode_numbers(numbers[first].tolist(), chains[first].tolist())
    except NotANumberError as error:
        raise InvalidArgumentError(
            f"source has a residue with the number {numbers[first][error.place]!r}: expected whole "
            "numbers"
        ) from None
    ends = np.zeros(len(first), bool)
    is_polymer = find_polymers(
        grouping, residue_names[first], names, hetero[first], [chains[first]], ends
    )
    return Atoms(
        names,
        guess_elements(symbols, names, residue_names, grouping.is_alone, label),
        positions,
        altlocs,
        *factors,
        grouping.index,
        Residues(
            residue_names[first],
            decoded,
            codes[first],
            chains[first],
            np.full(len(first), ""),
            is_polymer,
            grouping.site,
        ),
        cell,
    )


def no_atoms() -> InvalidArgumentError:
    """Return the error that says that there is nothing."""
    return InvalidArgumentError("source is not valid: expected a structure that has atoms")
