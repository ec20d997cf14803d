"""One trajectory file as MDAnalysis reads it, without what MDAnalysis makes up or passes over."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import MDAnalysis
import numpy as np
from MDAnalysis.coordinates.base import ProtoReader, SingleFrameReaderBase
from MDAnalysis.coordinates.core import get_reader_for

from proteinflex_optimization._log import get_logger
from proteinflex_optimization.errors import InvalidArgumentError, ProteinFlexError
from proteinflex_optimization.integrations.mdanalysis.reader import TrajectoryReadError
from proteinflex_optimization.integrations.mdanalysis.topology import (
    topology_from_mdanalysis,
    topology_to_mdanalysis,
)
from proteinflex_optimization.integrations.mdanalysis.whole import (
    Findings,
    examine,
    examine_before_opening,
)
from proteinflex_optimization.topology import Topology

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proteinflex_optimization.types import StrPath

logger = get_logger()

ANGSTROM_PER_NM = np.float32(10)

FORMATS_OF_SUFFIXES = {".lammpstrj": "LAMMPSDUMP"}
"""Usual suffixes that MDAnalysis does not know."""

OPTIONS_OF_ALL = ("dt", "time_offset", "n_atoms", "atom_style", "transformations")
"""Options that MDAnalysis takes for any file, besides those in the signatures of its readers."""

OF_THE_TOPOLOGY = {
    "PDB": frozenset({"occupancy", "tempfactor"}),
    "XPDB": frozenset({"occupancy", "tempfactor"}),
    "MOL2": frozenset({"molecule", "substructure"}),
}
"""What readers give with each frame though it belongs to the atoms; blanks in it are made up."""

NOT_FIELDS = frozenset({"time", "step", "dt", "time_offset"})
"""What is stored otherwise, or belongs to MDAnalysis; of H5MD, observables may have these names."""
DEFAULTS = {"lambda": 0.0}
"""What is not stored, for nearly all files have it: of others, frames without it have this."""

OWN_NAMES = frozenset({"frames", "box", "velocities", "forces"})

LISTS_OF_FORMATS = re.compile(r"\s(?:The FORMATs|You can use)\s")
"""Where MDAnalysis's messages begin to list all that it knows."""

ONE_OF_SEVERAL = "but only the first one will be read"
UNSET_VELOCITIES = "Not all velocities were present"
"""What MDAnalysis says in warnings only."""


class TrajectoryFile:
    """A trajectory file that is open, and what of it can be stored.

    Parameters
    ----------
    topology : str or path or object or None
        What MDAnalysis takes; None where the file tells its number of atoms by itself.
    path : str or path
        The file.
    format, topology_format : optional
        As for `MDAnalysis.Universe`.
    **options
        For MDAnalysis's reader.

    Attributes
    ----------
    n_frames, n_atoms : int
        As MDAnalysis counts them.
    findings : Findings
        What MDAnalysis would pass over.

    Raises
    ------
    InvalidArgumentError
        MDAnalysis can't read it, or would read something else than what is there.
    """

    def __init__(
        self,
        topology: Any,
        path: StrPath,
        *,
        format: Any = None,
        topology_format: Any = None,
        **options: Any,
    ) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise InvalidArgumentError(
                f"trajectory={str(path)!r} is not valid: there is no such file"
            )
        if self.path.is_dir() or (self.path.is_file() and self.path.stat().st_size == 0):
            found = "it is a directory" if self.path.is_dir() else "the file is empty"
            raise InvalidArgumentError(
                f"trajectory={str(path)!r} is not valid: {found}, expected a file of a trajectory"
            )
        if isinstance(topology, Topology):
            topology = topology_to_mdanalysis(topology)
        self._topology = topology
        self._universe: Any = None
        self._first_frame: TemporaryDirectory[str] | None = None
        self._has_dt = "dt" in options
        self._time_offset = options.get("time_offset", 0)
        self._velocities_are_whole = True
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                reader_class = get_reader_for(str(path), format=_format(self.path, format))
                self.format = _name_of(reader_class)
                _refuse_unknown(options, reader_class)
                self.findings: Findings = examine_before_opening(self.path, self.format)
                readable = self._readable()
                self._reader = self._open(readable, reader_class, topology_format, options)
                self.n_frames = int(self._reader.n_frames)
                self.n_atoms = int(self._reader.n_atoms)
                examine(self._reader, self.path, self.format, self.findings)
                if self.format == "H5MD":
                    shadowed = NOT_FIELDS & set(self._reader._file.get("observables", ()))
                    self.findings.left_out += [f"observables/{name}" for name in sorted(shadowed)]
                    _ignore_offsets(self._reader)
            except Exception as error:
                _silence_half_made_readers(error)
                if self._first_frame is not None:
                    self._first_frame.cleanup()
                if isinstance(error, (ImportError, ProteinFlexError)):
                    raise
                raise self._unreadable(error) from error
        self._learn(caught)
        if self.n_frames == 0:
            raise InvalidArgumentError(f"trajectory={str(path)!r} is not valid: it has no frames")

    def _readable(self) -> Path:
        """Return the file, or one of its first frame alone, where the second is cut or damaged.

        MDAnalysis reads the second frame when it opens XTC and TRR.
        """
        findings = self.findings
        if findings.cut is None or findings.n_whole is None or findings.n_whole > 1:
            return self.path
        if findings.n_whole == 0:
            raise TrajectoryReadError(
                f"{self.path} is cut or damaged: {findings.cut}; no frame of it is whole"
            )
        self._first_frame = TemporaryDirectory()
        first = Path(self._first_frame.name) / self.path.name
        with self.path.open("rb") as file:
            first.write_bytes(file.read(findings.whole_bytes))
        return first

    def _open(
        self, path: Path, reader_class: Any, topology_format: Any, options: dict[str, Any]
    ) -> Any:
        topology = self._topology
        if topology is None and self.format == "DATA":
            topology, topology_format = self.path, "DATA"  # Its reader asks for its own topology.
        if topology is None:
            return reader_class(str(path), **options)
        if isinstance(topology, Path):
            topology = str(topology)
        if topology_format is None and isinstance(topology, str):
            topology_format = _usual_format(topology)
        universe = self._universe = MDAnalysis.Universe(
            topology,
            str(path),
            format=self.format if self.format in MDAnalysis._READERS else reader_class,
            topology_format=topology_format,
            **options,
        )
        return universe.trajectory

    def topology(self) -> Topology | None:
        """Return the topology that was passed; None where there was none, or it says too little.

        What is in the way is logged.
        """
        if self._universe is None:
            return None
        try:
            return topology_from_mdanalysis(self._universe)
        except InvalidArgumentError as error:
            logger.warning("%s: its topology is not kept: %s", self.path, error)
            return None

    def _unreadable(self, error: Exception) -> Exception:
        # Without the formats that MDAnalysis knows: they are dozens.
        said = LISTS_OF_FORMATS.split(f"{type(error).__name__}: {error}")[0].strip()
        if self.path.suffix.lower() in (".npz", ".zarr"):
            said += " (.npz and .zarr are imported one at a time)"
        if isinstance(error, OSError) and error.errno is not None:
            return OSError(error.errno, error.strerror, str(error.filename or self.path))
        return InvalidArgumentError(
            f"trajectory={str(self.path)!r} with topology={_described(self._topology)} is not valid: "
            "expected files that MDAnalysis can read together (format= and topology_format= name "
            f"their formats). It says: {said}"
        )

    def _learn(self, caught: list[warnings.WarningMessage]) -> None:
        """Take from MDAnalysis's warnings what it passes over; show the others."""
        for warning in caught:
            text = str(warning.message)
            if ONE_OF_SEVERAL in text:
                raise InvalidArgumentError(
                    f"trajectory={str(self.path)!r} is not valid: MDAnalysis reads one of its models "
                    "only; expected a format with frames, such as multi-model PDB"
                )
            if UNSET_VELOCITIES in text:
                self._velocities_are_whole = False
                self.findings.left_out.append("velocities (some atoms have none)")
            elif issubclass(warning.category, UserWarning):
                warnings.warn_explicit(
                    warning.message, warning.category, warning.filename, warning.lineno
                )

    def frames(self) -> Iterator[dict[str, Any]]:
        """Yield the fields of each frame, by name; frames without positions as no fields at all.

        Raises
        ------
        TrajectoryReadError
            A frame can't be read.
        """
        for number in range(self.n_frames):
            try:
                ts = self._next(number)
            except Exception as error:
                raise TrajectoryReadError(
                    f"{self.path}: only {number} of its {self.n_frames} frames can be read; the file "
                    f"is cut or damaged ({type(error).__name__}: {error})"
                ) from error
            yield self._fields(ts) if ts.has_positions else {}

    def first(self) -> dict[str, Any]:
        """Return the fields of the first frame that has positions."""
        return next((fields for fields in self.frames() if fields), {})

    def _next(self, number: int) -> Any:
        # Not by iterating: MDAnalysis takes an error of the disk for the end, without a word.
        reader = self._reader
        if isinstance(reader, SingleFrameReaderBase):
            return reader.ts
        if number == 0:
            reader._reopen()
        ts = reader._read_next_timestep()
        for transform in reader.transformations:
            ts = transform(ts)
        return ts

    def _fields(self, ts: Any) -> dict[str, Any]:
        found: dict[str, Any] = {"frames": ts.positions.copy()}
        if "time" in ts.data and self.findings.has_time and not self._has_dt:
            found["time"] = np.float64(ts.data["time"] + self._time_offset)
        step = "frame" if self.format == "TRZ" else "step"
        if step in ts.data and self.findings.has_steps:
            found["step"] = np.int64(ts.data[step])
        if ts.dimensions is not None and self.findings.has_box:
            found["box"] = ts.dimensions.copy()
        if ts.has_velocities and self._velocities_are_whole and self._unit_is_known("velocity"):
            found["velocities"] = ts.velocities.copy()
        if ts.has_forces and self._unit_is_known("force"):
            found["forces"] = ts.forces * ANGSTROM_PER_NM
        for name, value in ts.data.items():
            if (
                name in NOT_FIELDS
                or name == step
                or name in self.findings.unpaired
                or (name in DEFAULTS and value == DEFAULTS[name])
            ):
                continue
            array: NDArray[Any] = np.asarray(value)
            if (
                name in OF_THE_TOPOLOGY.get(self.format, ())
                or name in OWN_NAMES
                or array.dtype.kind not in "biuf"
            ):
                self._leave_out(name)
            else:
                found[name] = array.reshape(()).copy() if array.size == 1 else array.copy()
        return found

    def _unit_is_known(self, quantity: str) -> bool:
        """Whether MDAnalysis converts a quantity: in some formats its unit is anybody's guess."""
        known = self._reader.units.get(quantity) is not None
        if not known:
            field = {"velocity": "velocities", "force": "forces"}[quantity]
            self._leave_out(f"{field} (MDAnalysis does not know their unit)")
        return known

    def _leave_out(self, name: str) -> None:
        if name not in self.findings.left_out:
            self.findings.left_out.append(name)

    def close(self) -> None:
        """Close the file."""
        self._reader.close()
        if self._first_frame is not None:
            self._first_frame.cleanup()


def _silence_half_made_readers(error: Exception) -> None:
    """Keep readers that could not be made from complaining on stderr when they are deleted."""
    trace = error.__traceback__
    while trace is not None:
        made = trace.tb_frame.f_locals.get("self")
        if isinstance(made, ProtoReader):
            with suppress(Exception):
                made.close()
            made.close = lambda: None
            made._auxs = {}
        trace = trace.tb_next


def _ignore_offsets(reader: Any) -> None:
    """Keep MDAnalysis from adding an offset when it converts times of H5MD, and an observable as one."""
    copy_to_data = reader._copy_to_data

    def copy_without_offset() -> None:
        copy_to_data()
        reader.ts.data.pop("time_offset", None)

    reader._copy_to_data = copy_without_offset


def _format(path: Path, format: Any) -> Any:
    if isinstance(format, str):
        return format.upper()
    return _usual_format(path) if format is None else format


def _usual_format(path: StrPath) -> str | None:
    name = str(path).lower().removesuffix(".gz").removesuffix(".bz2")
    return FORMATS_OF_SUFFIXES.get(Path(name).suffix)


def _refuse_unknown(options: dict[str, Any], reader_class: Any) -> None:
    """Refuse options of no effect: readers ignore what they do not know."""
    known = {*OPTIONS_OF_ALL}
    for base in reader_class.__mro__:
        if issubclass(base, ProtoReader):
            known |= inspect.signature(base.__init__).parameters.keys()
    known -= {"self", "args", "kwargs", "filename", "format", "convert_units"}
    for name in options.keys() - known:
        raise InvalidArgumentError(
            f"{name}={options[name]!r} is not valid: {reader_class.__name__} of MDAnalysis has no such "
            f"option, expected one of {', '.join(sorted(known))}"
        )


def _name_of(reader_class: Any) -> str:
    names = reader_class.format
    return str(names if isinstance(names, str) else names[0]).upper()


def _described(topology: Any) -> str:
    return repr(str(topology)) if isinstance(topology, (str, Path)) else repr(topology)
