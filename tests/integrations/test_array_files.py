"""Zarr groups and ``.npz`` hold every field to the bit, both ways."""

import errno
import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from MDAnalysisTests.datafiles import PSF
from proteinflex_optimization import (
    CorruptDataError,
    InvalidArgumentError,
    Topology,
)
from proteinflex_optimization.integrations.mdanalysis import export_trajectory
from proteinflex_optimization.integrations.npz import export_npz, read_npz
from trajectory_data import N_FRAMES, data


def socket_at(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def test_a_zarr_group_has_every_field_to_the_bit(trajectory, tmp_path):
    zarr = pytest.importorskip("zarr", minversion="3")
    from proteinflex_optimization.integrations.zarr import export_zarr

    path = tmp_path / "run.zarr"
    assert export_zarr(trajectory, path) == ["metadata['key']"]
    group = zarr.open_group(path, mode="r", zarr_format=3)
    assert sorted(group.array_keys()) == sorted(data())
    for name, expected in data().items():
        assert group[name].dtype == expected.dtype
        np.testing.assert_array_equal(group[name][:], expected)
        assert group[name].chunks[0] == trajectory.chunk_frames
    assert group["frames"].metadata.dimension_names == ("frame", "atom", "xyz")
    assert group.attrs["metadata"] == {"solvent": "water"}
    assert group.attrs["content_id"] == trajectory.content_id

    with pytest.raises(InvalidArgumentError, match="there already"):
        export_zarr(trajectory, path)
    zarr.create_array(path / "old", shape=(3,), dtype="i4")[:] = 1
    export_zarr(trajectory, path, overwrite=True)
    assert not (path / "old").exists()
    assert sorted(os.listdir(tmp_path)) == ["cache", "run.zarr"]


def test_a_zarr_group_has_the_values_of_any_dtype_or_the_field_is_named(handler, tmp_path):
    pytest.importorskip("zarr", minversion="3")
    from proteinflex_optimization.integrations.zarr import export_zarr

    packed = np.array([(1, 2.5), (3, 4.5), (5, 6.5)], [("a", "i1"), ("b", "<f8")])
    beside = {
        "padded": np.zeros(3, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
        "big": packed.astype([("a", "i1"), ("b", ">f8")]),
        "titled": np.zeros(3, [(("title", "a"), "i1")]),
        "repeated": np.zeros(3, [("a", "i1", 2)]),
        "nested": np.zeros(3, [("a", [("b", "i1")])]),
    }
    fields = {"frames": np.arange(24.0).reshape(2, 4, 3).astype(">f8")}
    handler.store_trajectory({**fields, **beside, "packed": packed}, "md")
    assert export_zarr(handler.open("md"), tmp_path / "run.zarr") == list(beside)
    again = handler.load_data(handler.import_trajectory(None, tmp_path / "run.zarr", "again"))
    np.testing.assert_array_equal(again["frames"], fields["frames"])
    np.testing.assert_array_equal(again["packed"], packed)

    handler.store_trajectory({**fields, "big": beside["big"][:2]}, "per frame")
    with pytest.raises(InvalidArgumentError, match="the field 'big' is of dtype"):
        export_zarr(handler.open("per frame"), tmp_path / "other.zarr")


@pytest.mark.parametrize("name", ["run.npz", "run.zarr"])
def test_what_this_package_exports_it_imports_to_the_bit(handler, trajectory, tmp_path, name):
    if name == "run.zarr":
        pytest.importorskip("zarr", minversion="3")
        from proteinflex_optimization.integrations.zarr import export_zarr as export
    else:
        from proteinflex_optimization.integrations.npz import export_npz

        def export(trajectory, path):
            assert export_npz(handler.load_data(trajectory.key), tmp_path / "dict.npz") == []
            return export_npz(trajectory, path)

    path = tmp_path / name
    export(trajectory, path)
    renamed = tmp_path / "other"
    calls = []
    for source, options in (
        (path, {}),
        (path.rename(renamed), {"format": path.suffix[1:].upper()}),
    ):
        if source == path:
            continue
        key = handler.import_trajectory(
            None, source, "again", progress=lambda *call: calls.append(call), **options
        )
        found = handler.load_data(key)
        assert sorted(found) == sorted(data())
        for field, expected in data().items():
            assert found[field].dtype == expected.dtype
            np.testing.assert_array_equal(found[field], expected)
    assert calls[-1] == (N_FRAMES, N_FRAMES)
    if name == "run.zarr":
        assert handler.open(key).metadata == {"solvent": "water"}
    renamed.rename(path)
    key = handler.import_trajectory(None, path, "by suffix", {"mine": 1})
    assert handler.open(key).metadata == {"mine": 1}
    with pytest.raises(InvalidArgumentError, match="topology="):
        handler.import_trajectory(PSF, path, "x")


@pytest.mark.parametrize("name", ["run.npz", "run.zarr", "run.fxt"])
def test_an_export_by_the_suffix_is_the_one_of_that_format(handler, tmp_path, name):
    topology = Topology(["C", "N"], ["C", "N"], [0, 0], ["ALA"], [1], [0], ["A"])
    frames = np.arange(18, dtype="f4").reshape(3, 2, 3)
    values = {"frames": frames, "masses": np.ones(2), "title": "water"}
    trajectory = handler.open(handler.store_trajectory(values, "md", structure=topology))
    if name == "run.zarr":
        pytest.importorskip("zarr", minversion="3")
    calls = []
    path = tmp_path / name
    left_out = export_trajectory(trajectory, path, progress=lambda *call: calls.append(call))
    expected = {"run.npz": ["title", "topology"], "run.zarr": ["topology"], "run.fxt": []}
    assert left_out == expected[name]
    assert calls[-1] == (3, 3)
    found = handler.load_data(handler.import_trajectory(None, path, "again"))
    np.testing.assert_array_equal(found["frames"], frames)
    np.testing.assert_array_equal(found["masses"], values["masses"])
    with pytest.raises(InvalidArgumentError, match="overwrite=True"):
        export_trajectory(trajectory, path)


def test_a_pipe_is_refused_and_not_waited_for(handler, tmp_path):
    from proteinflex_optimization.integrations.npz import kind_of_npz, read_npz

    os.mkfifo(tmp_path / "pipe.npz")
    for read in (
        read_npz,
        kind_of_npz,
        lambda path: handler.import_trajectory(None, path, "x"),
    ):
        with pytest.raises(InvalidArgumentError, match="it is a pipe, a socket or a device"):
            read(tmp_path / "pipe.npz")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("make", [os.mkfifo, socket_at], ids=["pipe", "socket"])
def test_what_is_no_file_within_a_zarr_group_is_refused_and_not_waited_for(
    handler, tmp_path, version, make
):
    zarr = pytest.importorskip("zarr", minversion="3")
    path = tmp_path / "run.zarr"
    group = zarr.create_group(path, zarr_format=version)
    shape = (4, 3, 3)
    group.create_array("frames", shape=shape, dtype="f4", chunks=(2, 3, 3))[:] = np.ones(shape)
    assert handler.open(handler.import_trajectory(None, path, "x")).n_frames == 4
    whole = tmp_path / "whole.zarr"
    path.rename(whole)
    files = [file.relative_to(whole) for file in whole.rglob("*") if file.is_file()]
    assert len(files) > 3
    for file in [*files, *([Path(".zmetadata")] if version == 2 else [])]:
        shutil.copytree(whole, path)
        (path / file).unlink(missing_ok=True)
        make(path / file)
        with pytest.raises(InvalidArgumentError, match=r"run\.zarr.*it is a pipe, a socket"):
            handler.import_trajectory(None, path, "x")
        shutil.rmtree(path)


def test_a_zarr_group_that_can_not_be_written_is_named(trajectory, tmp_path, monkeypatch):
    zarr = pytest.importorskip("zarr", minversion="3")
    from proteinflex_optimization.integrations.zarr import export_zarr

    def fail(*arguments, **options):
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr(zarr.Array, "__setitem__", fail)
    with pytest.raises(OSError, match=r"File too large: '.*run\.zarr'"):
        export_zarr(trajectory, tmp_path / "run.zarr")
    assert list(tmp_path.glob("*.zarr")) == []


def test_a_zarr_group_that_lacks_a_chunk_is_refused(handler, tmp_path):
    pytest.importorskip("zarr", minversion="3")
    from proteinflex_optimization.integrations.zarr import export_zarr

    key = handler.store_trajectory({"frames": np.zeros((300, 500, 3), np.float32)}, "md")
    path = tmp_path / "run.zarr"
    export_zarr(handler.open(key), path)
    chunks = sorted((path / "frames" / "c").rglob("0"))
    next(chunk for chunk in chunks if chunk.is_file()).unlink()
    with pytest.raises(InvalidArgumentError, match=r"run\.zarr.*chunks of 'frames'"):
        handler.import_trajectory(None, path, "again")
    assert handler.keys() == [key]


def test_any_reader_finds_a_damaged_chunk_of_a_zarr_group(handler, tmp_path):
    zarr = pytest.importorskip("zarr", minversion="3")
    from proteinflex_optimization.integrations.zarr import export_zarr

    beside = {"names": np.array(["CA", "C"]), "masses": np.arange(2.0)}
    frames = np.random.default_rng(1).normal(size=(4, 2, 3)).astype(np.float32)
    key = handler.store_trajectory({"frames": frames, "time": np.arange(4.0), **beside}, "md")
    path = tmp_path / "run.zarr"
    assert export_zarr(handler.open(key), path) == []
    chunks = [file for file in path.rglob("*") if file.is_file() and file.name != "zarr.json"]
    assert {chunk.relative_to(path).parts[0] for chunk in chunks} == {"frames", "time", *beside}
    for chunk in chunks:
        whole = chunk.read_bytes()
        for index in range(len(whole)):
            damaged = bytearray(whole)
            damaged[index] ^= 1
            chunk.write_bytes(damaged)
            with pytest.raises(Exception, match="checksum"):
                zarr.open_group(path, mode="r")[chunk.relative_to(path).parts[0]][...]
        with pytest.raises(InvalidArgumentError, match="checksum"):
            handler.import_trajectory(None, path, "copy")
        chunk.write_bytes(whole)
    assert "copy" not in handler
    handler.import_trajectory(None, path, "copy")


@pytest.mark.parametrize("call", ["open_group", "Array.__getitem__"])
@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ESTALE, "Stale file handle")])
def test_an_error_of_the_system_is_no_damage_of_a_zarr_group(
    handler, trajectory, tmp_path, monkeypatch, error, call
):
    zarr = pytest.importorskip("zarr", minversion="3")
    from proteinflex_optimization.integrations.zarr import export_zarr

    def fail(*arguments, **options):
        raise error

    export_zarr(trajectory, tmp_path / "run.zarr")
    monkeypatch.setattr(f"{zarr.__name__}.{call}", fail)
    with pytest.raises(type(error)) as caught:
        handler.import_trajectory(None, tmp_path / "run.zarr", "again")
    assert caught.value is error
    assert isinstance(error, MemoryError) or "run.zarr" in str(error)


def test_an_error_of_the_system_is_no_damage_of_an_npz(trajectory, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError(errno.EIO, "Input/output error")

    export_npz(trajectory, tmp_path / "run.npz")
    monkeypatch.setattr(np, "load", fail)
    with pytest.raises(OSError, match=r"Input/output error: '.*run\.npz'") as caught:
        read_npz(tmp_path / "run.npz")
    assert not isinstance(caught.value, InvalidArgumentError)


def test_an_npz_that_can_not_be_written_is_named(trajectory, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr(np.lib.format, "write_array", fail)
    with pytest.raises(OSError, match=r"File too large: '.*run\.npz'"):
        export_npz(trajectory, tmp_path / "run.npz")


def test_a_zarr_group_that_lacks_an_array_is_refused(handler, trajectory, tmp_path):
    zarr = pytest.importorskip("zarr", minversion="3")
    from proteinflex_optimization.integrations.zarr import export_zarr

    path = tmp_path / "run.zarr"
    export_zarr(trajectory, path)
    shutil.rmtree(path / "velocities")
    with pytest.raises(InvalidArgumentError, match=r"run\.zarr.*'velocities'.*'fields'"):
        handler.import_trajectory(None, path, "again")
    del zarr.open_group(path, mode="r+").attrs["fields"]
    with pytest.raises(InvalidArgumentError, match=r"run\.zarr.*'fields'"):
        handler.import_trajectory(None, path, "again")


def test_fields_whose_names_are_paths_go_through_zarr(handler, tmp_path):
    pytest.importorskip("zarr", minversion="3")
    from proteinflex_optimization.integrations.zarr import export_zarr

    stored = {"frames": np.zeros((3, 4, 3), np.float32), "energy/kinetic": np.arange(3.0)}
    trajectory = handler.open(handler.store_trajectory(stored, "md"))
    assert export_zarr(trajectory, tmp_path / "run.zarr") == []
    again = handler.load_data(handler.import_trajectory(None, tmp_path / "run.zarr", "again"))
    assert sorted(again) == sorted(stored)
    np.testing.assert_array_equal(again["energy/kinetic"], stored["energy/kinetic"])


def test_arrays_that_are_no_trajectory_are_refused(handler, tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, positions=np.zeros((3, 3)))
    with pytest.raises(InvalidArgumentError, match=r"x\.npz.*'frames'.*positions \(3, 3\)"):
        handler.import_trajectory(None, path, "x")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InvalidArgumentError, match=r"x\.npz"):
        handler.import_trajectory(None, path, "x")
    with path.open("wb") as file:
        np.save(file, np.zeros((2, 3, 3)))
    with pytest.raises(InvalidArgumentError, match=r"x\.npz"):
        handler.import_trajectory(None, path, "x")
    np.savez(path, frames=np.array([[[object()]]]))
    with pytest.raises(InvalidArgumentError, match=r"x\.npz"):
        handler.import_trajectory(None, path, "x")
    frames = np.zeros((3, 4, 3), np.float32)
    for wrong in ({"time": np.arange(2.0)}, {"frames": frames.astype(int)}):
        np.savez(path, **{"frames": frames, **wrong})
        with pytest.raises(InvalidArgumentError, match=rf"x\.npz.*{next(iter(wrong))}"):
            handler.import_trajectory(None, path, "x")
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(InvalidArgumentError, match=r"pipe\.npz.*a pipe"):
        handler.import_trajectory(None, tmp_path / "pipe.npz", "x")
    for path in (tmp_path / "missing.npz", tmp_path / "missing.zarr"):
        with pytest.raises(InvalidArgumentError, match=path.name):
            handler.import_trajectory(None, path, "x")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(InvalidArgumentError, match=r"empty\.zarr"):
        handler.import_trajectory(None, tmp_path / "empty.zarr", "x")


@pytest.mark.parametrize(
    "note",
    [{"units": "nm"}, {"scale_factor": 0.1}, {"add_offset": 5}, {"_FillValue": 0}],
    ids=repr,
)
def test_a_zarr_group_whose_attributes_change_its_numbers_is_refused(handler, tmp_path, note):
    zarr = pytest.importorskip("zarr", minversion="3")
    group = zarr.create_group(store=str(tmp_path / "other.zarr"), zarr_format=3)
    for name in ("frames", "rmsd"):
        group.create_array(name, data=np.ones((2, 4, 3), np.float32))
    # As xarray writes what it does not pack.
    group["frames"].attrs.update({"units": "angstrom", "_FillValue": "AAAAAAAA+H8="})
    group["rmsd"].attrs["units"] = "nm"
    handler.import_trajectory(None, tmp_path / "other.zarr", "t")
    group["frames"].attrs.update(note)
    with pytest.raises(InvalidArgumentError, match=f"frames .*{next(iter(note.values()))}"):
        handler.import_trajectory(None, tmp_path / "other.zarr", "u")
    assert len(handler) == 1


@pytest.mark.parametrize("name", ["thesis.tex", "frames/notes.txt", "old/data.bin"])
def test_only_a_zarr_group_is_replaced_by_one(trajectory, tmp_path, name):
    pytest.importorskip("zarr", minversion="3")
    from proteinflex_optimization.integrations.zarr import export_zarr

    path = tmp_path / "my.zarr"
    if name.startswith("frames"):
        export_zarr(trajectory, path)
    precious = path / name
    precious.parent.mkdir(parents=True, exist_ok=True)
    precious.write_text("precious")
    with pytest.raises(InvalidArgumentError, match=rf"my\.zarr.*{name}.*expected a Zarr group"):
        export_zarr(trajectory, path, overwrite=True)
    assert precious.read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["cache", "my.zarr"]
    precious.unlink()
    os.mkfifo(path / "0")
    with pytest.raises(InvalidArgumentError, match=r"has '0', which is not Zarr's"):
        export_zarr(trajectory, path, overwrite=True)
    (path / "0").unlink()
    precious.parent.rmdir() if name.startswith("old") else None
    export_zarr(trajectory, path, overwrite=True)
    assert (path / "zarr.json").exists()


BESIDE = {
    "masses": np.arange(5.0),
    "atom_names": np.array(["N", "CA", "C", "O", "CB"]),
    "pairs": np.zeros((0, 2), np.int32),
    "cutoff": np.array(9.0),
    "temperature": 300.0,
    "program": {"name": "x", "flags": [1, None, True]},
}


def test_what_belongs_to_no_frame_goes_through_zarr_or_is_named(handler, tmp_path):
    zarr = pytest.importorskip("zarr", minversion="3")
    from proteinflex_optimization.integrations.zarr import export_zarr

    frames = {"frames": np.ones((4, 5, 3), np.float32), "time": np.arange(4.0)}
    others = {"coupling": 1 + 2j, "by_number": {1: "a"}, "residues": {"ids": np.arange(3)}}
    key = handler.store_trajectory({**frames, **BESIDE, **others}, "md")
    path = tmp_path / "run.zarr"
    assert sorted(export_zarr(handler.open(key), path)) == sorted(others)
    group = zarr.open_group(path, mode="r")
    assert group["masses"].metadata.dimension_names == ("atom",)
    assert group.attrs["values"]["temperature"] == 300.0
    found = handler.load_data(handler.import_trajectory(None, path, "again"))
    expected = {**frames, **BESIDE}
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        assert type(found[name]) is type(value)
        if isinstance(value, np.ndarray):
            assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)
    (path / "masses" / "c" / "0").unlink()
    with pytest.raises(InvalidArgumentError, match="chunks of 'masses'"):
        handler.import_trajectory(None, path, "again")


def test_masses_of_a_trajectory_that_took_its_place_are_not_exported(handler, tmp_path):
    zarr = pytest.importorskip("zarr", minversion="3")
    from proteinflex_optimization.integrations.zarr import export_zarr

    frames = np.ones((4, 5, 3), np.float32)
    opened = handler.open(handler.store_trajectory({"frames": frames, "masses": np.ones(5)}, "md"))
    handler.store_trajectory({"frames": frames * 2, "masses": np.zeros(5)}, "md")
    assert export_zarr(opened, tmp_path / "run.zarr") == []
    group = zarr.open_group(tmp_path / "run.zarr", mode="r")
    np.testing.assert_array_equal(group["masses"], np.ones(5))
    np.testing.assert_array_equal(group["frames"], frames)


def test_what_belongs_to_no_frame_is_found_without_reading_a_frame(handler):
    frames = np.random.default_rng(0).normal(size=(40, 500, 3)).astype(np.float32)
    data = {"frames": frames, "masses": np.ones(5), "k": 3, "twice": {"x": frames}}
    key = handler.store_trajectory(data, "md")
    file = Path(handler.cache_dir) / "entries" / key[2:4] / f"{key}.fxt"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1  # In the middle of the frames.
    file.write_bytes(content)
    trajectory = handler.open(key)
    found = trajectory._beside_frames()
    assert list(found) == ["masses", "k", "twice"]
    np.testing.assert_array_equal(found["masses"], np.ones(5))
    assert (found["k"], found["twice"]) == (3, {"x": ...})
    with pytest.raises(CorruptDataError):
        trajectory[:]
