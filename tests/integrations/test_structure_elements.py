"""Elements that a file does not say follow from names and residues."""

from types import SimpleNamespace

import pytest

pytest.importorskip("gemmi")

from proteinflex_optimization.integrations.structures import read_structure

LINE = "ATOM  {:5d} {:<4} {:<4} {:4d}    {:8.3f}   0.000   0.000  1.00  0.00          {:>2}\n"


def elements(path, atoms):
    """Read atoms given as (name, residue), each residue ended by another name."""
    number, before = 0, None
    with path.open("w") as file:
        for place, (name, residue, *symbol) in enumerate(atoms):
            number += residue != before
            before = residue
            file.write(LINE.format(place, name, residue, number, place, *(symbol or [""])))
    return read_structure(path)["elements"].tolist()


def check(path, atoms):
    found = elements(path, [atom[:2] for atom in atoms])
    assert list(zip(atoms, found, strict=True)) == [(atom, atom[2]) for atom in atoms]


BIOPOLYMER = [
    ("N", "MET", "N"), ("HT1", "MET", "H"), ("CA", "MET", "C"), ("SD", "MET", "S"),
    ("CE", "MET", "C"), ("HE1", "MET", "H"), ("CD1", "ILE", "C"), ("HG", "ILE", "H"),
    ("NE2", "GLN", "N"), ("OE1", "GLN", "O"), ("ND1", "HSD", "N"), ("HD1", "HSD", "H"),
    ("NE", "ARG", "N"), ("HH11", "ARG", "H"), ("CO", "ALA", "C"), ("HO5'", "DA5", "H"),
    ("P", "DA5", "P"), ("OP1", "DA5", "O"), ("CD", "PRO", "C"), ("1HB", "PRO", "H"),
]  # fmt: skip

SOLVENT = [
    ("OH2", "TIP3", "O"), ("H1", "TIP3", "H"), ("OW", "SOL", "O"), ("HW2", "SOL", "H"),
    ("MW", "SOL", "X"), ("EPW", "HOH", "X"), ("SOD", "SOD", "Na"), ("CLA", "CLA", "Cl"),
    ("POT", "POT", "K"), ("CAL", "CAL", "Ca"), ("CA", "CA", "Ca"), ("NA", "NA+", "Na"),
    ("CL", "Cl-", "Cl"), ("HG", "HG", "Hg"), ("CD", "CD", "Cd"), ("MG", "MG", "Mg"),
    ("ZN", "ZN2", "Zn"), ("K+", "K+", "K"), ("CES", "CES", "Cs"),
]  # fmt: skip

LIGAND = [
    ("FE", "HEM", "Fe"), ("NA", "HEM", "N"), ("CHA", "HEM", "C"), ("CL1", "LIG", "Cl"),
    ("BR", "LIG", "Br"), ("C12", "LIG", "C"), ("NB", "LIG", "N"), ("CD", "LIG", "C"),
    ("HO2", "LIG", "H"), ("CLA", "LIG", "C"), ("SE", "MSE", "Se"), ("F1", "LIG", "F"),
]  # fmt: skip


def test_left_justified_names_mean_what_their_residue_has(tmp_path):
    check(tmp_path / "left.pdb", BIOPOLYMER + SOLVENT + LIGAND)


def test_the_column_of_a_name_decides_where_names_are_aligned(tmp_path):
    aligned = [(f" {name}" if len(name) < 4 else name, of, is_) for name, of, is_ in BIOPOLYMER]
    check(
        tmp_path / "aligned.pdb",
        [
            *aligned,
            (" CA ", "LIG", "C"), ("CA  ", "LIG", "Ca"), (" HG ", "LIG", "H"), ("HG  ", "MMC", "Hg"),
            ("CL1 ", "LIG", "Cl"), (" FE ", "HEM", "Fe"), ("HO2 ", "LIG", "H"), ("HG11", "LIG", "H"),
            ("BR12", "LIG", "Br"), ("ZN  ", "LIG", "Zn"),
        ],
    )  # fmt: skip


def test_a_residue_of_a_biopolymer_has_no_metals_wherever_its_names_stand(tmp_path):
    mixed = [
        (" N  ", "LYS", "N"), ("CA  ", "LYS", "C"), ("CD  ", "LYS", "C"), ("HG  ", "SER", "H"),
        ("NE  ", "ARG", "N"), ("LPA ", "ASP", "X"), ("DCA ", "ALA", "X"), ("CA  ", "CA", "Ca"),
    ]  # fmt: skip
    check(tmp_path / "mixed.pdb", mixed)


def test_what_the_file_says_is_taken(tmp_path):
    atoms = [
        ("CA", "ALA", "C"), ("CA", "LIG", "CA"), ("D", "ALA", "D"), ("M", "HOH", "EP"),
        ("X1", "LIG", "zn"), ("CB", "ALA", "12"),
    ]  # fmt: skip
    assert elements(tmp_path / "said.pdb", atoms) == ["C", "Ca", "D", "X", "Zn", "C"]


def test_an_unknown_element_is_guessed_with_a_warning(tmp_path, caplog):
    said = [("CA", "ALA", "C"), ("CB", "ALA", ""), ("M", "HOH", "EP"), ("OW", "HOH", "O")]
    elements(tmp_path / "quiet.pdb", said)
    assert caplog.messages == []
    unknown = [("CB", "ALA", "Zz"), ("CG", "LEU", "Zz"), ("N", "LEU", "Zz"), ("CA", "LEU", "C")]
    assert elements(tmp_path / "loud.pdb", unknown) == ["C", "C", "N", "C"]
    of_carbon, of_nitrogen = caplog.messages
    assert "loud.pdb: the element 'Zz' of 2 atoms is unknown; taken as C" in of_carbon
    assert "of 1 atoms is unknown; taken as N" in of_nitrogen


def test_the_warning_of_an_unknown_element_names_the_library(caplog):
    structure = pytest.importorskip("biotite.structure")
    atom = structure.Atom([1, 2, 3], atom_name="CB", res_name="ALA", res_id=1, element="ZZ")
    read_structure(structure.array([atom]))
    app = pytest.importorskip("openmm.app")
    topology = app.Topology()
    residue = topology.addResidue("ALA", topology.addChain("A"))
    topology.addAtom("CB", SimpleNamespace(symbol="Zz"), residue)
    read_structure((topology, [(0.1, 0.2, 0.3)]))
    of_biotite, of_openmm = caplog.messages
    assert of_biotite.startswith("Biotite's structure: the element 'ZZ' of 1 atoms is unknown")
    assert of_openmm.startswith("OpenMM's structure: the element 'Zz' of 1 atoms is unknown")


def test_beads_have_no_element(tmp_path):
    martini = [("BB", "ALA"), ("SC1", "PHE"), ("W", "W"), ("NA+", "ION"), ("PO4", "DPPC")]
    assert elements(tmp_path / "martini.pdb", martini) == ["X"] * 5
    assert elements(tmp_path / "water.pdb", martini[2:]) == ["X"] * 3
