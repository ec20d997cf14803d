"""Checkpoints on disk: replaced, retained, damaged, listed, killed."""

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import refused_calls
from proteinflex_optimization import (
    CheckpointError,
    CheckpointManager,
    CorruptDataError,
    InvalidTypeError,
    UnsupportedFormatError,
)


@pytest.fixture
def manager(tmp_path):
    return CheckpointManager(tmp_path / "checkpoints", max_checkpoints=3)


def test_the_path_is_the_directory_and_stays_the_same_when_replaced(manager):
    path = manager.create_checkpoint("a", {"x": 1})
    assert isinstance(path, str)
    assert path == str(manager.base_dir / "a")
    assert manager.create_checkpoint("a", {"x": 2}) == path
    assert manager.load_checkpoint(path) == {"x": 2}
    assert len(manager.list_checkpoints()) == 1


def test_the_newest_are_kept_and_listed_last(manager):
    for step in range(5):
        manager.create_checkpoint(f"s{step}", {"x": step}, metadata={"step": (step,)})
    listed = manager.list_checkpoints()
    assert [row["checkpoint_id"] for row in listed] == ["s2", "s3", "s4"]
    assert listed[-1]["path"] == manager.latest()
    assert listed[-1]["metadata"] == {"step": (4,)}
    assert listed[-1]["components"] == ["x"]
    assert listed[-1]["valid"] is True
    assert listed[-1]["size_bytes"] > 0
    assert abs(listed[-1]["created_at"].timestamp() - time.time()) < 60


def test_without_cleanup_all_are_kept(tmp_path):
    manager = CheckpointManager(tmp_path, 1, auto_cleanup=False)
    for step in range(4):
        manager.create_checkpoint(f"s{step}", {})
    assert len(manager.list_checkpoints()) == 4
    manager.delete("s1")
    assert len(manager.list_checkpoints()) == 3
    with pytest.raises(CheckpointError, match=r"no checkpoint \"s1\".*s0"):
        manager.delete("s1")


def test_latest_of_nothing_is_none(manager):
    assert manager.latest() is None
    assert manager.list_checkpoints() == []


def test_what_is_loaded_stays_readable_when_retention_removes_it(manager):
    path = manager.create_checkpoint("a", {"x": np.arange(100_000.0)})
    loaded = manager.load_checkpoint(path)["x"]
    for step in range(5):
        manager.create_checkpoint(f"s{step}", {"x": step})
    assert not os.path.exists(path)
    np.testing.assert_array_equal(loaded, np.arange(100_000.0))


def test_writing_into_a_mapped_array_never_changes_the_file(manager):
    path = manager.create_checkpoint("a", {"x": np.zeros(10_000)})
    loaded = manager.load_checkpoint(path)["x"]
    assert not loaded.flags.owndata
    loaded[:] = 7
    assert manager.verify(path)["ok"]
    np.testing.assert_array_equal(manager.load_checkpoint(path)["x"], np.zeros(10_000))


def test_any_safetensors_reader_opens_a_component(manager):
    safetensors = pytest.importorskip("safetensors.numpy")
    state = {"layer": {"weight": np.arange(6, dtype=np.float32).reshape(2, 3)}, "step": 3}
    path = manager.create_checkpoint("a", {"model": state})
    loaded = safetensors.load_file(os.path.join(path, "model.safetensors"))
    np.testing.assert_array_equal(loaded["layer.weight"], state["layer"]["weight"])


def damage(path, name, position):
    file = os.path.join(path, name)
    with open(file, "r+b") as opened:
        opened.seek(position)
        byte = opened.read(1)
        opened.seek(position)
        opened.write(bytes([byte[0] ^ 1]))
    return file


@pytest.mark.parametrize(
    ("name", "position"), [("model.safetensors", 500), ("values", 3), ("manifest.json", 40)]
)
def test_damage_is_found_and_named(manager, name, position):
    manager.create_checkpoint("older", {"model": {"w": np.zeros(1000)}})
    path = manager.create_checkpoint("a", {"model": {"w": np.zeros(1000), "n": [1, 2]}})
    file = damage(path, name, position)
    with pytest.raises(CorruptDataError, match=file):
        manager.load_checkpoint(path)
    if name != "manifest.json":
        report = manager.verify(path)
        assert not report["ok"]
        assert [row["name"] for row in report["files"] if not row["ok"]] == [name]


def test_a_damaged_newest_checkpoint_is_passed_over_and_named(manager, caplog):
    older = manager.create_checkpoint("older", {"x": 1})
    newest = manager.create_checkpoint("newest", {"x": 2})
    os.truncate(os.path.join(newest, "values"), 1)
    assert manager.latest() == older
    assert f"the checkpoint {newest} is damaged" in caplog.text
    assert [row["valid"] for row in manager.list_checkpoints()] == [True, False]


def test_a_missing_file_is_named(manager):
    path = manager.create_checkpoint("a", {"x": np.zeros(10)})
    os.remove(os.path.join(path, "x.safetensors"))
    with pytest.raises(CorruptDataError, match="x.safetensors.*missing"):
        manager.load_checkpoint(path)


def test_a_path_without_a_checkpoint_is_refused_by_name(manager, tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(CheckpointError, match="holds no checkpoint"):
            manager.load_checkpoint(path)


def test_a_symlink_is_not_followed_out_of_a_checkpoint(manager, tmp_path):
    path = manager.create_checkpoint("a", {"x": np.zeros(10)})
    target = tmp_path / "elsewhere"
    file = os.path.join(path, "x.safetensors")
    os.rename(file, target)
    os.symlink(target, file)
    with pytest.raises(CorruptDataError, match="not a regular file"):
        manager.load_checkpoint(path)


def test_a_newer_version_is_refused(manager):
    path = manager.create_checkpoint("a", {"x": 1})
    xxhash = pytest.importorskip("xxhash")
    file = os.path.join(path, "manifest.json")
    with open(file, "rb") as opened:
        text = opened.read().rsplit(b"\nxxh3-64 ", 1)[0].replace(b'"version": 2', b'"version": 3')
    with open(file, "wb") as opened:
        opened.write(text + b"\nxxh3-64 " + xxhash.xxh3_64_hexdigest(text).encode() + b"\n")
    with pytest.raises(UnsupportedFormatError, match="version 3 is newer than 2"):
        manager.load_checkpoint(path)


def test_a_text_that_is_no_dtype_is_damage_however_well_it_is_sealed(manager):
    xxhash = pytest.importorskip("xxhash")
    path = manager.create_checkpoint("a", {"x": np.arange(1000)})
    values, manifest = (Path(path, name) for name in ("values", "manifest.json"))
    old = values.read_bytes()
    new = old.replace(b"<i8", b",i8")
    text = manifest.read_bytes().rsplit(b"\nxxh3-64 ", 1)[0]
    checksums = [xxhash.xxh3_64_hexdigest(content).encode() for content in (old, new)]
    assert checksums[0] in text
    text = text.replace(*checksums)
    values.write_bytes(new)
    manifest.write_bytes(text + b"\nxxh3-64 " + xxhash.xxh3_64_hexdigest(text).encode() + b"\n")
    for read in (manager.load_checkpoint, manager.outline):
        with pytest.raises(CorruptDataError, match='",i8" is not the dtype of an array') as caught:
            read(path)
        assert str(path) in str(caught.value)


def test_an_asynchronous_save_is_of_the_state_at_the_call(manager):
    state = {"x": np.zeros(200_000), "n": [1]}
    pending = manager.create_checkpoint_async("a", {"s": state})
    state["x"][:] = 9
    state["n"].append(2)
    path = pending.result(timeout=60)
    assert pending.done()
    loaded = manager.load_checkpoint(path)["s"]
    assert loaded["x"].max() == 0
    assert loaded["n"] == [1]


def test_an_asynchronous_error_is_raised_by_result_and_by_the_next_save(tmp_path):
    manager = CheckpointManager(tmp_path / "c")
    (tmp_path / "c" / "taken").write_text("a file where a directory should be")
    pending = manager.create_checkpoint_async("taken", {"x": 1})
    for _ in range(2):
        with pytest.raises(NotADirectoryError, match="taken"):
            pending.result(30)
    manager.create_checkpoint_async("taken", {"x": 1})
    with pytest.raises(OSError, match="taken"):
        manager.create_checkpoint("b", {"x": 1})
    manager.create_checkpoint("b", {"x": 1})
    pending = manager.create_checkpoint_async("taken", {"x": 1})
    with pytest.raises(NotADirectoryError, match="taken"):
        manager.wait()
    with pytest.raises(NotADirectoryError, match="taken"):
        pending.result()
    manager.wait()
    with pytest.raises(InvalidTypeError):
        manager.create_checkpoint_async("c", {"x": object()})


def test_a_save_in_the_background_survives_the_end_of_the_interpreter(tmp_path):
    code = (
        "import sys, numpy as np; from proteinflex_optimization import CheckpointManager\n"
        "m = CheckpointManager(sys.argv[1])\n"
        "m.create_checkpoint_async('a', {'x': np.ones(2_000_000)})\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    manager = CheckpointManager(tmp_path)
    assert manager.load_checkpoint(manager.latest())["x"].sum() == 2_000_000


SAVE_AND_FORGET = """
import resource, sys
import numpy as np
from proteinflex_optimization import CheckpointManager

def main():
    manager = CheckpointManager(sys.argv[1])
    manager.create_checkpoint_async("a", {"x": np.ones(4_000_000)})

if sys.argv[2] == "fails":
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
main()
"""


@pytest.mark.parametrize("how", ["succeeds", "fails"])
def test_a_save_in_the_background_whose_manager_is_gone_is_made_or_its_error_logged(tmp_path, how):
    command = [sys.executable, "-c", SAVE_AND_FORGET, str(tmp_path), how]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    if how == "succeeds":
        assert CheckpointManager(tmp_path).latest() == str(tmp_path / "a")
        assert ended.stderr == ""
    else:
        assert "a checkpoint in the background failed" in ended.stderr
        assert ended.stderr.count("\n") == 1


def save_in_the_background(directory):
    global kept  # Nothing but the end of the process lets it go.
    kept = CheckpointManager(directory)
    kept.create_checkpoint_async("a", {"x": np.ones(4_000_000)})


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_save_in_the_background_survives_the_end_of_a_child(tmp_path, method):
    context = multiprocessing.get_context(method)
    child = context.Process(target=save_in_the_background, args=(tmp_path,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert CheckpointManager(tmp_path).latest() == str(tmp_path / "a")


SAVE_FOREVER = """
import sys, itertools, numpy as np
from proteinflex_optimization import CheckpointManager
manager = CheckpointManager(sys.argv[1], max_checkpoints=2)
for step in itertools.count(int(sys.argv[2])):
    state = {"step": step, "x": np.full(300_000, step, np.float64)}
    manager.create_checkpoint(f"s{step % int(sys.argv[3])}", {"s": state})
    print(step, flush=True)
"""


# With two ids and two to keep each save replaces one, with five none does.
@pytest.mark.parametrize("ids", [2, 5])
@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=pytest.mark.soak)])
def test_kills_at_random_moments_lose_nothing_that_had_returned(tmp_path, kills, ids):
    random = np.random.default_rng(5)
    returned = 0
    for _ in range(kills):
        with subprocess.Popen(
            [sys.executable, "-c", SAVE_FOREVER, str(tmp_path), str(returned + 1), str(ids)],
            stdout=subprocess.PIPE,
            text=True,
        ) as job:
            first = job.stdout.readline()
            time.sleep(random.uniform(0, 0.1))
            os.kill(job.pid, signal.SIGKILL)
            lines = [first, *job.stdout.readlines()]
        returned = max(returned, *(int(line) for line in lines if line.endswith("\n")))
        manager = CheckpointManager(tmp_path, max_checkpoints=2)
        rows = manager.list_checkpoints()
        assert all(row["valid"] for row in rows)
        for row in rows:
            state = manager.load_checkpoint(row["path"])["s"]
            assert (state["x"] == state["step"]).all()
        assert state["step"] >= returned
        returned = state["step"]
    for name in ("s0", "end"):
        manager.create_checkpoint(name, {})
    manager.wait()
    assert sorted(os.listdir(tmp_path)) == [".lock", "end", "s0"]
    for row in manager.list_checkpoints():
        versions = [name for name in os.listdir(row["path"]) if name != "manifest.json"]
        assert len(versions) == 1, "nothing of an older version is left"


def test_two_processes_may_save_into_one_directory(tmp_path):
    code = (
        "import sys, numpy as np; from proteinflex_optimization import CheckpointManager\n"
        "m = CheckpointManager(sys.argv[1], max_checkpoints=3)\n"
        "for i in range(15): m.create_checkpoint(f'{sys.argv[2]}{i}', {'x': np.full(1000, i)})\n"
    )
    jobs = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in "ab"]
    assert [job.wait(120) for job in jobs] == [0, 0]
    manager = CheckpointManager(tmp_path, max_checkpoints=3)
    rows = manager.list_checkpoints()
    assert len(rows) == 3
    assert all(manager.verify(row["path"])["ok"] for row in rows)


def test_a_save_that_is_not_durable_is_whole_and_verified(tmp_path):
    manager = CheckpointManager(tmp_path / "quick", durable=False)
    path = manager.create_checkpoint("a", {"x": np.arange(1000.0)})
    assert manager.verify(path)["ok"]
    np.testing.assert_array_equal(manager.load_checkpoint(path)["x"], np.arange(1000.0))


FAIL_SYNC = """
import sys
from proteinflex_optimization import CheckpointManager
manager = CheckpointManager(sys.argv[1], durable=sys.argv[2] == "True")
REFUSE_TO_SYNC
try:
    manager.create_checkpoint("a", {"x": 1})
except OSError as error:
    print(error.errno)
else:
    print("saved")
"""


def test_a_save_waits_for_the_disk_unless_it_is_not_durable(tmp_path):
    """A disk that can't sync fails a durable save, and no other one notices."""
    refuse_to_sync = refused_calls.prelude(errno.EIO, "fsync", "fdatasync")
    script = FAIL_SYNC.replace("REFUSE_TO_SYNC", refuse_to_sync)
    for durable, expected in (("True", str(errno.EIO)), ("False", "saved")):
        command = [sys.executable, "-c", script, str(tmp_path / durable), durable]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        assert done.stdout.strip() == expected
        rows = CheckpointManager(tmp_path / durable).list_checkpoints()
        assert len(rows) == (durable == "False")
