"""The files of a run that was continued are one trajectory, in which every frame is there once."""

import MDAnalysis
import numpy as np
import pytest
from proteinflex_optimization import InvalidArgumentError
from trajectory_data import write_xtc

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def test_parts_of_a_run_are_one_trajectory_without_what_the_next_part_has_too(
    handler, tmp_path, said
):
    parts = [
        write_xtc(tmp_path / "part1.xtc", [0, 10, 20, 30, 40]),
        # Continued from a checkpoint at 20 ps.
        write_xtc(tmp_path / "part2.xtc", [20, 30, 40, 50]),
        write_xtc(tmp_path / "part3.xtc", [60, 70]),
    ]
    calls = []
    key = handler.import_trajectory(
        None, [str(path) for path in parts], "run", progress=lambda *call: calls.append(call)
    )
    data = handler.load_data(key)
    assert data["time"].tolist() == [0, 10, 20, 30, 40, 50, 60, 70]
    assert (
        "part1.xtc: 3 of 5 frames are left out, for the next part has them from time 20 on"
        in said()
    )
    assert calls == [(n, 11) for n in range(1, 12)]
    key = handler.import_trajectory(None, parts, "all", overlap="keep")
    assert handler.open(key).n_frames == 11
    with pytest.raises(
        InvalidArgumentError, match=r"part2\.xtc begins at time 20, and .*part3\.xtc"
    ):
        handler.import_trajectory(None, [parts[0], parts[2], parts[1]], "x")
    with pytest.raises(InvalidArgumentError, match="overlap='drop'"):
        handler.import_trajectory(None, parts, "x", overlap="drop")
    with pytest.raises(InvalidArgumentError, match="at least one file"):
        handler.import_trajectory(None, [], "x")


def test_a_part_that_seems_to_be_missing_is_said(handler, tmp_path, said):
    parts = [
        write_xtc(tmp_path / "1.xtc", [0, 10, 20]),
        write_xtc(tmp_path / "2.xtc", [30, 40, 50]),
        write_xtc(tmp_path / "4.xtc", [90, 100]),
    ]
    assert handler.open(handler.import_trajectory(None, parts, "run")).n_frames == 8
    assert "2.xtc: it ends at time 50, and the next part begins at 90" in said()
    assert "1.xtc" not in said()


def test_times_of_single_precision_overlap_as_what_they_mean(handler, tmp_path):
    times = 16_777_216 + np.arange(0, 8, 2)
    parts = [write_xtc(tmp_path / "1.xtc", times[:3]), write_xtc(tmp_path / "2.xtc", times[2:])]
    found = handler.open(handler.import_trajectory(None, parts, "run"))
    assert found.time.tolist() == times.tolist()


def test_steps_tell_frames_apart_whose_times_are_one_when_rounded(handler, tmp_path, said):
    # At 100 ns, single precision has steps of 8 fs, and these frames are 2 fs apart.
    times, steps = 1e5 + 0.002 * np.arange(10), range(50_000_000, 50_000_010)
    parts = [
        write_xtc(tmp_path / "1.xtc", times[:5], steps=steps[:5]),
        write_xtc(tmp_path / "2.xtc", times[3:], steps=steps[3:]),
    ]
    found = handler.open(handler.import_trajectory(None, parts, "run"))
    assert (found.read(field="step") - 50_000_000).tolist() == list(range(10))
    assert "1.xtc: 2 of 5 frames are left out" in said()


def test_parts_without_times_overlap_by_step(handler, tmp_path):
    dump = (
        "ITEM: TIMESTEP\n{}\nITEM: NUMBER OF ATOMS\n1\nITEM: BOX BOUNDS pp pp pp\n0 9\n0 9\n0 9\n"
        "ITEM: ATOMS id x y z\n1 0 0 0\n"
    )
    for name, steps in (("1", (0, 5, 10, 15)), ("2", (10, 15, 20))):
        (tmp_path / f"{name}.lammpstrj").write_text("".join(dump.format(step) for step in steps))
    parts = [tmp_path / "1.lammpstrj", tmp_path / "2.lammpstrj"]
    data = handler.load_data(handler.import_trajectory(None, parts, "run"))
    assert data["step"].tolist() == [0, 5, 10, 15, 20]


def test_parts_that_each_count_from_the_beginning_are_refused_unless_all_is_kept(handler, tmp_path):
    parts = [write_xtc(tmp_path / f"{n}.xtc", [0, 1, 2]) for n in (1, 2)]
    with pytest.raises(InvalidArgumentError, match=r"2\.xtc begins at time 0.*overlap='keep'"):
        handler.import_trajectory(None, parts, "run")
    found = handler.open(handler.import_trajectory(None, parts, "run", overlap="keep"))
    assert found.time.tolist() == [0, 1, 2, 0, 1, 2]


def test_parts_with_neither_times_nor_steps_are_joined_as_they_are_and_that_is_said(
    handler, tmp_path, said
):
    for n in (1, 2):
        (tmp_path / f"{n}.xyz").write_text("1\n\nC 1.0 2.0 3.0\n" * 2)
    found = handler.import_trajectory(None, [tmp_path / "1.xyz", tmp_path / "2.xyz"], "run", dt=0.5)
    assert handler.open(found).time.tolist() == [0, 0.5, 1, 1.5]
    assert "without times or steps" in said()


def test_parts_of_other_atoms_are_refused(handler, tmp_path):
    parts = [write_xtc(tmp_path / "1.xtc", [0]), write_xtc(tmp_path / "2.xtc", [1], n_atoms=5)]
    with pytest.raises(InvalidArgumentError, match=r"2\.xtc' has 5 atoms, expected 4"):
        handler.import_trajectory(None, parts, "run")
    top = tmp_path / "top.pdb"
    universe = MDAnalysis.Universe.empty(4, trajectory=True)
    universe.atoms.write(str(top))
    with pytest.raises(InvalidArgumentError, match=r"2\.xtc"):
        handler.import_trajectory(top, parts, "run")


def test_times_that_do_not_go_on_are_said(handler, tmp_path, said):
    path = write_xtc(tmp_path / "again.xtc", [0, 1, 2, 1, 2, 3])
    trajectory = handler.open(handler.import_trajectory(None, path, "run"))
    assert trajectory.time.tolist() == [0, 1, 2, 1, 2, 3]
    assert "again.xtc: the times of 1 of 6 frames are not later" in said()
    two = [write_xtc(tmp_path / "one.xtc", [0, 1]), write_xtc(tmp_path / "two.xtc", [0, 1])]
    handler.import_trajectory(None, two, "runs", overlap="keep")
    assert said().count("not later") == 1
