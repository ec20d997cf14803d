"""Whatever a server does, a read gives the right frames or, in time, an error that names the cause."""

import pickle
import random
import threading
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import (
    CorruptDataError,
    ObjectChangedError,
    ProteinFlexError,
    RemoteError,
    UnsupportedFormatError,
    create_trajectory,
    open_trajectory,
)
from remote.servers import FAKE_KEY, FAKE_SECRET

pytest.importorskip("obstore")

TIMEOUT = "PROTEINFLEX_REMOTE_TIMEOUT"
N_FRAMES, N_ATOMS = 150, 1000
TYPED = (ProteinFlexError, OSError)


def frames_of(seed):
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 0.1, (N_FRAMES, N_ATOMS, 3)).cumsum(axis=0)
    return (rng.normal(0, 10, (N_ATOMS, 3)) + steps).astype(np.float32)


@dataclass
class Run:
    """A file of three chunks, and what is in it."""

    path: Path
    frames: np.ndarray = field(repr=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two trajectories of the same layout: one may take the place of the other."""
    made = []
    for seed in (1, 2):
        path = tmp_path_factory.mktemp("run") / "run.fxt"
        with create_trajectory(path, precision=0.01) as writer:
            writer.append(frames_of(seed))
        with open_trajectory(path) as trajectory:
            made.append(Run(path, trajectory[:]))
    assert made[0].path.stat().st_size > 4 * 65536
    return made


@pytest.fixture(params=["http", "s3"])
def served(request, runs, monkeypatch):
    """`put(run)`, `url` and `gate`, by both kinds of server."""
    monkeypatch.setenv(TIMEOUT, "60")
    if request.param == "http":
        server = request.getfixturevalue("http_server")
        path = server.directory / "run.fxt"

        def put(run):
            path.with_suffix(".new").write_bytes(run.path.read_bytes())
            path.with_suffix(".new").rename(path)

        made = Served(f"{server.url}/run.fxt", server.gate, put)
    else:
        bucket = request.getfixturevalue("bucket")
        made = Served(
            f"{bucket.url}/run.fxt",
            bucket.gate,
            lambda run: bucket.put("run.fxt", run.path.read_bytes()),
        )
    made.put(runs[0])
    return made


@dataclass
class Served:
    url: str
    gate: object
    put: object


def read(trajectory):
    """Read some of everything: frames at random, a stride, some atoms, all."""
    return [
        trajectory[140],
        trajectory[5:120:13],
        trajectory.read(60, 70, atoms=[3, 999, 400]),
        trajectory[:],
    ]


def expected(run):
    frames = run.frames
    return [frames[140], frames[5:120:13], frames[60:70][:, [3, 999, 400]], frames]


def assert_right(found, run):
    for one, other in zip(found, expected(run), strict=True):
        np.testing.assert_array_equal(one, other)


RIGHT = "right"
ONCE = {
    "reset": ({}, RIGHT),
    "lose_response": ({}, RIGHT),
    "drop": ({"after": 1000}, RIGHT),
    "drop, reset": ({"after": 1000, "how": "reset"}, RIGHT),
    "trickle": ({"size": 20_000, "every": 0.01}, RIGHT),
    "status, 408": ({"code": 408}, RIGHT),
    "status, 429": ({"code": 429, "headers": {"Retry-After": "0"}}, RIGHT),
    "status, 500": ({"code": 500}, RIGHT),
    "status, 502": ({"code": 502}, RIGHT),
    "status, 503": ({"code": 503}, RIGHT),
    "status, 504": ({"code": 504}, RIGHT),
    "SlowDown": ({}, RIGHT),
    "InternalError": ({}, RIGHT),
    "truncate": ({"missing": 10}, RemoteError),
    "extend": ({"by": 10}, RemoteError),
    "wrong_length, longer": ({"by": 10}, RemoteError),
    "wrong_length, shorter": ({"by": -10}, RemoteError),
    "wrong_range": ({}, RemoteError),
    "no_range": ({}, RemoteError),
    "ignore_range": ({}, RemoteError),
    "page": ({}, RemoteError),
    "compressed": ({}, RemoteError),
    "status, 400": ({"code": 400}, RemoteError),
    "status, 416": ({"code": 416}, RemoteError),
    "status, 412": ({"code": 412}, ObjectChangedError),
    "version": ({"tag": '"another"'}, ObjectChangedError),
    "status, 401": ({"code": 401}, PermissionError),
    "status, 403": ({"code": 403}, PermissionError),
    "AccessDenied": ({}, PermissionError),
    "ExpiredToken": ({}, PermissionError),
    "InvalidAccessKeyId": ({}, PermissionError),
    "RequestTimeTooSkewed": ({}, PermissionError),
    "SignatureDoesNotMatch": ({}, PermissionError),
    "status, 404": ({"code": 404}, FileNotFoundError),
    "NoSuchBucket": ({}, FileNotFoundError),
    "other_bytes": ({"at": 777}, CorruptDataError),
    "shifted": ({"by": 64}, CorruptDataError),
}
"""What happens once to a request, and what comes of it while frames are read."""


def inject(gate, fault, how, **options):
    kind = fault.partition(",")[0]
    if kind[0].isupper():
        gate.inject_s3(kind, **options)
    else:
        gate.inject(kind, **how, **options)


def by_server(faults):
    """Faults of HTTP by the plain server and those of S3 by S3; crosswise too by `make soak`."""
    return [
        pytest.param(
            server, fault, marks=[] if is_short else [pytest.mark.soak], id=f"{server}-{fault}"
        )
        for fault in faults
        for server in ("http", "s3")
        for is_short in [(server == "s3") == (fault[0].isupper() or fault in ("reset", "drop"))]
    ]


@pytest.mark.parametrize(("served", "fault"), by_server(ONCE), indirect=["served"])
def test_a_fault_while_frames_are_read_is_mended_or_named(served, runs, fault):
    how, outcome = ONCE[fault]
    with open_trajectory(served.url) as trajectory:
        inject(served.gate, fault, how, times=1)
        if outcome is RIGHT:
            assert_right(read(trajectory), runs[0])
        else:
            with pytest.raises(outcome) as raised:
                read(trajectory)
            assert served.url in str(raised.value)
        assert any(entry["fault"] for entry in served.gate.requests())
        # Nothing of it stays.
        served.gate.forget()
        assert_right(read(trajectory), runs[0])


OPENING = {
    "ignore_range": RemoteError,
    "page": TYPED,
    "compressed": TYPED,
    "status, 416": RemoteError,
    "status, 403": PermissionError,
    "status, 404": FileNotFoundError,
    "status, 503": RemoteError,
    "RequestTimeTooSkewed": PermissionError,
    "reset": RemoteError,
    "drop": RemoteError,
    "stall": RemoteError,
    "trickle": RemoteError,
    "truncate": RemoteError,
    "other_bytes": (CorruptDataError, UnsupportedFormatError),
    "shifted": (CorruptDataError, UnsupportedFormatError),
}
"""What happens to all requests, and what opening says."""
SEVERE = {"trickle": {"size": 1}, "other_bytes": {"at": 70}}
"""Slower than the time-out; in the header of the first record."""


@pytest.mark.parametrize("served", ["http"], indirect=True)
@pytest.mark.parametrize(
    ("fault", "how", "outcome"),
    [
        ("status", {"code": 404}, FileNotFoundError),
        ("status", {"code": 403}, PermissionError),
        ("status", {"code": 500}, RemoteError),
        ("reset", {}, RemoteError),
    ],
)
def test_what_a_server_says_is_told_by_a_file_system_of_the_web_too(served, fault, how, outcome):
    fsspec = pytest.importorskip("fsspec")
    pytest.importorskip("aiohttp")
    web = fsspec.filesystem("http", skip_instance_cache=True)
    trajectory = open_trajectory(served.url, store=web)
    served.gate.inject(fault, **how)
    for call in (lambda: trajectory[:], lambda: open_trajectory(served.url, store=web)):
        with pytest.raises(outcome) as raised:
            call()
        assert outcome is not RemoteError or str(how.get("code", "")) in str(raised.value)


@pytest.mark.parametrize(("served", "fault"), by_server(OPENING), indirect=["served"])
def test_what_never_gets_better_is_an_error_in_time(served, monkeypatch, fault):
    # What is said at once may take a busy server longer than that.
    monkeypatch.setenv(TIMEOUT, "0.4" if OPENING[fault] is RemoteError else "60")
    how = {**ONCE.get(fault, ({},))[0], **SEVERE.get(fault, {})}
    inject(served.gate, fault, how)
    with pytest.raises(OPENING[fault]) as raised:
        open_trajectory(served.url)
    assert served.url in str(raised.value)


def test_a_server_that_goes_away_while_frames_are_read_is_an_error_in_time(served, monkeypatch):
    monkeypatch.setenv(TIMEOUT, "2")
    with open_trajectory(served.url) as trajectory:
        for fault in ("reset", "stall"):
            served.gate.forget()
            served.gate.inject(fault)
            with pytest.raises(RemoteError, match=served.url):
                for _ in trajectory:
                    pass


@pytest.mark.parametrize("fault", ["status, 503", "reset"])
def test_a_server_that_is_gone_is_asked_until_the_time_is_over(
    http_server, runs, monkeypatch, fault
):
    (http_server.directory / "run.fxt").write_bytes(runs[0].path.read_bytes())
    monkeypatch.setenv(TIMEOUT, "20")
    inject(http_server.gate, fault, ONCE[fault][0])
    back = threading.Timer(3, http_server.gate.forget)
    back.start()
    with open_trajectory(f"{http_server.url}/run.fxt") as trajectory:
        np.testing.assert_array_equal(trajectory[140], runs[0].frames[140])
    back.join()


def test_pauses_between_tries_grow_until_the_time_is_over(http_server, monkeypatch):
    monkeypatch.setenv(TIMEOUT, "4")
    http_server.gate.inject("status", code=503)
    with pytest.raises(RemoteError, match="503"):
        open_trajectory(f"{http_server.url}/run.fxt")
    times = [entry["at"] for entry in http_server.gate.requests()]
    assert times[-1] - times[0] > 2
    # The first pause is a tenth of a second, of which there would be forty.
    assert 3 <= len(times) < 30


def test_a_stall_is_tried_again(served, runs, monkeypatch):
    monkeypatch.setenv(TIMEOUT, "12")
    with open_trajectory(served.url) as trajectory:
        served.gate.inject("stall", times=1, after=1000)
        assert_right(read(trajectory), runs[0])


@pytest.mark.parametrize("known", ["version", "no version"])
def test_an_object_that_is_replaced_is_an_error_and_never_a_mixture(served, runs, known):
    if known == "no version":
        served.gate.inject("version", tag=None)
    trajectory = open_trajectory(served.url)
    np.testing.assert_array_equal(trajectory[0], runs[0].frames[0])
    served.put(runs[1])
    with pytest.raises((ObjectChangedError, CorruptDataError), match=served.url):
        trajectory[:]
    pickled = pickle.dumps(trajectory)
    with pytest.raises(TYPED):
        pickle.loads(pickled)[:]
    assert_right(read(open_trajectory(served.url)), runs[1])


def test_what_was_damaged_on_the_way_is_not_kept_in_the_cache(served, runs, tmp_path):
    for number, fault in enumerate(("other_bytes", "shifted")):
        cache = tmp_path / f"cache{number}"
        with open_trajectory(served.url, cache=cache) as trajectory:
            inject(served.gate, fault, ONCE[fault][0])
            with pytest.raises(CorruptDataError):
                trajectory[:]
            served.gate.forget()
            assert_right(read(trajectory), runs[0])
        with open_trajectory(served.url, cache=cache) as trajectory:
            assert_right(read(trajectory), runs[0])


def test_a_replaced_object_is_not_read_from_the_cache(served, runs, tmp_path):
    for run in (*runs, runs[0]):
        served.put(run)
        with open_trajectory(served.url, cache=tmp_path / "cache") as trajectory:
            assert_right(read(trajectory), run)


def test_no_credentials_are_shown_whatever_goes_wrong(bucket, runs, caplog, monkeypatch):
    caplog.set_level("DEBUG")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "fake-session-token")
    monkeypatch.setenv(TIMEOUT, "3")
    bucket.put("run.fxt", runs[0].path.read_bytes())
    trajectory = open_trajectory(f"{bucket.url}/run.fxt")
    shown = [repr(trajectory), str(trajectory.path), repr(trajectory.metadata)]
    pickled = pickle.dumps(trajectory)
    for fault in ("AccessDenied", "SignatureDoesNotMatch", "ExpiredToken", "reset", "other_bytes"):
        bucket.gate.forget()
        inject(bucket.gate, fault, {})
        with pytest.raises(TYPED) as raised:
            trajectory[:]
        shown += traceback.format_exception(raised.value)
    everything = "\n".join([*shown, caplog.text, pickled.decode("latin-1")])
    assert bucket.url in everything
    for secret in (FAKE_SECRET, FAKE_KEY, "fake-session-token", "Signature="):
        assert secret not in everything


CHAOS = [fault for fault in ONCE if fault != "trickle"]


def chaos(url, run, gate, seed, reads, caches):
    """Read while every second request or so goes wrong somehow; how often it was right, and not."""
    rng = random.Random(seed)
    right = wrong = 0
    for number in range(reads):
        # Of a cache that has all, nothing is asked for any more.
        cache = caches / str(number // 10) if number % 2 else None
        gate.forget()
        for _ in range(rng.randrange(3)):
            fault = rng.choice(CHAOS)
            inject(gate, fault, ONCE[fault][0], times=rng.randint(1, 3), skip=rng.randrange(4))
        start = rng.randrange(N_FRAMES)
        stop = rng.randrange(start, N_FRAMES) + 1
        atoms = sorted(rng.sample(range(N_ATOMS), rng.randint(1, 50)))
        try:
            with open_trajectory(url, cache=cache) as trajectory:
                found = trajectory.read(start, stop, atoms=atoms)
                # Also what a reader goes on to do after an error.
                whole = trajectory[start:stop]
        except TYPED:
            wrong += 1
            continue
        np.testing.assert_array_equal(found, run.frames[start:stop][:, atoms])
        np.testing.assert_array_equal(whole, run.frames[start:stop])
        right += 1
    return right, wrong


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=pytest.mark.soak) for seed in range(8)])
def test_among_many_faults_nothing_wrong_is_read(served, runs, seed, monkeypatch, tmp_path):
    monkeypatch.setenv(TIMEOUT, "3")
    right, wrong = chaos(served.url, runs[0], served.gate, seed, 100, tmp_path)
    assert right > 10
    assert wrong > 10


def test_among_some_faults_nothing_wrong_is_read(served, runs, monkeypatch, tmp_path):
    monkeypatch.setenv(TIMEOUT, "20")
    right, wrong = chaos(served.url, runs[0], served.gate, 100, 12, tmp_path)
    assert right
    assert wrong
