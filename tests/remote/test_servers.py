"""The servers of these tests do what they are told, or no other test here would mean anything."""

import http.client
import os
import urllib.parse

import pytest
from remote.servers import S3_ERRORS

BYTES = os.urandom(10_000)


def ask(url, method="GET", timeout=60, **headers):
    """Status, headers and body, with everything that http.client finds wrong as an error."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
    try:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, parts.path, headers=names)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


@pytest.fixture(params=["http", "s3"])
def served(request):
    """The gate and the URL of an object, by both kinds of server."""
    if request.param == "http":
        server = request.getfixturevalue("http_server")
        (server.directory / "object").write_bytes(BYTES)
        return server.gate, f"{server.url}/object"
    bucket = request.getfixturevalue("bucket")
    bucket.put("object", BYTES)
    return bucket.gate, f"{bucket.gate.url}/{bucket.name}/object"


def test_ranges_and_conditions_are_those_of_http(served):
    gate, url = served
    status, headers, body = ask(url)
    assert (status, body) == (200, BYTES)
    status, ranged, body = ask(url, Range="bytes=10-19", If_Match=headers["ETag"])
    assert (status, body) == (206, BYTES[10:20])
    assert ranged["Content-Range"] == "bytes 10-19/10000"
    assert ranged["ETag"] == headers["ETag"]
    assert ask(url, Range="bytes=-5")[2] == BYTES[-5:]
    assert ask(url, Range="bytes=10000-10001")[0] == 416
    assert ask(url, If_Match='"another"')[0] == 412
    assert ask(f"{url}-2")[0] == 404
    status, headers, body = ask(url, "HEAD")
    assert (status, headers["Content-Length"], body) == (200, "10000", b"")
    log = gate.requests()
    assert [(entry["method"], entry["status"]) for entry in log] == [
        ("GET", 200), ("GET", 206), ("GET", 206), ("GET", 416), ("GET", 412), ("GET", 404),
        ("HEAD", 200),
    ]  # fmt: skip
    assert [entry["sent"] for entry in log[:3]] == [10_000, 10, 5]


@pytest.mark.parametrize(
    ("fault", "how", "seen"),
    [
        ("reset", {}, ConnectionResetError),
        ("lose_response", {}, ConnectionResetError),
        ("drop", {"after": 4}, http.client.IncompleteRead),
        ("drop", {"after": 4, "how": "reset"}, (ConnectionResetError, http.client.IncompleteRead)),
        ("stall", {"after": 4}, TimeoutError),
        ("trickle", {"size": 5, "every": 0.01}, (206, BYTES[10:20])),
        ("truncate", {}, (206, BYTES[10:19])),
        ("extend", {}, (206, BYTES[10:20] + b"\0")),
        ("wrong_length", {"by": 3}, http.client.IncompleteRead),
        ("wrong_length", {"by": -3}, (206, BYTES[10:17])),
        ("ignore_range", {}, (200, BYTES)),
        ("other_bytes", {"at": 0}, (206, bytes([BYTES[10] ^ 1]) + BYTES[11:20])),
        ("shifted", {}, (206, BYTES[11:21])),
        ("status", {"code": 503, "headers": {"Retry-After": "1"}}, (503, b"")),
        ("page", {}, (200, b"<html><title>Log in</title></html>")),
        ("redirect", {"to": "/elsewhere"}, (307, b"")),
    ],
)
def test_a_fault_is_seen_and_only_as_often_as_it_was_asked_for(served, fault, how, seen):
    gate, url = served
    gate.inject(fault, times=1, skip=1, **how)
    asked = {"Range": "bytes=10-19"}
    assert ask(url, **asked)[2] == BYTES[10:20]
    if isinstance(seen, tuple) and isinstance(seen[0], int):
        status, _, body = ask(url, **asked)
        assert (status, body) == seen
    else:
        with pytest.raises(seen):
            ask(url, timeout=2 if fault == "stall" else 60, **asked)
    assert ask(url, **asked)[2] == BYTES[10:20]
    assert [entry["fault"] for entry in gate.requests()] == [None, fault, None]


def test_headers_that_lie(served):
    gate, url = served
    for fault, header, lie in [
        ("wrong_range", "Content-Range", "bytes 11-20/10000"),
        ("no_range", "Content-Range", None),
        ("version", "ETag", None),
        ("compressed", "Content-Encoding", "gzip"),
    ]:
        gate.inject(fault, times=1)
        assert ask(url, Range="bytes=10-19")[1][header] == lie


@pytest.mark.parametrize("code", S3_ERRORS)
def test_refusals_of_s3_have_its_code(bucket, code):
    bucket.gate.inject_s3(code)
    status, _, body = ask(f"{bucket.gate.url}/{bucket.name}/object")
    assert status == S3_ERRORS[code][0]
    assert f"<Code>{code}</Code>".encode() in body


def test_a_bucket_is_empty_and_keeps_objects(bucket):
    assert bucket.names() == []
    bucket.put("a/b", b"1")
    assert (bucket.names(), bucket.get("a/b"), bucket.uploads()) == (["a/b"], b"1", [])
    bucket.delete("a/b")
    with pytest.raises(FileNotFoundError):
        bucket.get("a/b")
