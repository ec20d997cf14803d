"""Structure files become the arrays that their users expect: models, alternatives, confidence."""

import gzip

import numpy as np
import pytest
from proteinflex_optimization import DataHandler, InvalidArgumentError
from proteinflex_optimization.errors import InvalidTypeError

gemmi = pytest.importorskip("gemmi")

from MDAnalysisTests.datafiles import PDB, PDB_chainidnewres, PDB_icodes  # noqa: E402
from proteinflex_optimization.integrations.structures import read_structure  # noqa: E402

ATOM = "{:6}{:5d} {:<4}{:1}{:>3} {:1}{:4d}{:1}   {:8.3f}{:8.3f}{:8.3f}{:6.2f}{:6.2f}          {:>2}"


def atom(name, residue, chain, number, x, *, alt="", code="", occ=1.0, b=20.0, kind="ATOM"):
    padded = f" {name}" if len(name) < 4 else name
    element = "".join(char for char in name if char.isalpha())[0]
    return ATOM.format(
        kind, 1, padded, alt, residue, chain, number, code, x, x + 0.125, -x, occ, b, element
    )


def pdb(path, *lines):
    path.write_text("\n".join([*lines, "END", ""]))
    return path


def backbone(residue, number, x, **options):
    chain = options.pop("chain", "A")
    return [
        atom(name, residue, chain, number, x + 0.25 * place, **options)
        for place, name in enumerate(("N", "CA", "C", "O"))
    ]


def test_a_pdb_file_becomes_atoms_and_residues(tmp_path):
    path = pdb(
        tmp_path / "one.pdb",
        "CRYST1   30.000   40.000   50.000  90.00 100.00  90.00 P 1 21 1      2",
        *backbone("ALA", 5, 1.0, b=10),
        *backbone("MSE", 6, 2.0, b=11),
        "TER",
        *backbone("GLY", 1, 3.0, chain="B", b=12),
        *backbone("TRP", 2, 4.0, chain="B", b=13),
        "TER",
        atom("O", "HOH", "A", 101, 9.5, kind="HETATM", b=40, occ=0.5),
    )
    data = read_structure(path)
    assert data["positions"].dtype == np.float32
    assert data["positions"].shape == (17, 3)
    np.testing.assert_array_equal(data["positions"][1], [1.25, 1.375, -1.25])
    order = ["ALA", "MSE", "GLY", "TRP", "HOH"]  # That of the file.
    assert data["residue_names"].tolist() == order
    assert data["residue_numbers"].tolist() == [5, 6, 1, 2, 101]
    assert data["chains"].tolist() == ["A", "A", "B", "B", "A"]
    assert data["is_polymer"].tolist() == [True, True, True, True, False]
    assert data["residue_index"].tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4 + [4]
    assert data["atom_names"][:5].tolist() == ["N", "CA", "C", "O", "N"]
    assert data["elements"][:5].tolist() == ["N", "C", "C", "O", "N"]
    np.testing.assert_array_equal(data["residue_b_factors"], [10, 11, 12, 13, 40])
    assert data["occupancies"][16] == 0.5
    assert data["sequences"] == {"A": "AM", "B": "GW"}
    np.testing.assert_array_equal(data["cell"], [30, 40, 50, 90, 100, 90])
    assert data["n_models"] == 1
    assert "plddt" not in data


def test_alternatives_of_the_highest_occupancy_are_taken_for_whole_residues(tmp_path):
    path = pdb(
        tmp_path / "alt.pdb",
        *backbone("ALA", 1, 1.0),
        atom("N", "SER", "A", 2, 2.0),
        atom("CA", "SER", "A", 2, 2.1, alt="A", occ=0.3),
        atom("CA", "SER", "A", 2, 2.2, alt="B", occ=0.7),
        # By itself, the oxygen of A is the more occupied; it belongs to the other alternative.
        atom("OG", "SER", "A", 2, 2.3, alt="A", occ=0.55),
        atom("OG", "SER", "A", 2, 2.4, alt="B", occ=0.45),
        atom("C", "SER", "A", 2, 2.5, alt="C", occ=0.2),
        atom("N", "VAL", "A", 3, 3.0, alt="A", occ=0.5),
        atom("N", "VAL", "A", 3, 3.1, alt="B", occ=0.5),
    )
    data = read_structure(path)
    serine = data["residue_index"] == 1
    assert data["atom_names"][serine].tolist() == ["N", "CA", "OG", "C"]
    np.testing.assert_allclose(data["positions"][serine, 0], [2.0, 2.2, 2.4, 2.5])
    np.testing.assert_allclose(data["positions"][data["residue_index"] == 2, 0], [3.0])

    every = read_structure(path, altlocs="all")
    assert len(every["positions"]) == 12
    assert every["altlocs"].tolist() == [""] * 5 + ["A", "B", "A", "B", "C", "A", "B"]


def test_of_two_residues_at_one_place_the_more_occupied_is_taken(tmp_path):
    lines = [
        *backbone("ALA", 1, 1.0),
        *backbone("SER", 2, 2.0, alt="A", occ=0.4),
        *backbone("THR", 2, 3.0, alt="B", occ=0.6),
        *backbone("GLY", 3, 4.0),
    ]
    data = read_structure(pdb(tmp_path / "mutant.pdb", *lines))
    assert data["residue_names"].tolist() == ["ALA", "THR", "GLY"]
    assert data["sequences"] == {"A": "ATG"}


def test_atoms_that_share_a_name_without_being_alternatives_are_all_kept(tmp_path):
    lines = [atom("C", "UNK", "A", 1, x, kind="HETATM") for x in (1.0, 2.0, 3.0)]
    data = read_structure(pdb(tmp_path / "same.pdb", *lines))
    np.testing.assert_array_equal(data["positions"][:, 0], [1, 2, 3])


def test_insertion_codes_are_residues_of_their_own(tmp_path):
    lines = [
        *backbone("ALA", 52, 1.0),
        *backbone("SER", 52, 2.0, code="A"),
        *backbone("PRO", 52, 3.0, code="B"),
        *backbone("GLY", 53, 4.0),
    ]
    data = read_structure(pdb(tmp_path / "antibody.pdb", *lines))
    assert data["residue_numbers"].tolist() == [52, 52, 52, 53]
    assert data["insertion_codes"].tolist() == ["", "A", "B", ""]
    assert data["sequences"] == {"A": "ASPG"}
    real = read_structure(PDB_icodes)
    assert len(set(zip(real["residue_numbers"], real["insertion_codes"], strict=True))) == len(
        real["residue_numbers"]
    )


def test_the_first_model_is_taken_and_all_on_request(tmp_path):
    models = [
        ["MODEL        1", *backbone("ALA", 1, 1.0), "ENDMDL"],
        ["MODEL        2", *backbone("ALA", 1, 2.0), "ENDMDL"],
    ]
    path = pdb(tmp_path / "nmr.pdb", *models[0], *models[1])
    first = read_structure(path)
    assert first["positions"].shape == (4, 3)
    assert first["n_models"] == 2
    assert read_structure(path, model=2)["positions"][0, 0] == 2.0
    every = read_structure(path, model="all")
    assert every["positions"].shape == (2, 4, 3)
    np.testing.assert_array_equal(every["positions"][0], first["positions"])
    for model in (0, 3, "first", True):
        with pytest.raises(InvalidArgumentError, match="model="):
            read_structure(path, model=model)
    other = ["MODEL        2", *backbone("GLY", 1, 2.0), "ENDMDL"]
    path = pdb(tmp_path / "mixed.pdb", *models[0], *other)
    assert read_structure(path)["n_models"] == 2
    with pytest.raises(InvalidArgumentError, match="model 2 has other atoms"):
        read_structure(path, model="all")


@pytest.mark.parametrize(
    "title", ["ALPHAFOLD MONOMER V2.0 PREDICTION FOR X", "ESMFOLD V1 PREDICTION FOR INPUT"]
)
def test_the_b_factors_of_a_prediction_are_its_confidence(tmp_path, title):
    lines = [*backbone("ALA", 1, 1.0, b=91.5), *backbone("GLY", 2, 2.0, b=47.25)]
    path = pdb(tmp_path / "predicted.pdb", f"TITLE     {title}", *lines)
    np.testing.assert_array_equal(read_structure(path)["plddt"], np.float32([91.5, 47.25]))
    assert "plddt" not in read_structure(path, plddt=False)
    plain = pdb(tmp_path / "plain.pdb", "TITLE     BASED ON AN ALPHAFOLD MODEL", *lines)
    assert "plddt" not in read_structure(plain)
    assert read_structure(plain, plddt=True)["plddt"].tolist() == [91.5, 47.25]


def test_a_confidence_on_a_scale_of_0_to_1_is_kept_and_said(tmp_path, caplog):
    for b, count in ((91.5, 0), (0.93, 1)):
        path = pdb(tmp_path / "predicted.pdb", *backbone("ALA", 1, 1.0, b=b))
        assert read_structure(path, plddt=True)["plddt"] == np.float32(b)
        assert caplog.text.count("pLDDT is 0.93 at most, as on a scale of 0 to 1") == count


def test_an_mmcif_file_is_the_same_structure_and_says_whether_it_is_predicted(tmp_path):
    path = pdb(tmp_path / "one.pdb", *backbone("ALA", 5, 1.0, b=10), *backbone("TRP", 6, 2.0))
    structure = gemmi.read_structure(str(path))
    structure.setup_entities()
    document = structure.make_mmcif_document()
    expected = read_structure(path)
    document.write_file(str(tmp_path / "one.cif"))
    found = read_structure(tmp_path / "one.cif")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)

    block = document.sole_block()
    block.init_loop("_ma_qa_metric.", ["id", "mode", "name", "type"]).add_row(
        ["1", "local", "pLDDT", "pLDDT"]
    )
    packed = tmp_path / "one.cif.gz"
    packed.write_bytes(gzip.compress(document.as_string().encode()))
    np.testing.assert_array_equal(read_structure(packed)["plddt"], [10, 20])


def test_force_fields_names_of_residues_have_letters():
    data = read_structure(PDB_chainidnewres)
    assert "X" not in "".join(data["sequences"].values())
    sequence = read_structure(PDB)["sequences"]
    assert "".join(sequence.values()).startswith("MRIILLGAPGAGKGTQAQFIMEKYGIPQISTGDMLRAA")


@pytest.mark.parametrize("library", ["gemmi", "biotite", "openmm"])
def test_an_object_of_a_library_is_the_same_structure_as_its_file(tmp_path, library):
    pytest.importorskip(library)
    lines = [
        *backbone("ALA", 5, 1.0, b=10),
        *backbone("SER", 5, 2.0, b=11, code="A"),
        *backbone("GLY", 1, 3.0, chain="B", b=12),
        *backbone("TRP", 2, 4.0, chain="B", b=13),
    ]
    path = pdb(tmp_path / "one.pdb", *lines)
    expected = read_structure(path)
    sources = {"gemmi": gemmi.read_structure(str(path))}
    if library == "biotite":
        from biotite.structure.io.pdb import PDBFile

        file = PDBFile.read(path)
        fields = ["b_factor", "occupancy"]
        sources["biotite"] = file.get_structure(model=1, extra_fields=fields)
        sources["biotite stack"] = file.get_structure(extra_fields=fields)
    elif library == "openmm":
        from openmm.app import PDBFile

        file = PDBFile(str(path))
        sources["openmm"] = file
        sources["openmm pair"] = (file.topology, file.getPositions(asNumpy=True)._value)
    for name, source in sources.items():
        found = read_structure(source)
        missing = {"b_factors", "occupancies", "residue_b_factors"} if "openmm" in name else set()
        assert expected.keys() - found.keys() == missing, name
        for field, value in found.items():
            np.testing.assert_array_equal(value, expected[field], err_msg=f"{name}: {field}")
    # What was given is left alone.
    again = gemmi.read_structure(str(path))
    assert len(sources["gemmi"].entities) == len(again.entities)
    assert sources["gemmi"].make_pdb_string() == again.make_pdb_string()


def test_a_biotite_stack_is_an_ensemble(tmp_path):
    structure = pytest.importorskip("biotite.structure")
    atoms = structure.AtomArray(2)
    atoms.coord = np.arange(6, dtype=np.float32).reshape(2, 3)
    atoms.chain_id[:], atoms.res_id[:], atoms.res_name[:] = "A", 1, "LIG"
    atoms.atom_name[:], atoms.element[:] = ["C1", "CL1"], ["C", "CL"]
    moved = atoms.copy()
    moved.coord = moved.coord + 1
    data = read_structure(structure.stack([atoms, moved]), model="all")
    np.testing.assert_array_equal(data["positions"][1], moved.coord)
    assert data["elements"].tolist() == ["C", "Cl"]
    assert "b_factors" not in data


def test_the_cell_of_an_object_comes_along(tmp_path):
    biotite = pytest.importorskip("biotite.structure")
    atoms = biotite.array([biotite.Atom([1, 2, 3], chain_id="A", res_name="LIG", element="C")])
    other = atoms.copy()
    atoms.box, other.box = np.diag([30.0, 40, 50]), np.diag([31.0, 40, 50])
    assert read_structure(atoms)["cell"].tolist() == [30, 40, 50, 90, 90, 90]
    every = read_structure(biotite.stack([atoms, other]), model="all")
    assert every["cell"][:, 0].tolist() == [30, 31]

    app = pytest.importorskip("openmm.app")
    path = pdb(
        tmp_path / "one.pdb",
        "CRYST1   30.000   40.000   50.000  90.00 100.00  90.00 P 1 21 1      2",
        *backbone("ALA", 5, 1.0),
    )
    found = read_structure(app.PDBFile(str(path)))["cell"]
    np.testing.assert_allclose(found, read_structure(path)["cell"], atol=1e-3)


def test_what_is_no_structure_is_refused(tmp_path):
    (tmp_path / "no.pdb").write_text("nothing\n")
    (tmp_path / "no.cif").write_text("data_x\nloop_\n_a\n")
    for name in ("no.pdb", "no.cif"):
        with pytest.raises(InvalidArgumentError, match="source"):
            read_structure(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="missing"):
        read_structure(tmp_path / "missing.pdb")
    with pytest.raises(InvalidTypeError, match="type int"):
        read_structure(5)
    path = pdb(tmp_path / "one.pdb", *backbone("ALA", 1, 1.0))
    with pytest.raises(InvalidArgumentError, match="altlocs='none'"):
        read_structure(path, altlocs="none")
    empty = [gemmi.Structure(), pytest.importorskip("biotite.structure").AtomArray(0)]
    app = pytest.importorskip("openmm.app")
    for source in (*empty, (app.Topology(), [])):
        with pytest.raises(InvalidArgumentError, match="has atoms"):
            read_structure(source)
    structure = gemmi.read_structure(str(path))
    for number in (float("nan"), 1e300):
        structure[0][0][0][1].pos = gemmi.Position(1, number, 1)
        with pytest.raises(InvalidArgumentError, match="atom 1 is not finite"):
            read_structure(structure)


def test_numbers_of_objects_that_are_none_are_refused_by_the_name_of_the_source():
    app = pytest.importorskip("openmm.app")
    from openmm import Vec3, unit

    topology = app.Topology()
    residue = topology.addResidue("ALA", topology.addChain("A"))
    topology.addAtom("CA", app.element.carbon, residue)
    one = [Vec3(0, 0, 0)]
    for positions in (None, one * unit.picosecond, "x", ["x"], [1.0], [[1.0, 2.0]]):
        with pytest.raises(InvalidArgumentError, match="source .*positions"):
            read_structure((topology, positions))
    atoms = pytest.importorskip("biotite.structure").AtomArray(1)
    atoms.coord[:] = 0
    atoms.set_annotation("b_factor", np.array(["x"]))
    with pytest.raises(InvalidArgumentError, match="Biotite's structure has a b_factor"):
        read_structure(atoms)


def test_the_cache_keeps_all_of_it(tmp_path):
    handler = DataHandler(tmp_path / "cache")
    key = handler.import_structure(PDB, "adk", {"source": "test"}, plddt=True)
    expected = read_structure(PDB, plddt=True)
    found = handler.load_data(key)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
        assert getattr(found[name], "dtype", None) == getattr(value, "dtype", None)
    assert handler.info(key)["metadata"] == {"source": "test"}
    assert key == handler.key_for("adk", kind="structure")
