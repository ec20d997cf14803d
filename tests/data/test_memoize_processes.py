"""The results of a memoized function are found by every process of a program."""

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from proteinflex_optimization import DataHandler


def slow(directory, x):
    (Path(directory) / f"computed-{os.getpid()}-{x}").touch(exist_ok=False)
    time.sleep(0.3)
    return x


def ask(directory, barrier):
    handler = DataHandler(Path(directory) / "cache")
    barrier.wait()
    assert handler.memoize(slow)(directory, 7) == 7


def test_processes_that_ask_at_once_compute_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    askers = [context.Process(target=ask, args=(str(tmp_path), barrier)) for _ in range(3)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
        assert asker.exitcode == 0
    assert len(list(tmp_path.glob("computed-*"))) == 1


SCRIPT = """
import functools, multiprocessing, sys
from pathlib import Path
from proteinflex_optimization import DataHandler

handler = DataHandler(sys.argv[1])

def decorated(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper

@handler.memoize
def costly(x, factor=2):
    "Documented."
    Path(sys.argv[1], "computed").open("a").write("x")
    return 0 if x == 0 else factor + costly(x - 1)

@handler.memoize
@decorated
def doubled(x, factor=2):
    return factor * x

class Model:
    def __init__(self, weight):
        self.weight = weight

    @handler.memoize
    def weigh(self, x):
        Path(sys.argv[1], "computed").open("a").write("x")
        return self.weight * x

def made():
    @handler.memoize
    def inner(x):
        return x + 1
    return inner

def computed():
    return Path(sys.argv[1], "computed").stat().st_size

def run(function, x):
    return function(x)

if __name__ == "__main__":
    {main}
"""


def run_script(tmp_path, main, *arguments):
    (tmp_path / "script.py").write_text(SCRIPT.replace("{main}", main))
    run = subprocess.run(
        [sys.executable, tmp_path / "script.py", tmp_path / "cache", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return run.stdout.split() or run.stderr


SPAWNED = """
    with multiprocessing.get_context(sys.argv[2]).Pool(1) as pool:
        print(pool.apply(run, [costly, 1]), pool.apply(run, [Model(3).weigh, 1]), computed())
        print(costly(1), Model(3).weigh(1), computed(), costly(2), computed())
        print(pool.apply(costly, [2]), computed())
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_that_a_script_spawns_share_its_results(tmp_path, method):
    expected = "2 3 3 2 3 3 4 4 4 4"
    assert run_script(tmp_path, SPAWNED, method) == expected.split()


JOBLIB = """
    import joblib
    calls = [joblib.delayed(f)(x=1) for f in (costly, Model(3).weigh, made(), doubled)]
    print(*joblib.Parallel(2)(calls), costly(1), Model(3).weigh(1), computed())
    print(*handler.entries()[0]["metadata"].values())
"""


def test_functions_of_a_script_go_to_processes_that_take_them_by_value(tmp_path):
    pytest.importorskip("joblib")
    found = run_script(tmp_path, JOBLIB)
    assert found[:-1] == ["2", "3", "2", "2", "2", "3", "3"]
    assert found[-1].startswith("__main__.")
