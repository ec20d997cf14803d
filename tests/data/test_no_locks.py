"""A cache on a file system whose locks exclude nobody: what was returned stays right."""

import os
import subprocess
import sys

import numpy as np
import pytest
import refused_calls
from proteinflex_optimization import DataHandler

JOB = """
import sys
import time
import numpy as np
from proteinflex_optimization import CacheKeyError, DataHandler

directory, who, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
handler = DataHandler(directory, enable_compression=False, durable=False)
random = np.random.default_rng(who)
pinned = []
end = time.monotonic() + seconds
n = 0
while time.monotonic() < end or len(pinned) < 2:
    n += 1
    mark = who * 1_000_000 + n
    key = handler.store_structure({"x": np.full(4000, mark)}, f"{who}-{n}")
    if n % 4 == 0 and len(pinned) < 6:
        try:
            handler.pin(key)
            pinned.append((key, mark))
        except CacheKeyError:
            pass  # It was evicted before.
    name = f"shared-{random.integers(4)}"
    handler.store_structure({"x": np.full(4000, mark)}, name)
    try:
        found = handler.load_data(name)["x"]
        assert len(found) == 4000 and (found == found[0]).all(), "a mixture"
        if n % 8 == 0:
            handler.remove(name)
    except CacheKeyError:
        pass  # It was evicted or removed by another process.
    computed = handler.get_or_compute(
        f"computed-{random.integers(4)}", lambda: {"x": np.full(4000, 7)}, kind="structure"
    )
    assert (computed["x"] == 7).all()
    for key, mark in pinned:
        assert (handler.load_data(key)["x"] == mark).all()
print(*(key for key, _ in pinned))
"""


@pytest.mark.skipif(not refused_calls.AVAILABLE, reason="no seccomp here")
@pytest.mark.parametrize("locks", ["fails", "nothing"])
def test_processes_without_locks_lose_nothing_that_is_pinned_and_read_nothing_mixed(
    tmp_path, locks
):
    cache = tmp_path / "cache"
    handler = DataHandler(cache, max_cache_size=3e-3)
    script = tmp_path / "job.py"
    script.write_text(JOB)
    program = [sys.executable, refused_calls.__file__, locks, str(script), str(cache)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    jobs = [
        subprocess.Popen(
            [*program, str(who), "3"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for who in range(4)
    ]
    pinned = []
    for job in jobs:
        out, err = job.communicate(timeout=250)
        assert job.returncode == 0, err
        pinned += out.split()
    assert len(pinned) > 4
    for key in pinned:
        assert np.ptp(handler.load_data(key)["x"]) == 0
    assert handler.verify()["ok"]
    assert handler.get_cache_stats()["quarantined"] == 0
    # The limit holds again with the next store that looks at all that is there.
    stored = sum(path.stat().st_size for path in cache.glob("entries/*/*.fxt"))
    assert handler.get_cache_stats()["used_bytes"] == stored
