"""The writer by which MDAnalysis writes `.fxt` files; importing this module registers it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from MDAnalysis.coordinates import base

from proteinflex_optimization._log import get_logger
from proteinflex_optimization._overflow import overflow, refuse_infinite
from proteinflex_optimization.errors import InvalidArgumentError, InvalidTypeError
from proteinflex_optimization.integrations.mdanalysis.topology import topology_from_mdanalysis
from proteinflex_optimization.trajectory_file import create_trajectory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proteinflex_optimization.topology import Topology
    from proteinflex_optimization.types import Precision, Profile

logger = get_logger()

BESIDE = ("box", "velocities", "forces")
"""What a frame may lack in MDAnalysis, and is NaN then."""

NOT_STORED = ("time", "dt", "time_offset")
"""What MDAnalysis keeps in ``ts.data`` and the file has otherwise."""


class FXTWriter(base.WriterBase):  # type: ignore[misc]
    """Writes the file of a trajectory, for MDAnalysis.

    Each frame has its positions (Å), ``time`` (ps), and what it has of ``box`` (six lengths and
    angles), ``velocities`` (Å/ps), ``forces`` (stored in kJ/mol/nm) and numbers in ``ts.data``, such
    as ``step``. What there is follows from the first frame: a later one that lacks box, velocities
    or forces has NaN there, and one that has more is an error. So does the topology, which is kept
    where the atoms have names. The file appears when the writer is
    closed, and not at all where leaving its ``with`` block by an error.

    Parameters
    ----------
    filename : str or path
        The file; one that is there is replaced, as MDAnalysis does, when the new one is whole.
    n_atoms : int
        How many atoms each frame has.
    precision, profile, metadata, overwrite : optional
        As for `create_trajectory`. Default: every bit is kept, of the single precision that
        MDAnalysis has.
    box, velocities, forces : bool, optional
        Whether to store these, where the first frame does not tell.
    start, step, dt, remarks, convert_units : optional
        Taken from MDAnalysis and without effect: times are those of the frames, units as above.
    """

    format = "FXT"
    multiframe = True
    _file = None  # Where nothing is written: MDAnalysis closes what was refused, too.
    units = {  # noqa: RUF012, MDAnalysis's protocol
        "time": "ps",
        "length": "Angstrom",
        "velocity": "Angstrom/ps",
        "force": "kJ/(mol*nm)",
    }

    def __init__(
        self,
        filename: Any,
        n_atoms: int,
        *,
        precision: Precision | None = None,
        profile: Profile = "default",
        metadata: dict[str, Any] | None = None,
        overwrite: bool = True,
        box: bool | None = None,
        velocities: bool | None = None,
        forces: bool | None = None,
        start: Any = None,
        step: Any = None,
        dt: Any = None,
        remarks: Any = None,
        convert_units: Any = None,
    ) -> None:
        if n_atoms is None or n_atoms < 1:
            raise InvalidArgumentError(
                f"n_atoms={n_atoms!r} is not valid: expected the number of atoms"
            )
        self.filename = os.fspath(filename)
        self.n_atoms = n_atoms
        self._asked = {"box": box, "velocities": velocities, "forces": forces}
        self._stored: dict[str, bool] = {}
        self._numbers: list[str] | None = None
        self._topology: Topology | None = None
        self._written: NDArray[np.intp] = np.empty(0, np.intp)
        self._file = create_trajectory(
            Path(self.filename), metadata, precision=precision, profile=profile, overwrite=overwrite
        )

    def _write_next_frame(self, obj: Any) -> None:
        """Append the current frame of a universe or of a group of atoms."""
        if self._file is None:
            raise InvalidArgumentError(f"{self.filename}: its writer is closed")
        try:
            ts = obj.atoms.ts
        except AttributeError:
            raise InvalidTypeError(
                f"a {type(obj).__name__} can't be written: expected a Universe or an AtomGroup"
            ) from None
        if ts.n_atoms != self.n_atoms:
            raise InvalidArgumentError(
                f"{ts.n_atoms} atoms can't be written: expected {self.n_atoms}, as the writer was "
                "made for"
            )
        if not ts.has_positions:
            raise InvalidArgumentError(f"frame {ts.frame} has no positions")
        found = self._fields_of(ts)
        if self._numbers is None:
            self._keep_topology(obj.atoms)
            self._numbers = [name for name, value in ts.data.items() if _is_number(name, value)]
            for name, asked in self._asked.items():
                self._stored[name] = name in found if asked is None else asked
        self._check_atoms(obj.atoms)
        fields: dict[str, Any] = {"time": float(ts.time)}
        for name in self._numbers:
            if name not in ts.data:
                raise InvalidArgumentError(
                    f"frame {ts.frame} has no ts.data[{name!r}]: expected a number, as in the first"
                )
            fields[name] = np.asarray(ts.data[name])
        for name in BESIDE:
            if self._stored[name]:
                shape = 6 if name == "box" else (self.n_atoms, 3)
                fields[name] = found.get(name, np.full(shape, np.nan, np.float32))
            elif name in found and self._asked[name] is None:
                raise InvalidArgumentError(
                    f"frame {ts.frame} has {name}, which the first frame lacks: expected the same in "
                    f"all; pass {name}=True to the writer to store it"
                )
        self._file.append(np.ascontiguousarray(ts.positions, np.float32), **fields)

    def _keep_topology(self, atoms: Any) -> None:
        """Keep the topology of what is written first, if it says anything; what is in the way is logged."""
        if self._file is None or not hasattr(atoms, "names"):
            return
        try:
            topology = topology_from_mdanalysis(atoms)
            self._file._set_topology(topology._encoded)
            self._topology, self._written = topology, atoms.ix
        except InvalidArgumentError as error:
            logger.warning("%s: its topology is not kept: %s", self.filename, error)

    def _check_atoms(self, atoms: Any) -> None:
        """Refuse as many others: they would get the names of those that were written first."""
        if self._topology is None or np.array_equal(atoms.ix, self._written):
            return
        if not hasattr(atoms, "names") or topology_from_mdanalysis(atoms) != self._topology:
            raise InvalidArgumentError(
                f"these {self.n_atoms} atoms can't be written to {self.filename}: expected those of "
                "the first frame, whose names, residues and bonds are stored"
            )
        self._written = atoms.ix

    def _fields_of(self, ts: Any) -> dict[str, NDArray[np.float32]]:
        found = {}
        if ts.dimensions is not None:
            found["box"] = np.asarray(ts.dimensions, np.float32)
        if ts.has_velocities:
            found["velocities"] = np.asarray(ts.velocities, np.float32)
        if ts.has_forces:
            with overflow() as noticed:
                found["forces"] = self.convert_forces_to_native(ts.forces, inplace=False)
            if noticed:
                refuse_infinite("trajectory", "forces", found["forces"][None], ts.frame)
        return found

    def close(self) -> None:
        """Give the file its name; of no frames nothing is left."""
        file, self._file = self._file, None
        if file is None:
            return
        if self._numbers is None:
            file.discard()
        else:
            file.close()

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        if kind is not None and self._file is not None:
            file, self._file = self._file, None
            file.discard()
        self.close()


def _is_number(name: str, value: Any) -> bool:
    return name not in NOT_STORED and np.ndim(value) == 0 and np.asarray(value).dtype.kind in "iufb"
