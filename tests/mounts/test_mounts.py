"""On real file systems two processes lose nothing, mix nothing, and wait for nothing for ever.

On sshfs the two are on two mounts, and can't see each other: as on two hosts. Each counts what it
saw go wrong, and the tests require none.
"""

import fcntl
import json
import multiprocessing

import numpy as np
import pytest
from proteinflex_optimization import CheckpointManager, DataHandler, ProgressTracker
from proteinflex_optimization.cli import main
from waiting import until

pytestmark = pytest.mark.mounts

SECONDS = 2.0
"""How long two processes work at the same time."""

COMMON = """
import json, os, sys, time, traceback
import numpy as np
import proteinflex_optimization as pfx
path, second, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
wrong, done = [], 0

def attempt(what, function, *allowed):
    try:
        return function()
    except allowed:
        return None
    except Exception as error:
        wrong.append(f"{what}: {type(error).__name__}: {error}")
        return None

def working():
    print("ready", flush=True)
    sys.stdin.readline()
    # On a slow file system or machine a few turns take longer.
    end, turns = time.monotonic() + seconds, 0
    while (time.monotonic() < end or turns < 4) and len(wrong) < 5:
        turns += 1
        yield

def report(**more):
    print(json.dumps({"wrong": wrong, "done": done, **more}), flush=True)
"""

CACHE = (
    COMMON
    + """
handler = pfx.DataHandler(path, enable_compression=second == 0)
mine = []
for number in range(10**9):
    if number == 0:
        turns = working()
    if next(turns, 0) is not None:
        break
    # A value in each element, and how often it was stored: a mixture would show.
    frames = np.full((40, 60, 3), second * 1000 + number % 1000, np.float32)
    attempt("replace", lambda: handler.store_trajectory({"frames": frames}, "common"))
    name = f"of-{second}-{number}"
    if attempt("store", lambda: handler.store_trajectory({"frames": frames}, name)):
        mine.append(name)
    data = attempt("load own", lambda: handler.load_data(handler.key_for(name)))
    if data is not None and not (data["frames"] == frames).all():
        wrong.append(f"{name} is not what was stored")
    common = attempt("load common", lambda: handler.load_data(handler.key_for("common")),
                     pfx.CacheKeyError)
    if common is not None and len(np.unique(common["frames"])) != 1:
        wrong.append("the common entry is of two writers")
    if number % 3 == 2:
        gone = mine.pop(0)
        attempt("remove", lambda: handler.remove(handler.key_for(gone)))
    if number % 5 == 4:
        attempt("remove common", lambda: handler.remove(handler.key_for("common")),
                pfx.CacheKeyError)
    done += 1
report(names=mine)
"""
)

RESUME = (
    COMMON
    + """
handler = pfx.DataHandler(path)
turns = working()
next(turns)
conflict = tuple(getattr(pfx, name) for name in ("WriterConflictError",) if hasattr(pfx, name))
writer = attempt("resume", lambda: handler.trajectory_writer("run", resume=True),
                 pfx.InvalidArgumentError, *conflict)
lost = writer is None
for number in turns:
    if lost:
        break
    frames = np.full((16, 50, 3), 1 + second, np.float32)
    try:
        writer.append(frames)
        writer.flush()
    except (pfx.InvalidArgumentError, *conflict):
        lost = True
    except Exception as error:
        wrong.append(f"append: {type(error).__name__}: {error}")
        lost = True
    else:
        done += 1
closed = False
if not lost:
    try:
        writer.close()
        closed = True
    except (pfx.InvalidArgumentError, *conflict):
        lost = True
    except Exception as error:
        wrong.append(f"close: {type(error).__name__}: {error}")
report(lost=lost, closed=closed)
"""
)

SAVE = (
    COMMON
    + """
manager = pfx.CheckpointManager(path, max_checkpoints=3)
turns = working()
for _ in turns:
    done += 1
    state = {"a": np.full(3000, done, np.float64), "n": done}
    # One name that is replaced again and again, and new ones of which the oldest go.
    attempt("replace", lambda: manager.create_checkpoint("again", state))
    attempt("save", lambda: manager.create_checkpoint(f"step-{done:06}", state))
attempt("wait", manager.wait)
report(newest=done)
"""
)

LOOK = (
    COMMON
    + """
manager = pfx.CheckpointManager(path, read_only=True)
for _ in working():
    latest = attempt("latest", manager.latest)
    if latest is None:
        wrong.append("there is no valid checkpoint")
        continue
    for row in attempt("list", manager.list_checkpoints) or []:
        if not row["valid"]:
            wrong.append(f"{row['checkpoint_id']} is called damaged")
    # What retention has removed meanwhile is gone, and what is loaded is whole.
    state = attempt("load", lambda: manager.load_checkpoint(latest),
                    pfx.CheckpointError, FileNotFoundError)
    if state is not None:
        if len(np.unique(state["a"])) != 1 or state["a"][0] != state["n"]:
            wrong.append("a checkpoint is of two saves")
        done += 1
report()
"""
)

COUNT = (
    COMMON
    + """
tracker = pfx.ProgressTracker(checkpoint_dir=path)
task = tracker.start_task(f"of-{second}", "Own", 10**7)
for _ in working():
    for _ in range(100):
        task.update(1)
    done += 100
    percent = attempt("progress", lambda: tracker.get_progress()["percent"])
attempt("close", tracker.close)
report()
"""
)


def both(shared, first, second, *arguments):
    """Run two scripts at the same time; returns what each reported."""
    processes = [
        shared.start(first, SECONDS, *arguments),
        shared.start(second, SECONDS, *arguments, second=True),
    ]
    try:
        for process in processes:
            line = process.stdout.readline()
            assert line == "ready\n", process.communicate(timeout=30)
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        reports = []
        for process in processes:
            out, err = process.communicate(timeout=SECONDS + 60)
            assert process.returncode == 0, err
            reports.append(json.loads(out))
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert [report["wrong"] for report in reports] == [[], []]
    return reports


def test_entries_stored_by_one_process_are_whole_for_the_other(shared):
    DataHandler(shared.here)
    reports = both(shared, CACHE, CACHE)
    assert all(report["done"] >= 4 for report in reports)
    for path in (shared.here, shared.there):
        handler = DataHandler(path)
        assert handler.verify()["damaged"] == []
        for second, report in enumerate(reports):
            for name in report["names"]:
                frames = handler.load_data(handler.key_for(name))["frames"]
                assert frames.flat[0] == second * 1000 + int(name.split("-")[2]) % 1000
        assert handler.get_cache_stats()["quarantined"] == 0


def test_of_two_that_resume_one_trajectory_one_goes_on(shared):
    handler = DataHandler(shared.here)
    writer = handler.trajectory_writer("run")
    writer.append(np.zeros((16, 50, 3), np.float32))
    writer.suspend()
    reports = both(shared, RESUME, RESUME)
    assert [report["lost"] for report in reports].count(False) == 1
    (winner,) = (number for number, report in enumerate(reports) if report["closed"])
    frames = DataHandler(shared.here).load_data(handler.key_for("run"))["frames"]
    whose = frames[::16, 0, 0].tolist()
    assert whose == [0.0, *[1.0 + winner] * reports[winner]["done"]]
    assert (frames == frames[:, :1, :1]).all()


def test_checkpoints_are_found_whole_while_another_process_saves(shared):
    CheckpointManager(shared.here).create_checkpoint("again", {"a": np.zeros(3000), "n": 0})
    until(lambda: CheckpointManager(shared.there).latest() is not None)
    saved, looked = both(shared, SAVE, LOOK)
    assert saved["done"] > 2
    assert looked["done"] > 0
    for path in (shared.here, shared.there):
        manager = CheckpointManager(path, read_only=True)
        state = manager.load_checkpoint(manager.latest())
        assert state["n"] == saved["newest"]
        assert all(row["valid"] for row in manager.list_checkpoints())


def test_two_processes_count_every_step(shared):
    reports = both(shared, COUNT, COUNT)
    assert all(report["done"] > 0 for report in reports)
    for path in (shared.here, shared.there):
        tasks = ProgressTracker.attach(path).get_progress()["tasks"]
        counted = [tasks[f"of-{number}"]["completed"] for number in (0, 1)]
        assert counted == [report["done"] for report in reports]


def count_in_handle(task):
    for _ in range(100):
        task.update()


def count_in_directory(directory):
    global kept  # Nothing but the end of the process lets it go.
    kept = ProgressTracker(None, directory, auto_checkpoint=False)
    for _ in range(100):
        kept.update_task("t")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_children_that_end_in_order_have_counted_every_step(shared, method):
    context = multiprocessing.get_context(method)
    with ProgressTracker(None, shared.here) as tracker:
        task = tracker.start_task("t", "T", 400)
        children = [context.Process(target=count_in_handle, args=(task,)) for _ in range(2)]
        children += [
            context.Process(target=count_in_directory, args=(shared.here,)) for _ in range(2)
        ]
        for child in children:
            child.start()
        for child in children:
            child.join(60)
        assert [child.exitcode for child in children] == [0] * 4
    progress = ProgressTracker.attach(shared.here).get_progress()
    assert (progress["completed_steps"], progress["status"]) == (400, "completed")


KINDS = {
    "sshfs": "fuse.sshfs",
    "bindfs": "fuse",
    "fuse-overlayfs": "fuse.fuse-overlayfs",
    "xfs": "xfs",
    "btrfs": "btrfs",
}


def test_doctor_tells_the_truth(shared, capsys):
    assert main(["doctor", "--json", str(shared.here)]) == 0
    report = json.loads(capsys.readouterr().out)
    networked = shared.filesystem in ("sshfs", "bindfs", "fuse-overlayfs")
    assert report["filesystem"]["local"] is not networked
    assert report["filesystem"]["kind"] == KINDS[shared.filesystem]
    found = {check["name"]: check["ok"] for check in report["checks"]}
    assert found["files may be mapped"] is not networked
    across = found["locks exclude other mounts and hosts"]
    if shared.here == shared.there:
        assert across is not False
    else:
        assert across is locks_exclude(shared.here, shared.there)
    assert list(shared.here.iterdir()) == []


def locks_exclude(here, there):
    """Find out by hand; None where the mounts agree and other hosts stay unknown."""
    with (here / "by-hand").open("w") as one:
        fcntl.flock(one, fcntl.LOCK_EX)
        with (there / "by-hand").open() as other:
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                excluded = None
            else:
                excluded = False
    (here / "by-hand").unlink()
    return excluded
