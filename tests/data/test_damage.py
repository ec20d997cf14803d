"""Damage is detected, named, quarantined and counted; it is never data, and never a crash."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import xxhash
from proteinflex_optimization import (
    CacheKeyError,
    CorruptDataError,
    DataHandler,
    UnsupportedFormatError,
    open_trajectory,
)
from proteinflex_optimization.cli import main

DATA = {
    "frames": np.random.default_rng(1).normal(0, 10, (40, 30, 3)).astype(np.float32),
    "time": np.arange(40) * 2.0,
    "names": ["CA"] * 30,
    "masses": np.full(30, 12.011),
}


def file_of(handler, key):
    (path,) = Path(handler.cache_dir).glob(f"entries/*/{key}.*")
    return path


def loaded(handler, key):
    try:
        return handler.load_data(key), None
    except CorruptDataError as error:
        return None, str(error)


def is_stored(found):
    return list(found) == list(DATA) and all(
        np.array_equal(found[name], DATA[name]) for name in DATA
    )


def suspended(directory):
    """Leave a trajectory unfinished; return the cache and its file."""
    handler = DataHandler(directory)
    writer = handler.trajectory_writer("md")
    writer.append(DATA["frames"])
    writer.suspend()
    (path,) = directory.glob("entries/*/*.suspended")
    return handler, path


@pytest.mark.parametrize("compress", [True, False])
def test_a_flipped_byte_anywhere_is_never_other_data(tmp_path, compress):
    handler = DataHandler(tmp_path, enable_compression=compress)
    key = handler.store_trajectory(DATA, "md")
    path = file_of(handler, key)
    whole = path.read_bytes()
    offsets = {*range(0, 200), *range(len(whole) - 200, len(whole))}
    offsets |= set(np.random.default_rng(2).integers(0, len(whole), 100).tolist())
    detected = 0
    for offset in sorted(offsets):
        damaged = bytearray(whole)
        damaged[offset] ^= 0x5A
        path.write_bytes(damaged)
        found, message = loaded(handler, key)
        if found is not None:
            assert is_stored(found), f"other data after byte {offset}"
            continue
        detected += 1
        assert path.name in message
        assert key not in handler
        with pytest.raises(CacheKeyError):
            handler.load_data(key)
    assert detected > 0.8 * len(offsets)
    assert handler.get_cache_stats()["corrupt"] == detected


def test_a_file_cut_short_anywhere_is_damage(tmp_path):
    handler = DataHandler(tmp_path)
    key = handler.store_trajectory(DATA, "md")
    path = file_of(handler, key)
    whole = path.read_bytes()
    for length in [0, 1, 7, 8, 64, 100, len(whole) // 2, len(whole) - 100, len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptDataError, match="damaged"):
            handler.load_data(key)
    path.write_bytes(whole)
    assert is_stored(handler.load_data(key))


def test_a_handle_that_meets_damage_says_so_and_reads_what_is_whole(tmp_path):
    handler = DataHandler(tmp_path, enable_compression=False)
    frames = np.zeros((4000, 200, 3), np.float32)
    key = handler.store_trajectory({"frames": frames}, "md")
    trajectory = handler.open(key)
    path = file_of(handler, key)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 16)
    with pytest.raises(CorruptDataError, match=path.name):
        trajectory[:]
    assert key not in handler
    assert handler.get_cache_stats()["corrupt"] == 1
    np.testing.assert_array_equal(trajectory[:5], frames[:5])


def test_damage_is_recomputed_by_get_or_compute(tmp_path):
    handler = DataHandler(tmp_path)
    handler.get_or_compute("x", lambda: {"a": np.arange(1000)})
    path = file_of(handler, handler.key_for("x", kind="structure"))
    path.write_bytes(b"\0" * path.stat().st_size)
    found = handler.get_or_compute("x", lambda: {"a": np.arange(1000) + 1})
    assert found["a"][0] == 1
    assert handler.get_cache_stats()["corrupt"] == 1


def test_verify_names_each_damaged_entry(tmp_path):
    handler = DataHandler(tmp_path)
    keys = [handler.store_trajectory(DATA, str(number)) for number in range(4)]
    assert handler.verify() == {"checked": 4, "ok": True, "damaged": []}
    path = file_of(handler, keys[2])
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 3] ^= 1
    path.write_bytes(damaged)
    report = handler.verify()
    assert not report["ok"]
    assert [entry["key"] for entry in report["damaged"]] == [keys[2]]
    assert path.name in report["damaged"][0]["reason"]
    assert handler.verify()["ok"]
    assert handler.cleanup()["quarantined"] == 1


def make_newer(file):
    """Let an entry say that a newer version of the package has written it."""
    content = bytearray(file.read_bytes())
    content[8:12] = (2).to_bytes(4, "little")
    content[56:64] = xxhash.xxh3_64_intdigest(bytes(content[:56])).to_bytes(8, "little")
    file.write_bytes(content)


def test_one_entry_of_a_newer_version_hides_no_other_and_is_not_damaged(tmp_path, caplog, capsys):
    handler = DataHandler(tmp_path)
    newer, other = (handler.store_structure({"x": 1}, data_id) for data_id in ("newer", "other"))
    make_newer(file_of(handler, newer))
    assert [entry["data_id"] for entry in handler.entries()] == ["other"]
    assert handler.verify() == {"checked": 1, "ok": True, "damaged": []}
    assert caplog.text.count(f"{newer}.fxt: format version 2 is newer than 1") == 2
    for look in (handler.verify, handler.info, handler.load_data):
        with pytest.raises(UnsupportedFormatError, match="newer than 1"):
            look(newer)
    assert set(handler) == {newer, other}
    assert main(["cache", "verify", "--dir", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert said.out == "1 checked, 0 damaged\n"
    assert "is newer than 1" in said.err


def test_the_commands_call_an_entry_of_a_newer_version_newer_and_leave_it_alone(tmp_path, capsys):
    handler = DataHandler(tmp_path / "cache")
    newer, other = (handler.store_structure({"x": 1}, data_id) for data_id in ("newer", "other"))
    make_newer(file_of(handler, newer))

    def flexopt(command, *arguments):
        status = main(["cache", command, "--dir", str(handler.cache_dir), *arguments])
        said = capsys.readouterr()
        assert "damaged" not in said.out + said.err
        assert "upgrade" in said.err
        return status, said.out

    status, said = flexopt("ls")
    assert (status, "1 entry" in said) == (0, True)
    for command in (
        ("clear", "--dry-run"),
        ("rm", "newer", "--dry-run"),
        ("rm", newer, "--dry-run"),
    ):
        status, said = flexopt(*command)
        assert (status, f"{newer} " in said, "of a newer version" in said) == (0, True, True)
    (tmp_path / "bucket").mkdir()
    status, said = flexopt("push", "--all", (tmp_path / "bucket").as_uri())
    assert (status, other in said, newer in said) == (1, True, False)
    assert set(handler) == {newer, other}
    assert flexopt("rm", "newer")[0] == 0
    assert set(handler) == {other}


def test_an_unfinished_trajectory_of_a_newer_version_is_said_to_be_one_and_stays(tmp_path, caplog):
    handler, path = suspended(tmp_path)
    make_newer(path)
    (row,) = handler.unfinished()
    assert row["data_id"] is None
    assert f"{path}: format version 2 is newer than 1" in caplog.text
    for arguments in ({}, {"resume": True}):
        with pytest.raises(UnsupportedFormatError, match="upgrade"):
            handler.trajectory_writer("md", **arguments)
    handler.cleanup()
    assert path.exists()


def test_what_a_newer_version_made_is_not_replaced(tmp_path):
    handler = DataHandler(tmp_path)
    stored = [
        handler.store_structure({"x": 1}, "both"),
        handler.store_trajectory(DATA, "both"),
    ]
    with handler.trajectory_writer("unfinished") as writer:
        writer.append(DATA["frames"])
        writer.suspend()
    later = handler.trajectory_writer("later")
    later.append(DATA["frames"])
    files = [file_of(handler, key) for key in stored]
    files += tmp_path.glob("entries/*/*.suspended")
    for path in files:
        make_newer(path)
    with handler.trajectory_writer("other") as writer:
        writer.append(DATA["frames"])
    # It is stored after an older program has begun to write another one of its name.
    later_key = handler.key_for("later", kind="trajectory")
    arrived = tmp_path / "entries" / later_key[2:4] / f"{later_key}.fxt"
    shutil.copy(file_of(handler, handler.key_for("other", kind="trajectory")), arrived)
    make_newer(arrived)
    files.append(arrived)
    before = [path.read_bytes() for path in files]
    for replace in (
        lambda: handler.store_structure({"x": 2}, "both"),
        lambda: handler.store_trajectory(DATA, "both"),
        lambda: handler.trajectory_writer("both", overwrite=True),
        lambda: handler.trajectory_writer("unfinished", overwrite=True),
        lambda: handler.get_or_compute("both", lambda: {"x": 2}),
        later.close,
    ):
        with pytest.raises(UnsupportedFormatError, match="newer than 1.*upgrade"):
            replace()
    assert [path.read_bytes() for path in files] == before
    assert [row["data_id"] for row in handler.unfinished()].count("later") == 1
    handler.remove(stored[0])
    handler.store_structure({"x": 2}, "both")


def test_settings_of_a_newer_version_are_neither_damaged_nor_replaced(tmp_path):
    DataHandler(tmp_path, max_cache_size=1)
    settings = tmp_path / "settings.json"
    newer = '{"format": "proteinflex-cache", "version": 2, "limit": "1 GB"}'
    settings.write_text(newer)
    for size in (None, 2):
        with pytest.raises(UnsupportedFormatError, match="version 2 is newer than 1"):
            DataHandler(tmp_path, max_cache_size=size)
    assert settings.read_text() == newer


def test_damage_within_an_unfinished_trajectory_drops_no_frames_behind_it(tmp_path):
    handler = DataHandler(tmp_path)
    writer = handler.trajectory_writer("md")
    for first in range(0, 40, 10):
        writer.append(DATA["frames"][first : first + 10])
        writer.flush()
    writer.suspend()
    (path,) = tmp_path.glob("entries/*/*.suspended")
    whole = path.read_bytes()
    refused = 0
    for offset in range(64, len(whole) // 2, 16):
        damaged = bytearray(whole)
        damaged[offset] ^= 1
        path.write_bytes(damaged)
        (row,) = handler.unfinished()
        # What isn't looked at before it is read are the frames themselves.
        assert row["n_frames"] in (None, 40), offset
        if row["n_frames"] is None:
            refused += 1
            for resume in (True, False):
                with pytest.raises(CorruptDataError, match=r"suspended.*damaged.*overwrite=True"):
                    handler.trajectory_writer("md", resume=resume)
            assert path.read_bytes() == damaged
    assert refused > 10
    path.write_bytes(whole)
    with handler.trajectory_writer("md", resume=True) as writer:
        assert writer.n_frames == 40


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: bytes(64) + data[64:]])
def test_an_unfinished_trajectory_without_its_beginning_is_damage(tmp_path, damage):
    handler, path = suspended(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CorruptDataError, match="overwrite=True"):
        handler.trajectory_writer("md", resume=True)
    with pytest.raises(CacheKeyError, match=f"{path.name} is damaged.*overwrite=True"):
        handler.load_data("md")
    with handler.trajectory_writer("md", overwrite=True) as writer:
        writer.append(DATA["frames"])
    assert len(handler.open("md")) == 40


def with_other_index(file, old, new):
    """The file of an entry, a text in its index replaced by one as long, and all checksums right."""
    return with_other_record(file, int.from_bytes(file[-56:-48], "little"), old, new)


def with_other_record(file, start, old, new):
    """The same, in the record that begins at `start`."""
    file = bytearray(file)
    size = int.from_bytes(file[start + 48 : start + 56], "little")
    payload = file[start + 64 : start + 64 + size].replace(old, new)
    assert len(payload) == size
    assert payload != file[start + 64 : start + 64 + size]
    file[start + 64 : start + 64 + size] = payload
    file[start + 56 : start + 64] = xxhash.xxh3_64_intdigest(payload).to_bytes(8, "little")
    own = xxhash.xxh3_64_intdigest(bytes(file[start + 4 : start + 64])) & 0xFFFFFFFF
    file[start : start + 4] = own.to_bytes(4, "little")
    if file[-64:-56] == b"\x89PFXend\n":
        index = int.from_bytes(file[-56:-48], "little")
        tree = int.from_bytes(file[index + 64 + 16 : index + 64 + 24], "little")
        sums = b"".join(file[at + 56 : at + 64] for at in (64, tree, index))
        file[-24:-16] = xxhash.xxh3_64_intdigest(sums).to_bytes(8, "little")
        file[-8:] = xxhash.xxh3_64_intdigest(bytes(file[-64:-8])).to_bytes(8, "little")
    return bytes(file)


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("descr", ["|O8", "|O", "|S9", "|S", "?!", "<f4"])
def test_a_type_that_is_none_or_holds_objects_is_damage_however_well_it_is_sealed(
    tmp_path, compress, descr
):
    handler = DataHandler(tmp_path, enable_compression=compress)
    key = handler.store_structure({"masses": np.zeros(3000)}, "x")
    path = file_of(handler, key)
    old, new = b'"descr":"<f8"', f'"descr":{json_padded(descr)}'.encode()
    path.write_bytes(with_other_index(path.read_bytes(), old, new))
    with pytest.raises(CorruptDataError, match=r"is damaged"):
        handler.load_data(key)
    assert key not in handler


def json_padded(text):
    """JSON of the text as long as that of three characters; spaces before it are no part of it."""
    return f'"{text}"'.rjust(5)


#: Texts that NumPy parses as Python, that are no JSON, no name, of objects, or of several numbers.
NO_DTYPES = [",f4", "(,)", "(2)", "(((", "{}f", "[1]", "f f", "<O8", "m8s", "M8[", "1,f", "<f,"]


@pytest.mark.parametrize("text", NO_DTYPES)
def test_a_text_that_is_no_dtype_is_damage_that_names_file_and_text(tmp_path, text):
    handler = DataHandler(tmp_path / "cache")
    key = handler.store_trajectory({"frames": np.zeros((8, 255, 3), np.float32)}, "md")
    path = tmp_path / "damaged.fxt"
    old, new = b'"descr":"<f4"', f'"descr":"{text}"'.encode()
    path.write_bytes(with_other_index(file_of(handler, key).read_bytes(), old, new))
    for read in (
        lambda trajectory: trajectory.dtype,
        lambda trajectory: trajectory.read(),
        lambda trajectory: trajectory.read(out=np.zeros((8, 255, 3), np.float32)),
        lambda trajectory: trajectory[2],
        lambda trajectory: trajectory[[1, 2]],
        np.asarray,
    ):
        with pytest.raises(CorruptDataError) as caught, open_trajectory(path) as trajectory:
            read(trajectory)
        assert str(path) in str(caught.value)
        assert text in str(caught.value)
    with pytest.raises(CorruptDataError, match=path.name), open_trajectory(path) as trajectory:
        next(iter(trajectory))


def record_end(file, start):
    """Where the next record begins, after one of less than a segment."""
    padding = int.from_bytes(file[start + 12 : start + 16], "little")
    size = int.from_bytes(file[start + 48 : start + 56], "little")
    return -(-(start + 64 + padding + size) // 64) * 64


@pytest.mark.parametrize("text", [",f4", "m8s"])
def test_a_writer_that_reads_back_names_the_file_with_a_wrong_type(tmp_path, text):
    handler, path = suspended(tmp_path)
    file, old = path.read_bytes(), b'"descr":"<f4"'
    record = 64
    while old not in file[record : (after := record_end(file, record))]:
        record = after
    path.write_bytes(with_other_record(file, record, old, f'"descr":"{text}"'.encode()))
    with handler.trajectory_writer("md", resume=True) as writer:
        with pytest.raises(CorruptDataError, match=f"type of .frames.*{text}") as caught:
            writer.read()
        assert str(path) in str(caught.value)
