"""A whole record of another file, as a write that went astray leaves it, is damage."""

import shutil
import struct

import numpy as np
import pytest
from proteinflex_optimization import CorruptDataError, DataHandler, Topology, open_trajectory

HEADER = 64
KINDS = {"entry header": 1, "value tree": 4, "index": 5, "topology": 6}
FRAMES = np.random.default_rng(1).normal(0, 10, (20, 3, 3)).astype("f4")


def topology(residue):
    return Topology(["A", "B", "C"], ["C"] * 3, [0] * 3, [residue], [1], [0], ["A"])


def records(data):
    """Return where the last record of each kind begins and ends."""
    found, at = {}, HEADER
    while at < len(data) - HEADER and data[at + 4] != 0:
        (padding,) = struct.unpack_from("<I", data, at + 12)
        (stored,) = struct.unpack_from("<Q", data, at + 48)
        end = at + HEADER + padding + stored
        found[data[at + 4]] = (at, end)
        at = -(-end // HEADER) * HEADER
    return found


def stored(handler, data_id, temperature, residue, frames=FRAMES):
    data = {"frames": frames, "temperature": temperature}
    handler.store_trajectory(data, data_id, {"run": temperature}, structure=topology(residue))
    return handler.open(data_id).path


def read(how, handler, path, copied):
    if how == "load_data":
        handler.load_data("a")
    elif how == "open":
        handler.open("a").topology  # noqa: B018
    elif how == "verify":
        if not handler.verify("a")["ok"]:
            raise CorruptDataError("found")
    else:
        shutil.copy(path, copied)
        open_trajectory(copied).topology  # noqa: B018


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize(
    ("how", "kind"),
    [("load_data", kind) for kind in KINDS if kind != "topology"]
    + [(how, kind) for how in ("open", "verify", "open_trajectory") for kind in KINDS],
)
def test_a_record_of_another_file_is_damage(tmp_path, compress, how, kind):
    handler = DataHandler(tmp_path / "cache", enable_compression=compress, durable=False)
    at, there = (0, 0), None
    while at != there:  # The time at which it was stored has not always as many digits.
        path = stored(handler, "a", 300, "ALA")
        other = stored(handler, "b", 310, "GLY", FRAMES + 1)
        data, others = path.read_bytes(), other.read_bytes()
        at, there = records(data)[KINDS[kind]], records(others)[KINDS[kind]]
    start, end = at
    damaged = data[:start] + others[start:end] + data[end:]
    assert damaged != data
    path.write_bytes(damaged)
    with pytest.raises(CorruptDataError):
        read(how, handler, path, tmp_path / "copied.fxt")


def test_the_beginning_of_an_older_version_is_damage(tmp_path):
    """A disk has lost the write of one block."""
    handler = DataHandler(tmp_path / "cache", enable_compression=False, durable=False)
    frames = np.zeros((20_000, 3, 3), "f4")
    older = stored(handler, "a", 300, "ALA", frames).read_bytes()
    handler.remove("a")
    path = stored(handler, "a", 310, "GLY", frames)
    newer = path.read_bytes()
    assert len(newer) > 2 * 4096
    path.write_bytes(older[:4096] + newer[4096:])
    with pytest.raises(CorruptDataError):
        handler.open("a")
