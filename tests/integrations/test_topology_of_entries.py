"""The topology travels with the frames: what stores it, what keeps it, and what does without a file."""

import gzip
import json
import sys

import gemmi
import MDAnalysis
import mdtraj
import numpy as np
import openmm
import pytest
from MDAnalysisTests.datafiles import DCD, PSF, PDB_small
from openmm import app, unit
from proteinflex_optimization import (
    CorruptDataError,
    DataHandler,
    InvalidArgumentError,
    InvalidTypeError,
    Topology,
    create_trajectory,
)
from proteinflex_optimization.cli import main
from proteinflex_optimization.integrations.mdanalysis import export_trajectory
from proteinflex_optimization.integrations.mdtraj import store_mdtraj
from proteinflex_optimization.integrations.openmm import TrajectoryReporter

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

FRAMES = np.arange(2 * 4 * 3, dtype=np.float32).reshape(2, 4, 3)


def small(**changes):
    columns = {
        "names": ["N", "CA", "CA", "OW"],
        "elements": ["N", "C", "C", "O"],
        "residue_index": [0, 0, 1, 2],
        "residue_names": ["ALA", "GLY", "SOL"],
        "residue_numbers": [-1, 52, 7],
        "chain_index": [0, 0, 1],
        "chain_ids": ["A", "W"],
        "insertion_codes": ["", "B", ""],
        "bonds": [[0, 1], [1, 2]],
    }
    return Topology(**columns | changes)


def test_a_stream_of_frames_has_its_topology(handler):
    key = handler.store_trajectory({"frames": iter(FRAMES)}, "md", structure=small())
    assert handler.open(key).topology == small()
    with pytest.raises(InvalidArgumentError, match="4 atoms.*3, as the frames have"):
        handler.store_trajectory({"frames": iter(FRAMES[:, :3])}, "other", structure=small())
    assert handler.key_for("other") not in handler
    assert handler.unfinished() == []


def test_an_entry_or_a_file_is_a_structure(handler, tmp_path):
    topology = Topology.of(PDB_small)
    assert (topology.n_atoms, topology.n_residues, topology.n_chains) == (3341, 214, 1)
    frames = {"frames": np.zeros((1, 3341, 3), np.float32)}
    structure = handler.import_structure(PDB_small, "adk")
    for source in (PDB_small, "adk", structure, structure[:10]):
        assert (
            handler.open(handler.store_trajectory(frames, "md", structure=source)).topology
            == topology
        )
    assert handler.open(handler.store_trajectory(frames, "2", structure="md")).topology == topology
    from_psf = Topology.of(PSF)
    assert from_psf.n_bonds == 3365
    assert from_psf.segment_ids[0] == "4AKE"


def test_what_has_no_topology_is_refused_by_the_name_of_its_argument(handler, tmp_path):
    bare = handler.store_trajectory({"frames": FRAMES}, "bare")
    broken, text = tmp_path / "broken.pdb", tmp_path / "broken.psf"
    for path in (broken, text):
        path.write_text("nothing")
    cut = tmp_path / "cut.gro.gz"
    cut.write_bytes(gzip.compress(b"nothing")[:-4])
    sources = (broken, text, cut, {"positions": FRAMES[0]}, 5)
    for source in (bare, "bare", "nowhere", str(text), *sources):
        with pytest.raises((InvalidArgumentError, InvalidTypeError), match="^structure"):
            handler.store_trajectory({"frames": FRAMES}, "md", structure=source)
    for source in sources:
        with pytest.raises((InvalidArgumentError, InvalidTypeError), match="^structure"):
            create_trajectory(tmp_path / "md.fxt", structure=source)
        with pytest.raises((InvalidArgumentError, InvalidTypeError), match="^source"):
            Topology.of(source)


@pytest.mark.parametrize("mode", ["resume", "overwrite", "refuse"])
def test_a_writer_keeps_the_topology_of_what_it_resumes(handler, mode):
    options = {} if mode == "refuse" else {mode: True}
    with handler.trajectory_writer("md", structure=small(), **options) as writer:
        writer.append(FRAMES)
        writer.flush()
    assert handler.open("md").topology == small()
    with handler.trajectory_writer("md", resume=True) as writer:
        writer.append(FRAMES)
        writer.suspend()
    with handler.trajectory_writer("md", resume=True, structure=small()) as writer:
        writer.append(FRAMES)
    assert handler.open("md").topology == small()
    assert len(handler.open("md")) == 6
    other = small(residue_numbers=[-1, 53, 7])
    with pytest.raises(InvalidArgumentError, match="52 as the number of residue 1, not 53"):
        handler.trajectory_writer("md", resume=True, structure=other)
    with (
        handler.trajectory_writer("md", resume=True) as writer,
        pytest.raises(InvalidArgumentError, match="shape"),
    ):
        writer.append(FRAMES[:, :3])
    assert handler.open("md").topology == small()


def test_frames_that_were_stored_without_get_no_topology(handler):
    handler.store_trajectory({"frames": FRAMES}, "md")
    with pytest.raises(InvalidArgumentError, match="can't be added"):
        handler.trajectory_writer("md", resume=True, structure=small())
    assert handler.open("md").topology is None
    with pytest.raises(InvalidArgumentError, match="without its topology"):
        handler.open("md").to_universe()


def test_frames_of_another_number_of_atoms_are_not_appended(handler):
    with handler.trajectory_writer("md", structure=small()) as writer:
        with pytest.raises(InvalidArgumentError, match="4 atoms.*3, as the frames have"):
            writer.append(FRAMES[:, :3])
        writer.append(FRAMES)
    assert len(handler.open("md")) == 2


WATERS = {
    "openmm": ["9998", "9999", "A000", "A001", "A00A"],
    "vmd": ["9998", "9999", "2710", "2711", "271a"],
    "stars": ["9998", "9999", "****", "****"],
    "ligand": ["9001", "   1", "   2"],
    "same": ["   1", "   1"],
}


@pytest.mark.parametrize("numbers", WATERS)
def test_an_imported_trajectory_has_the_topology_of_its_pdb_file(handler, tmp_path, numbers):
    lines = []
    for number in WATERS[numbers]:
        for name, element in (("O", "O"), ("H1", "H"), ("H2", "H")):
            serial = len(lines) + 1
            lines.append(
                f"HETATM{serial:5d}  {name:<3} HOH W{number}    {serial:8.3f}   0.000   0.000"
                f"  1.00  0.00          {element:>2}"
            )
    path = tmp_path / "water.pdb"
    path.write_text("\n".join([*lines, "CONECT    1    2    3", "END", ""]))
    topology = handler.open(handler.import_trajectory(path, path, "x")).topology
    expected = Topology.of(path)
    assert topology.n_residues == len(WATERS[numbers])
    for column in ("names", "elements", "residue_index", "residue_names", "residue_numbers"):
        assert getattr(topology, column).tolist() == getattr(expected, column).tolist()
    assert topology.chain_ids.tolist() == ["W"]
    assert topology.bonds.tolist() == [[0, 1], [0, 2]]


def test_virtual_sites_of_a_structure_have_no_element(handler, tmp_path):
    atom = "HETATM    {}  {:<3} SOL A   1    {:8.3f}   0.000   0.000  1.00  0.00\n"
    path = tmp_path / "tip4p.pdb"
    names = ["OW", "HW1", "HW2", "MW"]
    path.write_text("".join(atom.format(i, name, i) for i, name in enumerate(names, 1)) + "END\n")
    expected = ["O", "H", "H", ""]
    assert Topology.of(path).elements.tolist() == expected
    topology = handler.open(handler.import_trajectory(path, path, "x")).topology
    assert topology.elements.tolist() == expected


def test_alternative_locations_are_atoms_of_the_topology_as_of_the_frames(handler, tmp_path):
    atom = "ATOM      1  CA {}ALA A   1       1.000   2.000   3.000  0.50  0.00           C\n"
    path = tmp_path / "two.pdb"
    path.write_text(atom.format("A") + atom.format("B") + "END\n")
    topology = handler.open(handler.import_trajectory(path, path, "x")).topology
    assert topology.names.tolist() == ["CA", "CA"]
    assert topology.n_residues == 1


def test_without_gemmi_the_topology_is_as_mdanalysis_reads_it_and_that_is_said(
    handler, monkeypatch, caplog
):
    monkeypatch.setitem(sys.modules, "proteinflex_optimization.integrations.structures", None)
    caplog.set_level("WARNING", "proteinflex_optimization")
    topology = handler.open(handler.import_trajectory(PDB_small, DCD, "x")).topology
    assert topology.n_residues == 214
    assert "as MDAnalysis reads it" in caplog.text


def test_universes_and_mdtraj_need_no_file(handler):
    trajectory = handler.open(handler.store_trajectory({"frames": FRAMES}, "md", structure=small()))
    universe = trajectory.to_universe()
    assert universe.select_atoms("name CA").resids.tolist() == [-1, 52]
    assert universe.select_atoms("chainID W").masses.tolist() == [15.999]
    np.testing.assert_array_equal(universe.trajectory[1].positions, FRAMES[1])
    frames = trajectory.to_mdtraj(atoms=[1, 2])
    assert [str(atom) for atom in frames.topology.atoms] == ["ALA-1-CA", "GLY52-CA"]
    np.testing.assert_allclose(frames.xyz * 10, FRAMES[:, [1, 2]], rtol=1e-6)
    # A file that is given wins, if it has the number of atoms.
    renamed = small(names=["X1", "X2", "X3", "X4"])
    assert trajectory.to_universe(renamed).atoms.names[0] == "X1"
    assert trajectory.to_mdtraj(renamed).topology.atom(0).name == "X1"
    for convert in (trajectory.to_universe, trajectory.to_mdtraj):
        with pytest.raises(InvalidArgumentError, match="3341"):
            convert(PDB_small)


def test_imports_keep_the_topology_that_they_were_read_with(handler):
    trajectory = handler.open(handler.import_trajectory(PSF, DCD, "md"))
    universe = MDAnalysis.Universe(PSF)
    assert trajectory.topology == Topology.of(universe)
    assert trajectory.topology.n_bonds == len(universe.bonds)
    assert (
        trajectory.to_universe().residues.resnames.tolist() == universe.residues.resnames.tolist()
    )
    again = handler.open(handler.import_trajectory(trajectory.topology, DCD, "again"))
    assert again.topology == trajectory.topology
    without = handler.open(handler.import_trajectory(None, DCD, "without"))
    assert without.topology is None


def test_mdtraj_stores_its_topology(handler):
    frames = mdtraj.load(DCD, top=PSF)
    trajectory = handler.open(store_mdtraj(handler, frames, "md"))
    assert trajectory.topology == Topology.of(frames)
    assert trajectory.to_mdtraj().topology == frames.topology


def simulation():
    topology, system = app.Topology(), openmm.System()
    residue = topology.addResidue("CHN", topology.addChain("X"), "-3", "C")
    for index in range(4):
        topology.addAtom(f"C{index}", None if index == 3 else app.element.carbon, residue)
        system.addParticle(12)
    integrator = openmm.VerletIntegrator(0.001)
    made = app.Simulation(topology, system, integrator, openmm.Platform.getPlatform("Reference"))
    made.context.setPositions(np.arange(12).reshape(4, 3) * unit.nanometer)
    return made


@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"resume": False}])
def test_a_simulation_stores_its_topology(handler, options):
    made = simulation()
    with TrajectoryReporter(handler, "md", 5, **options) as reporter:
        made.reporters.append(reporter)
        made.step(10)
    assert handler.open("md").topology == Topology.of(made)
    assert handler.open("md").topology.residue_numbers.tolist() == [-3]
    # The same script goes on; one of another system does not.
    made.reporters.clear()
    with TrajectoryReporter(handler, "md", 5) as reporter:
        made.reporters.append(reporter)
        made.step(5)
    assert len(handler.open("md")) == 3
    next(made.topology.residues()).name = "OTH"
    for structure, fails in ((None, False), (made.topology, True)):
        made.reporters.clear()
        if fails:
            with pytest.raises(
                InvalidArgumentError, match='"CHN" as the name of residue 0, not "OTH"'
            ):
                TrajectoryReporter(handler, "md", 5, structure=structure)
            continue
        with TrajectoryReporter(handler, "md", 5, structure=structure) as reporter:
            made.reporters.append(reporter)
            made.step(5)
    made.reporters[:] = [TrajectoryReporter(handler, "md", 5)]
    with pytest.raises(InvalidArgumentError, match="structure=None goes on"):
        made.step(5)
    made.reporters[0].close()
    assert len(handler.open("md")) == 4
    assert handler.open("md").topology.residue_names.tolist() == ["CHN"]


def test_a_topology_that_can_not_be_kept_does_not_stop_a_simulation(handler, caplog):
    made = simulation()
    next(made.topology.residues()).id = "none"
    with TrajectoryReporter(handler, "md", 5) as reporter:
        made.reporters.append(reporter)
        made.step(5)
    assert handler.open("md").topology is None
    assert len(handler.open("md")) == 1
    assert "its topology is not kept: the id of residue 0" in caplog.text


def test_a_run_that_began_without_a_topology_goes_on_without(handler):
    made = simulation()
    for structure in ({"structure": None}, {}):
        with TrajectoryReporter(handler, "md", 5, **structure) as reporter:
            made.reporters[:] = [reporter]
            made.step(5)
    assert handler.open("md").topology is None
    assert len(handler.open("md")) == 2


def test_exports_have_the_right_names_residues_and_chains(handler, tmp_path):
    trajectory = handler.open(handler.store_trajectory({"frames": FRAMES}, "md", structure=small()))
    path = tmp_path / "md.pdb"
    assert export_trajectory(trajectory, path) == []
    read = gemmi.read_structure(str(path))
    assert len(read) == 2
    found = [
        (chain.name, residue.name, str(residue.seqid), atom.name, atom.element.name)
        for chain in read[1]
        for residue in chain
        for atom in residue
    ]
    assert found == [
        ("A", "ALA", "-1", "N", "N"),
        ("A", "ALA", "-1", "CA", "C"),
        ("A", "GLY", "52B", "CA", "C"),
        ("W", "SOL", "7", "OW", "O"),
    ]
    np.testing.assert_allclose(
        MDAnalysis.Universe(str(path)).trajectory[1].positions, FRAMES[1], atol=5e-4
    )
    assert export_trajectory(trajectory, tmp_path / "md.dcd") == ["topology"]


def test_a_frame_is_exported_as_gro(handler, tmp_path):
    data = {"frames": FRAMES[:1], "box": np.diag([30.0, 30.0, 30.0])[None]}
    key = handler.store_trajectory(data, "md", structure=small(residue_numbers=[1, 52, 7]))
    left_out = export_trajectory(handler.open(key), tmp_path / "md.gro")
    assert {"insertion_codes", "chain_ids", "elements", "bonds"} <= set(left_out)
    read = MDAnalysis.Universe(str(tmp_path / "md.gro"))
    assert read.atoms.names.tolist() == ["N", "CA", "CA", "OW"]
    assert read.residues.resnames.tolist() == ["ALA", "GLY", "SOL"]


def test_what_pdb_has_no_place_for_is_told(handler, tmp_path):
    topology = small(chain_ids=["Long", "W"], residue_numbers=[10_000, 2, 3])
    trajectory = handler.open(
        handler.store_trajectory({"frames": FRAMES}, "md", structure=topology)
    )
    left_out = export_trajectory(trajectory, tmp_path / "md.pdb")
    assert left_out == ["residue_numbers", "chain_ids"]


@pytest.mark.parametrize("chain_ids", [["_", "A"], ["-", "+"], ["", "A"]])
def test_chain_ids_that_pdb_files_get_other_letters_for_are_told(handler, tmp_path, chain_ids):
    topology = small(chain_ids=chain_ids, residue_numbers=[1, 2, 3])
    handler.store_trajectory({"frames": FRAMES}, "md", structure=topology)
    assert export_trajectory(handler.open("md"), tmp_path / "md.pdb") == ["chain_ids"]


@pytest.mark.parametrize(
    ("numbers", "is_told"),
    [([1, 0, 1], True), ([0, 1, 2], False), ([0, 0, 1], False), ([0, 1, 0], True)],
)
def test_residues_that_gro_files_count_on_from_are_told(handler, tmp_path, numbers, is_told):
    """A 0 after other residues stands for 100000."""
    topology = small(residue_numbers=numbers, insertion_codes=["", "", ""])
    handler.store_trajectory({"frames": FRAMES[:1]}, "md", structure=topology)
    left_out = export_trajectory(handler.open("md"), tmp_path / "md.gro")
    assert ("residue_numbers" in left_out) == is_told
    read = Topology.of(tmp_path / "md.gro").residue_numbers.tolist()
    assert (read != numbers) == is_told


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("suffix", [".pdb", ".gro", ".xyz"])
def test_names_that_would_break_a_file_are_told_and_replaced(handler, tmp_path, suffix):
    odd = {
        "names": ["N\nX", "C A", "", "MW"],
        "elements": ["N", "C", "", ""],
        "chain_ids": ["", "W"],
    }
    handler.store_trajectory({"frames": FRAMES[:1]}, "odd", structure=small(**odd))
    path = tmp_path / f"odd{suffix}"
    lost = export_trajectory(handler.open("odd"), path)
    assert {".pdb": "chain_ids", ".gro": "names", ".xyz": "elements"}[suffix] in lost
    assert "names" in lost
    written = MDAnalysis.Universe(str(path))
    np.testing.assert_allclose(written.atoms.positions, FRAMES[0], atol=0.01)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("suffix", [".pdb", ".gro"])
def test_letters_of_more_than_one_byte_shift_no_column(handler, tmp_path, suffix):
    named = small(names=["N", "Cα", "Cé", "MW"])
    handler.store_trajectory({"frames": FRAMES[:1]}, "odd", structure=named)
    path = tmp_path / f"odd{suffix}"
    assert "names" in export_trajectory(handler.open("odd"), path)
    assert path.read_bytes().isascii()
    assert MDAnalysis.Universe(str(path)).atoms.names.tolist() == ["N", "C_", "C_", "MW"]


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_an_xyz_of_atoms_without_elements_has_their_names(handler, tmp_path):
    """As coarse-grained beads are."""
    beads = small(elements=["", "", "", ""], names=["BB", "SC1", "", "W"])
    handler.store_trajectory({"frames": FRAMES}, "cg", structure=beads)
    path = tmp_path / "cg.xyz"
    assert "elements" in export_trajectory(handler.open("cg"), path)
    written = MDAnalysis.Universe(str(path))
    assert written.atoms.names.tolist() == ["BB", "SC1", "X", "W"]
    assert len(written.trajectory) == len(FRAMES)


def test_mdtraj_has_atoms_in_the_order_of_coordinates(handler):
    """Iterating its topology goes from residue to residue."""
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    first, second = topology.add_residue("AAA", chain), topology.add_residue("BBB", chain)
    for name, residue in (("X0", first), ("X1", second), ("X2", first)):
        topology.add_atom(name, mdtraj.element.carbon, residue)
    stored = handler.open(store_mdtraj(handler, mdtraj.Trajectory(FRAMES[:, :3], topology), "md"))
    assert stored.topology.names.tolist() == ["X0", "X1", "X2"]
    assert stored.topology.residue_index.tolist() == [0, 1, 0]
    for atoms in (None, [0, 1, 2], [1, 2]):
        loaded = stored.to_mdtraj(atoms=atoms)
        for atom in loaded.topology.atoms:
            expected = FRAMES[0, int(atom.name[1])]
            np.testing.assert_allclose(loaded.xyz[0, atom.index], expected, rtol=1e-6)


def test_the_command_line_tells_and_keeps_topologies(handler, tmp_path, capsys):
    directory = str(tmp_path / "cache")
    arguments = ["--topology", PSF, "--id", "md", "--dir", directory]
    assert main(["cache", "import", DCD, *arguments]) == 0
    capsys.readouterr()
    assert main(["cache", "info", "md", "--dir", directory]) == 0
    assert "topology  3,341 atoms, 214 residues, 1 chain\n" in capsys.readouterr().out
    assert main(["cache", "info", "md", "--json", "--dir", directory]) == 0
    info = json.loads(capsys.readouterr().out)
    assert (info["has_topology"], info["n_residues"], info["n_chains"]) == (True, 214, 1)
    handler.store_trajectory({"frames": FRAMES}, "small", structure=small())
    target = tmp_path / "small.npz"
    assert main(["cache", "export", "small", str(target), "--dir", directory]) == 0
    assert "topology" in "".join(capsys.readouterr())


def test_a_damaged_topology_is_damage(handler):
    trajectory = handler.open(handler.store_trajectory({"frames": FRAMES}, "md", structure=small()))
    path = trajectory.path
    content = bytearray(path.read_bytes())
    # The payload of the record after the entry header, which is at byte 64.
    header_bytes = int.from_bytes(content[64 + 48 : 64 + 56], "little")
    content[-(-(128 + header_bytes) // 64) * 64 + 70] ^= 1
    path.write_bytes(content)
    opened = DataHandler(handler.cache_dir).open("md")
    np.testing.assert_array_equal(opened[:], FRAMES)
    with pytest.raises(CorruptDataError, match="its topology"):
        _ = opened.topology
