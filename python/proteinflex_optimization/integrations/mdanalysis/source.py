"""One trajectory file as MDAnalysis reads it, without what MDAnalysis makes up or passes over."""

from __future__ import annotations

import os
import shutil
import warnings
from codecs import BOM_UTF8
from collections.abc import Generator
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, BinaryIO

import MDAnalysis
import numpy as np
from MDAnalysis.coordinates.base import SingleFrameReaderBase
from MDAnalysis.coordinates.core import get_reader_for
from MDAnalysis.lib.util import anyopen

from proteinflex_optimization._cells import TURNED
from proteinflex_optimization._log import get_logger
from proteinflex_optimization._overflow import overflow, refuse_infinite
from proteinflex_optimization._packed import checked_path, without_suffix
from proteinflex_optimization._system_errors import is_of_system, naming
from proteinflex_optimization.errors import InvalidArgumentError, ProteinFlexError
from proteinflex_optimization.integrations.mdanalysis.encodings import is_utf8, write_utf8
from proteinflex_optimization.integrations.mdanalysis.paths import text_path
from proteinflex_optimization.integrations.mdanalysis.reader import TrajectoryReadError
from proteinflex_optimization.integrations.mdanalysis.reader_classes import (
    format_of,
    ignore_offsets,
    name_of,
    reader_with,
    reader_with_tilts,
    reader_without_mapping,
    refuse_packed,
    refuse_unknown,
    silence_half_made_readers,
    usual_format,
)
from proteinflex_optimization.integrations.mdanalysis.topology import (
    bonded_atoms,
    topology_from_mdanalysis,
    topology_of_structure,
    topology_to_mdanalysis,
)
from proteinflex_optimization.integrations.mdanalysis.topology_files import (
    is_clear,
    is_structure,
    reason_of,
    universe_of,
)
from proteinflex_optimization.integrations.mdanalysis.turned_boxes import turned_boxes
from proteinflex_optimization.integrations.mdanalysis.whole import (
    TEXTS,
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
        path = checked_path("trajectory", path)
        self.path = Path(path)
        if not self.path.exists():
            raise InvalidArgumentError(
                f"trajectory={str(path)!r} is not valid: there is no such file"
            )
        if self.path.stat().st_size == 0:
            raise InvalidArgumentError(
                f"trajectory={str(path)!r} is not valid: the file is empty, expected a trajectory"
            )
        if isinstance(topology, Topology):
            topology = topology_to_mdanalysis(topology)
        elif isinstance(topology, (str, os.PathLike)):
            topology = checked_path("topology", topology)
            if topology_format is None:
                topology_format = usual_format(topology)
        self._topology = topology
        self._topology_format = topology_format
        self._universe: Any = None
        self._opened = ExitStack()
        self._stat = _stat(self.path)
        self._time_offset = options.get("time_offset") or 0
        with (
            warnings.catch_warnings(record=True) as caught,
            overflow() as noticed,
            turned_boxes() as turned,
            naming(self.path),
        ):
            warnings.simplefilter("always")
            try:
                refuse_packed(self.path, None)
                reader_class = get_reader_for(str(path), format=format_of(self.path, format))
                self.format = name_of(reader_class)
                refuse_packed(self.path, self.format)
                refuse_unknown(options, reader_class)
                # None stands for the default, which MDAnalysis takes for a value of some options.
                options = {name: value for name, value in options.items() if value is not None}
                self.findings: Findings = examine_before_opening(self.path, self.format)
                readable = self._opened.enter_context(text_path(self._readable()))
                self._reader = self._open(readable, reader_class, options)
                self.n_frames = int(self._reader.n_frames)
                self.n_atoms = int(self._reader.n_atoms)
                examine(self._reader, self.path, self.format, self.findings)
                if self.format == "H5MD":
                    shadowed = NOT_FIELDS & set(self._reader._file.get("observables", ()))
                    self.findings.left_out += [f"observables/{name}" for name in sorted(shadowed)]
                    ignore_offsets(self._reader)
            except Exception as error:
                silence_half_made_readers(error)
                self._opened.close()
                if is_clear(error):
                    raise
                raise self._unreadable(error) from error
        self._learn(caught)
        self._overflown = bool(noticed)
        # Of the only frame, which is read when the file is opened.
        self._is_turned = bool(turned) and isinstance(self._reader, SingleFrameReaderBase)
        if self.n_frames == 0:
            raise InvalidArgumentError(f"trajectory={str(path)!r} is not valid: it has no frames")

    def _readable(self) -> Path:
        """Return the file, or one of its first frame alone, where the second is cut or damaged.

        MDAnalysis reads the second frame when it opens XTC and TRR.
        """
        findings = self.findings
        if findings.offsets is None:
            path = self._without_mark(self.path)
            if self.format in TEXTS and not is_utf8("trajectory", path):
                folder = Path(self._opened.enter_context(TemporaryDirectory()))
                return write_utf8("trajectory", path, folder)
            return path
        if findings.cut is None or len(findings.offsets) > 1:
            return self.path
        if not findings.offsets:
            raise TrajectoryReadError(
                f"{self.path} is cut or damaged: {findings.cut}; no frame of it is whole"
            )
        first = self._new_file(self.path.name)
        with self.path.open("rb") as file:
            first.write_bytes(file.read(findings.whole_bytes))
        return first

    def _without_mark(self, path: Path) -> Path:
        """Return a file, or a copy without the byte-order mark, which hides its first record."""
        with anyopen(str(path), "rb") as file:
            if file.read(len(BOM_UTF8)) != BOM_UTF8:
                return path
            copy = self._new_file(without_suffix(path.name))
            with copy.open("wb") as out:
                shutil.copyfileobj(file, out)
        return copy

    def _new_file(self, name: str) -> Path:
        return Path(self._opened.enter_context(TemporaryDirectory())) / name

    def _open(self, path: Path, reader_class: Any, options: dict[str, Any]) -> Any:
        topology, topology_format = self._topology, self._topology_format
        if self.findings.offsets is not None:
            reader_class = reader_with(self.findings.offsets, reader_class)
        elif self.format == "NCDF":
            reader_class = reader_without_mapping(reader_class)
        elif self.format == "GSD":
            reader_class = reader_with_tilts(reader_class)
        elif self.format == "LAMMPSDUMP":
            # Which it would take, and warn of; its times are not stored.
            options = {"dt": 1.0, **options}
        if topology is None and self.format == "DATA":
            topology, topology_format = self.path, "DATA"  # Its reader asks for its own topology.
        if topology is None:
            reader = reader_class(str(path), **options)
            if transformations := options.get("transformations"):
                several = [transformations] if callable(transformations) else transformations
                reader.add_transformations(*several)
            return reader

        def make(topology: Any, topology_format: Any) -> Any:
            return MDAnalysis.Universe(
                topology, str(path), format=reader_class, topology_format=topology_format, **options
            )

        if isinstance(topology, str):
            given = Path(topology)
            readable = str(self._without_mark(given) if given.is_file() else topology)
            universe = universe_of(readable, topology_format, make)
        else:
            universe = make(topology, topology_format)
        self._universe = universe
        bonded_atoms(universe, f"topology={self._topology!r}")
        return universe.trajectory

    def topology(self) -> Topology | None:
        """Return the topology that was passed; None where there was none, or it says too little.

        That of a PDB or mmCIF file is what `Topology.of` reads, of all atoms. What is in the way is
        logged.
        """
        if self._universe is None:
            return None
        try:
            if self._is_structure:
                try:
                    return topology_of_structure(self._topology, self._universe)
                except (ImportError, ProteinFlexError) as error:
                    logger.warning(
                        "%s: the topology is as MDAnalysis reads it, not import_structure: %s",
                        self._topology,
                        error,
                    )
            return topology_from_mdanalysis(self._universe)
        except InvalidArgumentError as error:
            logger.warning("%s: its topology is not kept: %s", self.path, error)
            return None

    @property
    def _is_structure(self) -> bool:
        return isinstance(self._topology, str) and is_structure(
            self._topology, self._topology_format
        )

    def _unreadable(self, error: Exception) -> InvalidArgumentError:
        reason = reason_of(error)
        if self.path.suffix.lower() in (".npz", ".zarr"):
            reason += " (.npz and .zarr are imported one at a time)"
        beside = expected = ""
        if self._topology is not None:
            beside, expected = f" with the topology {self._topology!r}", " together"
        return InvalidArgumentError(
            f"trajectory={str(self.path)!r}{beside} is not valid: expected what MDAnalysis can read"
            f"{expected} (format= and topology_format=, or --format and --topology-format, name formats "
            f"that a suffix does not tell). It says: {reason}"
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
                self.findings.has_velocities = False
                self.findings.left_out.append("velocities (some atoms have none)")
            elif issubclass(warning.category, UserWarning):
                warnings.warn_explicit(
                    warning.message, warning.category, warning.filename, warning.lineno
                )

    def frames(self) -> Generator[dict[str, Any]]:
        """Yield the fields of each frame, by name; frames without positions as no fields at all.

        Raises
        ------
        TrajectoryReadError
            A frame can't be read.
        InvalidArgumentError
            It has a number that float32 can't hold.
        OSError
            The system can't read it: nothing is known of the frame. So it is with `MemoryError`.
        """
        with self.path.open("rb") as file, naming(self.path):
            for number in range(self.n_frames):
                try:
                    with overflow() as noticed, turned_boxes() as turned:
                        ts = self._next(number, file)
                        found = self._fields(ts) if ts.has_positions else {}
                    if found and (turned or self._is_turned):
                        found.pop("box", None)
                        self._leave_out(f"box ({TURNED})")
                except Exception as error:
                    # Our own reader hides an error of the system from MDAnalysis.
                    cause = error.__cause__ if isinstance(error, TrajectoryReadError) else error
                    if cause is not None and is_of_system(cause):
                        raise cause from None
                    raise TrajectoryReadError(
                        f"{self.path}: only {number} of its {self.n_frames} frames can be read; the "
                        f"file is cut or damaged ({type(error).__name__}: {error})"
                    ) from error
                if noticed or self._overflown or self.findings.hides_overflow:
                    self._refuse_infinite(found, number)
                yield found

    def _refuse_infinite(self, found: dict[str, Any], number: int) -> None:
        for name in OWN_NAMES & found.keys():
            refuse_infinite(f"trajectory={str(self.path)!r}", name, found[name][None], number)

    def check_unchanged(self, *, may_grow: bool) -> None:
        """Refuse a file that was written to while it was read: it would be two in one.

        Raises
        ------
        TrajectoryReadError
            It is another, or has changed otherwise than by growing where that is allowed.
        """
        before, now = self._stat, _stat(self.path)
        has_changed = (now.st_mtime_ns, now.st_size) != (before.st_mtime_ns, before.st_size)
        has_grown = now.st_ino == before.st_ino and now.st_size > before.st_size
        if has_changed and not (has_grown and may_grow):
            raise TrajectoryReadError(
                f"{self.path} was changed or replaced while it was read; expected a file that "
                "nothing writes to"
            )

    def first(self) -> dict[str, Any]:
        """Return the fields of the first frame that has positions."""
        with closing(self.frames()) as frames:
            return next((fields for fields in frames if fields), {})

    def _next(self, number: int, file: BinaryIO) -> Any:
        # Not by iterating: MDAnalysis takes an error of the disk for the end, without a word.
        reader = self._reader
        if isinstance(reader, SingleFrameReaderBase):
            return reader.ts
        if number == 0:
            reader._reopen()
        if self.findings.check_frame is not None and self.findings.offsets is not None:
            file.seek(self.findings.offsets[number])
            self.findings.check_frame(file)
        for name in reader.ts.data.keys() - NOT_FIELDS:
            del reader.ts.data[name]  # A frame that lacks it would have that of the frame before.
        ts = reader._read_next_timestep()
        if self.findings.origins and self.findings.origins[number].any():
            ts.positions += self.findings.origins[number]
        for transform in reader.transformations:
            ts = transform(ts)
        return ts

    def _fields(self, ts: Any) -> dict[str, Any]:
        found: dict[str, Any] = {"frames": ts.positions.copy()}
        if "time" in ts.data and self.findings.has_time:
            found["time"] = np.float64(ts.data["time"] + self._time_offset)
        step = "frame" if self.format == "TRZ" else "step"
        if step in ts.data and self.findings.has_steps:
            found["step"] = np.int64(ts.data[step])
        box = self.findings.box if ts.dimensions is None else ts.dimensions
        if box is not None and self.findings.has_box:
            if self.format in ("DCD", "LAMMPS") and (abs(box[3:] - 90) > 45).any():
                self._leave_out("box (CHARMM's matrix, which MDAnalysis takes for angles)")
            else:
                found["box"] = box.copy()
        has_velocities = ts.has_velocities and self.findings.has_velocities
        if has_velocities and self._unit_is_known("velocity"):
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
        self._opened.close()


def _stat(path: Path) -> os.stat_result:
    # Opened, for a client of NFS may know old times and sizes of what it has not opened.
    with path.open("rb") as file:
        return os.fstat(file.fileno())
