"""PDB files as programs really write them: each line means what it says, or is named in an error."""

import numpy as np
import pytest
from proteinflex_optimization import InvalidArgumentError

pytest.importorskip("gemmi")

from proteinflex_optimization.integrations.structures import read_structure

LINE = (
    "{kind:6}{serial:>5} {name:<4}{alt:1}{residue:<4}{chain:1}{number:>4}{code:1}   "
    "{x:>8}{y:>8}{z:>8}{occ:>6}{b:>6}      {segment:<4}{element:>2}"
)
DEFAULTS = {
    "kind": "ATOM",
    "serial": 1,
    "name": " CA",
    "alt": "",
    "residue": "ALA",
    "chain": "A",
    "number": 1,
    "code": "",
    "x": "1.000",
    "y": "2.000",
    "z": "3.000",
    "occ": "1.00",
    "b": "20.00",
    "segment": "",
    "element": "C",
}


def line(**fields):
    return LINE.format(**DEFAULTS | fields)


@pytest.fixture
def read(tmp_path):
    """Read these lines as a file."""

    def read(*lines, end="\n", **options):
        path = tmp_path / "some.pdb"
        path.write_text("\n".join(lines) + end)
        return read_structure(path, **options)

    return read


def waters(numbers, **fields):
    place = 0
    for number in numbers:
        for name in (" OW ", " HW1", " HW2"):
            place += 1
            x = f"{place % 9000 * 0.1:.3f}"
            yield line(
                name=name, residue="SOL", chain="", number=number, x=x, element=name[1], **fields
            )


# --- order, residues and their numbers ---


def test_atoms_keep_the_order_of_the_file_where_numbers_and_chains_repeat(read):
    numbers = [*range(1, 10_000), 0, 1, 2, 3]
    data = read(*waters(numbers))
    expected = [f"{place % 9000 * 0.1:.3f}" for place in range(1, 3 * len(numbers) + 1)]
    np.testing.assert_array_equal(data["positions"][:, 0], np.array(expected, np.float32))
    assert data["residue_numbers"].tolist() == numbers
    assert np.bincount(data["residue_index"]).tolist() == [3] * len(numbers)


@pytest.mark.parametrize("numbers", [["****"] * 4, [7] * 4, [""] * 4])
def test_neighbours_that_no_number_tells_apart_are_residues_of_their_own(read, numbers):
    data = read(*waters(numbers))
    assert data["residue_index"].tolist() == [n for n in range(4) for _ in range(3)]


def test_ions_of_one_number_are_residues_of_their_own(read):
    ions = [line(name=name, residue=of, element="") for name, of in [("SOD", "SOD"), ("NA", "NA+")]]
    ligand = [line(name=" C", residue="LIG", number=9)] * 3
    data = read(ions[0], ions[0], ions[1], ions[1], *ligand)
    assert data["residue_index"].tolist() == [0, 1, 2, 3, 4, 4, 4]
    assert data["elements"][:4].tolist() == ["Na"] * 4


def test_residues_without_a_number_are_counted_on_and_that_is_said(read, caplog):
    protein = [line(name=name, number="****", element=name[1]) for name in (" N  ", " CA ")]
    data = read(*waters([9999]), *waters(["****"] * 2), *protein, *protein)
    assert data["residue_numbers"].tolist() == [9999, 10_000, 10_001, 1, 2]
    assert data["residue_names"].tolist() == ["SOL"] * 3 + ["ALA"] * 2
    assert "4 residues have no number" in caplog.text


def hybrid36(number):
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    value, text = number - 10_000 + 10 * 36**3, ""
    while value:
        value, digit = divmod(value, 36)
        text = digits[digit] + text
    return text


CODES = {
    "OpenMM": lambda number: f"{number - 10_000 + 0xA000:04X}",
    "hybrid-36": hybrid36,
    "VMD": lambda number: f"{number:04x}",
    "CHARMM": str,
}


@pytest.mark.parametrize("program", CODES)
@pytest.mark.parametrize("last", [10_005, 10_100])
def test_numbers_beyond_9999_are_what_the_program_meant(read, program, last):
    numbers = list(range(9_990, last))
    lines = []
    for number in numbers:
        text = str(number) if number < 10_000 else CODES[program](number)
        code = text[4:] if len(text) > 4 else ""
        lines.append(line(name=" O  ", residue="HOH", number=text[:4], code=code, element="O"))
    data = read(*lines)
    assert data["residue_numbers"].tolist() == numbers
    assert set(data["insertion_codes"].tolist()) == {""}


def write_with_openmm(path, n_residues):
    app = pytest.importorskip("openmm.app")
    topology = app.Topology()
    chain = topology.addChain("A")
    for _ in range(n_residues):
        topology.addAtom("O", app.element.oxygen, topology.addResidue("HOH", chain))
    with path.open("w") as file:
        app.PDBFile.writeFile(topology, np.zeros((n_residues, 3)), file)


def write_with_biotite(path, n_residues):
    structure = pytest.importorskip("biotite.structure")
    from biotite.structure.io.pdb import PDBFile

    atoms = structure.AtomArray(n_residues)
    atoms.chain_id[:], atoms.res_name[:], atoms.atom_name[:] = "A", "HOH", "O"
    atoms.res_id, atoms.coord = np.arange(1, n_residues + 1), np.zeros((n_residues, 3))
    file = PDBFile()
    file.set_structure(atoms, hybrid36=True)
    file.write(path)


@pytest.mark.parametrize("write", [write_with_openmm, write_with_biotite])
def test_numbers_of_real_programs_come_back(tmp_path, write):
    write(tmp_path / "many.pdb", 10_050)
    data = read_structure(tmp_path / "many.pdb")
    np.testing.assert_array_equal(data["residue_numbers"], np.arange(1, 10_051))


def test_a_file_of_hetatm_records_alone_is_read(read):
    ligand = [line(kind="HETATM", residue="ATP", name=name) for name in (" PG", " O1G", " N9")]
    data = read(*ligand)
    assert data["residue_names"].tolist() == ["ATP"]
    assert (data["is_polymer"].tolist(), data["sequences"]) == ([False], {})


def test_what_is_no_residue_number_is_an_error_with_its_line(read):
    with pytest.raises(InvalidArgumentError, match=r"some\.pdb'.* line 2: .*'A!1'.*residue number"):
        read(line(), line(number="A!1"))


@pytest.mark.parametrize("serial", ["*****", "A0000", "186a0", "100000"])
def test_serials_mean_nothing(read, serial):
    text = line(name=" CB").replace("ATOM      1", f"ATOM  {serial:>5}"[:11])
    assert read(line(), text)["atom_names"].tolist() == ["CA", "CB"]


def test_two_kinds_of_residue_whose_atoms_alternate_in_the_file_are_two_residues(read):
    lines = [
        line(name=name, alt=alt, residue=residue, occ=occ)
        for name in (" N", " CA", " C")
        for alt, residue, occ in (("A", "SER", "0.40"), ("B", "PRO", "0.60"))
    ]
    every = read(*lines, altlocs="all")
    assert every["residue_names"].tolist() == ["SER", "PRO"]
    assert every["residue_index"].tolist() == [0, 1] * 3
    assert read(*lines)["residue_names"].tolist() == ["PRO"]


# --- names ---


def test_the_fourth_letter_of_a_residue_is_no_part_of_its_chain(read):
    data = read(
        line(name=" OH2", residue="TIP3", chain="W", segment="WAT"),
        line(name=" N", residue="POPC", chain="M", segment="MEMB"),
        line(name=" OW", residue="SOLV", chain=""),
    )
    assert data["residue_names"].tolist() == ["TIP3", "POPC", "SOLV"]
    assert data["chains"].tolist() == ["W", "M", ""]
    assert data["segment_ids"].tolist() == ["WAT", "MEMB", ""]


def test_types_of_atoms_in_the_columns_of_segments_make_no_residues(read):
    types = ["CT", "HC", "CT", "N3"]
    data = read(*[line(name=f" C{n}", segment=of) for n, of in enumerate(types)])
    assert data["residue_index"].tolist() == [0] * 4
    assert "segment_ids" not in data
    segments = [line(residue="LIG", segment=of) for of in ("HETA", "HETB")]
    assert read(*segments)["segment_ids"].tolist() == ["HETA", "HETB"]


def test_chains_of_two_letters_are_read_as_gemmi_writes_them(tmp_path):
    import gemmi

    structure = gemmi.Structure()
    model = gemmi.Model(1)
    for name in ("A", "AB"):
        chain = gemmi.Chain(name)
        for number, residue_name in enumerate(("ALA", "GLY", "ATP"), 1):
            residue = gemmi.Residue()
            residue.name, residue.seqid = residue_name, gemmi.SeqId(number, " ")
            atom = gemmi.Atom()
            atom.name, atom.element = "C1", gemmi.Element("C")
            residue.add_atom(atom)
            chain.add_residue(residue)
        model.add_chain(chain)
    structure.add_model(model)
    structure.write_pdb(str(tmp_path / "two.pdb"))
    data = read_structure(tmp_path / "two.pdb")
    assert data["chains"].tolist() == ["A"] * 3 + ["AB"] * 3
    assert data["residue_names"].tolist() == ["ALA", "GLY", "ATP"] * 2


def test_names_of_force_fields_are_polymers_with_letters(read):
    names = ["NALA", "HSD", "CYX", "LYSH", "GLUP", "CHIE", "DA5", "SOL", "POT"]
    data = read(*[line(residue=name, number=n, chain="") for n, name in enumerate(names)])
    assert data["is_polymer"].tolist() == [True] * 7 + [False] * 2
    assert data["sequences"] == {"": "AHCKEHA"}


def test_amino_acids_in_hetatm_records_after_the_end_of_a_chain_are_ligands(read):
    data = read(
        line(number=1),
        line(number=2, residue="MSE", kind="HETATM"),
        line(number=3, residue="GLY", kind="HETATM"),
        "TER",
        line(number=11, residue="PRO", kind="HETATM"),
        line(number=12, residue="PRO", kind="HETATM"),
    )
    assert data["is_polymer"].tolist() == [True, True, False, False, False]


# --- coordinates ---

BAD = {
    "overflow": {"x": "********", "y": "********"},
    "blank": {"x": "", "y": "", "z": ""},
    "text": {"y": "n/a"},
    "not finite": {"z": "nan"},
    "infinite": {"z": "inf"},
    "underscore": {"z": "1_0"},
    "Fortran": {"x": "1.0D+01"},
    "wide number to the right": {"x": "1.00", "y": "71234.56"},
}


@pytest.mark.parametrize("kind", BAD)
def test_coordinates_that_are_no_numbers_are_an_error_with_file_and_line(read, kind):
    with pytest.raises(InvalidArgumentError, match=r"some\.pdb' is not valid: line 3: column"):
        read("REMARK", line(), line(**BAD[kind]))


@pytest.mark.parametrize(
    "bad",
    [
        line()[:27] + "-1234.567" + line()[36:],
        line()[:30] + " " + line()[30:],
        line()[:30] + " 1234.5678 12.3456 -1.2345",
        line().replace("   1.000", "\t1.000"),
        "  " + line(),
    ],
    ids=["sign before the columns", "to the right", "four decimals", "tabs", "indented"],
)
def test_columns_that_are_shifted_are_an_error_with_the_line(read, bad):
    with pytest.raises(InvalidArgumentError, match="line 2: "):
        read(line(), bad)


@pytest.mark.parametrize(
    "numbers",
    [
        "12345.67823456.78934567.890",
        "   1.000   2.00012345.678",
        "123456.789234567.890345678.901",
        "123456.789123456.7891234567.890",
        "12345.67823456.78934567.890  1.00  0.00",
    ],
)
def test_coordinates_that_have_overflown_are_an_error_whatever_follows(read, numbers):
    with pytest.raises(InvalidArgumentError, match=r"line 2: columns 47 to 55 hold"):
        read(line(), line()[:30] + numbers)


def test_a_coordinate_beyond_float32_is_an_error(read):
    with pytest.raises(InvalidArgumentError, match="atom 1 is not finite as float32"):
        read(line(), line(x="1e39"))


def test_numbers_that_fill_their_columns_are_read(read):
    full = line(x="-123.456", y="-1234.56", z="12345.67", occ="100.00", b="100.00")
    data = read(line(), full)
    np.testing.assert_array_equal(data["positions"][1], np.float32([-123.456, -1234.56, 12345.67]))


@pytest.mark.parametrize("length", [20, 40, 46, 53, 58, 63, 77])
def test_a_file_that_ends_within_a_line_is_an_error(read, length):
    last = line(b="120.00", element="CL")[:length]
    with pytest.raises(InvalidArgumentError, match="line 2: .*cut short"):
        read(line(), last, end="")


@pytest.mark.parametrize("length", [54, 60, 66, 78])
def test_a_last_line_without_its_end_is_read_where_its_columns_are_whole(read, length):
    assert len(read(line(), line(name=" CB")[:length], end="")["positions"]) == 2


# --- what may not be there ---


def test_factors_that_are_not_there_are_not_made_up(read):
    short = line()[:54]
    data = read(short, short)
    assert not {"b_factors", "occupancies", "residue_b_factors", "plddt"} & data.keys()
    with pytest.raises(InvalidArgumentError, match="plddt=True .* no B-factors"):
        read(short, plddt=True)
    some = read(line(b="50.00"), line(name=" CB", occ="", b=""), line(number=2, b="******"))
    np.testing.assert_array_equal(some["b_factors"], np.float32([50, np.nan, np.nan]))
    np.testing.assert_array_equal(some["occupancies"], np.float32([1, np.nan, 1]))
    np.testing.assert_array_equal(some["residue_b_factors"], np.float32([50, np.nan]))


def test_factors_that_have_overflown_are_nan_with_one_warning(read, caplog):
    model = [line(b="******"), line(name=" CB", b="50.00"), line(name=" N", b="******"), "ENDMDL"]
    data = read(*model, *model, model="all")
    np.testing.assert_array_equal(data["b_factors"], np.float32([np.nan, 50, np.nan]))
    (said,) = caplog.messages
    assert "some.pdb: the B-factors of 2 atoms are asterisks" in said
    data = read(line(occ="******"))
    assert "occupancies" not in data
    assert "the occupancies of 1 atoms are asterisks" in caplog.messages[1]


def test_factors_that_are_something_else_are_an_error(read):
    with pytest.raises(InvalidArgumentError, match="line 2: columns 61 to 66 hold 'ab    '"):
        read(line(), line(b="ab    "))
    with pytest.raises(InvalidArgumentError, match="line 2: columns 61 to 66"):
        read(line(), line(b="1234.5", segment="")[:66] + "6")


CELL = "CRYST1{:9.3f}{:9.3f}{:9.3f}  90.00  90.00  90.00 P 1           1"


def test_a_model_has_the_cell_that_is_given_for_it(read):
    def frames(order):
        for n in (1, 2, 3):
            yield from [part.format(n) for part in order]

    cell = CELL.format(10, 10, 10).replace("  10.000", "  1{}.000", 1)
    before = list(frames([cell, "MODEL {}", line(), "ENDMDL"]))
    inside = list(frames(["MODEL {}", cell, line(), "ENDMDL"]))
    after = list(frames(["MODEL {}", line(), "ENDMDL", cell]))
    ended = list(frames([cell, line(), "END"]))
    for lines in (before, inside, after, ended):
        assert [read(*lines, model=n)["cell"][0] for n in (1, 2, 3)] == [11, 12, 13]
        every = read(*lines, model="all")
        assert every["cell"].shape == (3, 6)
        assert every["cell"][:, 0].tolist() == [11, 12, 13]
    shared = read(before[0], line(), "ENDMDL", line(), "ENDMDL", model="all")
    assert shared["cell"].tolist() == [11, 10, 10, 90, 90, 90]


@pytest.mark.parametrize("sides", [(1, 1, 1), (0, 0, 0)])
def test_placeholders_are_no_cell(read, sides):
    assert "cell" not in read(CELL.format(*sides), line())


def test_a_cell_that_is_no_cell_is_an_error(read):
    assert read("CRYST1 30.0 40.0 50.0 90 90 90 P 1", line())["cell"][:3].tolist() == [30, 40, 50]
    for bad in ("CRYST1   abc", CELL.format(30, 30, 30).replace("90.00", " 0.00")):
        with pytest.raises(InvalidArgumentError, match="line 1: .*CRYST1"):
            read(bad, line())


# --- models ---


@pytest.mark.parametrize(
    "between",
    [["END"], ["ENDMDL"], ["END", "ENDMDL"], ["ENDMDL", "END"], ["MODEL        2"], ["END   "]],
    ids=" ".join,
)
def test_models_are_separated_by_whatever_programs_write(read, between):
    data = read(line(x="1.000"), "TER", *between, line(x="2.000"), "END", model="all")
    assert data["n_models"] == 2
    assert data["positions"][:, 0, 0].tolist() == [1, 2]


def test_models_of_an_ensemble_have_numbers_of_their_own(read):
    models = [line(x=f"{n}.000", b=f"{n}.00", occ=f"0.{n}0") for n in (1, 2, 3)]
    lines = [part for model in models for part in (model, "ENDMDL")]
    for n in (1, 2, 3):
        data = read(*lines, model=n)
        assert (data["positions"][0, 0], data["b_factors"][0]) == (n, n)
        assert data["occupancies"][0] == np.float32(n / 10)
    mixed = read(*lines, line(name=" CB", x="4.000", element="N"), model=4)
    assert (mixed["atom_names"][0], mixed["elements"][0]) == ("CB", "N")
    assert read(*lines, model="all")["positions"][:, 0, 0].tolist() == [1, 2, 3]


def test_factors_of_all_models_have_a_row_for_each_where_they_differ(read):
    def every(*pairs):
        lines = [
            part for b, occ in pairs for part in (line(b=b, occ=occ), line(b=b, number=2), "ENDMDL")
        ]
        return read(*lines, model="all", plddt=True)

    data = every((" 90.00", "  0.50"), (" 10.00", "  1.00"))
    assert data["b_factors"].tolist() == [[90, 90], [10, 10]]
    assert data["plddt"].tolist() == [[90, 90], [10, 10]]
    assert data["occupancies"][:, 0].tolist() == [0.5, 1]
    same = every(*[(" 90.00", "  0.50")] * 2)
    assert [same[name].shape for name in ("b_factors", "plddt", "occupancies")] == [(2,)] * 3
    one_without = every((" 90.00", "  0.50"), ("      ", "  0.50"))
    np.testing.assert_array_equal(one_without["b_factors"][:, 0], [90, np.nan])


def test_models_of_different_sizes_are_said(read, caplog):
    data = read(line(), line(name=" CB"), "END", line(), "END")
    assert (data["n_models"], len(data["positions"])) == (2, 2)
    assert "2 models have from 1 to 2 atoms" in caplog.text
    with pytest.raises(InvalidArgumentError, match="model 2 has other atoms"):
        read(line(), line(name=" CB"), "END", line(), "END", model="all")


def test_a_model_without_atoms_is_an_error(read):
    with pytest.raises(InvalidArgumentError, match="line 2: expected a model that has atoms"):
        read(line(), "MODEL        1", "ENDMDL", line())
