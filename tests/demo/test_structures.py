"""Anybody's protein: completed with every change said, or refused with the reason."""

import gzip

import numpy as np
import pytest
from proteinflex_optimization.cli.demo import villin
from proteinflex_optimization.demo.structure import StructureError, load_protein
from proteinflex_optimization.errors import InvalidArgumentError

BACKBONE = ("N", "CA", "C", "O")


def villin_lines():
    """The villin headpiece of OpenMM: 35 residues with hydrogens, without its water."""
    lines = villin().read_text().splitlines()
    return [line for line in lines if line[:6] in ("ATOM  ", "HETATM") and line[17:20] != "HOH"]


def atom(line):
    return line[12:16].strip()


def number(line):
    return int(line[22:26])


def heavy(lines):
    return [line for line in lines if atom(line).lstrip("0123456789")[0] != "H"]


def renamed(line, name):
    return f"{line[:17]}{name:>3}{line[20:]}"


@pytest.fixture
def load(tmp_path):
    """Write lines to a file and load it: the protein, and what was said."""

    def load(lines, *, name="protein.pdb", drop_unknown=False):
        path = tmp_path / name
        path.write_text("\n".join([*lines, "END", ""]))
        said = []
        return load_protein(path, drop_unknown=drop_unknown, say=said.append), "\n".join(said)

    return load


def test_a_structure_that_lacks_nothing_stays_as_it_is(load):
    protein, said = load(line for line in villin_lines() if line[17:20] != " Cl")
    assert protein.topology.getNumAtoms() == 582
    assert said == "structure: states of protonation: 1 HIE"
    stored = np.array([[float(line[i : i + 8]) for i in (30, 38, 46)] for line in villin_lines()])
    np.testing.assert_allclose(protein.positions, stored[:582], atol=2e-3)


def test_water_and_salt_are_left_out_and_counted():
    said = []
    load_protein(villin(), say=said.append)
    assert "left out water and salt, for the solvent is implicit: 2 Cl, 2761 HOH" in said[0]


@pytest.mark.parametrize("name", ["OPC3", "SWM4", "TP3M"])
def test_water_is_left_out_whatever_a_force_field_calls_it(load, name):
    water = f"HETATM 9999  O   {name:<4}W   1      90.000  90.000  90.000  1.00  0.00           O"
    lines = [line for line in villin_lines() if line[17:20] != " Cl"]
    protein, said = load([*lines, water])
    assert protein.topology.getNumAtoms() == 582
    assert f"1 {name}" in said


def test_hydrogens_heavy_atoms_and_the_terminal_oxygen_are_added(load):
    lines = [
        line
        for line in heavy(villin_lines())
        if line[17:20] != " Cl"
        and atom(line) != "OC2"
        and not (number(line) in (5, 9) and atom(line) not in BACKBONE)
    ]
    protein, said = load(lines)
    assert protein.topology.getNumAtoms() == 582
    assert "missing heavy atoms in" in said
    assert " 5" in said
    assert "added the terminal oxygen of" in said
    assert "added 293 hydrogens to the 0 of the file (pH 7)" in said


@pytest.mark.parametrize(
    ("name", "state", "n_hydrogens"),
    [("HSD", "HID", 0), ("HSE", "HIE", 0), ("HSP", "HIP", 1), ("HIP", "HIP", 1), ("HID", "HID", 0)],
)
def test_the_state_of_histidine_that_the_name_says_is_kept(load, name, state, n_hydrogens):
    lines = [line for line in heavy(villin_lines()) if line[17:20] != " Cl"]
    lines = [renamed(line, name) if line[17:19] == "HI" else line for line in lines]
    protein, said = load(lines)
    assert protein.topology.getNumAtoms() == 582 + n_hydrogens
    assert f"states of protonation: 1 {state}" in said


def test_hydrogens_of_unknown_names_are_replaced(load):
    lines = [
        line[:12] + " HX" + line[15:] if number(line) == 3 and atom(line) == "HB2" else line
        for line in villin_lines()
        if line[17:20] != " Cl"
    ]
    protein, said = load(lines)
    assert protein.topology.getNumAtoms() == 582
    assert "structure: replaced" in said


def test_a_modified_residue_becomes_its_standard_parent(load):
    lines = [
        renamed(line.replace(" SD ", "SE  ").replace("           S", "          SE"), "MSE")
        if line[17:20] == "MET"
        else line
        for line in heavy(villin_lines())
        if line[17:20] != " Cl"
    ]
    protein, said = load(lines)
    assert "MSE 12 the standard residue MET" in said
    assert protein.topology.getNumAtoms() == 582


def test_the_ends_of_a_gap_are_ends_of_chains(load):
    lines = [
        line for line in villin_lines() if line[17:20] != " Cl" and not 15 <= number(line) <= 18
    ]
    protein, said = load(lines)
    assert "a gap between" in said
    assert [len(list(chain.residues())) for chain in protein.topology.chains()] == [14, 17]
    bonds = [
        np.linalg.norm(protein.positions[first.index] - protein.positions[second.index])
        for first, second in protein.topology.bonds()
    ]
    assert max(bonds) < 2.5


def test_a_molecule_that_a_boundary_cut_is_made_whole(load):
    whole, _ = load(line for line in villin_lines() if line[17:20] != " Cl")
    shifted = [
        f"{line[:30]}{float(line[30:38]) + (48.5 if number(line) > 20 else 0):8.3f}{line[38:]}"
        for line in villin_lines()
        if line[17:20] != " Cl"
    ]
    cell = "CRYST1   48.500   48.500   48.500  90.00  90.00  90.00 P 1           1"
    protein, said = load([cell, *shifted], name="cut.pdb")
    assert "gap" not in said
    np.testing.assert_allclose(protein.positions, whole.positions, atol=2e-3)


def test_hydrogens_at_the_end_of_the_file_belong_to_their_residues(load):
    lines = [line for line in villin_lines() if line[17:20] != " Cl"]
    protein, said = load(heavy(lines) + [line for line in lines if line not in heavy(lines)])
    assert protein.topology.getNumAtoms() == 582
    assert said == "structure: states of protonation: 1 HIE"


def test_a_residue_that_the_file_lists_after_its_chain_comes_to_its_place(load):
    lines = [line for line in villin_lines() if line[17:20] != " Cl"]
    apart = [line for line in lines if number(line) == 12]
    protein, said = load([line for line in lines if line not in apart] + apart)
    assert [residue.id for residue in protein.residues] == [str(n) for n in range(1, 36)]
    assert "gap" not in said


LIGAND = "HETATM 9001  C1  LIG A 900      30.000  30.000  30.000  1.00  0.00           C"
ZINC = "HETATM 9002 ZN    ZN A 901      33.000  30.000  30.000  1.00  0.00          ZN"


def test_ligands_are_left_out_only_where_that_is_asked_for(load):
    lines = [line for line in villin_lines() if line[17:20] != " Cl"]
    with pytest.raises(StructureError, match=r"no parameters for A:LIG 900, A:ZN 901; --drop-unk"):
        load([*lines, LIGAND, ZINC])
    protein, said = load([*lines, LIGAND, ZINC], drop_unknown=True)
    assert protein.topology.getNumAtoms() == 582
    assert "left out what the force field has no parameters for: A:LIG 900, A:ZN 901" in said


def test_a_coarse_model_is_refused_with_what_is_missing(load):
    alphas = [line for line in villin_lines() if atom(line) == "CA"]
    with pytest.raises(StructureError, match=r"35 of 35 amino acids lack .* has only CA"):
        load(alphas)


def test_a_file_without_a_protein_says_what_it_holds(load):
    with pytest.raises(StructureError, match="holds no protein: 1 LIG"):
        load([LIGAND])


def test_a_file_that_is_no_structure_is_named(tmp_path):
    path = tmp_path / "notes.pdb"
    path.write_text("not a structure\n")
    with pytest.raises(InvalidArgumentError, match=r"notes\.pdb"):
        load_protein(path)


def test_mmcif_and_gzipped_files_hold_the_same_protein(load, tmp_path):
    from openmm import app, unit

    expected, _ = load(line for line in villin_lines() if line[17:20] != " Cl")
    plain = tmp_path / "villin.cif"
    with plain.open("w") as file:
        app.PDBxFile.writeFile(expected.topology, expected.positions * unit.angstrom, file)
    packed = tmp_path / "villin.cif.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for path in (plain, packed):
        protein = load_protein(path)
        assert protein.topology.getNumAtoms() == 582
        np.testing.assert_allclose(protein.positions, expected.positions, atol=2e-3)
