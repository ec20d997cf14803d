"""Frames are of the same atoms in the same order, or an error."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from MDAnalysisTests import datafiles
from proteinflex_optimization import InvalidArgumentError
from proteinflex_optimization.errors import ProteinFlexError
from trajectory_data import write_xtc

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::UserWarning",
    # Files that readers of MDAnalysis leave open where they fail.
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


def pdb_models(*models):
    lines = []
    for number, atoms in enumerate(models, 1):
        lines += [f"MODEL     {number:4}"]
        for x, (name, residue, chain) in enumerate(atoms):
            lines.append(
                f"ATOM  {x:5}  {name:<3} {residue} {chain}   1    {x:8.3f}   0.000   0.000"
            )
        lines.append("ENDMDL")
    return "\n".join([*lines, "END", ""])


@pytest.mark.parametrize("packed", [False, True])
def test_a_byte_order_mark_hides_no_atom_or_frame(handler, tmp_path, packed):
    atoms = [("CA", "ALA", "A"), ("CB", "ALA", "A")]
    texts = {
        "models.pdb": pdb_models(atoms, atoms, atoms),
        "one.pdb": "".join(pdb_models(atoms).splitlines(keepends=True)[1:-2]) + "END\n",
        "run.xyz": "2\n\nC 0 0 0\nC 1 0 0\n" * 3,
    }
    for name, text in texts.items():
        path = tmp_path / (f"{name}.gz" if packed else name)
        content = b"\xef\xbb\xbf" + text.encode()
        path.write_bytes(gzip.compress(content) if packed else content)
        topology = path if ".pdb" in name else None
        found = handler.open(handler.import_trajectory(topology, path, "x"))
        assert found.shape == (1 if name == "one.pdb" else 3, 2, 3)
        assert found.read()[-1, :, 0].tolist() == [0, 1]
        assert topology is None or found.topology.names.tolist() == ["CA", "CB"]


@pytest.mark.parametrize("name", ["run.xyz", "run.lammpstrj", "run.pdb", "run.xtc", "run.arc"])
def test_atoms_that_come_or_go_are_refused(handler, tmp_path, name):
    path = tmp_path / name
    with path.open("wb") as file:
        for n_atoms in (4, 5, 3):
            part = tmp_path / f"part{n_atoms}{path.suffix}"
            if path.suffix == ".xtc":
                write_xtc(part, [0], n_atoms=n_atoms)
            else:
                lines = {
                    ".xyz": [f"{n_atoms}", "", *["C 1.0 2.0 3.0"] * n_atoms],
                    ".arc": [f"{n_atoms} x", *["1 C 1.0 2.0 3.0 1"] * n_atoms],
                    ".lammpstrj": [
                        *("ITEM: TIMESTEP", "0", "ITEM: NUMBER OF ATOMS", f"{n_atoms}"),
                        *("ITEM: BOX BOUNDS pp pp pp", "0 9", "0 9", "0 9", "ITEM: ATOMS id x y z"),
                        *[f"{i} 1 2 3" for i in range(n_atoms)],
                    ],
                    ".pdb": [
                        f"MODEL        {n_atoms}",
                        *["ATOM      1  C   ALA A   1       1.000   2.000   3.000"] * n_atoms,
                        "ENDMDL",
                    ],
                }[path.suffix]
                part.write_text("\n".join([*lines, ""]))
            file.write(part.read_bytes())
    with pytest.raises(ProteinFlexError, match=name.replace(".", r"\.")):
        handler.import_trajectory(None, path, "x")
    assert handler.keys() == []


def test_models_of_the_same_atoms_are_frames(handler, tmp_path):
    path = tmp_path / "same.pdb"
    path.write_text(pdb_models([CA, CB], [CA, CB]))
    assert handler.open(handler.import_trajectory(None, path, "x")).n_frames == 2


CA, CB = ("CA", "ALA", "A"), ("CB", "ALA", "A")


def history(*frames):
    text = f"title\n{0:10d}{0:10d}{len(frames[0]):10d}\n"
    for step, ids in enumerate(frames):
        text += f"timestep {step:9d}{len(ids):10d}{0:10d}{0:10d} 0.001 0.0\n"
        text += "".join(f"C{i:17d} 12.0 0.0\n 1.0 0.0 0.0\n" for i in ids)
    return text


MIXED = {
    "names.xyz": ("2\n\nC 1 0 0\nN 2 0 0\n2\n\nN 4 0 0\nC 3 0 0\n", "atom 0 of frame 1 is 'N'"),
    "names.arc": (
        "2 x\n1 C 1 0 0 1\n2 N 2 0 0 1\n2 x\n1 N 4 0 0 1\n2 C 3 0 0 1\n",
        "frame 1 is 'N'",
    ),
    "names.pdb": (pdb_models([CA, CB], [CA, CB], [CB, CA]), "atom 0 of frame 2 is 'CB ALA A   1'"),
    "chains.pdb": (
        pdb_models([CA, ("CA", "ALA", "B")], [("CA", "ALA", "B"), CA]),
        "atom 0 of frame 1",
    ),
    "grow.pdb": (pdb_models([CA], [CA, CB]), "frame 1 has 2 atoms, expected 1"),
    "shrink.pdb": (pdb_models([CA, CB], [CA]), "frame 1 has 1 atoms, expected 2"),
    "HISTORY": (history((1, 2), (2, 1), (1, 3)), "atom 1 of frame 2 is '3', expected '2'"),
    "blank.xyz": ("1\n\nC 1 0 0\n\n1\n\nC 2 0 0\n", "a blank line before frame 1"),
}


@pytest.mark.parametrize("name", MIXED)
def test_frames_of_other_atoms_than_the_first_are_refused(handler, tmp_path, name):
    path = tmp_path / name
    content, message = MIXED[name]
    path.write_text(content)
    options = {"format": "HISTORY"} if name == "HISTORY" else {}
    with pytest.raises(InvalidArgumentError, match=rf"{path.name}.*{message}"):
        handler.import_trajectory(None, path, "x", **options)
    assert handler.keys() == []


def trc(*frames):
    def block(name, content):
        return f"{name}\n{content}END\n"

    text = block("TITLE", "x\n")
    for i, names in enumerate(frames):
        contents = {
            "TIMESTEP": f"{i:15d}{i / 5:15.9f}\n",
            "POSITIONRED": f"{i + 1:15.9f}{0:15.9f}{0:15.9f}\n" * 2,
            "GENBOX": "0\n" + "0.0 0.0 0.0\n" * 4,
        }
        text += "".join(block(name, contents[name]) for name in names.split())
    return text


WHOLE = "TIMESTEP POSITIONRED GENBOX"


@pytest.mark.parametrize(
    "frames",
    [
        ["TIMESTEP POSITIONRED"] * 3,
        ["POSITIONRED"] * 2,
        ["TIMESTEP POSITIONRED", WHOLE],
        [WHOLE, "POSITIONRED GENBOX"],
        [WHOLE, "TIMESTEP GENBOX"],
        ["GENBOX POSITIONRED"] * 2,
    ],
)
def test_frames_of_gromos_that_mdanalysis_does_not_tell_apart_are_refused(
    handler, tmp_path, frames
):
    path = tmp_path / "run.trc"
    path.write_text(trc(*frames))
    with pytest.raises(InvalidArgumentError, match=r"run\.trc.*GENBOX as the last of them"):
        handler.import_trajectory(None, path, "x", allow_truncated=True)
    assert handler.keys() == []


def test_a_frame_of_gromos_that_ends_between_two_blocks_is_no_whole_one(handler, tmp_path):
    path = tmp_path / "run.trc"
    for last in ("TIMESTEP", "TIMESTEP POSITIONRED"):
        path.write_text(trc(WHOLE, WHOLE, last))
        with pytest.raises(ProteinFlexError, match="frame 2 ends before its"):
            handler.import_trajectory(None, path, "x")
        data = handler.load_data(handler.import_trajectory(None, path, "x", allow_truncated=True))
        assert data["frames"][:, 0, 0].tolist() == [10, 20]
    path.write_text(trc("TIMESTEP POSITIONRED"))
    assert handler.load_data(handler.import_trajectory(None, path, "one"))["frames"][0, 0, 0] == 10


def mol2(*atoms):
    lines = "".join(f"{i} {name} {x} 0.0 0.0 {name[0]} 1 LIG 0.0\n" for i, (name, x) in atoms)
    header = f"@<TRIPOS>MOLECULE\nlig\n {len(atoms)} 0\nSMALL\nGASTEIGER\n\n"
    return f"{header}@<TRIPOS>ATOM\n{lines}@<TRIPOS>BOND\n"


def test_molecules_of_mol2_whose_atoms_are_in_another_order_are_refused(handler, tmp_path):
    path = tmp_path / "run.mol2"
    one, other = (1, ("C1", 1.0)), (2, ("O1", 2.0))
    path.write_text(mol2(one, other) * 2)
    assert handler.open(handler.import_trajectory(path, path, "x")).read()[:, 1, 0].tolist() == [
        2,
        2,
    ]
    path.write_text(mol2(one, other) + mol2(other, one))
    with pytest.raises(InvalidArgumentError, match=r"run\.mol2.*atom 0 of frame 1 is 'O1'"):
        handler.import_trajectory(path, path, "y")


def write_h5md(path, **elements):
    h5py = pytest.importorskip("h5py")
    path.write_bytes(Path(datafiles.H5MD_xvf).read_bytes())
    with h5py.File(path, "r+") as file:
        group = file["particles/trajectory"]
        n_frames, n_atoms, _ = group["position/value"].shape
        for name, make in elements.items():
            group[name] = make(n_frames, n_atoms)
            if name == "id/value":
                group["id/step"] = group["position/step"]


def test_rows_of_h5md_that_are_of_another_atom_later_are_refused(handler, tmp_path):
    def ids(n_frames, n_atoms):
        return np.tile(np.arange(n_atoms)[::-1], (n_frames, 1))

    def permuted(n_frames, n_atoms):
        found = ids(n_frames, n_atoms)
        found[-1, 3:5] = found[-1, 4:2:-1]
        return found

    path = tmp_path / "run.h5md"
    for name, make in (("id/value", ids), ("id", lambda *shape: ids(*shape)[0])):
        write_h5md(path, **{name: make})
        handler.import_trajectory(None, path, name)
    write_h5md(path, **{"id/value": permuted})
    with pytest.raises(InvalidArgumentError, match=r"run\.h5md.*row 3 of frame \d is the atom"):
        handler.import_trajectory(None, path, "x")


def test_elements_of_h5md_that_hold_for_all_frames_are_said_to_be_left_out(handler, tmp_path, said):
    path = tmp_path / "run.h5md"
    write_h5md(path, mass=lambda _, n_atoms: np.ones(n_atoms))
    handler.import_trajectory(None, path, "x")
    assert "run.h5md: left out: particles/trajectory/mass" in said()


PARTS = {
    "xyz": ("2\n\nC 1 0 0\nN 2 0 0\n", "2\n\nN 2 0 0\nC 1 0 0\n"),
    "arc": ("2 x\n1 C 1 0 0 1\n2 N 2 0 0 1\n", "2 x\n1 N 2 0 0 1\n2 C 1 0 0 1\n"),
    "pdb": (pdb_models([CA, CB]), pdb_models([CB, CA])),
    "mol2": (mol2((1, ("C1", 1.0)), (2, ("O1", 2.0))), mol2((1, ("O1", 2.0)), (2, ("C1", 1.0)))),
    "lammpstrj": tuple(
        "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n0 9\n0 9\n0 9\n"
        f"ITEM: ATOMS id x y z\n1 1 0 0\n{other} 2 0 0\n"
        for other in (2, 7)
    ),
}


@pytest.mark.parametrize("suffix", [*PARTS, "h5md"])
def test_parts_of_other_atoms_or_in_another_order_are_refused(handler, tmp_path, suffix):
    one, other = (tmp_path / f"{name}.{suffix}" for name in ("one", "other"))
    if suffix == "h5md":
        for path, step in ((one, 1), (other, -1)):
            write_h5md(
                path, **{"id/value": lambda n, m, s=step: np.tile(np.arange(m)[::s], (n, 1))}
            )
    else:
        for path, content in zip((one, other), PARTS[suffix], strict=True):
            path.write_text(content)
    assert handler.import_trajectory(None, [one, one], "same", overlap="keep")
    with pytest.raises(InvalidArgumentError, match=rf"other\.{suffix}.* as atom [01], expected"):
        handler.import_trajectory(None, [one, other], "x", overlap="keep")


def test_models_that_are_not_told_apart_are_refused(handler, tmp_path):
    atom = "ATOM      1  C   ALA A   1       1.000   2.000   3.000\n"
    path = tmp_path / "vmd.pdb"
    path.write_text(f"{atom}END\n{atom}END\n")
    with pytest.raises(InvalidArgumentError, match=r"vmd\.pdb.*atoms after END"):
        handler.import_trajectory(None, path, "x")
