"""Files are told by what is in them: read, or refused with what they are and what to do."""

import bz2
import gzip
import json
import lzma
import os

import numpy as np
import pytest
from proteinflex_optimization import InvalidArgumentError

gemmi = pytest.importorskip("gemmi")

from proteinflex_optimization.integrations.structures import read_structure  # noqa: E402

ATOM = "ATOM      1  CA  ALA A   1       1.000   2.000   3.000  1.00 20.00           C\n"
COLUMNS = (
    "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_seq_id "
    "Cartn_x Cartn_y Cartn_z"
)
ROW = "ATOM 1 C CA . ALA A 7 1.0 2.0 3.0\n"


def mmcif(*rows, columns=COLUMNS, name="data_a", end="#\n"):
    tags = "".join(f"_atom_site.{column}\n" for column in columns.split())
    return f"{name}\nloop_\n{tags}{''.join(rows)}{end}"


@pytest.fixture
def read(tmp_path):
    """Read this text or these bytes as a file of this name."""

    def read(content, name="some.pdb", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_structure(path, **options)

    return read


# --- encodings and compression ---


@pytest.mark.parametrize("text", [ATOM, mmcif(ROW)], ids=["PDB", "mmCIF"])
@pytest.mark.parametrize("name", ["some.pdb", "some.cif", "some.gz", "some"])
@pytest.mark.parametrize(
    "packed",
    [bytes, gzip.compress, bz2.compress, lzma.compress],
    ids=["plain", "gzip", "bzip2", "xz"],
)
def test_files_are_told_by_their_content_not_their_name(read, text, name, packed):
    assert read(packed(text.encode()), name)["positions"].tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "latin-1", "utf-8-sig", "utf-16", "utf-16-be"], ids=str
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=repr)
def test_any_encoding_and_line_end_is_read(read, encoding, end):
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    for text in (
        f"TITLE     MODEL AT 2.0 Å, MÜLLER\n{ATOM}",
        mmcif(ROW, name="data_a\n_struct.title 'a 10 Å map'"),
    ):
        data = read((mark + text).replace("\n", end).encode(encoding))
        assert data["positions"].tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_letter_beyond_ascii_takes_one_column(read, encoding):
    data = read(ATOM.replace("ALA A", "ALA É").encode(encoding))
    assert data["chains"].tolist() == ["É"]
    assert data["positions"].tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_data_that_is_cut_short_is_an_error(read, compress):
    whole = compress(ATOM.encode() * 2000)
    for content in (whole[: len(whole) // 2], whole[:-3]):
        with pytest.raises(InvalidArgumentError, match=r"some\.pdb.*cut short or damaged"):
            read(content)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_damage_in_a_later_compressed_stream_is_an_error(read, compress):
    first, second = (compress(part.encode()) for part in (mmcif(ROW * 500, end=""), ROW * 500))
    for padding in (b"", bytes(512)):
        assert len(read(first + second + padding)["positions"]) == 1000
    for place in (0, len(second) // 2, len(second) - 4):
        damaged = bytearray(second)
        damaged[place] ^= 1
        for end in (len(damaged), place + 1):
            with pytest.raises(InvalidArgumentError, match=r"some\.pdb.*cut short or damaged"):
                read(first + damaged[:end])


# --- what is not read ---

GRO = "box\n    1\n    1ALA     CA    1   0.100   0.200   0.300\n   1.0 1.0 1.0\n"
PQR = "ATOM      1  N    MET     1     -11.000   26.000   10.000 -0.3000 1.8500\n"
PDBQT = ATOM[:66] + "    -0.300 C \n"
OTHERS = {
    "is empty": ["", " \n\n"],
    "this is GRO": [GRO, GRO * 3],
    "this is PQR": [PQR, ATOM[:54] + " -0.3000 1.8500\n"],
    "this is PDBQT": [PDBQT],
    "this is MOL2": ["# name\n@<TRIPOS>MOLECULE\nx\n"],
    "this is SDF": ["x\n  y\n\n  1  0  0  0  0  0  0  0  0  0999 V2000\n"],
    "this is BinaryCIF": [b"\x83\xa7version\xa50.3.0\xaadataBlocks\x91\x00"],
    "this is an HTML page": ["<!DOCTYPE html>\n<html>ATOM", "\n<html lang='en'>", "<HTML>"],
    "this is XML": ["<?xml version='1.0'?><Error/>"],
    "this is a tar archive": [b"x.pdb".ljust(257, b"\0") + b"ustar\0" + b"\0" * 250],
    "this is zstd": [b"\x28\xb5\x2f\xfd\x00"],
    "this is ZIP": [b"PK\x03\x04\x00"],
    "NUL bytes": [ATOM.encode() + b"\0" * 80, ATOM.encode("utf-16-le")],
    "expected mmJSON": [json.dumps({"error": "no such entry"})],
    "no ATOM or HETATM record": ["404: Not Found", "HEADER    X\nEND\n", "version https://git-lfs"],
    "expected mmCIF": [mmcif("ATOM 1 C CA . ALA\n")],
    "does not begin with a data block": [mmcif(ROW, name=name) for name in ("", "global_")],
    "chemical component": ["data_ALA\nloop_\n_chem_comp_atom.atom_id\nCA\n"],
    "small molecules": ["data_x\nloop_\n_atom_site_label\n_atom_site_fract_x\nC1 0.1\n"],
    "has no atoms": ["data_x\n_entry.id x\n", "data_x\nloop_\n_a\n", mmcif(columns="id")],
    "data_a, data_b": [mmcif(ROW) + mmcif(ROW, name="data_b")],
}


@pytest.mark.parametrize("message", OTHERS)
def test_what_is_not_read_is_named_with_its_path(read, message):
    for content in OTHERS[message]:
        with pytest.raises(InvalidArgumentError, match=message) as error:
            read(content, "download.pdb")
        assert "download.pdb" in str(error.value)


@pytest.mark.parametrize("suffix", ["pqr", "pdbqt", "gro"])
def test_formats_that_look_like_another_are_told_by_their_suffix_too(read, suffix):
    with pytest.raises(InvalidArgumentError, match=f"this is {suffix.upper()}"):
        read(ATOM if suffix != "gro" else "nothing\n", f"some.{suffix}.gz")
    assert len(read(ATOM, f"some.{suffix}.pdb")["positions"]) == 1


def test_directories_and_pipes_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.pdb")
    for path in (tmp_path, tmp_path / "pipe.pdb"):
        with pytest.raises(InvalidArgumentError, match="expected a regular file") as error:
            read_structure(path)
        assert str(path) in str(error.value)


# --- mmCIF ---


@pytest.mark.parametrize("left_out", ["", "group_PDB", "id", "type_symbol", "label_alt_id",
                                      "label_asym_id", "label_seq_id"])  # fmt: skip
def test_columns_of_mmcif_may_be_missing(read, left_out):
    pairs = [
        (column, value)
        for column, value in zip(COLUMNS.split(), ROW.split(), strict=True)
        if column != left_out
    ]
    columns, row = " ".join(pair[0] for pair in pairs), " ".join(pair[1] for pair in pairs)
    data = read(mmcif(row + "\n", columns=columns))
    assert data["elements"].tolist() == ["C"]
    assert data["atom_names"].tolist() == ["CA"]
    assert data["residue_names"].tolist() == ["ALA"]
    assert data["chains"].tolist() == ["" if left_out == "label_asym_id" else "A"]
    assert data["residue_numbers"].tolist() == [1 if left_out == "label_seq_id" else 7]
    assert not {"b_factors", "occupancies", "altlocs", "cell"} & data.keys()


@pytest.mark.parametrize("left_out", ["label_atom_id", "label_comp_id", "Cartn_x", "Cartn_y"])
def test_a_column_that_is_needed_is_named(read, left_out):
    columns = COLUMNS.replace(left_out, "other")
    with pytest.raises(InvalidArgumentError, match=f"_atom_site.{left_out}"):
        read(mmcif(ROW, columns=columns))


def test_waters_without_a_number_are_residues_of_their_own(read, caplog):
    waters = [
        f"HETATM {n} {e} {e}{n % 3 or ''} . HOH B . {n} 0 0\n" for n, e in enumerate("OHHOHH")
    ]
    data = read(mmcif(ROW, *[row.replace("O0", "O").replace("O3", "O") for row in waters]))
    assert data["residue_names"].tolist() == ["ALA", "HOH", "HOH"]
    assert data["residue_numbers"].tolist() == [7, 1, 2]
    assert "2 residues have no number" in caplog.text


@pytest.mark.parametrize("value", ["?", ".", "x", "nan", "1_0", "1.0D0"])
def test_coordinates_of_mmcif_that_are_no_numbers_are_an_error_with_the_line(read, value):
    row = f"ATOM 2 C CB . ALA A 7 1.0 {value} 3.0\n"
    with pytest.raises(
        InvalidArgumentError, match=r"line 15: row 2 of _atom_site \(id 2\): Cartn_y"
    ):
        read(mmcif(ROW, row))


@pytest.mark.parametrize("number", ["9" * 30, "9" * 5000, "1" + "0" * 4400])
def test_a_residue_number_that_no_residue_has_is_an_error_with_the_line(read, number):
    with pytest.raises(InvalidArgumentError, match="line 14: .*expected a whole number"):
        read(mmcif(ROW.replace(" 7 ", f" {number} ")))


def test_a_coordinate_beyond_float32_is_an_error(read):
    for value in ("1e39", "-1e300"):
        with pytest.raises(
            InvalidArgumentError, match=r"some\.pdb.*atom 0 is not finite as float32"
        ):
            read(mmcif(ROW.replace("1.0", value)))
    assert read(mmcif(ROW.replace("1.0", "3e38")))["positions"][0, 0] == np.float32(3e38)


def test_a_number_with_its_uncertainty_and_quoted_names_are_read(read):
    data = read(mmcif("ATOM 1 C \"C1'\" . 'A' A 7 1.5(2) 2 3\n"))
    assert data["positions"].tolist() == [[1.5, 2, 3]]
    assert data["atom_names"].tolist() == ["C1'"]


@pytest.mark.parametrize(
    ("above", "last", "missing"),
    [("3.125", "3.1", "25"), ("10", "1", "0"), ("9", "1", "0"), ("AB", "A", "B")],
)
def test_an_mmcif_file_that_ends_within_a_value_is_an_error(read, above, last, missing):
    rows = [f"ATOM {n} C C{n} . ALA A 7 1 2 3 {end}" for n, end in enumerate((above, last))]
    text = mmcif("\n".join(rows), columns=COLUMNS + " other", end="")
    with pytest.raises(InvalidArgumentError, match=f"ends with '{last}', below '{above}'.*cut"):
        read(text)
    for end in (missing, "\n"):
        assert len(read(text + end)["positions"]) == 2


def test_a_model_number_cut_short_adds_no_atom_to_another_model(read):
    columns = COLUMNS + " pdbx_PDB_model_num"
    text = mmcif(*(f"{ROW[:-1]} {n}\n" for n in range(1, 11)), columns=columns, end="")
    assert read(text)["n_models"] == 10
    with pytest.raises(InvalidArgumentError, match=r"some\.pdb.*cut short"):
        read(text[:-2])


def test_one_atom_needs_no_loop(read):
    values = zip(COLUMNS.split(), ROW.split(), strict=True)
    text = "".join(f"_atom_site.{column} {value}\n" for column, value in values)
    assert read("data_a\n" + text)["positions"].tolist() == [[1, 2, 3]]


def test_atoms_of_mmcif_keep_the_order_of_the_file(read):
    columns = COLUMNS + " auth_asym_id pdbx_PDB_model_num B_iso_or_equiv occupancy"
    rows = [
        f"{kind} {n} {name[0]} {name} . {residue} {label} 1 {n} 0 0 {chain} 1 {b} 1.0\n"
        for n, (kind, name, residue, label, chain, b) in enumerate(
            [
                ("ATOM", "CA", "GLY", "A", "X", 10),
                ("ATOM", "CA", "TRP", "B", "Y", "?"),
                ("HETATM", "O", "HOH", "C", "X", 30),
            ]
        )
    ]
    data = read(mmcif(*rows, columns=columns))
    assert data["chains"].tolist() == ["X", "Y", "X"]
    assert data["is_polymer"].tolist() == [True, True, False]
    np.testing.assert_array_equal(data["b_factors"], np.float32([10, np.nan, 30]))


def test_mmjson_is_read_as_mmcif(read):
    text = gemmi.cif.read_string(mmcif(ROW)).as_json(mmjson=True)
    assert read(text, "some.json")["positions"].tolist() == [[1, 2, 3]]
