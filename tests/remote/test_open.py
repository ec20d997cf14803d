"""A trajectory behind a server is read as one on the disk, by the ranges that a call needs."""

import itertools
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from proteinflex_optimization import (
    CacheKeyError,
    CorruptDataError,
    DataHandler,
    InvalidArgumentError,
    InvalidTypeError,
    ObjectChangedError,
    RemoteError,
    UnsupportedFormatError,
    create_trajectory,
    list_trajectories,
    open_trajectory,
)
from proteinflex_optimization.remote.obstore_store import TIMEOUT_VARIABLE
from proteinflex_optimization.remote.urls import without_credentials
from remote.trajectories import (
    CHUNK,
    FRAMES,
    N_ATOMS,
    N_FRAMES,
    TIMES,
    frames,
    molecules,
    stored,
    write,
)

pytest.importorskip("obstore")

SECRETS = ("hunter2", "deadbeefsignature", "fake-secret")


class Moved:
    """What was asked of a server since this was made."""

    def __init__(self, gate):
        self._gate = gate
        self._before = len(gate.requests())

    def since(self):
        return self._gate.requests()[self._before :]

    @property
    def requests(self):
        return len(self.since())

    @property
    def bytes(self):
        return sum(request["sent"] for request in self.since())


@pytest.fixture
def served(http_server):
    """Return the path of a trajectory, its URL and what counts the requests for it."""
    path = http_server.directory / "run.fxt"
    path.write_bytes(stored())
    return path, f"{http_server.url}/run.fxt", http_server.gate


def assert_equal(trajectory, coordinates=FRAMES):
    np.testing.assert_array_equal(trajectory[:], coordinates)


@pytest.mark.parametrize("compress", [True, False])
def test_any_selection_is_what_the_file_has(http_server, compress):
    path = write(http_server.directory / "run.fxt", compress=compress)
    local, remote = open_trajectory(path), open_trajectory(f"{http_server.url}/run.fxt")
    assert (remote.shape, remote.dtype, remote.fields) == (local.shape, local.dtype, local.fields)
    assert remote.metadata == {"temperature": 300}
    assert (remote.path, remote.url) == (None, f"{http_server.url}/run.fxt")
    for index in [0, -1, 333, slice(3, 500, 71), slice(None, None, -90), [5, 600, 5], ..., (9, 4)]:
        np.testing.assert_array_equal(remote[index], local[index])
    for selection in [(None, None, 13, [7, 3]), (100, 60, -3, None), (5, 5, None, slice(0, 9))]:
        for field in ("frames", "time"):
            atoms = selection[3] if field == "frames" else None
            expected = local.read(*selection[:3], atoms=atoms, field=field)
            found = remote.read(*selection[:3], atoms=atoms, field=field)
            np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(remote.time, TIMES)
    np.testing.assert_array_equal(np.asarray(remote), FRAMES)
    assert [len(chunk) for chunk in remote.iter_chunks(100)] == [100] * 6 + [40]
    for found, expected in zip(remote, FRAMES, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_an_s3_bucket_is_read_as_a_web_server_is(bucket):
    bucket.put("runs/run.fxt", stored())
    moved = Moved(bucket.gate)
    trajectory = open_trajectory(f"{bucket.url}/runs/run.fxt")
    assert moved.requests <= 2
    assert trajectory.url == f"{bucket.url}/runs/run.fxt"
    np.testing.assert_array_equal(trajectory.read(0, None, 100, atoms=[5]), FRAMES[::100, [5]])
    assert_equal(trajectory)


ODD = [
    "a b.fxt",
    "100%.fxt",
    "a%20b.fxt",
    "a+b&c=d.fxt",
    "a#b.fxt",
    "a?b.fxt",
    "Å–1.fxt",
    "'(x).fxt",
]


@pytest.mark.parametrize("folder", ["", "run #1?/50% é/"])
def test_objects_have_any_names(bucket, folder):
    for name in ODD:
        bucket.put(folder + name, stored())
    listed = [info["key"] for info in list_trajectories(f"{bucket.url}/{folder}".rstrip("/"))]
    assert sorted(listed) == sorted(f"{bucket.url}/{folder}{name}" for name in ODD)
    for url in listed:
        assert len(pickle.loads(pickle.dumps(open_trajectory(url)))) == N_FRAMES


def test_names_in_urls_of_the_web_are_encoded(http_server):
    for name in ODD:
        (http_server.directory / name).write_bytes(stored())
        assert len(open_trajectory(f"{http_server.url}/{quote(name)}")) == N_FRAMES


def test_stores_that_the_caller_made_are_read(bucket, tmp_path):
    import fsspec
    from fsspec.implementations.reference import ReferenceFileSystem
    from obstore.fsspec import FsspecStore
    from obstore.store import S3Store

    path = tmp_path / "run.fxt"
    path.write_bytes(stored())
    bucket.put("runs/run.fxt", stored())
    options = {"virtual_hosted_style_request": False}
    given = S3Store(bucket.name, client_options={"allow_http": True}, **options)
    assert_equal(open_trajectory("runs/run.fxt", store=given))
    files = fsspec.filesystem("file")
    assert_equal(open_trajectory(str(path), store=files))
    assert_equal(open_trajectory(str(path), store=FsspecStore("file")))
    references = ReferenceFileSystem({"run.fxt": [f"file://{path}"]}, fs=files)
    assert_equal(open_trajectory("run.fxt", store=references))


def test_a_file_system_that_tells_no_size_is_named(tmp_path):
    local = pytest.importorskip("fsspec.implementations.local").LocalFileSystem

    class Sizeless(local):
        def info(self, *arguments, **options):
            return {**super().info(*arguments, **options), "size": None}

    (tmp_path / "run.fxt").write_bytes(stored())
    with pytest.raises(RemoteError, match=r"does not tell its size.*run\.fxt"):
        open_trajectory(str(tmp_path / "run.fxt"), store=Sizeless(skip_instance_cache=True))


def test_opening_takes_two_requests_however_long_the_file_is(http_server):
    sizes = {}
    for name, content in [("short.fxt", stored(30)), ("long.fxt", stored())]:
        (http_server.directory / name).write_bytes(content)
        sizes[name] = len(content)
    for name, size in sizes.items():
        moved = Moved(http_server.gate)
        trajectory = open_trajectory(f"{http_server.url}/{name}")
        assert (trajectory.metadata, trajectory.n_atoms > 0) == ({"temperature": 300}, True)
        assert moved.requests <= 2
        assert moved.bytes <= min(size, 1 << 17)


def test_a_frame_moves_the_bytes_of_its_chunk_and_the_next_one_none(served):
    path, url, gate = served
    chunk_bytes = path.stat().st_size * CHUNK / N_FRAMES
    trajectory = open_trajectory(url)
    moved = Moved(gate)
    np.testing.assert_array_equal(trajectory[300], FRAMES[300])
    assert (moved.requests, moved.bytes <= 1.1 * chunk_bytes) == (1, True)
    for frame in (301, 290, 319):
        np.testing.assert_array_equal(trajectory[frame], FRAMES[frame])
    assert moved.requests == 1


@pytest.mark.parametrize("profile", ["default", "archive"])
def test_frames_of_molecules_are_decoded_alone_and_fetched_once(http_server, profile):
    coordinates = molecules()
    path = write(http_server.directory / "water.fxt", coordinates, profile=profile)
    trajectory = open_trajectory(f"{http_server.url}/water.fxt")
    moved = Moved(http_server.gate)
    for frame in (70, 71, 100, 3):
        np.testing.assert_array_equal(trajectory[frame], coordinates[frame])
    found = trajectory.read(None, None, -9, atoms=[500, 3, 4])
    np.testing.assert_array_equal(found, coordinates[::-9, [500, 3, 4]])
    for _ in range(3):
        np.testing.assert_array_equal(trajectory[:], coordinates)
    assert moved.bytes <= 1.02 * path.stat().st_size
    assert moved.requests <= 6


def test_atoms_and_strides_move_their_blocks_only(http_server):
    coordinates = frames(3 * CHUNK, 9000)  # Three blocks of 3000 atoms.
    (http_server.directory / "wide.fxt").write_bytes(stored(9000))
    block_bytes = len(stored(9000)) / 9
    trajectory = open_trajectory(f"{http_server.url}/wide.fxt")
    moved = Moved(http_server.gate)
    atoms = [3100, 5000, 3001]
    found = trajectory.read(2, None, CHUNK, atoms=atoms)
    np.testing.assert_array_equal(found, coordinates[2::CHUNK, atoms])
    assert moved.requests == 3
    assert moved.bytes <= 1.1 * 3 * block_bytes


def test_all_is_moved_once_by_few_requests(served):
    path, url, gate = served
    size = path.stat().st_size
    for read in (
        lambda trajectory: trajectory[:],
        lambda trajectory: np.concatenate(list(trajectory.iter_chunks())),
        lambda trajectory: np.concatenate(list(trajectory.iter_chunks(8))),
    ):
        moved = Moved(gate)
        np.testing.assert_array_equal(read(open_trajectory(url)), FRAMES)
        assert moved.bytes <= 1.02 * size
        assert moved.requests <= 4 + size / 1e6


def test_a_look_at_the_first_frames_does_not_fetch_all(served):
    path, url, gate = served
    trajectory = open_trajectory(url)
    moved = Moved(gate)
    first = next(iter(trajectory))  # The iteration ends here, and what is read ahead with it.
    time.sleep(0.2)
    np.testing.assert_array_equal(first, FRAMES[0])
    assert moved.bytes < path.stat().st_size / 2


def test_several_requests_are_in_flight(http_server):
    coordinates = frames(150, 12_000)  # More than is asked for at a time.
    with create_trajectory(http_server.directory / "large.fxt", compress=False) as writer:
        writer.append(coordinates)
    trajectory = open_trajectory(f"{http_server.url}/large.fxt")
    moved = Moved(http_server.gate)
    http_server.gate.delay(1.0)
    np.testing.assert_array_equal(trajectory[:], coordinates)
    asked = sorted(request["at"] for request in moved.since())
    # One by one there would be a second between any two.
    assert sum(later - earlier < 1.0 for earlier, later in itertools.pairwise(asked)) >= 3


def test_a_store_that_never_answers_holds_up_no_other(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    path = tmp_path / "run.fxt"
    path.write_bytes(stored())
    is_over, asked = threading.Event(), threading.Semaphore(0)

    class Silent(fsspec.filesystem("file").__class__):
        def info(self, *arguments, **options):
            asked.release()
            is_over.wait()
            return super().info(*arguments, **options)

    silent = Silent(skip_instance_cache=True)
    threads = [
        threading.Thread(target=open_trajectory, args=(str(path),), kwargs={"store": silent})
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in threads:
            assert asked.acquire(timeout=60)
        assert_equal(open_trajectory(str(path), store=fsspec.filesystem("file")))
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def test_of_plain_frames_the_segments_that_hold_them_are_moved(http_server):
    coordinates = frames(N_FRAMES, 1200)
    path = http_server.directory / "plain.fxt"
    with create_trajectory(path, compress=False) as writer:
        writer.append(coordinates)  # One chunk, checked in segments of 1 MiB.
    trajectory = open_trajectory(f"{http_server.url}/plain.fxt")
    moved = Moved(http_server.gate)
    np.testing.assert_array_equal(trajectory[200], coordinates[200])
    assert moved.bytes <= 1.1 * 2 * (1 << 20)
    assert_equal(trajectory, coordinates)


@pytest.mark.parametrize("is_cached", [False, True])
def test_an_object_that_is_replaced_while_it_is_open_is_an_error(served, tmp_path, is_cached):
    path, url, _ = served
    trajectory = open_trajectory(url, cache=tmp_path / "blocks" if is_cached else None)
    np.testing.assert_array_equal(trajectory[0], FRAMES[0])
    path.write_bytes(stored(backwards=True))
    os.utime(path, (1, 1))
    with pytest.raises(ObjectChangedError, match=r"run\.fxt"):
        trajectory[500]
    with pytest.raises(ObjectChangedError):
        list(trajectory)
    assert_equal(open_trajectory(url), FRAMES[::-1])


def test_an_s3_object_that_is_replaced_while_it_is_open_is_an_error(bucket):
    bucket.put("run.fxt", stored())
    trajectory = open_trajectory(f"{bucket.url}/run.fxt")
    bucket.put("run.fxt", stored(backwards=True))
    with pytest.raises(ObjectChangedError):
        trajectory[:]


def test_damage_is_named_by_url_and_chunk(served):
    path, url, _ = served
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    trajectory = open_trajectory(url)
    with pytest.raises(CorruptDataError, match=rf"{url}.*chunk"):
        trajectory[:]
    with pytest.raises(CorruptDataError):
        list(trajectory)
    assert trajectory._verify()["ok"] is False


def test_what_is_no_trajectory_is_refused_by_what_it_is(http_server):
    for name, content, expected in [
        ("page.fxt", b"<html>not found</html>" * 9, "HTML"),
        ("empty.fxt", b"", "empty"),
        ("run.xtc", b"\0\0\7\xcb" + bytes(90), "XTC"),
    ]:
        (http_server.directory / name).write_bytes(content)
        with pytest.raises(UnsupportedFormatError, match=expected):
            open_trajectory(f"{http_server.url}/{name}")
    (http_server.directory / "cut.fxt").write_bytes(stored()[:-9])
    with pytest.raises(CorruptDataError, match=r"cut\.fxt"):
        open_trajectory(f"{http_server.url}/cut.fxt")
    with pytest.raises(FileNotFoundError, match=r"missing\.fxt"):
        open_trajectory(f"{http_server.url}/missing.fxt")
    for url in ("ftp://host/run.fxt", "s3://", "https://host/directory/"):
        with pytest.raises(InvalidArgumentError):
            open_trajectory(url)
    with pytest.raises(InvalidTypeError, match="store"):
        open_trajectory("run.fxt", store=object())
    with pytest.raises(InvalidArgumentError, match="cache"):
        open_trajectory("run.fxt", cache="blocks")


def said(error):
    """Return all that an error says, and those that it comes from, as pickles may take along."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error), str(error.args), str(vars(error))]
        error = error.__cause__ or error.__context__
    return texts


@pytest.mark.parametrize("status", [400, 401, 403, 404, 412, 500, 503])
def test_no_error_comes_from_one_with_credentials(http_server, monkeypatch, status):
    monkeypatch.setenv(TIMEOUT_VARIABLE, "1")
    host = http_server.url.removeprefix("http://")
    http_server.gate.inject("status", code=status)
    with pytest.raises(OSError, match="run.fxt") as raised:
        open_trajectory(f"http://user:hunter2@{host}/run.fxt")
    assert not any("hunter2" in text for text in said(raised.value))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:se@cret@host:1/c", "http://host:1/c"),
        ("http://user:se cret@host/c?sig=a secret", "http://host/c"),
        ("http://user:'cret\"@host/c", "http://host/c"),
        ("http://user:secret/x@host:1/c", "http://…"),
        ("s3://secret@bucket/a@b/c d.fxt", "s3://bucket/a@b/c d.fxt"),
        ("http://[::1]:80/c?secret", "http://[::1]:80/c"),
        ("get http://user:se@cret@host/c?sig=secret failed", "get http://host/c failed"),
        ("s3://bucket/what?.fxt", "s3://bucket/what?.fxt"),
        ("az://box/c?sv=1&sig=secret", "az://box/c"),
        ("ftp://user:secret@host/c?token=secret", "ftp://host/c"),
        ("in s3://b/what?.fxt or gs://b/c?Signature=secret", "in s3://b/what?.fxt or gs://b/c"),
    ],
)
def test_urls_are_shown_without_credentials(url, shown):
    assert without_credentials(url) == shown


@pytest.mark.parametrize("secret", ["hunter2/x", "hunter2?x", "hunter2#x", "x[hunter2"])
@pytest.mark.parametrize("scheme", ["https", "s3"])
def test_a_url_that_is_cut_within_a_password_is_refused_without_it(scheme, secret):
    with pytest.raises(InvalidArgumentError, match="is not valid") as refused:
        open_trajectory(f"{scheme}://user:{secret}@127.0.0.1:1/run.fxt")
    assert "hunter2" not in str(refused.value)


def test_no_message_has_credentials(http_server, tmp_path, caplog):
    handler, data = DataHandler(tmp_path), {"frames": FRAMES}
    (http_server.directory / "run.fxt").write_bytes(stored())
    host = http_server.url.removeprefix("http://")
    url = f"http://user:hunter2@{host}/run.fxt?X-Amz-Signature=deadbeefsignature"
    trajectory = open_trajectory(url)
    assert_equal(trajectory)
    texts = [repr(trajectory), trajectory.url, repr(trajectory._object), trajectory._repr_html_()]
    http_server.gate.inject("status", code=403)
    for call in (
        lambda: open_trajectory(url),
        lambda: trajectory[:],
        lambda: create_trajectory(url),
        lambda: handler.load_data(url),
        lambda: handler.info(url),
        lambda: handler.store_trajectory(data, "md", structure=url),
        lambda: handler.trajectory_writer("md", structure=url.replace("http", "ftp")),
    ):
        with pytest.raises((OSError, InvalidArgumentError, CacheKeyError)) as raised:
            call()
        texts += said(raised.value)
    for text in [*texts, caplog.text]:
        assert not any(secret in text for secret in SECRETS), text


def test_a_server_without_ranges_is_an_error_that_says_so(served):
    _, url, gate = served
    gate.inject("ignore_range")
    with pytest.raises(RemoteError, match="range"):
        open_trajectory(url)


FAR_FRAMES = """
import sys
import numpy as np
from proteinflex_optimization import open_trajectory

trajectory, near = (open_trajectory(path) for path in sys.argv[1:])
for line in sys.stdin:
    indices = slice(*map(int, line.split()))
    assert np.array_equal(trajectory[indices], near[indices])
    print("read", flush=True)
"""


def test_frames_here_and_there_of_a_long_trajectory_are_fetched_without_their_chunks(http_server):
    # A chunk is 8 MB, of which four are not kept.
    coordinates = np.concatenate([molecules(4 * CHUNK) + 30 * k for k in range(50)], axis=1)
    path = write(http_server.directory / "long.fxt", coordinates)
    chunk = path.stat().st_size / 4
    command = [sys.executable, "-c", FAR_FRAMES, f"{http_server.url}/long.fxt", str(path)]
    environment = {**os.environ, "PROTEINFLEX_DECODED_MB": "25"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:

        def moved_by(indices):
            moved = Moved(http_server.gate)
            process.stdin.write(f"{indices}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "read\n"
            return moved.bytes / chunk

        moved_by("9 10")  # Opens it.
        assert moved_by("70 71") < 0.15
        assert moved_by("130 256 64") < 0.3
        assert moved_by("11 12") < 0.15
        # The next one of a chunk is read with all others.
        assert moved_by("12 13") > 0.9
        assert moved_by("40 41") == 0
        assert moved_by("128 192") > 0.9
        process.stdin.close()


@pytest.mark.parametrize("call", ["t[:]", "list(t)", "t[5]", "open_trajectory(url)"])
def test_ctrl_c_ends_a_call_that_waits_for_a_server(served, call):
    _, url, gate = served
    script = (
        "import sys; from proteinflex_optimization import open_trajectory\n"
        f"url = {url!r}; t = open_trajectory(url); print('open', flush=True); sys.stdin.readline()\n"
        f"print('call', flush=True); {call}"
    )
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", script]
    environment = {**os.environ, TIMEOUT_VARIABLE: "600"}
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment
    ) as process:
        assert process.stdout.readline() == "open\n"
        gate.inject("stall")
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "call\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors, errors


def test_a_forked_child_is_told_what_to_do_and_does_not_hang(served):
    trajectory = open_trajectory(served[1])
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            trajectory[100]
        except RemoteError as error:
            os._exit(0 if "spawn" in str(error) else 3)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_index_that_is_longer_than_the_last_bytes_is_fetched_too(http_server):
    # Of small chunks, which single frames that are flushed make, the index has 80 bytes each.
    path = http_server.directory / "many.fxt"
    coordinates = frames(400, 20)
    fields = {f"field{number}": np.arange(64.0) for number in range(150)}
    with create_trajectory(path) as writer:
        for block in np.split(coordinates, 400):
            writer.append(block, **{name: field[:1] for name, field in fields.items()})
    moved = Moved(http_server.gate)
    trajectory = open_trajectory(f"{http_server.url}/many.fxt")
    assert moved.requests <= 3
    assert_equal(trajectory, coordinates)


def test_atoms_of_a_closed_trajectory_stay(served):
    with open_trajectory(served[1]) as trajectory:
        kept = trajectory.read(0, 5, atoms=slice(0, N_ATOMS, 7))
    np.testing.assert_array_equal(kept, FRAMES[:5, ::7])


def test_files_are_opened_by_their_paths_as_before(tmp_path):
    path = write(tmp_path / "run.fxt")
    for given in (path, str(path), os.fsencode(path)):
        trajectory = open_trajectory(given)
        assert (trajectory.url, Path(trajectory.path)) == (None, path)
