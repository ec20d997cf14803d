"""Servers that tests and benches read from: plain HTTP with ranges, and S3 by moto.

    with range_server() as gate:
        gate.serve(directory)
        gate.inject("drop", after=1000, times=1)
        ...
        gate.requests()

Each is a process of its own. S3 stands behind a second `RangeServer`, so that latency, counts and faults
are the same for both.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import urllib.parse
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGE = 100
"""Objects in one part of a list; on S3 itself 1,000."""

MOTO = f"""
import logging, os, sys
os.environ["MOTO_S3_DEFAULT_MAX_KEYS"] = "{PAGE}"
logging.getLogger("werkzeug").setLevel(logging.ERROR)
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""

FAKE_KEY = "AKIAFAKEKEYFORTESTS0"
FAKE_SECRET = "fake-secret-that-must-not-appear"
SIGNED = f"AWS4-HMAC-SHA256 Credential={FAKE_KEY}/20260101/us-east-1/s3/aws4_request"

# As the service sends it, with what nobody may be shown.
S3_ERROR = """<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>{code}</Code><Message>{message}</Message>
<AWSAccessKeyId>fake-secret-key-id</AWSAccessKeyId><StringToSign>fake-secret</StringToSign></Error>"""
S3_ERRORS = {
    "AccessDenied": (403, "Access Denied"),
    "ExpiredToken": (400, "The provided token has expired."),
    "InternalError": (500, "We encountered an internal error. Please try again."),
    "InvalidAccessKeyId": (403, "The AWS Access Key Id you provided does not exist."),
    "NoSuchBucket": (404, "The specified bucket does not exist"),
    "NoSuchKey": (404, "The specified key does not exist."),
    "RequestTimeTooSkewed": (403, "The difference between the request time and the server's time"),
    "SignatureDoesNotMatch": (403, "The request signature we calculated does not match"),
    "SlowDown": (503, "Please reduce your request rate."),
}
"""What S3 says, with which status."""


class RangeServer:
    """The other side of `range_server.py`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._port = self._reply()["port"]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def serve(self, directory: Path | None = None, upstream: str = "") -> None:
        """Forget faults and counts, and serve a directory or stand before another server."""
        self._tell(forget=True, directory=str(directory or ""), upstream=upstream, latency=0.0)

    def delay(self, seconds: float) -> None:
        """Wait before each response."""
        self._tell(latency=seconds)

    def inject(
        self,
        kind: str,
        *,
        times: int | None = None,
        skip: int = 0,
        method: str = "GET|HEAD",
        path: str = "",
        ranged: bool = False,
        **how: Any,
    ) -> None:
        """Answer `times` requests (all of them by default) with a fault, after `skip` without.

        `kind` is one of `range_server.FAULTS`, with its arguments, `reset` (broken off before the request
        is carried out) or `lose_response` (after). Requests are those whose method fits the pattern, whose
        path contains `path`, and, where it is `ranged`, that ask for a range.
        """
        fault = {"kind": kind, "times": times, "skip": skip, "method": method, "path": path}
        self._tell(faults=[{**fault, "ranged": ranged, "how": how}])

    def inject_s3(self, code: str, **options: Any) -> None:
        """Refuse as S3 does, by its error code."""
        number, message = S3_ERRORS[code]
        body = S3_ERROR.format(code=code, message=message)
        headers = {"Content-Type": "application/xml"}
        self.inject("status", code=number, headers=headers, body=body, **options)

    def requests(self) -> list[dict[str, Any]]:
        """What was asked: method, path, range, fault, status, sent and received bytes of bodies."""
        log: list[dict[str, Any]] = self._tell(log=True)["log"]
        return log

    def forget(self) -> None:
        """Forget faults and counts, and break what stalls."""
        self._tell(forget=True)

    def _tell(self, **told: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        reply: dict[str, Any] = json.loads(self._process.stdout.readline())
        return reply


@dataclass
class Bucket:
    """A bucket of a real S3 implementation, reached through a `RangeServer`."""

    name: str
    gate: RangeServer
    upstream: str

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which clients find it."""
        return {
            "AWS_ENDPOINT_URL": self.gate.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": FAKE_KEY,
            "AWS_SECRET_ACCESS_KEY": FAKE_SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def put(self, name: str, data: bytes) -> None:
        """Write an object without the gate, so that it is neither counted nor broken."""
        self._ask("PUT", urllib.parse.quote(name), data)

    def get(self, name: str) -> bytes:
        return self._ask("GET", urllib.parse.quote(name))

    def delete(self, name: str) -> None:
        self._ask("DELETE", urllib.parse.quote(name))

    def names(self) -> list[str]:
        """All objects, without those that are being uploaded."""
        return self._listed("?list-type=2", "Key")

    def uploads(self) -> list[str]:
        """Multipart uploads that were neither completed nor given up."""
        return self._listed("?uploads", "Key")

    def _listed(self, query: str, tag: str) -> list[str]:
        root = ElementTree.fromstring(self._ask("GET", query))
        return [element.text or "" for element in root.iter() if element.tag.endswith(f"}}{tag}")]

    def _ask(self, method: str, name: str, body: bytes | None = None) -> bytes:
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.upstream).netloc)
        with contextlib.closing(connection):
            # Readable for all, so that a test may also ask without a signature.
            headers = {"x-amz-acl": "public-read", "Authorization": SIGNED}
            connection.request(method, f"/{self.name}/{name}", body, headers)
            response = connection.getresponse()
            found = response.read()
            if response.status == 404:
                raise FileNotFoundError(f"{self.url}/{name}")
            assert response.status < 300, found
            return found


@contextlib.contextmanager
def range_server() -> Iterator[RangeServer]:
    """Start a `RangeServer`, which serves nothing yet."""
    with _process([sys.executable, str(Path(__file__).with_name("range_server.py"))]) as process:
        yield RangeServer(process)


@contextlib.contextmanager
def moto() -> Iterator[str]:
    """Start an S3 implementation; its URL."""
    with _process([sys.executable, "-c", MOTO]) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"


def new_bucket(name: str, gate: RangeServer, upstream: str) -> Bucket:
    """Make a bucket, and let the gate stand before it."""
    gate.serve(upstream=upstream)
    bucket = Bucket(name, gate, upstream)
    bucket.put("", b"")
    return bucket


@contextlib.contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
