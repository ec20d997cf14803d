"""Topologies: what MDAnalysis, mdtraj, OpenMM and gemmi have comes back from an entry, field by field."""

import pickle
import threading
import time

import gemmi
import MDAnalysis
import mdtraj
import numpy as np
import pytest
from openmm import app
from proteinflex_optimization import InvalidArgumentError, Topology

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def odd(**changes):
    """Return a topology of what is rare: see the values."""
    columns = {
        "names": ["N", "CA", "D1", "CA", "CA", "M", "O5′", "FE", "CL", "OW", "HW1", "HW1"],
        "elements": ["N", "C", "D", "C", "C", "", "O", "Fe", "Cl", "O", "H", "H"],
        "residue_index": [0, 0, 0, 1, 2, 2, 3, 3, 4, 5, 5, 5],
        "residue_names": ["ALA", "GLY", "SER", "HEM", "CL", "SOL"],
        "residue_numbers": [-5, 52, 52, 12_345, 2_000_000, 1],
        "insertion_codes": ["", "", "A", "", "", ""],
        "chain_index": [0, 0, 0, 1, 1, 2],
        "chain_ids": ["A", "Bxy", ""],
        "bonds": [[0, 1], [1, 2], [1, 3], [4, 3], [4, 7], [9, 10], [9, 11]],
        "bond_orders": [1, 1, 1.25, 1.5, 0, 0, 0],
    }
    return Topology(**columns | changes)


def stored(handler, source):
    """Return the topology of an entry that was stored with what a library has."""
    n_atoms = Topology.of(source).n_atoms
    frames = np.zeros((2, n_atoms, 3), np.float32)
    return handler.open(
        handler.store_trajectory({"frames": frames}, "md", structure=source)
    ).topology


def columns_of(topology):
    names = ("names", "elements", "atomic_numbers", "residue_index", "residue_names")
    names += ("residue_numbers", "insertion_codes", "segment_ids", "subchains", "chain_index")
    names += ("chain_ids", "bonds", "bond_orders")
    return {name: getattr(topology, name).tolist() for name in names}


def test_an_entry_holds_every_column(handler):
    topology = odd(segment_ids=list("ABCDEF"), subchains=["A", "A", "A", "B", "Cxy", "D"])
    found = stored(handler, topology)
    assert columns_of(found) == columns_of(topology)
    assert found == topology
    assert hash(found) == hash(topology)
    assert found.atomic_numbers.tolist() == [7, 6, 1, 6, 6, 0, 8, 26, 17, 8, 1, 1]
    assert repr(found) == "<Topology 12 atoms, 6 residues, 3 chains, 7 bonds>"
    assert pickle.loads(pickle.dumps(found)) == topology
    with pytest.raises(ValueError, match="read-only"):
        found.names[0] = "X"


def openmm_topology():
    made = app.Topology()
    first, second = made.addChain("A"), made.addChain("Bxy")
    residues = [
        made.addResidue("ALA", first, "-5"),
        made.addResidue("GLY", first, "52", "A"),
        made.addResidue("HOH", second, "12345"),
        made.addResidue("HOH", second, "1"),
    ]
    elements = ["N", "C", "D", "O", None, "O", "H"]
    names = ["N", "CA", "D1", "O5′", "M", "O", "O"]
    atoms = [
        made.addAtom(name, symbol and app.Element.getBySymbol(symbol), residues[index])
        for name, symbol, index in zip(names, elements, [0, 0, 1, 2, 2, 3, 3], strict=True)
    ]
    from openmm.app import topology as types

    made.addBond(atoms[0], atoms[1], types.Single, 1)
    made.addBond(atoms[2], atoms[1], types.Amide)
    made.addBond(atoms[3], atoms[4])
    made.addBond(atoms[5], atoms[6], types.Double, 2)
    return made


def openmm_fields(topology):
    return {
        "chains": [chain.id for chain in topology.chains()],
        "residues": [
            (residue.name, residue.id, residue.insertionCode.strip(), residue.chain.index)
            for residue in topology.residues()
        ],
        "atoms": [
            (atom.index, atom.name, atom.element and atom.element.symbol, atom.residue.index)
            for atom in topology.atoms()
        ],
        "bonds": sorted(
            (*sorted((bond.atom1.index, bond.atom2.index)), str(bond.type))
            for bond in topology.bonds()
        ),
    }


def test_openmm_topologies_come_back(handler):
    topology = openmm_topology()
    assert openmm_fields(stored(handler, topology).to_openmm()) == openmm_fields(topology)


def mdtraj_fields(topology):
    return {
        "chains": [chain.chain_id for chain in topology.chains],
        "residues": [
            (residue.name, residue.resSeq, residue.segment_id, residue.chain.index)
            for residue in topology.residues
        ],
        "atoms": [
            (atom.index, atom.name, atom.element.symbol, atom.residue.index)
            for atom in topology.atoms
        ],
        "bonds": sorted(
            (*sorted((bond.atom1.index, bond.atom2.index)), str(bond.type))
            for bond in topology.bonds
        ),
    }


def test_mdtraj_topologies_come_back(handler):
    topology = mdtraj.Topology.from_openmm(openmm_topology())
    topology.residue(0).segment_id = "PROT"
    assert mdtraj_fields(stored(handler, topology).to_mdtraj()) == mdtraj_fields(topology)
    frames = mdtraj.Trajectory(np.zeros((1, 7, 3)), topology)
    assert stored(handler, frames) == Topology.of(topology)


def universe():
    made = MDAnalysis.Universe.empty(
        7, 4, 2, atom_resindex=[0, 0, 1, 2, 2, 3, 3], residue_segindex=[0, 0, 1, 1], trajectory=True
    )
    made.add_TopologyAttr("names", ["N", "CA", "D1", "O5′", "M", "O", "O"])
    made.add_TopologyAttr("elements", ["N", "C", "D", "O", "", "O", "H"])
    made.add_TopologyAttr("resnames", ["ALA", "GLY", "HOH", "HOH"])
    made.add_TopologyAttr("resids", [-5, 52, 12_345, 1])
    made.add_TopologyAttr("icodes", ["", "A", "", ""])
    made.add_TopologyAttr("segids", ["PROT", "WATER"])
    made.add_TopologyAttr("chainIDs", ["A", "A", "A", "Bxy", "Bxy", "Bxy", "Bxy"])
    made.add_bonds([(0, 1), (1, 2), (3, 4)], order=["1", "am", None])
    return made


def universe_fields(made):
    atoms = made.atoms
    names = (
        "names",
        "elements",
        "resnames",
        "resids",
        "icodes",
        "segids",
        "chainIDs",
        "resindices",
    )
    return {
        **{name: getattr(atoms, name).tolist() for name in names},
        "bonds": sorted(map(tuple, atoms.bonds.indices.tolist())),
    }


def test_mdanalysis_topologies_come_back(handler):
    made = universe()
    topology = stored(handler, made)
    assert universe_fields(topology.to_mdanalysis()) == universe_fields(made)
    assert topology.bond_orders.tolist() == [1, 1.25, 0]
    # A group in its own order: of some atoms, and bonds between them.
    group = made.atoms[[5, 2, 1, 0]]
    assert Topology.of(group) == topology[[5, 2, 1, 0]]
    with pytest.raises(InvalidArgumentError, match="each atom once"):
        Topology.of(made.atoms[[0, 0]])


def test_mdanalysis_has_segments_of_chains_and_guesses_what_is_not_stored(handler):
    topology = Topology(["CA", "OW"], ["", ""], [0, 1], ["ALA", "SOL"], [1, 2], [0, 1], ["A", "B"])
    made = topology.to_mdanalysis()
    assert made.segments.segids.tolist() == ["A", "B"]
    assert not hasattr(made.atoms, "elements")
    assert made.atoms.types.tolist() == ["C", "O"]


def test_a_residue_of_two_chains_is_two():
    made = MDAnalysis.Universe.empty(2, 1, atom_resindex=[0, 0], trajectory=True)
    made.add_TopologyAttr("resids", [1])
    made.add_TopologyAttr("chainIDs", ["A", "B"])
    topology = Topology.of(made)
    assert (topology.residue_index.tolist(), topology.chain_index.tolist()) == ([0, 1], [0, 1])


@pytest.mark.parametrize("number", [0, 4, -1])
def test_a_bond_to_no_atom_is_refused(handler, tmp_path, number):
    rows = "".join(
        f"{i:8d} A    1    WAT  {name:<4} {name:<4}   0.000000        1.0000           0\n"
        for i, name in enumerate(("O", "H1", "H2"), 1)
    )
    path = tmp_path / "water.psf"
    path.write_text(
        f"PSF\n\n       1 !NTITLE\n REMARKS x\n\n       3 !NATOM\n{rows}\n"
        f"       1 !NBOND: bonds\n       1{number:8d}\n\n       0 !NTHETA: angles\n\n\n"
        "       0 !NPHI: dihedrals\n\n\n       0 !NIMPHI: impropers\n\n"
    )
    (tmp_path / "water.xyz").write_text("3\n\nO 0 0 0\nH 1 0 0\nH 2 0 0\n")
    with pytest.raises(InvalidArgumentError, match=r"water\.psf.* from 1 to 3"):
        Topology.of(path)
    with pytest.raises(InvalidArgumentError, match=rf"water\.psf.*atoms .*{number}.* from 1 to 3"):
        handler.import_trajectory(path, tmp_path / "water.xyz", "x")
    with pytest.raises(InvalidArgumentError, match="source is not valid: bond 0"):
        Topology.of(MDAnalysis.Universe(path))


def gemmi_structure():
    structure = gemmi.Structure()
    model = structure.add_model(gemmi.Model(1))
    for chain_name, rows in {
        "A": [("ALA", -5, " "), ("GLY", 52, "A")],
        "Bxy": [("LIG", 1, " ")],
    }.items():
        chain = model.add_chain(gemmi.Chain(chain_name))
        for name, number, code in rows:
            residue = gemmi.Residue()
            residue.name, residue.seqid = name, gemmi.SeqId(number, code)
            residue.subchain, residue.segment = f"{chain_name}xp", "SEG"
            for atom_name, element in (("CA", "C"), ("D1", "D"), ("M", "X")):
                atom = gemmi.Atom()
                atom.name, atom.element = atom_name, gemmi.Element(element)
                residue.add_atom(atom)
            chain.add_residue(residue)
    return structure


def test_gemmi_structures_are_stored_with_every_field(handler):
    topology = stored(handler, gemmi_structure())
    assert columns_of(topology) | {"atomic_numbers": None, "bond_orders": None, "bonds": None} == {
        "names": ["CA", "D1", "M"] * 3,
        "elements": ["C", "D", ""] * 3,
        "atomic_numbers": None,
        "residue_index": [0, 0, 0, 1, 1, 1, 2, 2, 2],
        "residue_names": ["ALA", "GLY", "LIG"],
        "residue_numbers": [-5, 52, 1],
        "insertion_codes": ["", "A", ""],
        "segment_ids": ["SEG"] * 3,
        "subchains": ["Axp", "Axp", "Bxyxp"],
        "chain_index": [0, 0, 1],
        "chain_ids": ["A", "Bxy"],
        "bonds": None,
        "bond_orders": None,
    }


def test_what_libraries_can_not_express_is_lost_and_nothing_else(handler):
    topology = odd()
    through_mdtraj = Topology.of(topology.to_mdtraj())
    assert through_mdtraj.difference(topology) == '"" as the insertion code of residue 2, not "A"'
    assert Topology.of(odd(insertion_codes=None).to_mdtraj()) == odd(insertion_codes=None)
    assert Topology.of(topology.to_openmm()) == topology
    # MDAnalysis has no bond types, but orders, and a segment for each chain.
    through_mdanalysis = Topology.of(topology.to_mdanalysis())
    segments = topology.chain_ids[topology.chain_index]
    assert through_mdanalysis == odd(segment_ids=segments)


def test_a_chain_that_goes_on_after_another_is_one_again_in_openmm_and_mdtraj():
    topology = odd(chain_index=[0, 0, 0, 1, 1, 0], chain_ids=["A", "B"])
    assert [chain.id for chain in topology.to_openmm().chains()] == ["A", "B", "A"]
    assert [chain.chain_id for chain in topology.to_mdtraj().chains] == ["A", "B", "A"]


def test_large_numbers_of_atoms_and_residues_come_back(handler):
    n_residues = 40_000
    topology = Topology(
        ["OW", "HW1", "HW2"] * n_residues,
        ["O", "H", "H"] * n_residues,
        np.repeat(np.arange(n_residues), 3),
        ["SOL"] * n_residues,
        np.arange(1, n_residues + 1),
        np.zeros(n_residues, int),
        ["W"],
    )
    found = stored(handler, topology)
    assert found == topology
    assert found.n_atoms == 120_000
    assert found.residue_numbers[-1] == n_residues
    assert len(found._encoded) > 120_000
    assert handler.open("md").stored_bytes < 60_000


def test_other_threads_run_while_a_large_topology_is_read():
    n_atoms = 1_000_000
    topology = Topology(
        ["C"] * n_atoms,
        ["C"] * n_atoms,
        np.arange(n_atoms),
        ["UNK"] * n_atoms,
        np.arange(n_atoms),
        np.zeros(n_atoms, int),
        ["A"],
    )

    def longest_pause():
        """For what part of the time another thread stood still."""
        read, pauses = threading.Event(), []

        def count():
            last = time.perf_counter()
            while not read.is_set():
                time.sleep(0.001)
                now = time.perf_counter()
                pauses.append(now - last)
                last = now

        other = threading.Thread(target=count)
        other.start()
        started = time.perf_counter()
        assert topology.difference(topology) is None
        took = time.perf_counter() - started
        read.set()
        other.join()
        return max(pauses) / took

    # It need not be so each time: a machine that does other work may delay any of them.
    assert any(longest_pause() < 0.5 for _ in range(5))


def test_some_atoms_are_a_topology_of_their_own(handler):
    topology = odd()
    some = topology[[7, 4, 3, 0]]
    assert some.names.tolist() == ["FE", "CA", "CA", "N"]
    assert some.residue_names.tolist() == ["ALA", "GLY", "SER", "HEM"]
    assert some.residue_index.tolist() == [3, 2, 1, 0]
    assert some.chain_ids.tolist() == ["A", "Bxy"]
    assert some.bonds.tolist() == [[0, 1], [1, 2]]
    assert some.bond_orders.tolist() == [0, 1.5]
    assert topology[:] == topology
    assert topology[topology.names == "CA"].n_atoms == 3
    assert topology[[]].n_atoms == 0
    for atoms in ([0, 0], [12], np.ones(3, bool)):
        with pytest.raises(InvalidArgumentError, match="atoms is not valid"):
            topology[atoms]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"elements": ["Qq"] * 12}, "elements has 'Qq'"),
        ({"names": ["a"] * 11}, "elements"),
        ({"names": ["\ud800"] * 12}, "names has"),
        ({"residue_index": [9] * 12}, "residue_index"),
        ({"residue_numbers": [2**40] * 6}, "residue_numbers has 1099511627776"),
        ({"residue_numbers": [0.5] * 6}, "residue_numbers"),
        ({"bonds": [[0, 12]], "bond_orders": None}, "bonds"),
        ({"bonds": [[3, 3]], "bond_orders": None}, "bonds"),
        ({"bonds": [[-1, 3]], "bond_orders": None}, "bonds has -1"),
        ({"bond_orders": [0.3] * 7}, "bond_orders has 0.3"),
    ],
)
def test_columns_that_are_no_topology_are_named(changes, named):
    with pytest.raises(InvalidArgumentError, match=named):
        odd(**changes)


def test_each_bond_is_there_once():
    topology = odd(bonds=[[1, 0], [0, 1], [1, 2]], bond_orders=[0, 2, 0])
    assert topology.bonds.tolist() == [[0, 1], [1, 2]]
    assert topology.bond_orders.tolist() == [2, 0]


def test_openmm_has_atoms_in_the_order_of_residues_only():
    topology = odd(residue_index=[0, 1, 0, 1, 2, 2, 3, 3, 4, 5, 5, 5])
    with pytest.raises(InvalidArgumentError, match="atom 2 is in residue 0"):
        topology.to_openmm()
    assert topology.to_mdtraj().atom(2).residue.index == 0


def test_what_is_no_topology_is_refused(handler):
    frames = {"frames": np.zeros((1, 3, 3), np.float32)}
    key = handler.store_structure({"positions": np.zeros((3, 3))}, "bare")
    trajectory = handler.store_trajectory(frames, "without")
    for structure, named in (
        (key, "no 'atom_names'"),
        (trajectory, "without its topology"),
        ("nothing", "expected the key or id of an entry, or a file"),
        (odd(), "12 atoms.*3, as the frames have"),
    ):
        with pytest.raises(InvalidArgumentError, match=named):
            handler.store_trajectory(frames, "md", structure=structure)
    assert handler.key_for("md") not in handler


@pytest.mark.parametrize("suffix", ["gro", "tpr", "psf", "prmtop", "crd", "pdb"])
def test_a_file_that_is_no_topology_is_named(tmp_path, suffix):
    path = tmp_path / f"bad.{suffix}"
    path.write_bytes(b"\0 none of this is a topology\n" * 3)
    with pytest.raises(InvalidArgumentError, match=f"bad.{suffix}"):
        Topology.of(path)
    with pytest.raises(FileNotFoundError):
        Topology.of(tmp_path / f"missing.{suffix}")
