"""Caches behind a cache that fail: what goes wrong there is no error here."""

from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import CacheKeyError, DataHandler
from proteinflex_optimization.remote import tier, tiers
from proteinflex_optimization.remote.entries import object_name
from remote.upstreams import FOREVER, FRAMES, Source, upstream_at, warnings_of


def damage(directory: Path, key: str) -> None:
    """Flip a byte in the middle of an entry."""
    path = directory / object_name(key)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_damaged_entry_upstream_is_named_and_never_kept(tmp_path, local, caplog):
    bad, good = upstream_at(tmp_path / "bad"), upstream_at(tmp_path / "good")
    key = DataHandler(bad).key_for("run")
    damage(bad, key)
    handler = DataHandler(local, upstream=[bad])
    for _ in range(3):
        with pytest.raises(CacheKeyError):
            handler.load_data(key)
    (message,) = warnings_of(caplog)
    assert f"{bad}/{object_name(key)} is not used: {bad}/{object_name(key)}: " in message
    assert "is damaged" in message
    assert handler.keys() == []
    assert not list((local / "entries").rglob("*.fxt*"))
    (stats,) = handler.get_cache_stats()["upstream"]
    assert (stats["errors"], stats["hits"], stats["bytes"]) == (1, 0, 0)

    handler = DataHandler(local, upstream=[bad, good])
    np.testing.assert_array_equal(handler.load_data(key)["frames"], FRAMES)
    assert handler.verify(key)["ok"]


@pytest.mark.parametrize("kind", ["other key", "cut", "empty", "not an entry"])
def test_a_hostile_object_upstream_is_never_kept(kind, tmp_path, local, caplog):
    shared = upstream_at(tmp_path / "shared", ["run", "other"])
    handler = DataHandler(local, upstream=shared)
    key = handler.key_for("run")
    path = shared / object_name(key)
    other = (shared / object_name(handler.key_for("other"))).read_bytes()
    whole = path.read_bytes()
    path.write_bytes(
        {"other key": other, "cut": whole[:-70], "empty": b"", "not an entry": b"<html>" * 99}[kind]
    )
    with pytest.raises(CacheKeyError):
        handler.load_data("run")
    with pytest.raises(CacheKeyError):
        handler.open("run")
    assert handler.keys() == []
    assert len(warnings_of(caplog)) == 1
    path.write_bytes(whole)
    np.testing.assert_array_equal(handler.load_data("run")["frames"], FRAMES)


def test_a_tier_that_is_gone_is_one_warning_and_is_asked_again_later(
    tmp_path, local, caplog, monkeypatch
):
    shared = tmp_path / "mount" / "shared"
    handler = DataHandler(local, upstream=[shared])
    for number in range(50):
        assert f"run{number}" not in handler
    (message,) = warnings_of(caplog)
    assert str(shared) in message
    assert "is its file system mounted?" in message
    (stats,) = handler.get_cache_stats()["upstream"]
    assert (stats["errors"], stats["misses"], stats["available"]) == (1, 0, False)
    handler.store_trajectory({"frames": FRAMES}, "mine")
    np.testing.assert_array_equal(handler.load_data("mine")["frames"], FRAMES)

    upstream_at(shared)
    assert "run" not in handler, "it is left alone"
    monkeypatch.setattr(tier, "LEFT_ALONE_SECONDS", 0.0)
    handler = DataHandler(tmp_path / "local2", upstream=[tmp_path / "none", shared])
    np.testing.assert_array_equal(handler.load_data("run")["frames"], FRAMES)
    assert handler.get_cache_stats()["upstream"][1]["hits"] == 1


def test_a_slow_tier_is_bounded_by_its_time_out_and_left_alone(
    tmp_path, local, caplog, monkeypatch
):
    monkeypatch.setattr(tier, "LOOKUP_SECONDS", 2.0)
    monkeypatch.setattr(tier, "LEFT_ALONE_SECONDS", 1000.0)
    shared = upstream_at(tmp_path / "shared")
    slow = Source(shared, seconds=FOREVER)
    handler = DataHandler(local, upstream=[slow, shared])
    for _ in range(20):
        handler.load_data("run")
        handler.remove("run")
    slow.released.set()
    assert slow.heads == 1
    assert sum("does not work and is left alone" in text for text in warnings_of(caplog)) == 1


def test_a_tier_that_stalls_within_an_entry_is_passed_over(tmp_path, local, caplog, monkeypatch):
    monkeypatch.setattr(tiers, "READ_SECONDS", 2.0)
    shared = upstream_at(tmp_path / "shared")

    class Stalls(Source):
        def read(self, *request):
            self.released.wait(FOREVER)
            return super().read(*request)

    stalls = Stalls(shared)
    handler = DataHandler(local, upstream=[stalls, shared])
    np.testing.assert_array_equal(handler.load_data("run")["frames"], FRAMES)
    stalls.released.set()
    (message,) = warnings_of(caplog)
    assert "no answer within 2 s" in message


@pytest.mark.parametrize("error", [OSError(5, "broken"), RuntimeError("odd"), PermissionError(13)])
def test_whatever_a_tier_raises_is_a_plain_miss(error, local, caplog):
    handler = DataHandler(local, upstream=[Source(error=error)])
    with pytest.raises(CacheKeyError):
        handler.load_data("run")
    with pytest.raises(CacheKeyError):
        handler.open("run")
    assert "run" not in handler
    assert handler.get_or_compute("one", lambda: {"x": 1}) == {"x": 1}
    assert len(warnings_of(caplog)) == 1


def test_the_error_of_a_miss_names_the_tiers_that_were_not_asked(tmp_path, local):
    shared = upstream_at(tmp_path / "shared")
    handler = DataHandler(local, upstream=[shared, Source(error=OSError(5, "broken"))])
    assert "other" not in handler
    for call in (handler.load_data, handler.info, handler.open):
        with pytest.raises(CacheKeyError, match=r"may be in test://tier, which does not work"):
            call("other")
    with pytest.raises(CacheKeyError, match="evicted or removed$"):
        DataHandler(local, upstream=[shared]).load_data("other")


def test_an_entry_that_is_refused_or_no_file_does_not_make_the_others_be_left_alone(
    tmp_path, local, caplog
):
    shared = upstream_at(tmp_path / "shared", ["a", "b", "c"])

    class Refuses(Source):
        def head(self, name):
            if self.refused in name:
                raise PermissionError(13, "access is denied")
            return super().head(name)

    source = Refuses(shared)
    handler = DataHandler(local, upstream=[source])
    source.refused = handler.key_for("a")
    path = shared / object_name(handler.key_for("c"))
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))
    for _ in range(3):
        assert "a" not in handler
        assert "c" not in handler
        np.testing.assert_array_equal(handler.load_data("b")["frames"], FRAMES)
        handler.remove("b")
    (message,) = warnings_of(caplog)
    assert "refuses" in message


def test_an_entry_that_is_replaced_while_it_is_read_is_read_again(tmp_path, local, caplog):
    shared = upstream_at(tmp_path / "shared")

    class Replaced(Source):
        def read(self, *request):
            if self.reads == 0:
                upstream_at(shared, frames=FRAMES + 1)
            return super().read(*request)

    handler = DataHandler(local, upstream=[Replaced(shared)])
    np.testing.assert_array_equal(handler.load_data("run")["frames"], FRAMES + 1)
    assert warnings_of(caplog) == []
