"""Files that are given as a topology: read as what is in them, or refused by their name."""

import bz2
import gzip
import lzma
import os

import MDAnalysis
import numpy as np
import pytest
from proteinflex_optimization import DataHandler, InvalidArgumentError, Topology
from proteinflex_optimization.integrations.mdanalysis import to_universe

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

ATOM = "ATOM  {0:>5}  CA  ALA A{1:4d}       1.000   2.000   3.000  1.00  0.00           C\n"
PDB = "".join(ATOM.format(i, i) for i in (1, 2)) + "END\n"
COLUMNS = (
    "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_seq_id "
    "Cartn_x Cartn_y Cartn_z"
)
CIF = (
    "data_a\nloop_\n"
    + "".join(f"_atom_site.{column}\n" for column in COLUMNS.split())
    + "".join(f"ATOM {i} C CA . ALA A {i} 1.0 2.0 3.0\n" for i in (1, 2))
)
GRO = "{}\n    2\n" + "".join(f"{i:5d}ALA     CA{i:5d}   0.1   0.2   0.3\n" for i in (1, 2))

READERS = {
    "to_mdtraj": lambda handler, path: handler.open("md").to_mdtraj(path),
    "iter_mdtraj": lambda handler, path: next(iter(handler.open("md").iter_mdtraj(path))),
    "to_universe": lambda handler, path: handler.open("md").to_universe(path).atoms,
    "Topology.of": lambda _, path: Topology.of(path),
    "import_trajectory": lambda handler, path: handler.open(
        handler.import_trajectory(path, path.parent / "run.xtc", "imported")
    ),
}


@pytest.fixture
def handler(tmp_path):
    handler = DataHandler(tmp_path / "cache", durable=False)
    key = handler.store_trajectory({"frames": np.zeros((2, 2, 3), np.float32)}, "md")
    universe = handler.open(key).to_universe(MDAnalysis.Universe.empty(2)._topology)
    universe.atoms.write(tmp_path / "run.xtc", frames="all")
    return handler


@pytest.fixture(params=READERS)
def read(request, handler):
    return lambda path: READERS[request.param](handler, path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.pdb", b""),
        ("page.pdb", b"<html>\n"),
        ("junk.gro", b"hello\n"),
        ("short.psf", b"PSF\n"),
        ("junk.prmtop", b"%VERSION\n"),
        ("junk.mol2", b"x\n"),
        ("junk.arc", b"x\n"),
        ("junk.hoomdxml", b"<a/>"),
        ("noise.cif", bytes(range(128, 256))),
        ("cut.pdb.gz", gzip.compress(PDB.encode())[:-9]),
    ],
)
def test_what_is_no_topology_is_refused_by_its_name(read, tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidArgumentError, match=name):
        read(path)


def test_an_option_of_the_universe_that_does_not_fit_is_named_with_the_topology(handler, tmp_path):
    path = tmp_path / "good.pdb"
    path.write_text(PDB)
    with pytest.raises(InvalidArgumentError, match=r"good\.pdb.*with transformations"):
        to_universe(handler.open("md"), path, transformations=5)


def test_a_path_of_any_class_is_one(read, tmp_path):
    class Place(os.PathLike):
        parent = tmp_path

        def __init__(self, name):
            self.name = name

        def __fspath__(self):
            return str(tmp_path / self.name)

    (tmp_path / "good.pdb").write_text(PDB)
    assert read(Place("good.pdb")).n_atoms == 2
    (tmp_path / "cut.pdb.gz").write_bytes(gzip.compress(PDB.encode())[:-9])
    with pytest.raises(InvalidArgumentError, match=r"topology='.*cut\.pdb\.gz'|source='.*cut"):
        read(Place("cut.pdb.gz"))


def test_a_pipe_is_not_waited_for(read, tmp_path):
    os.mkfifo(tmp_path / "pipe.pdb")
    with pytest.raises(InvalidArgumentError, match="pipe"):
        read(tmp_path / "pipe.pdb")


@pytest.mark.parametrize("name", ["a.pdb", "b.cif", "c.pdb.gz", "d.gro", "e.gro.bz2"])
def test_a_title_in_latin_1_hides_no_atom(handler, tmp_path, name):
    text = {
        "pdb": f"AUTHOR    J.MÜLLER\n{PDB}",
        "cif": CIF.replace("loop_", "_struct.title 'a 10 Å map'\nloop_"),
        "gro": GRO.format("10 Å map") + "   1.0   1.0   1.0\n",
    }[name.split(".")[1]]
    pack = {"gz": gzip.compress, "bz2": bz2.compress}.get(name.split(".")[-1], bytes)
    path = tmp_path / name
    path.write_bytes(pack(text.encode("latin-1")))
    for reader, read in READERS.items():
        if "mdtraj" not in reader or "gro" not in name:  # Of GRO, mdtraj takes UTF-8 only.
            assert read(handler, path).n_atoms == 2, reader


def test_bonds_of_a_file_with_a_title_in_latin_1_are_kept(handler, tmp_path):
    path = tmp_path / "a.pdb"
    path.write_bytes(f"AUTHOR    J.MÜLLER\n{PDB[:-4]}CONECT    1    2\nEND\n".encode("latin-1"))
    assert READERS["import_trajectory"](handler, path).topology.bonds.tolist() == [[0, 1]]
    universe = handler.open("md").to_universe(path)
    assert (len(universe.bonds), universe.filename) == (1, str(path))


def test_hybrid_36_serials_beside_conect_records_are_read(read, tmp_path):
    path = tmp_path / "large.pdb"
    serials = ("99999", "A0000")
    atoms = "".join(ATOM.format(serial, i) for i, serial in enumerate(serials, 1))
    path.write_text(f"{atoms}CONECT{serials[0]}{serials[1]}\nEND\n")
    assert read(path).n_atoms == 2


def test_bonds_that_are_not_read_are_said(handler, tmp_path, caplog):
    path = tmp_path / "large.pdb"
    path.write_text(ATOM.format("A0000", 1) + ATOM.format("A0001", 2) + "CONECTA0000A0001\nEND\n")
    assert READERS["import_trajectory"](handler, path).topology.n_bonds == 0
    assert "large.pdb: the topology is as import_structure reads it, without bonds" in caplog.text


def test_bonds_of_serials_that_repeat_are_left_out_and_said(handler, tmp_path, caplog):
    # As of chains that are numbered anew, and of serials that begin again after 99999.
    path = tmp_path / "again.pdb"
    atoms = "".join(ATOM.format(serial, i) for i, serial in enumerate((1, 2, 1, 3, 4), 1))
    path.write_text(f"{atoms}CONECT    1    2\nCONECT    3    4\nEND\n")
    frames = np.zeros((1, 5, 3), np.float32)
    trajectory = handler.open(handler.store_trajectory({"frames": frames}, "five"))
    found = trajectory.to_universe(str(path))
    assert [sorted(pair) for pair in found.bonds.indices.tolist()] == [[3, 4]]
    assert "again.pdb: 1 bonds of CONECT are left out" in caplog.text
    found = handler.open(handler.import_trajectory(path, path, "imported"))
    assert found.topology.bonds.tolist() == [[3, 4]]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.ent", PDB.encode()),
        ("b.PDB", PDB.encode()),
        ("c.pdb.xz", lzma.compress(PDB.encode())),
        ("d.mcif", CIF.encode()),
        ("e.cif", PDB.encode()),
        ("f.pdb", CIF.encode()),
        ("g.pdb1", PDB.encode()),
        ("h", PDB.encode()),
    ],
)
def test_a_structure_is_read_whatever_its_name_says(read, tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    found = read(path)
    assert found.n_atoms == 2
    if hasattr(found, "names"):
        assert list(found.names) == ["CA", "CA"]
