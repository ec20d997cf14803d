"""A trajectory as an `xarray.Dataset`: names, coordinates, units, and nothing read too early."""

import builtins
import importlib.util
import json
import logging
import sys

import dask
import numpy as np
import pytest
import xarray
from proteinflex_optimization import (
    InvalidArgumentError,
    Topology,
    create_trajectory,
    open_trajectory,
)

RNG = np.random.default_rng(0)
FRAMES = RNG.normal(0, 10, (40, 30, 3)).astype(np.float32)
FIELDS = {
    "time": np.arange(40) * 0.5,
    "velocities": RNG.normal(0, 1, (40, 30, 3)).astype(np.float32),
    "forces": RNG.normal(0, 100, (40, 30, 3)),
    "box": np.tile(np.eye(3) * 30, (40, 1, 1)),
    "potential_energy": RNG.normal(0, 1, 40),
    "charge": RNG.normal(0, 1, (40, 30)),
    "virial": RNG.normal(0, 1, (40, 2, 2)),
}


@pytest.fixture
def trajectory(tmp_path):
    with create_trajectory(tmp_path / "run.fxt", {"temperature": 300}) as writer:
        writer.append(FRAMES, **FIELDS)
    return open_trajectory(tmp_path / "run.fxt")


def test_fields_have_names_coordinates_and_units(trajectory):
    dataset = trajectory.to_xarray()
    expected = {
        "positions": (("time", "atom", "xyz"), "angstrom", FRAMES),
        "velocities": (("time", "atom", "xyz"), "angstrom/ps", FIELDS["velocities"]),
        "forces": (("time", "atom", "xyz"), "kJ/mol/nm", FIELDS["forces"]),
        "box": (("time", "box_vector", "xyz"), "angstrom", FIELDS["box"]),
        "potential_energy": (("time",), None, FIELDS["potential_energy"]),
        "charge": (("time", "atom"), None, FIELDS["charge"]),
        "virial": (("time", "virial_1", "virial_2"), None, FIELDS["virial"]),
    }
    assert set(dataset.data_vars) == set(expected)
    for name, (dimensions, units, values) in expected.items():
        assert dataset[name].dims == dimensions
        assert dataset[name].attrs.get("units") == units
        assert dataset[name].dtype == values.dtype
        np.testing.assert_array_equal(dataset[name].values, values)
    np.testing.assert_array_equal(dataset.time, FIELDS["time"])
    assert dataset.time.attrs == {"units": "ps"}
    assert list(dataset.xyz.values) == ["x", "y", "z"]
    picked = dataset.positions.sel(time=2.0, atom=[3, 7], xyz="z")
    np.testing.assert_array_equal(picked, FRAMES[4, [3, 7], 2])
    assert json.loads(dataset.attrs["metadata"]) == {"temperature": 300}
    assert dataset.attrs["content_id"] == trajectory.content_id


def test_atoms_have_the_coordinates_that_the_topology_tells(tmp_path):
    topology = Topology(
        ["N", "CA", "CA"], ["N", "C", "C"], [0, 0, 1], ["ALA", "GLY"], [5, 7], [0, 1], ["A", "B"]
    )
    with create_trajectory(tmp_path / "run.fxt", structure=topology) as writer:
        writer.append(FRAMES[:, :3])
    trajectory = open_trajectory(tmp_path / "run.fxt")
    assert trajectory.topology == topology
    dataset = trajectory.to_xarray()
    alphas = dataset.where(dataset.atom_name == "CA", drop=True)
    np.testing.assert_array_equal(alphas.positions, FRAMES[:, 1:3])
    assert alphas.residue_name.values.tolist() == ["ALA", "GLY"]
    assert alphas.residue_number.values.tolist() == [5, 7]
    assert alphas.chain_id.values.tolist() == ["A", "B"]
    with pytest.raises(InvalidArgumentError, match="atoms"):
        write_two_atoms(tmp_path / "two.fxt", topology)
    assert not (tmp_path / "two.fxt").exists()


def write_two_atoms(path, topology):
    with create_trajectory(path, structure=topology) as writer:
        writer.append(FRAMES[:, :2])


def test_nothing_is_read_before_it_is_needed(tmp_path):
    with create_trajectory(tmp_path / "run.fxt", compress=False) as writer:
        for _ in range(4):
            writer.append(np.ones((64, 5000, 3), np.float32))
    path = tmp_path / "run.fxt"
    middle = path.stat().st_size // 2
    with path.open("r+b") as file:
        file.seek(middle)
        file.write(b"\xff")
    with dask.config.set({"array.chunk-size": "4MB"}):
        dataset = open_trajectory(path).to_xarray()  # Damaged, which only who reads it meets.
    assert dataset.positions.isel(time=0).sum() == 15000
    chunks = dataset.positions.chunks[0]
    whole = open_trajectory(path).chunk_frames
    assert all(length % whole == 0 for length in chunks[:-1])
    with pytest.raises(Exception, match="damaged"):
        dataset.positions.sum().compute()


def test_without_dask_it_is_read_at_once(trajectory, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "dask" else find(name, *rest),
    )
    dataset = trajectory.to_xarray()
    assert isinstance(dataset.positions.data, np.ndarray)
    np.testing.assert_array_equal(dataset.positions, FRAMES)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format", ["netcdf", "zarr"])
def test_a_dataset_comes_back_from_a_file(trajectory, tmp_path, format):
    dataset = trajectory.to_xarray()
    if format == "netcdf":
        dataset.to_netcdf(tmp_path / "run.nc", engine="h5netcdf")
        again = xarray.open_dataset(tmp_path / "run.nc", engine="h5netcdf")
    else:
        dataset.to_zarr(tmp_path / "run.zarr")
        again = xarray.open_zarr(tmp_path / "run.zarr")
    with again:
        xarray.testing.assert_identical(again.load(), dataset.load())


def test_names_of_dimensions_are_free_for_fields_and_what_is_left_out_is_logged(tmp_path, caplog):
    metadata = {"run": "A7", "loss": np.float32(1), "shape": (1, 2), "x": b"a", "charges": {1: 2}}
    with create_trajectory(tmp_path / "run.fxt", metadata) as writer:
        writer.append(FRAMES, positions=FRAMES, atom=FIELDS["charge"], box=np.ones((40, 6)))
    with caplog.at_level(logging.WARNING):
        dataset = open_trajectory(tmp_path / "run.fxt").to_xarray()
    assert set(dataset.data_vars) == {"frames", "positions", "atom_", "box"}
    assert "time" not in dataset.coords
    assert list(dataset.box_parameter.values) == ["a", "b", "c", "alpha", "beta", "gamma"]
    assert json.loads(dataset.attrs["metadata"]) == {"run": "A7", "shape": [1, 2]}
    assert "left out of metadata: loss, x, charges" in caplog.text


@pytest.mark.filterwarnings("ignore")
def test_a_field_whose_name_has_a_slash_comes_back_from_a_file(tmp_path):
    numbers = {"thermo/pressure": FIELDS["time"], "thermo_pressure": -FIELDS["time"]}
    with create_trajectory(tmp_path / "run.fxt") as writer:
        writer.append(FRAMES, **numbers, **{"a/b_c": FIELDS["virial"], "a_b/c": FIELDS["virial"]})
    dataset = open_trajectory(tmp_path / "run.fxt").to_xarray()
    assert set(dataset.data_vars) == {
        *("positions", "thermo_pressure_", "thermo_pressure", "a_b_c", "a_b_c_")
    }
    np.testing.assert_array_equal(dataset.thermo_pressure, numbers["thermo_pressure"])
    dataset.to_zarr(tmp_path / "run.zarr")
    dataset.to_netcdf(tmp_path / "run.nc", engine="h5netcdf")
    with (
        xarray.open_zarr(tmp_path / "run.zarr") as of_zarr,
        xarray.open_dataset(tmp_path / "run.nc", engine="h5netcdf") as of_netcdf,
    ):
        xarray.testing.assert_identical(of_zarr.load(), dataset.load())
        xarray.testing.assert_identical(of_netcdf.load(), dataset)


def test_a_missing_library_is_named_with_what_installs_it(trajectory, monkeypatch):
    real = builtins.__import__

    def missing(name, *rest):
        if name in ("xarray", "nglview"):
            raise ModuleNotFoundError(name=name)
        return real(name, *rest)

    for name in ("xarray", "nglview"):
        monkeypatch.delitem(
            sys.modules,
            f"proteinflex_optimization.integrations.{name}",
            raising=False,
        )
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r'pip install "proteinflex-optimization\[xarray\]"'):
        trajectory.to_xarray()
    with pytest.raises(ImportError, match=r'pip install "proteinflex-optimization\[nglview\]"'):
        trajectory.view("protein.pdb")
