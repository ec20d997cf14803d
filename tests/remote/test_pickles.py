"""Trajectories behind servers are sent to other processes as what they are called, without secrets."""

import multiprocessing
import os
import pickle

import numpy as np
import pytest
from proteinflex_optimization import BlockCache, InvalidTypeError, ProteinFlexError, open_trajectory
from remote.trajectories import FRAMES, stored

pytest.importorskip("obstore")


def total(trajectory):
    return float(trajectory.read(7, None, 100).astype(np.float64).sum())


def test_a_trajectory_is_opened_by_its_url_in_another_process(bucket, tmp_path):
    bucket.put("run.fxt", stored())
    trajectory = open_trajectory(f"{bucket.url}/run.fxt", cache=BlockCache(tmp_path, 0.1))
    content = pickle.dumps(trajectory)
    assert b"fake-secret" not in content
    assert b"AKIA" not in content
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(total, (trajectory,))
    assert found == float(FRAMES[7::100].astype(np.float64).sum())


def test_one_that_was_replaced_meanwhile_is_an_error(http_server):
    path = http_server.directory / "run.fxt"
    path.write_bytes(stored())
    content = pickle.dumps(open_trajectory(f"{http_server.url}/run.fxt"))
    np.testing.assert_array_equal(pickle.loads(content)[5], FRAMES[5])
    path.write_bytes(stored(backwards=True))
    os.utime(path, (1, 1))
    with pytest.raises(ProteinFlexError, match="taken the place|replaced"):
        pickle.loads(content)


def test_credentials_are_never_pickled(http_server):
    import fsspec

    path = http_server.directory / "run.fxt"
    path.write_bytes(stored())
    host = http_server.url.removeprefix("http://")
    for trajectory in (
        open_trajectory(str(path), store=fsspec.filesystem("file")),
        open_trajectory(f"http://user:hunter2@{host}/run.fxt"),
        open_trajectory(f"{http_server.url}/run.fxt?X-Amz-Signature=deadbeefsignature"),
    ):
        np.testing.assert_array_equal(trajectory[0], FRAMES[0])
        with pytest.raises(InvalidTypeError, match="open it in each process") as raised:
            pickle.dumps(trajectory)
        assert "hunter2" not in str(raised.value)
        assert "deadbeef" not in str(raised.value)
