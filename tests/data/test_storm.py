"""What `storm.py` tries, briefly in every run of the tests and for long in `make soak`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

STORM = Path(__file__).with_name("storm.py")
MUST_NOT_HAPPEN = ("wrong values", "limit exceeded", "entries or frames lost")


def storm(name, **options):
    command = [sys.executable, str(STORM), name]
    command += [f"{key}={json.dumps(value)}" for key, value in options.items()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}{done.stderr[-6000:]}"
    result = json.loads(done.stdout)
    bad = {what: result.pop(what) for what in MUST_NOT_HAPPEN if what in result}
    assert bad, "at least values are compared"
    assert not any(bad.values()), bad
    return result


@pytest.mark.parametrize("seconds", [10, pytest.param(60, marks=pytest.mark.soak)])
def test_eight_processes_at_once_read_nothing_wrong(seconds):
    done = storm("processes", seconds=seconds)
    for what in (
        "stores",
        "structures read",
        "trajectories read",
        "evictions",
        "looks at the limit",
    ):
        assert done[what] > 20, done


@pytest.mark.parametrize("count", [20, pytest.param(100, marks=pytest.mark.soak)])
def test_killed_writers_leave_whole_entries_and_all_that_was_flushed(count):
    done = storm("kills", count=count)
    assert done["kills"] == count
    assert done["structures read after a kill"] > 0
    assert done["stores looked for after a kill"] > 0
    assert done["frames recovered"] > 0


@pytest.mark.parametrize("step", [37, pytest.param(1, marks=pytest.mark.soak)])
def test_damaged_entries_are_right_or_refused_also_for_who_has_them_open(step):
    done = storm("damage", step=step)
    assert done["reads of damaged files that were refused"] > done["files cut"]
    assert done["files removed"] == 4


def test_a_full_or_read_only_disk_is_an_error_that_harms_nothing():
    assert sum(storm("disk").values()) > 10


@pytest.mark.parametrize("gigabytes", [0.5, pytest.param(50, marks=pytest.mark.soak)])
def test_neither_memory_nor_opening_grows_with_what_is_written(gigabytes):
    assert storm("large", gigabytes=gigabytes)["GB written"] >= gigabytes * 0.9
