"""PDB files: records in lines of fixed columns (wwPDB format 3.30), and what is made of them.

gemmi puts atoms where their chain and residue number say, so numbers that repeat reorder a file, and
it forgives columns that it can't read. Here atoms keep the order of the file, which is that of
trajectories made with it, and a line that can't be read is an error that names it.
"""

from __future__ import annotations

import bisect
import dataclasses
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from proteinflex_optimization._log import get_logger

from .atoms import Atoms, Residues, Text, group_residues, is_cell, is_no_crystal
from .content import invalid
from .elements import guess_elements
from .pdb_columns import AtomColumns, is_two_letter_chain
from .polymers import find_polymers
from .residue_numbers import NotANumberError, decode_numbers, is_missing

logger = get_logger()

PREDICTED = re.compile(r"\b(ALPHAFOLD|ESMFOLD)\b.*\bPREDICTION FOR\b", re.IGNORECASE)
"""How predictors say in a file's title that its B-factor column is a confidence."""


@dataclasses.dataclass
class _Model:
    """Lines of one model, counted from 0; ``ends``: where a TER follows so many of its atoms."""

    lines: list[int]
    ends: list[int]
    cell: NDArray[np.float64] | None


class PDBSource:
    """The models of a PDB file.

    MODEL, ENDMDL and END all end a model, for programs separate the frames of a trajectory by any
    of them. A CRYST1 record holds for the models after it, until the next, unless each follows its
    model.
    """

    def __init__(self, path: Path, content: bytes) -> None:
        self.label = str(path)
        self._path = path
        self._lines = content.splitlines()
        self._is_cut = not content.endswith((b"\n", b"\r"))
        self._models = self._scan()
        self._last: tuple[bytes, list[int], Atoms] | None = None
        self._warned: set[str] = set()
        self.n_models = len(self._models)
        self.says_plddt = PREDICTED.search(self._title) is not None
        counts = {len(model.lines) for model in self._models}
        if len(counts) > 1:
            logger.warning(
                "%s: its %d models have from %d to %d atoms; END, MODEL and ENDMDL begin a new one",
                path,
                self.n_models,
                min(counts),
                max(counts),
            )

    def _scan(self) -> list[_Model]:
        models: list[_Model] = []
        cells: list[tuple[int, NDArray[np.float64] | None]] = []
        current: _Model | None = None
        opened: int | None = None
        title = []
        for number, line in enumerate(self._lines):
            record = line[:6].upper()
            if record.startswith(b"ATOM") or record == b"HETATM":
                if current is None:
                    current = _Model([], [], None)
                    models.append(current)
                current.lines.append(number)
                opened = None
            elif record[:3] == b"TER":
                if current is not None:
                    current.ends.append(len(current.lines))
            elif record[:5] == b"MODEL" or record == b"ENDMDL" or record.strip() == b"END":
                if opened is not None:
                    raise invalid(self._path, "expected a model that has atoms", line=opened + 1)
                current = None
                opened = number if record[:5] == b"MODEL" else None
            elif record == b"CRYST1":
                cells.append((len(models), self._cell(line, number)))
            elif record == b"TITLE ":
                title.append(line[10:80].decode("latin-1").strip())
            elif line.lstrip()[:6].upper().startswith((b"ATOM  ", b"HETATM")):
                raise invalid(self._path, "an atom record begins with blanks", line=number + 1)
        if opened is not None:
            raise invalid(self._path, "expected a model that has atoms", line=opened + 1)
        self._title = " ".join(title)
        # Some programs write the cell of each model after it.
        before = [seen for seen, _ in cells]
        follow = set(before) == set(range(1, len(models) + 1))
        for place, model in enumerate(models):
            until = bisect.bisect_right(before, place + 1 if follow else place)
            model.cell = cells[until - 1][1] if until else None
        return models

    def _cell(self, line: bytes, number: int) -> NDArray[np.float64] | None:
        """Return lengths and angles; None of the placeholders that say that there is no crystal."""
        columns = [
            line[at:to] for at, to in ((6, 15), (15, 24), (24, 33), (33, 40), (40, 47), (47, 54))
        ]
        for fields in (columns, line[6:].split()[:6]):
            try:
                cell = np.array([float(field) for field in fields])
            except ValueError:
                continue
            if len(cell) == 6 and np.isfinite(cell).all():
                if is_no_crystal(cell):
                    return None
                if is_cell(cell):
                    return cell
        raise invalid(
            self._path,
            f"expected the lengths and angles of a cell, found {line[6:54].decode('latin-1')!r}; "
            "correct the CRYST1 record or remove it",
            line=number + 1,
        )

    def model(self, number: int) -> Atoms:
        """Return a model, counted from 1."""
        model = self._models[number - 1]
        last = len(self._lines) - 1 if self._is_cut else None
        columns = AtomColumns(self._path, self._lines, model.lines, last)
        described = self._described(columns, model)
        for start, stop, what in ((60, 66, "B-factors"), (54, 60, "occupancies")):
            n_lost = columns.count_overflown(start, stop)
            if n_lost and what not in self._warned:
                self._warned.add(what)  # Once, not for each model of a trajectory.
                logger.warning(
                    "%s: the %s of %d atoms are asterisks, left by numbers too wide for their "
                    "columns; they are NaN",
                    self.label,
                    what,
                    n_lost,
                )
        return dataclasses.replace(
            described,
            positions=columns.positions(),
            b_factors=columns.optional(60, 66, "a B-factor"),
            occupancies=columns.optional(54, 60, "an occupancy"),
            cell=model.cell,
        )

    def _described(self, columns: AtomColumns, model: _Model) -> Atoms:
        """Return everything but numbers; that of the model before where it has the same names."""
        names = columns.all_names()
        if self._last is None or self._last[:2] != (names, model.ends):
            self._last = (names, model.ends, self._describe(columns, model))
        return self._last[2]

    def _describe(self, columns: AtomColumns, model: _Model) -> Atoms:
        has_two = is_two_letter_chain(columns)
        residue_names = columns.text(17, 20 if has_two else 21)
        chains = columns.text(20 if has_two else 21, 22)
        names, altlocs = columns.text(12, 16), columns.text(16, 17)
        numbers, codes = columns.residue_numbers()
        segments = columns.text(72, 76)
        if not _are_segments(segments, [chains, numbers, codes, residue_names]):
            segments = np.full(len(names), "")
        breaks = np.zeros(len(names), bool)
        breaks[[end for end in model.ends if end < len(names)]] = True
        grouping = group_residues(
            [chains, numbers, codes, segments],
            residue_names,
            names,
            altlocs,
            ~is_missing(numbers),
            breaks,
        )
        first = grouping.first
        decoded = self._decoded(numbers[first], chains[first], first, model)
        ends = np.zeros(len(first), bool)
        ends[grouping.index[[end - 1 for end in model.ends if end]]] = True
        is_hetero = columns.is_hetero()[first]
        residues = Residues(
            residue_names[first],
            decoded,
            codes[first],
            chains[first],
            segments[first],
            find_polymers(
                grouping,
                residue_names[first],
                names,
                is_hetero,
                [chains[first], segments[first]],
                ends,
            ),
            grouping.site,
        )
        elements = guess_elements(
            columns.text(76, 78),
            columns.raw(12, 16),
            residue_names,
            grouping.is_alone,
            self.label,
        )
        return Atoms(
            names,
            elements,
            np.empty((len(names), 3)),
            altlocs,
            None,
            None,
            grouping.index,
            residues,
            None,
        )

    def _decoded(
        self, numbers: Text, chains: Text, first: NDArray[np.intp], model: _Model
    ) -> NDArray[np.int32]:
        """Return the numbers of residues, which begin at the rows `first`."""
        try:
            decoded, n_missing = decode_numbers(numbers.tolist(), chains.tolist())
        except NotANumberError as error:
            raise invalid(
                self._path,
                f"columns 23 to 26 hold {str(numbers[error.place])!r}: expected a residue number",
                line=model.lines[int(first[error.place])] + 1,
            ) from None
        if n_missing:
            logger.warning("%s: %d residues have no number; counted on", self._path, n_missing)
        return decoded


def _are_segments(texts: Text, identity: list[Text]) -> bool:
    """Return whether these name segments, and not types of atoms, which come again in a residue."""
    values, code = np.unique(texts, return_inverse=True)
    if len(values) < 2:
        return True
    new = np.ones(len(texts), bool)
    new[1:] = np.any([column[1:] != column[:-1] for column in identity], axis=0)
    pairs = np.cumsum(new) * len(values) + code
    n_runs = 1 + np.count_nonzero(np.diff(pairs))
    return bool(n_runs == len(np.unique(pairs)))
