"""Entries go to a URL and come from one whole, verified, and never over another content."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from proteinflex_optimization import (
    CacheFullError,
    CacheKeyError,
    CorruptDataError,
    DataHandler,
    InvalidArgumentError,
    InvalidTypeError,
    ProteinFlexError,
    RemoteError,
    list_trajectories,
)
from proteinflex_optimization.cli import main
from proteinflex_optimization.remote import obstore_store
from proteinflex_optimization.remote.directory_store import DirectoryStore
from proteinflex_optimization.remote.entries import (
    Download,
    identity_of_file,
    object_name,
)
from proteinflex_optimization.remote.stores import ObjectInfo
from remote.servers import FAKE_SECRET

pytest.importorskip("obstore")

FRAMES = np.random.default_rng(5).normal(0, 9, (50, 40, 3)).astype(np.float32)


@pytest.fixture
def mine(tmp_path: Path) -> DataHandler:
    handler = DataHandler(tmp_path / "mine", durable=False)
    handler.store_trajectory({"frames": FRAMES}, "run", {"temperature": 300})
    handler.store_structure({"positions": FRAMES[0]}, "crystal")
    return handler


@pytest.fixture
def yours(tmp_path: Path) -> DataHandler:
    return DataHandler(tmp_path / "yours", durable=False)


def file_of(handler: DataHandler, name: str) -> Path:
    return Path(handler.cache_dir) / object_name(handler.info(name)["key"])


def put_requests(bucket) -> int:
    return sum(request["method"] in ("PUT", "POST") for request in bucket.gate.requests())


def test_what_is_pushed_is_pulled_by_others_and_has_the_name_of_its_file(mine, yours, bucket):
    key = mine.key_for("run")
    steps = []
    report = mine.push("run", f"{bucket.url}/group/", progress=lambda *now: steps.append(now))
    size = file_of(mine, "run").stat().st_size
    url = f"{bucket.url}/group/entries/{key[2:4]}/{key}.fxt"
    assert report == {"key": key, "url": url, "bytes": size, "copied": True}
    assert steps[-1] == (size, size)
    name = f"group/{file_of(mine, 'run').relative_to(mine.cache_dir).as_posix()}"
    assert bucket.names() == [name]
    assert bucket.get(name) == file_of(mine, "run").read_bytes()

    mine.push("crystal", f"{bucket.url}/group")
    assert yours.pull(url) == [report]
    assert yours.keys() == [key]
    steps.clear()
    pulled = yours.pull(f"{bucket.url}/group", progress=lambda *now: steps.append(now))
    assert sorted(one["copied"] for one in pulled) == [False, True]
    assert steps[-1][0] == steps[-1][1] == sum(one["bytes"] for one in pulled)
    assert yours.verify()["ok"]
    np.testing.assert_array_equal(yours.load_data("run")["frames"], FRAMES)
    assert yours.info("run")["metadata"] == {"temperature": 300}
    assert file_of(yours, "run").read_bytes() == file_of(mine, "run").read_bytes()


def test_a_large_entry_goes_and_comes_in_pieces(mine, yours, bucket, monkeypatch):
    frames = np.random.default_rng(1).normal(size=(900, 1000, 3)).astype(np.float32)
    key = mine.store_trajectory({"frames": frames}, "large")
    size = file_of(mine, "large").stat().st_size
    assert size > 8 << 20
    monkeypatch.setattr(obstore_store, "CONDITIONAL", 1 << 20)
    sent, came = [], []
    url = mine.push(key, bucket.url, progress=lambda *now: sent.append(now))["url"]
    assert bucket.uploads() == []
    yours.pull(url, progress=lambda *now: came.append(now))
    assert len(sent) > 1
    assert len(came) > 1
    assert sent[-1] == came[-1] == (size, size)
    assert file_of(yours, "large").read_bytes() == file_of(mine, "large").read_bytes()


def test_a_push_of_what_is_there_sends_nothing(mine, bucket):
    mine.push("run", bucket.url)
    bucket.gate.forget()
    assert mine.push("run", bucket.url)["copied"] is False
    assert put_requests(bucket) == 0


def test_another_content_under_the_same_key_is_refused_on_both_sides(mine, yours, bucket):
    yours.store_trajectory({"frames": FRAMES + 1}, "run")
    url = yours.push("run", bucket.url)["url"]
    name = url.removeprefix(f"{bucket.url}/")
    before = bucket.get(name)
    with pytest.raises(InvalidArgumentError, match="has another content under this key") as error:
        mine.push("run", bucket.url)
    assert url in str(error.value)
    assert bucket.get(name) == before
    with pytest.raises(InvalidArgumentError, match="has another content under this key"):
        mine.pull(url)
    np.testing.assert_array_equal(mine.load_data("run")["frames"], FRAMES)


def test_the_same_data_stored_twice_is_one_content_and_said(mine, yours, bucket, caplog):
    url = mine.push("run", bucket.url)["url"]
    yours.store_trajectory({"frames": FRAMES}, "run", {"temperature": 310})
    before = bucket.get(url.removeprefix(f"{bucket.url}/"))
    assert yours.push("run", bucket.url)["copied"] is False
    assert "the same data" in caplog.text
    assert bucket.get(url.removeprefix(f"{bucket.url}/")) == before
    assert yours.pull(url)[0]["copied"] is False
    assert yours.info("run")["metadata"] == {"temperature": 310}


def test_of_two_who_push_another_content_at_once_one_is_refused(mine, yours, bucket):
    yours.store_trajectory({"frames": FRAMES + 1}, "run")
    bucket.gate.delay(0.05)
    outcomes = []

    def push(handler):
        try:
            outcomes.append(handler.push("run", bucket.url)["copied"])
        except InvalidArgumentError:
            outcomes.append("refused")

    threads = [threading.Thread(target=push, args=(handler,)) for handler in (mine, yours)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes, key=str) == [True, "refused"]
    (name,) = bucket.names()
    assert bucket.get(name) in [file_of(one, "run").read_bytes() for one in (mine, yours)]


@pytest.mark.parametrize("content", ["the same", "another"])
def test_what_replaces_a_push_by_a_file_system_at_once_is_compared(
    content, mine, yours, tmp_path, monkeypatch, caplog
):
    from fsspec.implementations.local import LocalFileSystem

    added = 0 if content == "the same" else 1
    yours.store_trajectory({"frames": FRAMES + added}, "run", {"temperature": 310})

    def link(self, source, target):
        Path(target).write_bytes(file_of(yours, "run").read_bytes())

    monkeypatch.setattr(LocalFileSystem, "link", link)
    place, store = str(tmp_path / "there"), LocalFileSystem()
    if content == "the same":
        assert mine.push("run", place, store=store)["copied"] is False
        assert "the same data" in caplog.text
    else:
        with pytest.raises(RemoteError, match="another one may have removed or replaced it"):
            mine.push("run", place, store=store)


def test_an_object_that_was_cut_off_is_not_called_another_content(mine, bucket):
    url = mine.push("run", bucket.url)["url"]
    name = url.removeprefix(f"{bucket.url}/")
    bucket.put(name, bucket.get(name)[:-100])
    for call in (lambda: mine.push("run", bucket.url), lambda: mine.pull(url)):
        with pytest.raises(CorruptDataError, match="is not a whole entry") as error:
            call()
        assert url in str(error.value)


def test_a_damaged_entry_is_not_sent(mine, bucket):
    path = file_of(mine, "run")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptDataError, match="it is not sent"):
        mine.push("run", bucket.url)
    assert bucket.names() == []
    with pytest.raises(CacheKeyError):
        mine.push("other", bucket.url)


@pytest.mark.parametrize("kind", ["flipped", "cut", "longer", "empty", "other key"])
def test_what_is_damaged_there_is_named_and_not_fetched(kind, mine, yours, bucket):
    url = mine.push("run", bucket.url)["url"]
    name = url.removeprefix(f"{bucket.url}/")
    data = bytearray(bucket.get(name))
    if kind == "flipped":
        data[len(data) // 2] ^= 1
    elif kind == "other key":
        data = bytearray(file_of(mine, "crystal").read_bytes())
    else:
        data = {"cut": data[:-1], "longer": data + b"0", "empty": bytearray()}[kind]
    bucket.put(name, bytes(data))
    with pytest.raises(ProteinFlexError, match=f"it is not fetched: {url}"):
        yours.pull(url)
    with pytest.raises(ProteinFlexError, match="is not fetched"):
        yours.pull(bucket.url)
    assert yours.keys() == []
    assert not [path for path in (yours.cache_dir / "entries").rglob("*") if path.is_file()]


def test_one_damaged_entry_does_not_keep_the_others_from_being_fetched(mine, yours, bucket):
    for number in range(4):
        mine.store_structure({"x": np.arange(number, 500)}, f"s{number}")
    for key in mine:
        mine.push(key, bucket.url)
    for data_id in ("s1", "s2"):
        bucket.put(object_name(mine.key_for(data_id, "structure")), b"x" * 900)
    with pytest.raises(ProteinFlexError, match=r"2 of 6 entries of s3://\S+ were not fetched"):
        yours.pull(bucket.url)
    assert len(yours.keys()) == 4
    assert yours.verify()["ok"]


def test_a_pull_goes_on_after_the_last_whole_entry(mine, yours, bucket):
    mine.push("run", bucket.url)
    mine.push("crystal", bucket.url)
    key = mine.key_for("run")
    bucket.gate.inject("status", code=404, path=key, method="GET", headers={}, body="")
    with pytest.raises((ProteinFlexError, FileNotFoundError)):
        yours.pull(bucket.url)
    assert yours.keys() == [mine.key_for("crystal", "structure")]
    bucket.gate.forget()
    copied = {one["key"]: one["copied"] for one in yours.pull(bucket.url)}
    assert copied == {key: True, mine.key_for("crystal", "structure"): False}


def test_a_pull_follows_what_is_replaced_and_passes_over_what_is_removed_meanwhile(
    mine, yours, tmp_path, monkeypatch
):
    mine.store_structure({"x": 1}, "removed")
    key, found = mine.key_for("run"), list(DirectoryStore(mine.cache_dir).list("entries/"))

    def change(self, prefix=""):
        mine.remove("removed")
        mine.store_trajectory({"frames": FRAMES[:20] + 1}, "run")
        return iter(found)

    monkeypatch.setattr(DirectoryStore, "list", change)
    steps = []
    reports = yours.pull(mine.cache_dir, progress=lambda *now: steps.append(now))
    assert {one["key"] for one in reports} == {key, mine.key_for("crystal", "structure")}
    np.testing.assert_array_equal(yours.load_data("run")["frames"], FRAMES[:20] + 1)
    assert steps[-1][0] == steps[-1][1] == sum(one["bytes"] for one in reports)


def test_a_full_disk_is_named_by_a_pull(mine):
    source = DirectoryStore(mine.cache_dir)
    info = source.head(object_name(mine.key_for("run")))
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        Download(source, info, 30.0)(Path("/dev/full"))


def test_a_signed_object_that_does_not_come_is_named_by_its_url(tmp_path):
    source = SimpleNamespace(url="https://host/t-1.fxt", read=lambda *_: memoryview(b"x"))
    (tmp_path / "new").touch()
    with pytest.raises(RemoteError, match="no answer") as raised:
        Download(source, ObjectInfo("", 1, None, None), patience=0)(tmp_path / "new")
    assert raised.value.filename == source.url


def test_a_pull_that_can_not_be_kept_is_refused_before_anything_is_fetched(mine, tmp_path, bucket):
    for key in mine:
        mine.push(key, bucket.url)
    small = DataHandler(tmp_path / "small", max_cache_size=15e-6)
    small.store_structure({"x": 1}, "kept")
    with pytest.raises(CacheFullError, match="nothing was changed"):
        small.pull(bucket.url)
    assert small.keys() == [small.key_for("kept", "structure")]


def test_a_pull_of_all_never_evicts_a_part_of_it(mine, tmp_path, bucket):
    for number in range(4):
        mine.store_trajectory({"frames": FRAMES + number}, f"more-{number}")
        mine.push(f"more-{number}", f"{bucket.url}/group")
    size = file_of(mine, "more-0").stat().st_size
    small = DataHandler(tmp_path / "small", 3.3 * size / 1e9, durable=False)
    for number in range(2):
        key = mine.key_for(f"more-{number}")
        small.pull(f"{bucket.url}/group/{object_name(key)}")
    with pytest.raises(CacheFullError):
        small.pull(f"{bucket.url}/group")
    assert (len(small), small.get_cache_stats()["evictions"]) == (2, 0)
    small.pin("more-0")
    small.pull(f"{bucket.url}/group/{object_name(mine.key_for('more-2'))}")


def test_a_folder_that_can_not_be_read_is_not_passed_over(mine, yours, monkeypatch):
    refused = Path(mine.cache_dir, object_name(mine.key_for("run"))).parent
    scandir = os.scandir

    def scan(path):
        if Path(path) == refused:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    with pytest.raises(PermissionError, match=refused.name):
        yours.pull(mine.cache_dir)
    with pytest.raises(PermissionError, match=refused.name):
        list_trajectories(mine.cache_dir)


def test_a_pull_looks_for_entries_alone_and_passes_over_what_vanishes(
    mine, yours, tmp_path, monkeypatch
):
    walked = []
    scandir, lstat = os.scandir, Path.lstat

    def scan(path):
        walked.append(Path(path))
        return scandir(path)

    def stat(path):
        if path.name == "vanishes":
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return lstat(path)

    Path(mine.cache_dir, "entries", "vanishes").touch()
    monkeypatch.setattr(os, "scandir", scan)
    with pytest.raises(RemoteError, match="no cache"):
        yours.pull(tmp_path)
    assert tmp_path not in walked
    monkeypatch.setattr(Path, "lstat", stat)
    assert len(yours.pull(mine.cache_dir)) == len(mine.keys())
    assert Path(mine.cache_dir) not in walked


def test_what_is_no_place_of_entries_is_refused_by_what_it_is(mine, yours, http_server, tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        yours.pull(tmp_path / "nothing-here")
    with pytest.raises(RemoteError, match="there is no cache in the directory"):
        yours.pull(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such directory: make it first"):
        mine.push("run", f"file://{tmp_path}/nothing-here")
    for wrong in (None, 5):
        with pytest.raises(InvalidTypeError, match="url=.* is of type"):
            yours.pull(wrong)
    with pytest.raises(RemoteError, match="web server takes no objects"):
        mine.push("run", f"{http_server.url}/cache")
    with pytest.raises(RemoteError, match="web server has no list"):
        yours.pull(f"{http_server.url}/cache")


@pytest.mark.parametrize("call", ["h.push('run', url)", "h.pull(url)", "list_trajectories(url)"])
def test_ctrl_c_ends_what_waits_for_a_server(mine, bucket, call):
    script = (
        "import sys; from proteinflex_optimization import DataHandler, list_trajectories\n"
        f"h = DataHandler({str(mine.cache_dir)!r}); url = {bucket.url!r}\n"
        f"print('call', flush=True); {call}"
    )
    bucket.gate.inject("stall")
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, obstore_store.TIMEOUT_VARIABLE: "600"},
    ) as process:
        assert process.stdout.readline() == "call\n"
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors, errors


def test_wrong_urls_are_refused(mine, yours, bucket, tmp_path):
    with pytest.raises(InvalidArgumentError, match="expected a URL, as no upstream"):
        mine.push("run")
    with pytest.raises(InvalidArgumentError, match="expected a URL, such as"):
        mine.push("run", str(tmp_path))
    for call in (lambda url: mine.push("run", url), yours.pull):
        with pytest.raises(InvalidArgumentError, match=r"memory:///x.*gone with this process"):
            call("memory:///x")
    with pytest.raises(InvalidArgumentError, match="there are no entries below"):
        yours.pull(f"{bucket.url}/nothing")
    with pytest.raises(FileNotFoundError):
        yours.pull(f"{bucket.url}/{object_name(yours.key_for('run'))}")


def test_the_first_url_upstream_is_where_a_push_goes_by_default(mine, bucket, tmp_path):
    handler = DataHandler(mine.cache_dir, upstream=[tmp_path, f"{bucket.url}/first", bucket.url])
    assert handler.push("run")["url"].startswith(f"{bucket.url}/first/entries/")


def test_a_directory_is_pulled_and_stores_that_are_passed_are_used(mine, yours, tmp_path):
    fsspec = pytest.importorskip("fsspec")
    copied = [one["copied"] for one in yours.pull(str(mine.cache_dir))]
    assert copied == [True, True]
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    mine.push("run", "memory://cache", store=memory)
    from obstore.store import LocalStore

    (tmp_path / "objects").mkdir()
    local = LocalStore(tmp_path / "objects")
    mine.push("run", "below", store=local)
    assert (tmp_path / "objects" / "below" / object_name(mine.key_for("run"))).is_file()
    for place, store in (("memory://cache", memory), ("below", local)):
        handler = DataHandler(tmp_path / place.strip(":/"))
        assert [one["copied"] for one in handler.pull(place, store=store)] == [True]
        np.testing.assert_array_equal(handler.load_data("run")["frames"], FRAMES)


@pytest.mark.parametrize("code", ["ExpiredToken", "AccessDenied", "InvalidAccessKeyId"])
def test_refused_credentials_are_said_and_not_shown(code, mine, yours, bucket):
    url = mine.push("run", bucket.url)["url"]
    bucket.gate.inject_s3(code)
    for attempt in (
        lambda: mine.push("crystal", bucket.url),
        lambda: yours.pull(url),
        lambda: yours.pull(bucket.url),
    ):
        with pytest.raises((PermissionError, RemoteError)) as error:
            attempt()
        assert FAKE_SECRET not in str(error.value)
    assert yours.keys() == []


def test_the_content_of_an_entry_is_told_by_its_trailer(mine):
    with file_of(mine, "run").open("rb") as file:
        assert identity_of_file(file).content.hex() == mine.open("run").content_id


TRANSFER = """
import sys
from proteinflex_optimization import DataHandler
from proteinflex_optimization.remote import obstore_store
verb, directory, url, conditional = sys.argv[1:]
obstore_store.CONDITIONAL = int(conditional)
handler = DataHandler(directory)
print("ready", flush=True)
handler.push("run", url) if verb == "push" else handler.pull(url)
print("done", flush=True)
"""


def transfer(verb, directory, url, *, conditional=64 << 20, kill_after=None) -> tuple[float, bool]:
    """Run a transfer, killed after some seconds; returns how long it took, and whether it ended."""
    command = [sys.executable, "-c", TRANSFER, verb, str(directory), url, str(conditional)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        started = time.monotonic()
        if kill_after is not None:
            time.sleep(kill_after)
            process.send_signal(signal.SIGKILL)
        ended = process.stdout.readline() == "done\n"
        seconds = time.monotonic() - started
    return seconds, ended


IN_PARTS = 1 << 20
AT_ONCE = 64 << 20


def kill_pushes(tmp_path: Path, bucket, times: int, modes=(AT_ONCE, IN_PARTS)) -> dict[str, int]:
    """Kill pushes at random moments; after each the object is whole or absent."""
    chosen = random.Random(11)
    handler = DataHandler(tmp_path / "mine", durable=False)
    frames = np.random.default_rng(2).normal(size=(600, 1000, 3)).astype(np.float32)
    key = handler.store_trajectory({"frames": frames}, "run")
    whole, name = file_of(handler, "run").read_bytes(), object_name(key)
    assert len(whole) > 5 << 20, "of two parts"
    bucket.gate.delay(0.03)
    seen = {"absent": 0, "whole": 0, "old": 0, "ended": 0, "uploads": 0}
    longest = {}
    for conditional in modes:
        longest[conditional], ended = transfer(
            "push", handler.cache_dir, bucket.url, conditional=conditional
        )
        assert ended
        assert bucket.get(name) == whole
        bucket.delete(name)
    for number in range(times):
        conditional = modes[number % len(modes)]
        kill_after = chosen.uniform(0, 1.1 * longest[conditional])
        was_there = name in bucket.names()
        _, ended = transfer(
            "push",
            handler.cache_dir,
            bucket.url,
            conditional=conditional,
            kill_after=kill_after,
        )
        seen["ended"] += ended
        is_there = name in bucket.names()
        assert bucket.names() in ([], [name])
        assert is_there or not (was_there or ended)
        if is_there:
            assert bucket.get(name) == whole
            seen["old" if was_there else "whole"] += 1
            if was_there or chosen.random() < 0.7:
                bucket.delete(name)
        else:
            seen["absent"] += 1
    seen["uploads"] = len(bucket.uploads())
    assert handler.push("run", bucket.url)["copied"] in (True, False)
    assert bucket.get(name) == whole
    return seen


def kill_pulls(tmp_path: Path, bucket, times: int) -> dict[str, int]:
    """Kill pulls at random moments; after each the entry is whole or absent."""
    chosen = random.Random(12)
    handler = DataHandler(tmp_path / "mine", durable=False)
    frames = np.random.default_rng(2).normal(size=(600, 1000, 3)).astype(np.float32)
    key = handler.store_trajectory({"frames": frames}, "run")
    handler.push("run", bucket.url)
    whole = bucket.get(object_name(key))
    bucket.gate.delay(0.03)
    longest, ended = transfer("pull", tmp_path / "first", bucket.url)
    assert ended
    seen = {"absent": 0, "whole": 0}
    for number in range(times):
        directory = tmp_path / f"yours{number % 3}"
        transfer("pull", directory, bucket.url, kill_after=chosen.uniform(0, 1.6 * longest))
        other = DataHandler(directory)
        if other.keys() == [key]:
            assert other.verify()["ok"]
            assert file_of(other, "run").read_bytes() == whole
            other.clear()
            seen["whole"] += 1
        else:
            assert other.keys() == []
            seen["absent"] += 1
        other.cleanup()
        assert not [path for path in (directory / "entries").rglob("*") if path.is_file()]
    return seen


def test_a_push_that_is_killed_leaves_the_whole_object_or_none(tmp_path, bucket):
    kill_pushes(tmp_path, bucket, 2, [IN_PARTS])


def test_a_pull_that_is_killed_leaves_the_whole_entry_or_none(tmp_path, bucket):
    kill_pulls(tmp_path, bucket, 2)


@pytest.mark.soak
def test_fifty_killed_pushes_and_pulls_leave_whole_entries_or_none(tmp_path, bucket):
    pushes = kill_pushes(tmp_path / "push", bucket, 50)
    print(pushes)
    assert pushes["absent"] >= 5
    assert pushes["whole"] >= 5
    pulls = kill_pulls(tmp_path / "pull", bucket, 25)
    print(pulls)
    assert min(pulls.values()) >= 3


def test_the_command_line_pushes_and_pulls(mine, yours, bucket, capsys):
    directory = ["--dir", str(mine.cache_dir)]
    assert main(["cache", "push", "run", "crystal", bucket.url, *directory, "--json"]) == 0
    reports = json.loads(capsys.readouterr().out)["entries"]
    assert [one["copied"] for one in reports] == [True, True]
    assert main(["cache", "push", "--all", bucket.url, *directory]) == 0
    assert "2 there already" in capsys.readouterr().out
    other = ["--dir", str(yours.cache_dir)]
    assert main(["cache", "pull", reports[0]["url"], *other]) == 0
    assert "fetched 1 entry" in capsys.readouterr().out
    assert main(["cache", "pull", bucket.url, *other, "--json"]) == 0
    reports = json.loads(capsys.readouterr().out)["entries"]
    assert sorted(one["copied"] for one in reports) == [False, True]
    assert set(yours.keys()) == set(mine.keys())

    yours.store_trajectory({"frames": FRAMES + 1}, "run")
    assert main(["cache", "push", "run", bucket.url, *other]) == 2
    assert "has another content under this key" in capsys.readouterr().err
    assert main(["cache", "push", bucket.url, *other]) == 2
    assert f"the URL, which {bucket.url!r} was taken for" in capsys.readouterr().err
    assert main(["cache", "push", "--all", "run", bucket.url, *directory]) == 2
    assert "--all is not valid together with KEY='run'" in capsys.readouterr().err
    assert main(["cache", "push", "none", bucket.url, *other]) == 1
    assert main(["cache", "pull", f"{bucket.url}/none", *other]) == 2
