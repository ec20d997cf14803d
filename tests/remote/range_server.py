"""An HTTP server with ranges, latency and faults, as a process of its own.

    python range_server.py

It serves a directory, or stands as a proxy before another server, and is told on its standard input, a
line of JSON each, what to do; it replies with a line of JSON and ends when the input does. `servers.py`
has the other side. Nothing but the standard library, so that it starts in a tenth of a second and has an
interpreter lock of its own: what a client measures is not its own server.

What a fault does to a response is in `FAULTS`, one function each.
"""

from __future__ import annotations

import gzip
import http.client
import json
import mmap
import os
import re
import socket
import struct
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HOP_BY_HOP = {"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"}


@dataclass
class Response:
    """What is about to be sent; a fault changes it, or how it is sent."""

    status: int
    headers: dict[str, str]
    body: bytes | memoryview = b""
    whole: Callable[[], bytes] = bytes
    """The object without regard to `Range`."""
    length: int | None = None
    """`Content-Length`, where it is not that of the body."""
    stop: tuple[int, str] | None = None
    """After how many bytes of the body to `close`, `reset` or `stall`."""
    pace: tuple[int, float] | None = None
    """Bytes sent at a time, and seconds between."""


@dataclass
class State:
    """What the server does now."""

    directory: Path = field(default_factory=Path)
    upstream: str = ""
    latency: float = 0.0
    faults: list[dict[str, Any]] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, method: str, path: str, ranged: bool) -> dict[str, Any] | None:
        """Take the first fault that fits a request, and count it."""
        with self.lock:
            for fault in self.faults:
                fits = re.fullmatch(fault["method"], method) and fault["path"] in path
                if not fits or (fault["ranged"] and not ranged) or fault["times"] == 0:
                    continue
                if fault["skip"]:
                    fault["skip"] -= 1
                    continue
                if fault["times"] is not None:
                    fault["times"] -= 1
                return fault
        return None


STATE = State()


# --- Faults ----------------------------------------------------------------------------------------


def drop(response: Response, after: int = 0, how: str = "close") -> None:
    """Break the connection within the body, though more was promised."""
    response.stop = (after, how)


def stall(response: Response, after: int = 0) -> None:
    """Send nothing more, and keep the connection."""
    response.stop = (after, "stall")


def trickle(response: Response, size: int = 1, every: float = 0.05) -> None:
    """Send a few bytes at a time."""
    response.pace = (size, every)


def truncate(response: Response, missing: int = 1) -> None:
    """Leave out the end, and say so: the length is that of what is sent."""
    response.body = response.body[:-missing]


def extend(response: Response, by: int = 1) -> None:
    """Send more than was asked for."""
    response.body = bytes(response.body) + bytes(by)


def wrong_length(response: Response, by: int = 1) -> None:
    """Promise another length than is sent, then close."""
    response.length = len(response.body) + by
    response.stop = (len(response.body), "close")


def wrong_range(response: Response, by: int = 1) -> None:
    """Say that the bytes are from another place."""
    start, stop, total = map(int, re.findall(r"\d+", response.headers["Content-Range"]))
    response.headers["Content-Range"] = f"bytes {start + by}-{stop + by}/{total}"


def no_range(response: Response) -> None:
    """Leave out where the bytes are from."""
    response.headers.pop("Content-Range", None)


def ignore_range(response: Response) -> None:
    """Send the whole object, as servers without ranges do."""
    no_range(response)
    response.status, response.body = 200, response.whole()


def other_bytes(response: Response, at: int = 0) -> None:
    """Flip a bit on the way."""
    body = bytearray(response.body)
    body[at % len(body)] ^= 1
    response.body = bytes(body)


def shifted(response: Response, by: int = 1) -> None:
    """Send bytes from another place, with the headers of the right one."""
    whole = response.whole()
    start = int(re.findall(r"\d+", response.headers["Content-Range"])[0]) + by
    response.body = (whole + bytes(by))[start : start + len(response.body)]


def status(
    response: Response, code: int, headers: dict[str, str] | None = None, body: str = ""
) -> None:
    """Refuse."""
    response.status, response.headers, response.body = code, headers or {}, body.encode()


def page(response: Response, body: str = "<html><title>Log in</title></html>") -> None:
    """Send a page in place of the object, as captive portals do."""
    status(response, 200, {"Content-Type": "text/html"}, body)


def compressed(response: Response) -> None:
    """Compress on the way, as some proxies do."""
    response.body = gzip.compress(bytes(response.body), 1)
    response.headers["Content-Encoding"] = "gzip"


def version(response: Response, tag: str | None = None) -> None:
    """Name another version, or none at all."""
    response.headers.pop("Last-Modified", None)
    response.headers.pop("ETag", None)
    if tag is not None:
        response.headers["ETag"] = tag


def redirect(response: Response, to: str, code: int = 307) -> None:
    """Point elsewhere."""
    status(response, code, {"Location": to})


FAULTS: dict[str, Callable[..., None]] = {
    made.__name__: made
    for made in (
        compressed, drop, extend, ignore_range, no_range, other_bytes, page, redirect, shifted,
        stall, status, trickle, truncate, version, wrong_length, wrong_range,
    )
}  # fmt: skip
LOST = {"lose_response", "reset"}
"""Faults without a response: broken off after the request was carried out, and before."""


# --- Where responses come from ---------------------------------------------------------------------


def from_directory(method: str, target: str, headers: Any) -> Response:
    """Serve a file, with ranges and conditions."""
    name = urllib.parse.unquote(urllib.parse.urlsplit(target).path).lstrip("/")
    path = STATE.directory / name
    if method not in ("GET", "HEAD"):
        return Response(405, {"Allow": "GET, HEAD"})
    if ".." in Path(name).parts or not path.is_file():
        return Response(404, {}, b"no such object")
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) if found.st_size else b""
    whole = memoryview(mapped)
    size = len(whole)
    tag = f'"{found.st_ino:x}-{found.st_mtime_ns:x}-{size:x}"'
    about = {
        "ETag": tag,
        "Last-Modified": formatdate(found.st_mtime, usegmt=True),
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
    }
    if headers.get("If-Match", tag) not in (tag, "*"):
        return Response(412, about)
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", headers.get("Range", ""))
    if asked is None or not any(asked.groups()):
        return Response(200, about, whole, lambda: bytes(whole))
    first, last = asked.groups()
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= stop:
        return Response(416, {**about, "Content-Range": f"bytes */{size}"})
    about["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return Response(206, about, whole[start:stop], lambda: bytes(whole))


CONNECTIONS = threading.local()


def from_upstream(method: str, target: str, headers: Any, sent: bytes) -> Response:
    """Hand a request on as it came."""
    host = urllib.parse.urlsplit(STATE.upstream).netloc

    def ask(**replaced: str | None) -> Response:
        if getattr(CONNECTIONS, "host", None) != host:
            CONNECTIONS.host, CONNECTIONS.kept = host, http.client.HTTPConnection(host)
        connection = CONNECTIONS.kept
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            if name.lower() not in {"connection", "transfer-encoding", *replaced}:
                connection.putheader(name, value)
        connection.endheaders(sent or None)
        found = connection.getresponse()
        kept = {
            name.title().replace("Etag", "ETag"): text
            for name, text in found.getheaders()
            if name.lower() not in HOP_BY_HOP
        }
        response = Response(found.status, kept, found.read())
        if method == "HEAD":
            response.length = int(found.headers.get("Content-Length", 0))
        return response

    response = ask()
    response.whole = lambda: bytes(ask(range=None).body)
    return response


# --- HTTP ------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_any(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        ranged = self.headers.get("Range")
        fault = STATE.fault(self.command, self.path, bool(ranged))
        kind = fault["kind"] if fault else None
        entry = {"method": self.command, "path": self.path, "range": ranged, "fault": kind}
        entry |= {"status": 0, "sent": 0, "received": len(sent), "at": time.monotonic()}
        with STATE.lock:
            STATE.log.append(entry)
        time.sleep(STATE.latency)
        if kind == "reset":
            return self.hang_up("reset")
        if STATE.upstream:
            response = from_upstream(self.command, self.path, self.headers, sent)
        else:
            response = from_directory(self.command, self.path, self.headers)
        if kind == "lose_response":
            return self.hang_up("reset")
        if fault:
            FAULTS[fault["kind"]](response, **fault["how"])
        entry["status"] = response.status
        try:
            self.send(response, entry)
        except OSError:
            # The client has gone, which is its right.
            self.close_connection = True
        return None

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815

    def send(self, response: Response, entry: dict[str, Any]) -> None:
        length = len(response.body) if response.length is None else response.length
        head = [f"HTTP/1.1 {response.status} {http.client.responses.get(response.status, '')}"]
        headers = {"Date": formatdate(usegmt=True), **response.headers, "Content-Length": length}
        head += [f"{name}: {value}" for name, value in headers.items()]
        head += ["", ""]
        body = memoryview(b"" if self.command == "HEAD" else response.body)
        if response.stop and self.command != "HEAD":
            body = body[: response.stop[0]]
        self.connection.sendall("\r\n".join(head).encode("latin-1"))
        size, pause = response.pace or (max(1, len(body)), 0.0)
        for at in range(0, len(body), size):
            # Counted first: a client that has the last byte may ask for the count at once.
            entry["sent"] += len(body[at : at + size])
            self.connection.sendall(body[at : at + size])
            if pause and STATE.released.wait(pause):
                return self.hang_up("close")
        if response.stop:
            self.hang_up(response.stop[1])
        return None

    def hang_up(self, how: str) -> None:
        self.close_connection = True
        if how == "stall":
            STATE.released.wait()
        elif how == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # Closed here: the server's own way begins with an orderly shutdown.
            os.close(self.connection.detach())

    def log_message(self, *_: object) -> None:
        """Say nothing: requests are counted."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def shutdown_request(self, request: Any) -> None:
        if request.fileno() >= 0:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handle_error(request, client_address)


def main() -> None:
    """Serve until the input ends."""
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    print(json.dumps({"port": server.server_port}), flush=True)
    for line in sys.stdin:
        told = json.loads(line)
        with STATE.lock:
            if "forget" in told:
                STATE.faults.clear()
                STATE.log.clear()
                STATE.released.set()
                STATE.released = threading.Event()
            STATE.directory = Path(told.get("directory", STATE.directory))
            STATE.upstream = told.get("upstream", STATE.upstream)
            STATE.latency = told.get("latency", STATE.latency)
            STATE.faults.extend(told.get("faults", []))
            log = list(STATE.log)
        print(json.dumps({"log": log if "log" in told else []}), flush=True)


if __name__ == "__main__":
    main()
