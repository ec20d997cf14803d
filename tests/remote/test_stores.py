"""Every kind of store has the same contract: exact bytes, whole objects, typed errors, no credentials."""

import errno
import itertools
import os
import pickle
import subprocess
import sys
import time
import traceback

import pytest
from proteinflex_optimization import (
    InvalidArgumentError,
    InvalidTypeError,
    ObjectChangedError,
    ProteinFlexError,
    RemoteError,
)
from proteinflex_optimization.remote import obstore_store
from proteinflex_optimization.remote.stores import open_store
from proteinflex_optimization.remote.urls import is_url, split_url, without_credentials
from remote.servers import FAKE_KEY, FAKE_SECRET, PAGE

pytest.importorskip("obstore")

SECRET = "s3cr3t-of-the-url"
FILES = ["local, fsspec", "directory, fsspec"]
WRITABLE = ["s3", "s3, given", "s3fs", "local, given", "memory, fsspec", *FILES]
BYTES = bytes(itertools.islice(itertools.cycle(range(251)), 5000))


def by_s3(bucket, directory):
    return open_store(f"{bucket.url}/some/prefix")


def by_given_s3(bucket, directory):
    from obstore.store import S3Store

    options = {"allow_http": True}
    given = S3Store(
        bucket.name,
        endpoint=bucket.gate.url,
        access_key_id=FAKE_KEY,
        secret_access_key=FAKE_SECRET,
        client_options=options,
    )
    return open_store("some/prefix", given)


def by_s3fs(bucket, directory):
    s3fs = pytest.importorskip("s3fs")
    given = s3fs.S3FileSystem(
        key=FAKE_KEY,
        secret=FAKE_SECRET,
        endpoint_url=bucket.gate.url,
        skip_instance_cache=True,
    )
    return open_store(f"{bucket.url}/some/prefix", given)


def by_given_local(bucket, directory):
    from obstore.store import LocalStore

    return open_store("some/prefix", LocalStore(str(directory)))


def by_fsspec_memory(bucket, directory):
    fsspec = pytest.importorskip("fsspec")
    given = fsspec.filesystem("memory", skip_instance_cache=True)
    return open_store(f"memory://{directory.name}/some/prefix", given)


def by_fsspec_local(bucket, directory):
    from fsspec.implementations.local import LocalFileSystem

    return open_store(str(directory / "some/prefix"), LocalFileSystem())


def by_fsspec_directory(bucket, directory):
    from fsspec.implementations.dirfs import DirFileSystem
    from fsspec.implementations.local import LocalFileSystem

    return open_store("some/prefix", DirFileSystem(str(directory), LocalFileSystem()))


MAKERS = [by_s3, by_given_s3, by_s3fs, by_given_local, by_fsspec_memory]
MADE = dict(zip(WRITABLE, [*MAKERS, by_fsspec_local, by_fsspec_directory], strict=True))


@pytest.fixture(params=WRITABLE)
def store(request, bucket, tmp_path_factory):
    return MADE[request.param](bucket, tmp_path_factory.mktemp("objects"))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(BYTES)
    return path


def test_an_object_is_what_the_file_was(store, file):
    sent = []
    made = store.create("ab/run 1.fxt", file, sent.append)
    assert (made.name, made.size, sum(sent)) == ("ab/run 1.fxt", len(BYTES), len(BYTES))
    assert store.head("ab/run 1.fxt") == made
    for start, end in [(0, 5000), (0, 1), (4999, 5000), (17, 1234), (40, 40)]:
        assert bytes(store.read("ab/run 1.fxt", start, end, made.version)) == BYTES[start:end]
    store.delete("ab/run 1.fxt")
    store.delete("ab/run 1.fxt")
    assert list(store.list()) == []


@pytest.mark.parametrize("name", ["ü ñ", "a+b", "100%", "%41", "a#b", "a?b", "a&b=c", "q'\"", "~$"])
def test_names_may_have_any_characters(name, bucket, file, http_server):
    store = open_store(bucket.url)
    store.create(name, file)
    assert [info.name for info in store.list()] == [name]
    assert bytes(store.read(name, 1, 4, None)) == BYTES[1:4]
    (http_server.directory / name).write_bytes(BYTES)
    assert bytes(open_store(http_server.url).read(name, 1, 4, None)) == BYTES[1:4]


def test_what_is_there_is_not_replaced(store, file, tmp_path):
    store.create("one", file)
    other = tmp_path / "other"
    other.write_bytes(b"other")
    with pytest.raises(FileExistsError) as raised:
        store.create("one", other)
    assert raised.value.filename == f"{store.url}/one"
    assert bytes(store.read("one", 0, 5, None)) == BYTES[:5]
    assert [info.name for info in store.list()] == ["one"]


@pytest.mark.parametrize("kind", FILES)
def test_by_a_file_system_each_writes_a_file_of_its_own(kind, tmp_path, file, monkeypatch):
    from fsspec.implementations.local import LocalFileSystem

    first, second = (MADE[kind](None, tmp_path) for _ in range(2))
    other = tmp_path / "other"
    other.write_bytes(b"other")

    def put(self, source, target, **_):
        with open(source, "rb") as opened, open(target, "wb") as written:
            written.write(opened.read(3))
            written.flush()
            if source == str(file):
                assert "one" not in [info.name for info in second.list()], "a part of it"
                second.create("one", other)
            written.write(opened.read())

    monkeypatch.setattr(LocalFileSystem, "put_file", put)
    with pytest.raises(FileExistsError) as raised:
        first.create("one", file)
    assert raised.value.filename == f"{first.url}/one"
    assert bytes(second.read("one", 0, 5, None)) == b"other"
    assert [info.name for info in second.list()] == ["one"]


@pytest.mark.parametrize("kind", FILES)
def test_a_full_disk_is_said_and_nothing_is_left_there(kind, tmp_path, file, monkeypatch):
    from fsspec.implementations.local import LocalFileSystem

    def put(self, source, target, **_):
        with open(target, "wb") as written:
            written.write(b"a part")
        raise OSError(errno.ENOSPC, "No space left on device", target)

    monkeypatch.setattr(LocalFileSystem, "put_file", put)
    store = MADE[kind](None, tmp_path)
    with pytest.raises(RemoteError, match="No space left") as raised:
        store.create("one", file)
    assert raised.value.errno == errno.ENOSPC
    assert list(store.list()) == []


@pytest.mark.parametrize("kind", FILES)
def test_what_killed_pushes_left_is_removed_by_a_later_one_after_a_day(kind, tmp_path, file):
    store = MADE[kind](None, tmp_path)
    store.create("entries/ab/one.fxt", file)
    folder = tmp_path / "some/prefix/entries/ab"
    days = 1.1 * 86_400
    stays = {"two.fxt", f"new.fxt.{'0' * 16}.tmp", "other.tmp", "one.fxt"}
    for name, age in (
        (f"two.fxt.{'0' * 16}.tmp", days),
        (f"new.fxt.{'0' * 16}.tmp", 3600),
        ("other.tmp", days),
    ):
        (folder / name).write_bytes(b"part")
        os.utime(folder / name, (time.time() - age,) * 2)
    store.create("entries/ab/two.fxt", file)
    assert set(os.listdir(folder)) == stays


def test_a_full_disk_is_said_by_obstore():
    from obstore.exceptions import GenericError

    with pytest.raises(RemoteError, match="No space left") as raised, obstore_store._Errors("x"):
        raise GenericError("Unable to copy data to file: No space left on device (os error 28)")
    assert raised.value.errno == errno.ENOSPC


def test_what_obstore_says_of_a_full_disk_is_said_once(tmp_path):
    said = "Unable to copy data to file: No space left on device (os error 28)"
    inside = 'Os { code: 28, kind: StorageFull, message: "No space left on device" }'
    assert obstore_store._cause(f"{said}\n\nDebug source:\n{inside}") == said


def test_a_wrapper_of_an_object_store_sends_an_object_once(file, monkeypatch):
    from fsspec.implementations.dirfs import DirFileSystem
    from fsspec.implementations.memory import MemoryFileSystem

    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "mv", None)
    store = open_store("prefix", DirFileSystem("/bucket", MemoryFileSystem()))
    assert store.create("one", file).size == len(BYTES)


@pytest.mark.parametrize("conditional", [True, False], ids=["one request", "in parts"])
def test_an_object_appears_whole_or_not_at_all(bucket, tmp_path, monkeypatch, conditional):
    file = tmp_path / "file"
    data = os.urandom((20 << 20) + 1)
    file.write_bytes(data)
    monkeypatch.setattr(obstore_store, "CONDITIONAL", len(data) if conditional else 1)
    monkeypatch.setenv(obstore_store.TIMEOUT_VARIABLE, "2")
    store = open_store(bucket.url)
    # In parts: the second is never taken, and giving up is carried out without a response.
    bucket.gate.inject("reset", method="PUT", skip=0 if conditional else 1)
    bucket.gate.inject("lose_response", method="DELETE", times=1)
    with pytest.raises(RemoteError):
        store.create("one", file)
    assert (bucket.names(), bucket.uploads()) == ([], [])
    bucket.gate.forget()
    monkeypatch.delenv(obstore_store.TIMEOUT_VARIABLE)
    store = open_store(bucket.url)
    sent = []
    store.create("one", file, sent.append)
    assert bucket.get("one") == data
    assert sum(sent) == len(data)


def test_what_is_not_there_is_not_found(store):
    for ask in (
        lambda: store.head("no/such"),
        lambda: store.read("no/such", 0, 1, None),
    ):
        with pytest.raises(FileNotFoundError) as raised:
            ask()
        assert raised.value.filename == f"{store.url}/no/such"


def test_bytes_beyond_the_end_are_never_made_up(store, file):
    store.create("one", file)
    for start, end in [(4999, 5001), (5000, 5001), (9000, 9001)]:
        with pytest.raises(RemoteError, match="one"):
            store.read("one", start, end, None)


def test_lists_are_of_what_begins_so(store, file):
    for name in ("a/1", "a/2", "ab/1", "b", "a/deep/er/1"):
        store.create(name, file)

    def names(prefix=""):
        return sorted(info.name for info in store.list(prefix))

    assert names() == ["a/1", "a/2", "a/deep/er/1", "ab/1", "b"]
    assert names("a/") == ["a/1", "a/2", "a/deep/er/1"]
    assert names("a") == ["a/1", "a/2", "a/deep/er/1", "ab/1"]
    assert names("a/d") == ["a/deep/er/1"]
    assert names("c") == names("c/d") == []
    assert {info.size for info in store.list()} == {len(BYTES)}


def test_neighbours_of_the_prefix_are_not_below_it(bucket, file):
    open_store(f"{bucket.url}/data").create("mine", file)
    open_store(f"{bucket.url}/database").create("theirs", file)
    assert [info.name for info in open_store(f"{bucket.url}/data").list()] == ["mine"]


def test_more_than_one_page_is_listed(bucket, file):
    for number in range(PAGE + 3):
        bucket.put(f"p/{number:04}", b"")
    assert len(list(open_store(f"{bucket.url}/p").list())) == PAGE + 3


@pytest.mark.parametrize("kind", ["s3", "http"])
def test_another_version_is_refused(bucket, http_server, kind):
    path = http_server.directory / "one"
    put = path.write_bytes if kind == "http" else lambda data: bucket.put("one", data)
    store = open_store(bucket.url if kind == "s3" else http_server.url)
    put(BYTES)
    version = store.head("one").version
    assert bytes(store.read("one", 0, 3, version)) == BYTES[:3]
    put(b"another")
    with pytest.raises(ObjectChangedError, match=f"{store.url}/one"):
        store.read("one", 0, 3, version)


def test_a_server_that_ignores_the_condition_is_seen_through(http_server):
    (http_server.directory / "one").write_bytes(BYTES)
    store = open_store(http_server.url)
    version = store.head("one").version
    http_server.gate.inject("version", tag='"another"', ranged=True)
    with pytest.raises(ObjectChangedError):
        store.read("one", 0, 3, version)


@pytest.mark.parametrize(
    ("fault", "how", "error", "cause"),
    [
        ("reset", {}, RemoteError, "reset by peer"),
        # Each request gives a byte, and the next one goes on there: not a hundred in 0.4 s.
        ("drop", {"after": 1}, RemoteError, "closed too early"),
        ("stall", {"after": 2}, RemoteError, "timed out"),
        ("truncate", {}, RemoteError, "sent 99 bytes where 100 were asked for"),
        ("ignore_range", {}, RemoteError, "ranges|range requested"),
        ("wrong_range", {}, RemoteError, "got 1001..1101"),
        ("status", {"code": 409}, RemoteError, "409"),
        ("status", {"code": 503}, RemoteError, "503"),
        ("ExpiredToken", {}, PermissionError, "token has expired"),
        ("RequestTimeTooSkewed", {}, PermissionError, "RequestTimeTooSkewed"),
        ("NoSuchKey", {}, FileNotFoundError, "no such object"),
    ],
)
def test_an_error_names_the_object_and_the_cause(bucket, monkeypatch, fault, how, error, cause):
    # What is said at once may take a busy server longer than that; it answers the last of many tries.
    seconds = {"reset": "0.4", "drop": "0.4", "stall": "0.4", "status": "4"}.get(fault, "60")
    monkeypatch.setenv(obstore_store.TIMEOUT_VARIABLE, seconds)
    bucket.put("one", BYTES)
    store = open_store(bucket.url)
    inject = bucket.gate.inject if fault.islower() else bucket.gate.inject_s3
    inject(fault, **how)
    with pytest.raises(error, match=cause) as raised:
        store.read("one", 1000, 1100, None)
    assert raised.value.filename == f"{bucket.url}/one"


def test_a_request_that_stalls_once_is_tried_again(bucket, monkeypatch):
    monkeypatch.setenv(obstore_store.TIMEOUT_VARIABLE, "2")
    bucket.put("one", BYTES)
    store = open_store(bucket.url)
    bucket.gate.inject("stall", times=1, after=2)
    assert bytes(store.read("one", 0, 10, None)) == BYTES[:10]
    assert [entry["fault"] for entry in bucket.gate.requests()] == ["stall", None]


def test_a_store_of_a_url_goes_to_another_process_without_credentials(bucket):
    bucket.put("one", BYTES)
    store = open_store(bucket.url)
    store.head("one")
    pickled = pickle.dumps(store)
    assert FAKE_SECRET.encode() not in pickled
    assert FAKE_KEY.encode() not in pickled
    program = "import pickle, sys; s = pickle.load(sys.stdin.buffer); print(s.head('one').size)"
    done = subprocess.run([sys.executable, "-c", program], input=pickled, stdout=-1, check=True)
    assert int(done.stdout) == len(BYTES)


@pytest.mark.parametrize("kind", ["s3, given", "s3fs"])
def test_a_given_store_is_not_pickled_with_its_credentials(bucket, tmp_path, kind):
    with pytest.raises(InvalidTypeError, match="each process"):
        pickle.dumps(MADE[kind](bucket, tmp_path))


def test_credentials_of_a_url_are_shown_nowhere(http_server, caplog, monkeypatch, recwarn):
    caplog.set_level("DEBUG")
    (http_server.directory / "one").write_bytes(BYTES)
    host = http_server.url.removeprefix("http://")
    for timeout in ("60", "0.3"):
        monkeypatch.setenv(obstore_store.TIMEOUT_VARIABLE, timeout)
        directory = open_store(f"http://user:{SECRET}@{host}")
        signed = open_store(f"http://{host}/one?X-Amz-Signature={SECRET}")
        if timeout == "60":
            assert bytes(directory.read("one", 0, 3, None)) == BYTES[:3]
            assert bytes(signed.read("", 0, 3, None)) == BYTES[:3]
    shown = [repr(directory), repr(signed), directory.url, signed.url, repr(directory.head("one"))]
    for code in (401, 403, 404, 412, 416, 500, 503):
        http_server.gate.forget()
        http_server.gate.inject("status", code=code, body=f"see {http_server.url}/?sig={SECRET}")
        for store, name in ((directory, "one"), (signed, "")):
            with pytest.raises((ProteinFlexError, OSError)) as raised:
                store.read(name, 0, 3, None)
            # As a person sees it, with all that it was made from.
            shown += traceback.format_exception(raised.value)
            shown += [repr(raised.value), str(raised.value.filename)]
    for store in (directory, signed):
        with pytest.raises(InvalidTypeError, match="credentials") as raised:
            pickle.dumps(store)
        shown += traceback.format_exception(raised.value)
    everything = "\n".join([*shown, caplog.text, *(str(w.message) for w in recwarn)])
    assert http_server.url in everything
    assert SECRET not in everything


def test_a_forked_child_is_refused_and_does_not_hang(bucket):
    program = f"""
import os, sys, warnings
warnings.simplefilter("ignore")
from proteinflex_optimization.remote.stores import open_store
store = open_store({bucket.url!r})
store.head("one")
child = os.fork()
if child == 0:
    try:
        store.head("one")
    except OSError as error:
        os._exit(7 if "spawn" in str(error) else 8)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    bucket.put("one", BYTES)
    done = subprocess.run([sys.executable, "-c", program], stdout=-1, check=True, timeout=120)
    assert int(done.stdout) == 7


@pytest.mark.parametrize(
    "url", ["ftp://host/a", "s3://", "https:///a", "nothing", "s3:/bucket/key", "S3//bucket"]
)
def test_what_is_no_url_of_a_store_is_refused(url):
    with pytest.raises(InvalidArgumentError, match="url="):
        open_store(url)


@pytest.mark.parametrize("seconds", ["nan", "-1", "x"])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(seconds, monkeypatch):
    pytest.importorskip("obstore")
    monkeypatch.setenv("PROTEINFLEX_REMOTE_TIMEOUT", seconds)
    with pytest.raises(InvalidArgumentError, match=f"^PROTEINFLEX_REMOTE_TIMEOUT='{seconds}' "):
        open_store("https://localhost/nothing")


def test_what_is_no_store_is_refused():
    with pytest.raises(InvalidTypeError, match="obstore"):
        open_store("some/prefix", object())


def test_without_obstore_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ImportError, match=r"proteinflex-optimization\[remote\]"):
        open_store("s3://bucket/prefix")


def test_a_panic_of_obstore_is_a_remote_error(tmp_path, monkeypatch):
    obstore = pytest.importorskip("obstore")

    class PanicException(BaseException):
        """Of pyo3, which can't be imported."""

    def panic(*arguments):
        raise PanicException("no thread")

    store = open_store(f"file://{tmp_path}")
    monkeypatch.setattr(obstore, "head", panic)
    with pytest.raises(RemoteError, match=r"obstore has failed: no thread.*file://.*/a\.fxt"):
        store.head("a.fxt")


def test_urls_are_told_from_paths():
    assert is_url("s3://bucket/key")
    assert not any(map(is_url, ["/a/b", "a:b", "C:\\a", "./s3://x", b"s3://bucket", None]))
    assert split_url("s3://bucket/a/b.fxt") == ("s3://bucket/a", "b.fxt")
    assert split_url("https://host/b.fxt") == ("https://host", "b.fxt")
    for url in ("s3://bucket", "s3://bucket/", "https://host/a/"):
        with pytest.raises(InvalidArgumentError, match="one object"):
            split_url(url)
    assert without_credentials("x https://u:p@h/a?sig=1, y") == "x https://h/a, y"
