"""An argument of a wrong type is an error that names it, and nothing is written."""

import functools
import sys

import MDAnalysis
import numpy as np
import pytest
from proteinflex_optimization import (
    BlockCache,
    CheckpointManager,
    DataHandler,
    GPUManager,
    InvalidArgumentError,
    InvalidTypeError,
    ProgressTracker,
    Topology,
    create_trajectory,
    list_trajectories,
    open_trajectory,
    track,
)
from proteinflex_optimization.integrations import fxt, npz
from proteinflex_optimization.integrations.mdanalysis import export_trajectory, import_trajectory

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

FRAMES = np.zeros((4, 2, 3), np.float32)
COLUMNS = {
    "names": ["CA"],
    "elements": ["C"],
    "residue_index": [0],
    "residue_names": ["ALA"],
    "residue_numbers": [1],
    "chain_index": [0],
    "chain_ids": ["A"],
}


def files(directory):
    return sorted(path for path in directory.rglob("*") if path.is_file())


def refused(call, given, wrong, named=None):
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(InvalidTypeError, match=rf"^{named or name}="):
                call(**{**given, name: value})


NO_PATHS = [None, 5, True, object(), []]
NO_FLAGS = [None, 1, "yes", b"x", object()]
NO_NUMBERS = [True, 1.5, "5", b"x", object(), []]
NO_TEXTS = [None, 5, object()]
NO_TRAJECTORIES = [None, 5, "run.fxt", object(), []]
NO_HANDLERS = [None, 5, "cache", object()]
NO_FUNCTIONS = [5, "print", b"x", object(), []]
NO_FILES = ["\0", "a\0b", "\ud800"]


def test_exports_name_an_argument_of_a_wrong_type_and_write_nothing(handler, tmp_path):
    trajectory = handler.open(handler.store_trajectory({"frames": FRAMES}, "md"))
    before = files(tmp_path)
    given = {"trajectory": trajectory, "path": tmp_path / "run.xtc"}
    wrong = {"path": NO_PATHS, "overwrite": NO_FLAGS}
    others = {"trajectory": NO_TRAJECTORIES, "progress": NO_FUNCTIONS}
    refused(export_trajectory, given, wrong | others)
    refused(fxt.export_fxt, given, wrong | others)
    data = {"data": {"frames": FRAMES}, "path": tmp_path / "run.npz"}
    refused(npz.export_npz, data, {**wrong, "data": [5, None, b"x", []]})
    refused(create_trajectory, {"path": tmp_path / "run.fxt"}, wrong)
    if sys.version_info >= (3, 11):
        from proteinflex_optimization.integrations.zarr import export_zarr

        refused(export_zarr, given, wrong | others)
    assert files(tmp_path) == before


def test_imports_name_an_argument_of_a_wrong_type_and_store_nothing(handler, tmp_path):
    path = tmp_path / "run.xyz"
    path.write_text("1\n\nC 0 0 0\n")
    before = files(tmp_path)
    given = {"topology": None, "trajectory": path, "data_id": "md"}
    wrong = {"allow_truncated": NO_FLAGS, "dt": ["2", [], True], "progress": NO_FUNCTIONS}
    wrong["frames_per_block"] = NO_NUMBERS
    refused(handler.import_trajectory, given, wrong)
    refused(import_trajectory, given, {"handler": NO_HANDLERS})
    for read in (npz.import_npz, fxt.import_fxt):
        given = {"handler": handler, "path": path, "data_id": "md"}
        refused(read, given, {"handler": NO_HANDLERS, "progress": NO_FUNCTIONS})
    for read in (npz.import_npz, fxt.import_fxt):
        refused(functools.partial(read, handler, data_id="md"), {}, {"path": NO_PATHS})
    for read in (npz.read_npz, npz.kind_of_npz):
        refused(read, {}, {"path": NO_PATHS})
    pdb = tmp_path / "a.pdb"
    pdb.write_text("ATOM      1  CA  ALA A   1       1.000   2.000   3.000  1.00  0.00\nEND\n")
    refused(handler.import_structure, {"source": pdb, "data_id": "md"}, {"plddt": NO_FLAGS[1:]})
    assert files(tmp_path) == sorted([*before, pdb])


def test_conversions_name_an_argument_of_a_wrong_type(handler):
    trajectory = handler.open(handler.store_trajectory({"frames": FRAMES}, "md"))
    md = pytest.importorskip("mdtraj")
    top = md.Topology()
    for _ in range(2):
        top.add_atom("C", md.element.carbon, top.add_residue("A", top.add_chain()))
    wrong = {"chunk": NO_NUMBERS, "stride": [None, *NO_NUMBERS]}
    refused(trajectory.iter_mdtraj, {"topology": top}, wrong)
    refused(trajectory.to_mdtraj, {}, {"topology": [5, object()]})
    refused(trajectory.to_universe, {}, {"topology": [5, True, object()]})
    for call in (trajectory.to_mdtraj, trajectory.to_universe, trajectory.view):
        with pytest.raises(InvalidArgumentError, match=r"^topology='nothing'"):
            call("nothing")
    from proteinflex_optimization.integrations import mdtraj
    from proteinflex_optimization.integrations.mdanalysis import to_universe

    for call in (mdtraj.to_mdtraj, mdtraj.iter_mdtraj, to_universe):
        refused(call, {"topology": top}, {"trajectory": NO_TRAJECTORIES})
    given = {"handler": handler, "trajectory": trajectory.to_mdtraj(top), "data_id": "new"}
    wrong = {"handler": NO_HANDLERS, "trajectory": [*NO_TRAJECTORIES[:2], [5]]}
    refused(mdtraj.store_mdtraj, given, wrong)
    assert "new" not in handler
    assert trajectory.to_mdtraj(top, atoms=[]).xyz.shape == (4, 0, 3)
    pytest.importorskip("dask")
    from proteinflex_optimization.integrations.dask import map_blocks, rmsf, to_dask

    refused(trajectory.to_dask, {}, {"frames_per_chunk": NO_NUMBERS})
    refused(to_dask, {}, {"trajectory": NO_TRAJECTORIES})
    wrong = {"frames_per_block": NO_NUMBERS}
    of_rmsf = {"superpose": NO_FLAGS, "trajectory": NO_TRAJECTORIES}
    refused(rmsf, {"trajectory": trajectory}, {**wrong, **of_rmsf})
    with pytest.raises(InvalidTypeError, match="^reference is not valid"):
        rmsf(trajectory, reference=[[object()]])
    with pytest.raises(InvalidArgumentError, match="^scheduler=5 is not valid"):
        rmsf(trajectory, scheduler=5)
    refused(map_blocks, {"trajectories": [trajectory]}, {"function": NO_FUNCTIONS})
    refused(functools.partial(map_blocks, len, [trajectory]), {}, wrong)


@pytest.mark.torch
def test_a_dataset_names_an_argument_of_a_wrong_type(handler):
    pytest.importorskip("torch")
    from proteinflex_optimization.integrations.torch import TrajectoryDataset

    trajectory = handler.open(handler.store_trajectory({"frames": FRAMES}, "md"))
    texts = [1.5, "5", b"x", object(), []]
    wrong = {"start": texts, "stop": texts, "stride": NO_NUMBERS, "fields": NO_TEXTS}
    wrong |= {"copy": NO_FLAGS, "transform": NO_FUNCTIONS}
    refused(TrajectoryDataset, {"trajectories": [trajectory]}, wrong)
    refused(TrajectoryDataset, {}, {"trajectories": NO_TEXTS})


def test_classes_name_an_argument_of_a_wrong_type_and_change_nothing(handler, tmp_path):
    refused(handler.open, {}, {"key": [None, 5, b"x", object(), []]})
    refused(open_trajectory, {}, {"path_or_url": NO_PATHS})
    with handler.trajectory_writer("new") as writer:
        writer.append(FRAMES)
        refused(writer.read, {}, {"field": [None, 5, b"x", object(), []]})
    handler.remove("new")
    before = files(tmp_path)
    for call in (handler.push, handler.pull):
        refused(
            functools.partial(call, url="file:///"),
            {"key": "md"} if call == handler.push else {},
            {"progress": NO_FUNCTIONS},
        )
    refused(lambda **wrong: handler.memoize(**wrong)(files), {}, {"ignore": NO_TEXTS})
    refused(list_trajectories, {}, {"path_or_url": NO_PATHS})
    refused(BlockCache, {}, {"directory": NO_PATHS})
    blocks = BlockCache(tmp_path / "blocks")
    of_block = {"object_key": NO_TEXTS, "number": [None, "5", 1.5, object()]}
    for call in (blocks.get, blocks.remove, functools.partial(blocks.put, block=b"x")):
        refused(call, {"object_key": "a", "number": 1}, of_block)
    refused(blocks.put, {"object_key": "a", "number": 1}, {"block": [None, 5, "x", object(), []]})
    refused(track, {"iterable": []}, {"display": NO_FLAGS, "name": [*NO_TEXTS, [], {}]})
    with pytest.raises(InvalidArgumentError, match="^name="):
        track([], "")
    tracker = ProgressTracker()
    wrong = {"task_id": [*NO_TEXTS, [], {}], "completed": NO_NUMBERS}
    refused(tracker.track, {"iterable": [], "task_id": "a"}, wrong)
    assert tracker.get_progress()["tasks"] == {}
    texts = ("names", "elements", "residue_names", "chain_ids")
    refused(Topology, COLUMNS, dict.fromkeys(texts, NO_TEXTS))
    optional = ("insertion_codes", "segment_ids", "subchains")
    refused(Topology, COLUMNS, dict.fromkeys(optional, NO_TEXTS[1:]))
    refused(Topology(**COLUMNS).difference, {}, {"other": [None, 5, MDAnalysis]})
    assert files(tmp_path) == before


def test_reporters_name_an_argument_of_a_wrong_type_and_write_nothing(handler, tmp_path):
    openmm = pytest.importorskip("proteinflex_optimization.integrations.openmm")
    before = files(tmp_path)
    given = {"handler": handler, "data_id": "md", "interval": 1}
    flags = dict.fromkeys(("velocities", "forces", "energies"), NO_FLAGS)
    refused(openmm.TrajectoryReporter, given, {**flags, "handler": NO_HANDLERS})
    refused(openmm.ProgressReporter, {"total_steps": 5}, {"tracker": NO_HANDLERS})
    refused(openmm.load_latest, {}, {"manager": NO_HANDLERS})
    manager = CheckpointManager(tmp_path / "checkpoints")
    wrong = {"name": NO_TEXTS, "states": NO_FUNCTIONS, "manager": NO_HANDLERS}
    refused(openmm.CheckpointReporter, {"manager": manager, "interval": 1}, wrong)
    assert files(tmp_path) == before


def test_a_path_that_no_file_can_have_is_refused_by_the_name_of_its_argument(handler, tmp_path):
    trajectory = handler.open(handler.store_trajectory({"frames": FRAMES}, "md"))
    manager = CheckpointManager(tmp_path / "checkpoints")
    before = files(tmp_path)
    for call, name in [
        (DataHandler, "cache_dir"),
        (CheckpointManager, "base_dir"),
        (manager.load_checkpoint, "checkpoint_path"),
        (manager.verify, "checkpoint_path"),
        (lambda checkpoint_dir: ProgressTracker(checkpoint_dir=checkpoint_dir), "checkpoint_dir"),
        (ProgressTracker.attach, "directory"),
        (lambda state_dir: GPUManager(state_dir=state_dir), "state_dir"),
        (open_trajectory, "path_or_url"),
        (create_trajectory, "path"),
        (list_trajectories, "path_or_url"),
        (BlockCache, "directory"),
        (npz.read_npz, "path"),
        (npz.kind_of_npz, "path"),
        (functools.partial(npz.export_npz, {}), "path"),
        (functools.partial(fxt.export_fxt, trajectory), "path"),
        (functools.partial(export_trajectory, trajectory), "path"),
        (functools.partial(handler.import_structure, data_id="a"), "source"),
    ]:
        for path in NO_FILES:
            with pytest.raises(InvalidArgumentError, match=rf"^{name}="):
                call(**{name: path})
    assert files(tmp_path) == before
