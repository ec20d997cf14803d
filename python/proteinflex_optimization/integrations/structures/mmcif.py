"""mmCIF files: gemmi reads their syntax, and the rows of `_atom_site` keep their order."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import gemmi
import numpy as np
from numpy.typing import NDArray

from proteinflex_optimization._log import get_logger

from .atoms import Atoms, Residues, Text, group_residues, is_cell, is_no_crystal
from .content import invalid
from .elements import guess_elements
from .pdb import PREDICTED
from .polymers import find_polymers
from .residue_numbers import DECIMAL, NotANumberError, decode_numbers

logger = get_logger()

MISSING = (".", "?")
QUOTES = ("'", '"', ";")


class MMCIFSource:
    """The models of an mmCIF or mmJSON file.

    Of names, chains and numbers the authors' are taken (``auth_…``), else those of the archive
    (``label_…``). All columns but positions and names of atoms and residues may be missing.
    """

    def __init__(self, path: Path, content: bytes, *, is_json: bool) -> None:
        self.label = str(path)
        self._path = path
        self._texts_of: dict[tuple[str, ...], Text] = {}
        self._numbers_of: dict[str, NDArray[np.float64]] = {}
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            text = content.decode("latin-1")
        self._text = text
        read = gemmi.cif.read_mmjson_string if is_json else gemmi.cif.read_string
        try:
            document = read(text)
        except (RuntimeError, ValueError, IndexError) as error:
            name = "mmJSON" if is_json else "mmCIF"
            reason = " ".join(str(error).split())
            raise invalid(path, f"expected {name} ({reason})") from error
        self._block = self._block_of_atoms(document)
        self._check_end()
        models = self._texts("pdbx_PDB_model_num")
        _, first, inverse = np.unique(models, return_index=True, return_inverse=True)
        # In the order of the file.
        self._rows = [np.flatnonzero(inverse == number) for number in np.argsort(first)]
        self.n_models = len(self._rows)
        metrics = [value.lower() for value in self._block.find_values("_ma_qa_metric.type")]
        titles = [gemmi.cif.as_string(value) for value in self._block.find_values("_struct.title")]
        self.says_plddt = "plddt" in metrics or any(PREDICTED.search(title) for title in titles)
        self._cell = self._read_cell()

    def _block_of_atoms(self, document: Any) -> Any:
        blocks = [block for block in document if len(block.find_values("_atom_site.Cartn_x"))]
        if len(blocks) == 1:
            self._n_rows = len(blocks[0].find_values("_atom_site.Cartn_x"))
            return blocks[0]
        if blocks:
            names = ", ".join(f"data_{block.name}" for block in blocks)
            raise invalid(
                self._path,
                f"{len(blocks)} of its data blocks have atoms ({names}): expected one; split the file",
            )
        problem = "it has no atoms: expected the column _atom_site.Cartn_x"
        for block in document:
            if len(block.find_values("_chem_comp_atom.atom_id")):
                problem = (
                    f"data_{block.name} defines a chemical component (_chem_comp_atom): expected a "
                    "structure, whose atoms are in _atom_site"
                )
            elif len(block.find_values("_atom_site_fract_x")):
                problem = (
                    f"data_{block.name} is a CIF of small molecules, with fractional coordinates: "
                    "expected mmCIF, with _atom_site.Cartn_x"
                )
            elif len(block.find_values("_atom_site.id")):
                problem = f"data_{block.name} lacks the column _atom_site.Cartn_x"
        raise invalid(self._path, problem)

    def _check_end(self) -> None:
        """Refuse a last value that looks cut short beside the one above, where nothing ends it."""
        item = self._loop()
        if self._text[-1:].isspace() or item is None:
            return
        loop = item.loop
        if loop.length() < 2 or not self._text.endswith(loop.values[-1]):
            return
        last, above = loop.values[-1], loop.values[-1 - loop.width()]
        if _looks_cut(last, above):
            raise invalid(
                self._path,
                f"it ends with {last!r}, below {above!r}, and nothing ends this line: cut short; get "
                "it again",
            )

    def _column(self, tag: str) -> Text:
        """Return a column, with '' for what is missing; empty where there is no such column."""
        values = np.array(list(self._block.find_values(f"_atom_site.{tag}")), str)
        is_missing = np.isin(values, MISSING)
        for row in np.flatnonzero(np.isin(values.astype("U1"), QUOTES)).tolist():
            values[row] = gemmi.cif.as_string(str(values[row]))
        values[is_missing] = ""
        return values

    def _texts(self, *tags: str) -> Text:
        """Return the first of these columns; of rows where it has nothing, the next one."""
        if tags not in self._texts_of:
            found = np.full(self._n_rows, "")
            for column in map(self._column, tags):
                if len(column):
                    found = np.where(found == "", column, found)
                if (found != "").all():
                    break
            self._texts_of[tags] = found
        return self._texts_of[tags]

    def _needed(self, *tags: str) -> Text:
        if not any(len(self._block.find_values(f"_atom_site.{tag}")) for tag in tags):
            names = " or ".join(f"_atom_site.{tag}" for tag in tags)
            raise invalid(self._path, f"the column {names} is missing")
        return self._texts(*tags)

    def _numbers(self, tag: str) -> NDArray[np.float64]:
        """Return numbers, NaN where there is none."""
        if tag not in self._numbers_of:
            self._numbers_of[tag] = self._read_numbers(tag)
        return self._numbers_of[tag]

    def _read_numbers(self, tag: str) -> NDArray[np.float64]:
        texts = self._texts(tag)
        is_plain = not (texts.view(np.uint32) == ord("_")).any()  # Python takes 1_0 for a number.
        try:
            if is_plain:
                return texts.astype(np.float64)
        except ValueError:
            pass  # Missing ones, and those with a standard uncertainty, 1.234(5).
        values = texts.tolist()
        numbers = np.array([gemmi.cif.as_number(text) if text else np.nan for text in values])
        bad = np.isnan(numbers) & (texts != "")
        if bad.any():
            row = int(np.argmax(bad))
            self._refuse(row, f"{tag} is {values[row]!r}: expected a number")
        return numbers

    def _refuse(self, row: int, problem: str) -> NoReturn:
        serial = str(self._texts("id")[row])
        name = f" (id {serial})" if serial else ""
        raise invalid(
            self._path, f"row {row + 1} of _atom_site{name}: {problem}", line=self._line(row)
        )

    def _loop(self) -> Any | None:
        """Return the item of the loop of atoms; None where a single atom stands without one."""
        for item in self._block:
            if item.loop is not None and item.loop.tags[0].lower().startswith("_atom_site."):
                return item
        return None

    def _line(self, row: int) -> int | None:
        """Return the line of a row, where each has a line of its own."""
        item = self._loop()
        if item is None:
            return None
        place = item.line_number + item.loop.width() + row
        lines = self._text.splitlines()
        own = [item.loop[row, column] for column in range(item.loop.width())]
        return place + 1 if place < len(lines) and lines[place].split() == own else None

    def _read_cell(self) -> NDArray[np.float64] | None:
        tags = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
        values = [list(self._block.find_values(f"_cell.{tag}"))[:1] for tag in tags]
        texts = [value[0] if value else "?" for value in values]
        if all(text in MISSING for text in texts):
            return None
        cell = np.array([gemmi.cif.as_number(text) for text in texts])
        if is_no_crystal(cell):
            return None
        if not is_cell(cell):
            raise invalid(self._path, f"expected the lengths and angles of a cell, found {texts}")
        return cell

    def model(self, number: int) -> Atoms:
        """Return a model, counted from 1."""
        rows = self._rows[number - 1]
        names = self._needed("auth_atom_id", "label_atom_id")[rows]
        residue_names = self._needed("auth_comp_id", "label_comp_id")[rows]
        chains = self._texts("auth_asym_id", "label_asym_id")[rows]
        parts = self._texts("label_asym_id")[rows]
        numbers = self._texts("auth_seq_id", "label_seq_id")[rows]
        codes = self._texts("pdbx_PDB_ins_code")[rows]
        altlocs = self._texts("label_alt_id")[rows]
        grouping = group_residues(
            [chains, parts, numbers, codes], residue_names, names, altlocs, numbers != ""
        )
        first = grouping.first
        return Atoms(
            names,
            guess_elements(
                self._texts("type_symbol")[rows],
                names,
                residue_names,
                grouping.is_alone,
                self.label,
            ),
            self._positions(rows),
            altlocs,
            self._optional("B_iso_or_equiv", rows),
            self._optional("occupancy", rows),
            grouping.index,
            Residues(
                residue_names[first],
                self._residue_numbers(numbers[first].tolist(), chains[first].tolist(), rows[first]),
                codes[first],
                chains[first],
                np.full(len(first), ""),
                self._are_polymers(rows, grouping, residue_names, names, [chains, parts]),
                grouping.site,
            ),
            self._cell,
        )

    def _positions(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        axes = []
        for tag in ("Cartn_x", "Cartn_y", "Cartn_z"):
            self._needed(tag)
            axis = self._numbers(tag)
            bad = ~np.isfinite(axis)
            if bad[rows].any():
                row = int(rows[np.argmax(bad[rows])])
                found = str(self._texts(tag)[row])
                problem = f"is {found!r}" if found else "is missing"
                self._refuse(row, f"{tag} {problem}: expected a coordinate")
            axes.append(axis[rows])
        return np.stack(axes, axis=1)

    def _optional(self, tag: str, rows: NDArray[np.intp]) -> NDArray[np.float32] | None:
        values = self._numbers(tag)
        if np.isnan(values[rows]).all():
            return None
        return values[rows].astype(np.float32)

    def _residue_numbers(
        self, texts: list[str], chains: list[str], rows: NDArray[np.intp]
    ) -> NDArray[np.int32]:
        try:
            # No number has to fit into four columns here, so letters mean nothing.
            for place, text in enumerate(texts):
                if text and not DECIMAL.fullmatch(text):
                    raise NotANumberError(place)
            numbers, n_missing = decode_numbers(texts, chains)
        except NotANumberError as error:
            self._refuse(
                int(rows[error.place]),
                f"the residue number is {texts[error.place]!r}: expected a whole number",
            )
        if n_missing:
            logger.warning("%s: %d residues have no number; counted on", self._path, n_missing)
        return numbers

    def _are_polymers(
        self,
        rows: NDArray[np.intp],
        grouping: Any,
        residue_names: Text,
        names: Text,
        identity: list[Text],
    ) -> NDArray[np.bool_]:
        """Return what the file says of its entities, else what residues look like."""
        types = dict(
            zip(
                map(gemmi.cif.as_string, self._block.find_values("_entity.id")),
                map(gemmi.cif.as_string, self._block.find_values("_entity.type")),
                strict=False,
            )
        )
        first = grouping.first
        entities = self._texts("label_entity_id")[rows][first].tolist()
        if all(entity in types for entity in entities):
            return np.array([types[entity].lower() == "polymer" for entity in entities])
        is_hetero = self._texts("group_PDB")[rows][first] == "HETATM"
        return find_polymers(
            grouping,
            residue_names[first],
            names,
            is_hetero,
            [column[first] for column in identity],
            np.zeros(len(first), bool),
        )


def _looks_cut(last: str, above: str) -> bool:
    """Return whether a value has fewer decimals, is a beginning of the other or a smaller integer.

    Models and serial numbers, which are integers, do not go down.
    """
    if DECIMAL.fullmatch(last) and DECIMAL.fullmatch(above):
        return int(last) < int(above)
    is_beginning = last != above and above.startswith(last)
    return is_beginning or len(last.partition(".")[2]) < len(above.partition(".")[2])
