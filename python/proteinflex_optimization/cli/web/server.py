"""The page's HTTP server, on loopback.

Every user of a machine reaches its loopback addresses, and so does any web page that a browser on it
shows. So each request needs the token that was printed, or the cookie that the page got for it, and
a Host that is loopback: another site whose name leads here (DNS rebinding) has its own there. Nothing
can be changed through this server.

It is the standard library's: one thread for each connection, which serves one request. A client that
reads or writes slowly holds up its own thread only, for `TIMEOUT` seconds, and gives way once there
are `MAX_CONNECTIONS`.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlsplit

from proteinflex_optimization.cli.web.observer import Body, Observer

__all__ = ["ADDRESS", "Server"]

ADDRESS = "127.0.0.1"
HOSTS = frozenset(("127.0.0.1", "localhost", "[::1]"))
"""Names of this machine in a Host header; the port may be that of a tunnel."""
TOKEN_BYTES = 16
TIMEOUT = 10.0
"""Seconds for which a client may neither send nor take anything."""
MAX_CONNECTIONS = 64
"""Open at once; one more closes the oldest, which is a stuck one, for others last milliseconds."""
MAIN = "page.html"
KINDS = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Server(ThreadingHTTPServer):
    """Serves the page to those who have the token.

    Parameters
    ----------
    port : int
        Where to listen; 0 takes a free one.
    observer : Observer
        What is shown.

    Raises
    ------
    OSError
        The port is taken, or not allowed.
    """

    daemon_threads = True
    allow_reuse_port = False
    request_queue_size = 64

    def __init__(self, port: int, observer: Observer) -> None:
        self.observer = observer
        self.token = secrets.token_urlsafe(TOKEN_BYTES)
        # Browsers send cookies to all ports of a host, so each server needs a name of its own.
        mark = hashlib.blake2b(self.token.encode(), digest_size=6).hexdigest()
        self.cookie = f"flexopt-{mark}"
        self.files = {
            "/" if file.name == MAIN else f"/{file.name}": (file.read_bytes(), kind)
            for file in (resources.files(__package__) / "page").iterdir()
            if (kind := KINDS.get(file.name.rpartition(".")[2])) is not None
        }
        self._connections: dict[socket.socket, None] = {}
        self._lock = threading.Lock()
        super().__init__((ADDRESS, port), _Handler)

    @property
    def url(self) -> str:
        """The address of the page, with the token."""
        return f"http://{ADDRESS}:{self.server_address[1]}/?token={self.token}"

    def server_bind(self) -> None:
        """Bind without asking a name server how this machine is called."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread; where there are too many, end the oldest."""
        with self._lock:
            if len(self._connections) >= MAX_CONNECTIONS:
                oldest = next(iter(self._connections))
                del self._connections[oldest]
                _end(oldest)
            self._connections[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave out what a client did wrong, such as going away."""


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # It may have ended by itself.
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = TIMEOUT

    def do_GET(self) -> None:
        """Serve a file of the page, or what was looked at."""
        try:
            url = urlsplit(self.path)
        except ValueError:
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        query = parse_qs(url.query)
        if not self._is_loopback() or not self._is_allowed(query.get("token", [""])[0]):
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        observer = self.server.observer
        bodies: dict[str, Callable[[], Body | None]] = {
            "/boards.json": observer.boards,
            "/job.json": lambda: observer.job(query.get("id", [""])[0]),
            "/resources.json": observer.resources,
        }
        if url.path in bodies:
            self._send_body(bodies[url.path]())
        elif url.path in self.server.files:
            content, kind = self.server.files[url.path]
            cookie = f"{self.server.cookie}={self.server.token}; HttpOnly; SameSite=Strict; Path=/"
            self._send(HTTPStatus.OK, content, kind, {"Set-Cookie": cookie})
        else:
            self._send(HTTPStatus.NOT_FOUND, b"Not found\n", "text/plain")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse whatever else was sent, without telling what listens here."""
        self._send(HTTPStatus.FORBIDDEN, b"Forbidden\n", "text/plain")

    def version_string(self) -> str:
        """Name no versions."""
        return "flexopt"

    def log_message(self, *_: Any) -> None:
        """Log nothing: the first request has the token in it."""

    def _is_loopback(self) -> bool:
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1:
            return False
        name, colon, port = hosts[0].rpartition(":")
        return hosts[0] in HOSTS or (bool(colon) and port.isdecimal() and name.lower() in HOSTS)

    def _is_allowed(self, token: str) -> bool:
        given = [token]
        for line in self.headers.get_all("Cookie", []):
            pairs = (pair.strip().partition("=") for pair in line.split(";"))
            given += [value for name, _, value in pairs if name == self.server.cookie]
        right = self.server.token.encode()
        return any(hmac.compare_digest(text.encode(errors="replace"), right) for text in given)

    def _send_body(self, body: Body | None) -> None:
        if body is None:
            self._send(HTTPStatus.NOT_FOUND, b"Not found\n", "text/plain")
            return
        headers = {"ETag": body.etag, "Age": str(body.age)}
        kind = "application/json"
        if self.headers.get("If-None-Match") == body.etag:
            self._send(HTTPStatus.NOT_MODIFIED, b"", kind, headers)
        elif "gzip" in self.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
            self._send(HTTPStatus.OK, body.packed, kind, headers)
        else:
            self._send(HTTPStatus.OK, body.plain, kind, headers)

    def _send(
        self, status: HTTPStatus, content: bytes, kind: str, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, **(headers or {})}.items():
            self.send_header(name, value)
        if status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
