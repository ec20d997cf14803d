"""An argument of a wrong type is an error that names it, and nothing is written."""

import functools
import sys

import MDAnalysis
import numpy as np
import pytest
from proteinflex_optimization import (
    BlockCache,
    DataHandler,
    InvalidTypeError,
    Topology,
    create_trajectory,
    list_trajectories,
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


@pytest.fixture
def handler(tmp_path):
    return DataHandler(tmp_path / "cache", durable=False)


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


def test_of_exports(handler, tmp_path):
    trajectory = handler.open(handler.store_trajectory({"frames": FRAMES}, "md"))
    before = files(tmp_path)
    given = {"trajectory": trajectory, "path": tmp_path / "run.xtc"}
    wrong = {"path": NO_PATHS, "overwrite": NO_FLAGS}
    refused(export_trajectory, given, wrong)
    refused(fxt.export_fxt, given, wrong)
    refused(npz.export_npz, {"data": {"frames": FRAMES}, "path": tmp_path / "run.npz"}, wrong)
    refused(create_trajectory, {"path": tmp_path / "run.fxt"}, wrong)
    if sys.version_info >= (3, 11):
        from proteinflex_optimization.integrations.zarr import export_zarr

        refused(export_zarr, given, wrong)
    assert files(tmp_path) == before


def test_of_imports(handler, tmp_path):
    path = tmp_path / "run.xyz"
    path.write_text("1\n\nC 0 0 0\n")
    before = files(tmp_path)
    given = {"topology": None, "trajectory": path, "data_id": "md"}
    refused(handler.import_trajectory, given, {"allow_truncated": NO_FLAGS, "dt": ["2", [], True]})
    call = functools.partial(import_trajectory, handler)
    refused(call, given, {"block_frames": [None, *NO_NUMBERS]})
    for read in (npz.import_npz, fxt.import_fxt):
        refused(
            functools.partial(read, handler, data_id="md"), {}, {"path": NO_PATHS}, "trajectory"
        )
    for read in (npz.read_npz, npz.kind_of_npz):
        refused(read, {}, {"path": NO_PATHS})
    pdb = tmp_path / "a.pdb"
    pdb.write_text("ATOM      1  CA  ALA A   1       1.000   2.000   3.000  1.00  0.00\nEND\n")
    refused(handler.import_structure, {"source": pdb, "data_id": "md"}, {"plddt": NO_FLAGS[1:]})
    assert files(tmp_path) == sorted([*before, pdb])


def test_of_what_other_libraries_are_given(handler):
    trajectory = handler.open(handler.store_trajectory({"frames": FRAMES}, "md"))
    md = pytest.importorskip("mdtraj")
    top = md.Topology()
    for _ in range(2):
        top.add_atom("C", md.element.carbon, top.add_residue("A", top.add_chain()))
    wrong = {"chunk": NO_NUMBERS, "stride": [None, *NO_NUMBERS]}
    refused(trajectory.iter_mdtraj, {"topology": top}, wrong)
    refused(trajectory.to_mdtraj, {}, {"topology": [5, object()]})
    assert trajectory.to_mdtraj(top, atoms=[]).xyz.shape == (4, 0, 3)
    pytest.importorskip("dask")
    from proteinflex_optimization.integrations.dask import map_blocks, rmsf

    refused(trajectory.to_dask, {}, {"frames_per_chunk": NO_NUMBERS})
    wrong = {"frames_per_block": NO_NUMBERS}
    refused(rmsf, {"trajectory": trajectory}, {**wrong, "superpose": NO_FLAGS})
    refused(functools.partial(map_blocks, len, [trajectory]), {}, wrong)


@pytest.mark.torch
def test_of_a_dataset(handler):
    pytest.importorskip("torch")
    from proteinflex_optimization.integrations.torch import TrajectoryDataset

    trajectory = handler.open(handler.store_trajectory({"frames": FRAMES}, "md"))
    texts = [1.5, "5", b"x", object(), []]
    wrong = {"start": texts, "stop": texts, "stride": NO_NUMBERS, "fields": NO_TEXTS}
    refused(TrajectoryDataset, {"trajectories": [trajectory]}, {**wrong, "copy": NO_FLAGS})
    refused(TrajectoryDataset, {}, {"trajectories": NO_TEXTS})


def test_of_the_classes(handler, tmp_path):
    before = files(tmp_path)
    refused(handler.open, {}, {"key": [None, 5, b"x", object(), []]}, "(cache_)?key")
    refused(lambda **wrong: handler.memoize(**wrong)(files), {}, {"ignore": NO_TEXTS})
    refused(list_trajectories, {}, {"path_or_url": NO_PATHS})
    refused(BlockCache, {}, {"directory": NO_PATHS})
    refused(track, {"iterable": []}, {"display": NO_FLAGS})
    texts = ("names", "elements", "residue_names", "chain_ids")
    refused(Topology, COLUMNS, dict.fromkeys(texts, NO_TEXTS))
    optional = ("insertion_codes", "segment_ids", "subchains")
    refused(Topology, COLUMNS, dict.fromkeys(optional, NO_TEXTS[1:]))
    refused(Topology(**COLUMNS).difference, {}, {"other": [None, 5, MDAnalysis]})
    assert files(tmp_path) == before
