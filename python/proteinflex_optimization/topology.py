"""`Topology`: the atoms, residues, chains and bonds of a trajectory, without a file."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _native
from ._integrations import Name, integration
from ._packed import without_suffix
from ._topology_columns import (
    DEUTERIUM,
    ORDER_STEP,
    SYMBOLS,
    bonds_of,
    chosen_atoms,
    elements_of,
    integers,
    texts,
)
from .errors import InvalidTypeError, ProteinFlexError

if TYPE_CHECKING:
    from .types import AtomSelection, StrPath

Text = NDArray[np.str_]

TEXTS = (
    "names",
    "residue_names",
    "insertion_codes",
    "segment_ids",
    "subchains",
    "chain_ids",
)
"""The columns of texts."""


class Topology:
    """The atoms, residues, chains and bonds of a trajectory.

    Made by `Topology.of`, from what other libraries have or files hold, or of columns. It never
    changes; equal ones are equal, and ``topology[atoms]`` is that of some atoms. Arrays are
    read-only.

    Parameters
    ----------
    names : sequence of str
        (n_atoms,), of each atom.
    elements : sequence of str
        (n_atoms,): symbols, also ``'D'`` and ``'T'``; ``''`` for what has no element or none that is
        known, such as virtual sites.
    residue_index : array_like of int
        (n_atoms,): which residue each atom is in.
    residue_names : sequence of str
        (n_residues,)
    residue_numbers : array_like of int
        (n_residues,), as authors count: they may be negative, repeat, and leave gaps.
    chain_index : array_like of int
        (n_residues,): which chain each residue is in.
    chain_ids : sequence of str
        (n_chains,), as authors name them.
    insertion_codes, segment_ids, subchains : sequence of str, optional
        (n_residues,); ``''`` where there is none. ``subchains`` are mmCIF's own chain ids
        (``label_asym_id``).
    bonds : array_like of int, optional
        (n_bonds, 2): pairs of atoms in any order.
    bond_orders : array_like of float, optional
        (n_bonds,): 1, 2 or 3; 1.5 for aromatic and 1.25 for amide bonds; 0 for unknown, the default.

    Raises
    ------
    InvalidArgumentError
        The columns do not fit each other; the message names the one.
    """

    __slots__ = ("_arrays", "_encoded")

    def __init__(
        self,
        names: Sequence[str] | Text,
        elements: Sequence[str] | Text,
        residue_index: ArrayLike,
        residue_names: Sequence[str] | Text,
        residue_numbers: ArrayLike,
        chain_index: ArrayLike,
        chain_ids: Sequence[str] | Text,
        *,
        insertion_codes: Sequence[str] | Text | None = None,
        segment_ids: Sequence[str] | Text | None = None,
        subchains: Sequence[str] | Text | None = None,
        bonds: ArrayLike | None = None,
        bond_orders: ArrayLike | None = None,
    ) -> None:
        residues = texts("residue_names", residue_names)
        none = ([""] if len(residues[1]) else [], np.zeros(len(residues[1]), np.uint32))
        pairs, orders = bonds_of(bonds, bond_orders)
        self._encoded = _native.encode_topology(
            {
                "names": texts("names", names),
                "elements": elements_of(elements),
                "residue_index": integers("residue_index", residue_index, np.uint32),
                "residue_names": residues,
                "residue_numbers": integers("residue_numbers", residue_numbers, np.int32),
                "insertion_codes": texts("insertion_codes", insertion_codes, none),
                "segment_ids": texts("segment_ids", segment_ids, none),
                "subchains": texts("subchains", subchains, none),
                "chain_index": integers("chain_index", chain_index, np.uint32),
                "chain_ids": texts("chain_ids", chain_ids),
                "bonds": pairs.ravel(),
                "bond_orders": orders,
            }
        )
        self._arrays: dict[str, NDArray[Any]] | None = None

    @classmethod
    def of(cls, source: Any) -> Topology:
        """Return the topology of what another library has, of a file, or of a stored structure.

        Parameters
        ----------
        source : object
            An `openmm.app.Topology`, or what has one (`Simulation`, `PDBFile`, `Modeller`); an
            `mdtraj.Topology` or `mdtraj.Trajectory`; an `MDAnalysis.Universe` or `AtomGroup`; a
            `gemmi.Structure`, of which all atoms of the first model are taken; a dict as
            `DataHandler.import_structure` stores it; a path: PDB, mmCIF and mmJSON files are read as
            by `import_structure`, others by MDAnalysis; or a topology, which is returned.

        Raises
        ------
        InvalidArgumentError
            It holds what no topology can say, or is not a topology.
        ImportError
            The library that reads it is not installed.
        """
        if isinstance(source, Topology):
            return source
        name, function = _converter(source)
        found: Topology = getattr(integration(name), function)(source)
        return found

    @classmethod
    def _from_bytes(cls, encoded: bytes) -> Topology:
        """Return the topology of bytes that `_encoded` was, and that have been checked."""
        made = cls.__new__(cls)
        made._encoded = encoded
        made._arrays = None
        return made

    def _column(self, name: str) -> NDArray[Any]:
        if self._arrays is None:
            found: dict[str, Any] = _native.decode_topology(self._encoded)
            for text in TEXTS:
                distinct, index = found[text]
                found[text] = np.array(distinct, dtype=np.str_)[index] if distinct else _NO_TEXT
            found["atomic_numbers"] = found.pop("elements")
            found["elements"] = np.array(SYMBOLS)[found["atomic_numbers"]]
            # Of isotopes, the element.
            found["atomic_numbers"][found["atomic_numbers"] >= DEUTERIUM] = 1
            found["bonds"] = found["bonds"].reshape(-1, 2).astype(np.int32)
            found["bond_orders"] = found["bond_orders"].astype(np.float32) / ORDER_STEP
            for index in ("residue_index", "chain_index"):
                found[index] = found[index].astype(np.int32)
            for array in found.values():
                array.flags.writeable = False
            self._arrays = found
        return self._arrays[name]

    @property
    def n_atoms(self) -> int:
        """The number of atoms."""
        return len(self.names)

    @property
    def n_residues(self) -> int:
        """The number of residues."""
        return len(self.residue_names)

    @property
    def n_chains(self) -> int:
        """The number of chains."""
        return len(self.chain_ids)

    @property
    def n_bonds(self) -> int:
        """The number of bonds."""
        return len(self.bonds)

    @property
    def names(self) -> Text:
        """(n_atoms,) str: the name of each atom."""
        return self._column("names")

    @property
    def elements(self) -> Text:
        """(n_atoms,) str: the symbol of each atom's element; ``''`` where there is none."""
        return self._column("elements")

    @property
    def atomic_numbers(self) -> NDArray[np.uint8]:
        """(n_atoms,) uint8: the atomic number of each atom; 0 where there is no element."""
        return self._column("atomic_numbers")

    @property
    def residue_index(self) -> NDArray[np.int32]:
        """(n_atoms,) int32: which residue each atom is in."""
        return self._column("residue_index")

    @property
    def residue_names(self) -> Text:
        """(n_residues,) str: the name of each residue."""
        return self._column("residue_names")

    @property
    def residue_numbers(self) -> NDArray[np.int32]:
        """(n_residues,) int32: the number of each residue, as authors count."""
        return self._column("residue_numbers")

    @property
    def insertion_codes(self) -> Text:
        """(n_residues,) str: the insertion code of each residue; mostly ``''``."""
        return self._column("insertion_codes")

    @property
    def segment_ids(self) -> Text:
        """(n_residues,) str: the segment of each residue; ``''`` where none is told."""
        return self._column("segment_ids")

    @property
    def subchains(self) -> Text:
        """(n_residues,) str: mmCIF's own chain id of each residue; ``''`` where none is told."""
        return self._column("subchains")

    @property
    def chain_index(self) -> NDArray[np.int32]:
        """(n_residues,) int32: which chain each residue is in."""
        return self._column("chain_index")

    @property
    def chain_ids(self) -> Text:
        """(n_chains,) str: the id of each chain, as authors name them."""
        return self._column("chain_ids")

    @property
    def bonds(self) -> NDArray[np.int32]:
        """(n_bonds, 2) int32: the atoms of each bond, the lower one first; ascending."""
        return self._column("bonds")

    @property
    def bond_orders(self) -> NDArray[np.float32]:
        """(n_bonds,) float32: the order of each bond; 0 where it is not known."""
        return self._column("bond_orders")

    def __getitem__(self, atoms: AtomSelection) -> Topology:
        """Return the topology of some atoms, in this order, each once.

        Residues and chains without atoms are left out, and bonds to other atoms.
        """
        chosen = chosen_atoms(atoms, self.n_atoms)
        residues, residue_index = np.unique(self.residue_index[chosen], return_inverse=True)
        chains, chain_index = np.unique(self.chain_index[residues], return_inverse=True)
        place = np.full(self.n_atoms, -1)
        place[chosen] = np.arange(len(chosen))
        bonds = place[self.bonds]
        kept = (bonds >= 0).all(axis=1)
        return Topology(
            self.names[chosen],
            self.elements[chosen],
            residue_index,
            self.residue_names[residues],
            self.residue_numbers[residues],
            chain_index,
            self.chain_ids[chains],
            insertion_codes=self.insertion_codes[residues],
            segment_ids=self.segment_ids[residues],
            subchains=self.subchains[residues],
            bonds=bonds[kept],
            bond_orders=self.bond_orders[kept],
        )

    def difference(self, other: Topology) -> str | None:
        """Say what differs first from another topology; None where they are equal."""
        if not isinstance(other, Topology):
            raise InvalidTypeError(
                f"other={other!r} is of type {type(other).__name__}: expected a Topology"
            )
        return _native.topology_difference(self._encoded, other._encoded)

    def to_mdtraj(self) -> Any:
        """Return it as an `mdtraj.Topology`.

        Raises
        ------
        ImportError
            mdtraj is not installed.
        """
        return integration("mdtraj").topology_to_mdtraj(self)

    def to_openmm(self) -> Any:
        """Return it as an `openmm.app.Topology`.

        Raises
        ------
        InvalidArgumentError
            Atoms of a residue are not consecutive: OpenMM numbers atoms residue by residue.
        ImportError
            OpenMM is not installed.
        """
        return integration("openmm").topology_to_openmm(self)

    def to_mdanalysis(self) -> Any:
        """Return an `MDAnalysis.Universe` of it, without coordinates.

        Raises
        ------
        ImportError
            MDAnalysis is not installed.
        """
        return integration("mdanalysis").topology_to_universe(self)

    def __len__(self) -> int:
        return self.n_atoms

    def __eq__(self, other: object) -> bool:
        return self._encoded == other._encoded if isinstance(other, Topology) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._encoded)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_checked, (self._encoded,))

    def __getstate__(self) -> bytes:
        # The columns follow from it: to `DataHandler.memoize` they make no difference.
        return self._encoded

    def __repr__(self) -> str:
        counts = {
            "atom": self.n_atoms,
            "residue": self.n_residues,
            "chain": self.n_chains,
            "bond": self.n_bonds,
        }
        shown = (f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items())
        return f"<Topology {', '.join(shown)}>"


_NO_TEXT = np.empty(0, "U1")


def _checked(encoded: bytes) -> Topology:
    """Return a topology that was pickled."""
    made = Topology._from_bytes(encoded)
    made._column("names")  # What is not a topology is an error here.
    return made


CONVERTERS: dict[str, tuple[Name, str]] = {
    "openmm": ("openmm", "topology_from_openmm"),
    "mdtraj": ("mdtraj", "topology_from_mdtraj"),
    "MDAnalysis": ("mdanalysis", "topology_from_mdanalysis"),
}
"""By the library that defines an object's class: which integration has the function to convert it."""

STRUCTURE_SUFFIXES = (".pdb", ".ent", ".cif", ".mcif", ".mmcif", ".pdbx", ".json")
"""Of the files that `DataHandler.import_structure` reads."""

MMCIF = re.compile(rb"(?:\s|#[^\r\n]*)*data_", re.IGNORECASE)
"""How files in this format begin."""


def of_structure_file(path: StrPath) -> Topology | None:
    """Return the topology of a PDB or mmCIF file, of all alternative locations; None of others."""
    try:
        structures = integration("structures")
        found: Topology = structures.topology_of(structures.read_structure(path, altlocs="all"))
    except (ImportError, OSError, ProteinFlexError):
        return None
    return found


def _converter(source: Any) -> tuple[Name, str]:
    """Return which integration has the function that makes a topology of an object."""
    if isinstance(source, (str, os.PathLike)):
        if Path(without_suffix(Path(source).name)).suffix.lower() in STRUCTURE_SUFFIXES:
            return ("structures", "topology_of")
        return ("mdanalysis", "topology_of_file")
    for kind in type(source).__mro__:
        library = kind.__module__.partition(".")[0]
        if library in CONVERTERS:
            return CONVERTERS[library]
    return ("structures", "topology_of")
