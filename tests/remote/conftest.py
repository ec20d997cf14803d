"""Servers for the tests of this folder: `http_server` of a directory, and `bucket` of S3."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from remote.servers import Bucket, RangeServer, moto, new_bucket, range_server


@dataclass
class HttpServer:
    """A directory, what serves it, and the URL of that."""

    directory: Path
    gate: RangeServer

    @property
    def url(self) -> str:
        return self.gate.url


@pytest.fixture(scope="session")
def _http_gate() -> Iterator[RangeServer]:
    with range_server() as gate:
        yield gate


@pytest.fixture(scope="session")
def _s3_gate() -> Iterator[RangeServer]:
    with range_server() as gate:
        yield gate


@pytest.fixture(scope="session")
def _moto() -> Iterator[str]:
    pytest.importorskip("moto")
    with moto() as upstream:
        yield upstream


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """Where a cache is made that has others behind it."""
    return tmp_path / "local"


@pytest.fixture
def http_server(tmp_path: Path, _http_gate: RangeServer) -> Iterator[HttpServer]:
    """Serve `http_server.directory` at `http_server.url`; `gate` counts, delays and breaks."""
    directory = tmp_path / "served"
    directory.mkdir()
    _http_gate.serve(directory)
    yield HttpServer(directory, _http_gate)
    _http_gate.forget()


@pytest.fixture
def bucket(_moto: str, _s3_gate: RangeServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """Make an empty bucket, which libraries find by the environment; `gate` as above."""
    made = new_bucket(f"bucket-{uuid.uuid4().hex[:12]}", _s3_gate, _moto)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    yield made
    _s3_gate.forget()
