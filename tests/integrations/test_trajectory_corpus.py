"""Every trajectory file of MDAnalysisTests is imported as MDAnalysis reads it, or refused.

`trajectory_corpus.json` has a line for each file: how it is opened, and the result, which is
``identical``, ``explained: …`` with the fields in which the entry is not what MDAnalysis gives (each
explained below it), or ``refused: …`` with a part of the message. A difference that is not there, and
a line whose difference is gone, both fail. `python tests/integrations/test_trajectory_corpus.py`
prints the table.
"""

import collections
import json
import logging
import tempfile
import warnings
from pathlib import Path

import MDAnalysis
import numpy as np
import pytest
from MDAnalysis.coordinates.core import get_reader_for
from MDAnalysisTests import datafiles
from proteinflex_optimization import DataHandler
from proteinflex_optimization.errors import InvalidArgumentError
from proteinflex_optimization.integrations.mdanalysis import TrajectoryReadError

pytestmark = pytest.mark.filterwarnings("ignore")

FOLDER = Path(datafiles.__file__).parent / "data"
TABLE = json.loads(Path(__file__).with_name("trajectory_corpus.json").read_text(encoding="utf-8"))
NO_TRAJECTORIES = {".py", ".pyc", ".lock", ".npz", ".npy"}
SMALL = 20_000
"""Bytes of a file that the normal run tries."""


def is_of_the_corpus(path):
    if path.name.startswith(".") or path.suffix in NO_TRAJECTORIES:
        return False
    try:
        get_reader_for(str(path))
    except (ValueError, TypeError):
        return False
    return path.is_file()


def files():
    """Give all files, of the table and others that MDAnalysis has a reader for."""
    found = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if is_of_the_corpus(path)}
    return sorted(found | {name for name in TABLE["files"] if (FOLDER / name).is_file()})


def opened(name):
    """Return topology and options by which a file is opened."""
    line = TABLE["files"].get(name, {})
    topology = line.get("topology")
    options = {key: line[key] for key in ("format", "topology_format") if key in line}
    return (None if topology is None else str(FOLDER / topology)), options


def as_mdanalysis_reads(name):
    topology, options = opened(name)
    path = str(FOLDER / name)
    if topology is None:
        if "format" in options:
            options.setdefault("topology_format", options["format"])
        try:
            return MDAnalysis.Universe(path, **options).trajectory
        except Exception:
            # Where the topology in it is not read, or there is none.
            options.pop("topology_format", None)
            return get_reader_for(path, options.get("format"))(path)
    return MDAnalysis.Universe(topology, path, **options).trajectory


def differences(reader, data):
    """Return the names of the fields in which an entry is not what MDAnalysis gives."""
    found = set()
    if len(reader) != len(data["frames"]):
        return {"frames"}

    def compare(name, expected, index):
        there = data.get(name)
        same = expected is None if there is None else expected is not None
        if same and there is not None:
            same = np.array_equal(np.squeeze(there[index]), np.squeeze(expected), equal_nan=True)
        if not same:
            found.add(name)

    for index, ts in enumerate(reader):
        compare("frames", ts.positions, index)
        compare("time", ts.time, index)
        compare("box", ts.dimensions, index)
        compare("velocities", ts.velocities if ts.has_velocities else None, index)
        # kJ/mol/nm is kept, MDAnalysis has kJ/mol/Å.
        compare("forces", ts.forces * np.float32(10) if ts.has_forces else None, index)
        for name, value in ts.data.items():
            if name not in ("time", "dt", "time_offset", "frame") and not (
                name == "lambda" and value == 0 and name not in data
            ):
                compare(name, value, index)
    return found


def result(name, handler):
    topology, options = opened(name)
    try:
        key = handler.import_trajectory(topology, FOLDER / name, "corpus", **options)
    except (ImportError, InvalidArgumentError, TrajectoryReadError) as error:
        return f"refused: {error}"
    data = handler.load_data(key)
    found = differences(as_mdanalysis_reads(name), data)
    return f"explained: {', '.join(sorted(found))}" if found else "identical"


def marked(name):
    is_small = (FOLDER / name).stat().st_size <= SMALL
    return pytest.param(name, marks=[] if is_small else [pytest.mark.soak])


@pytest.fixture(scope="module")
def handler(tmp_path_factory):
    return DataHandler(tmp_path_factory.mktemp("corpus") / "cache", durable=False)


@pytest.mark.parametrize("name", [marked(name) for name in files()])
def test_a_file_of_the_corpus_is_read_as_mdanalysis_reads_it(name, handler):
    expected = TABLE["files"].get(name, {"result": "identical"})["result"]
    found = result(name, handler)
    if expected.startswith("refused: "):
        if "please install" in expected:
            return  # Of an environment without the library.
        assert found.startswith("refused: ")
        assert str(FOLDER / name) in found
        assert expected.removeprefix("refused: ") in found
    else:
        assert found == expected


def test_every_difference_of_the_corpus_is_explained():
    """By the reader and the field; and no explanation stays whose difference is gone."""
    found = set()
    for name, line in TABLE["files"].items():
        if (FOLDER / name).is_file() and line["result"].startswith("explained: "):
            reader = get_reader_for(str(FOLDER / name), line.get("format")).__name__
            fields = line["result"].removeprefix("explained: ").split(", ")
            found |= {f"{reader.removesuffix('Reader')} {field}" for field in fields}
    assert found == set(TABLE["explanations"])


def table():
    """Print what became of each file, and how many there are of each kind."""
    logging.getLogger("MDAnalysis").setLevel(logging.CRITICAL)
    logging.getLogger("proteinflex_optimization").setLevel(logging.CRITICAL)
    handler = DataHandler(Path(tempfile.mkdtemp()) / "cache", durable=False)
    results = {name: result(name, handler).replace(f"{FOLDER}/", "") for name in files()}
    for name, found in results.items():
        print(f"{name:60} {found}")
    print(dict(collections.Counter(found.split(":")[0] for found in results.values())))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    table()
