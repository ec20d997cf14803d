"""Quantities with units are stored in the unit of their field, or refused: never bare."""

import h5py
import numpy as np
import pint
import pytest
import xarray
from models.optimization import DataHandler
from openmm import Vec3
from openmm import unit as u
from proteinflex_optimization import create_trajectory, open_trajectory
from proteinflex_optimization.errors import InvalidArgumentError, InvalidTypeError

UREG = pint.UnitRegistry()
X = np.arange(24, dtype=np.float32).reshape(2, 4, 3)


@pytest.fixture
def handler(tmp_path):
    return DataHandler(tmp_path / "cache", durable=False)


def fields(library: str) -> dict:
    """Give the same trajectory with the units of either library."""
    if library == "openmm":
        return {
            "frames": u.Quantity(X, u.nanometer),
            "velocities": u.Quantity(X, u.nanometer / u.picosecond),
            "forces": u.Quantity(X, u.kilocalorie_per_mole / u.nanometer),
            "time": u.Quantity([1.0, 2.0], u.nanosecond),
            "box": u.Quantity([Vec3(1, 0, 0), Vec3(0, 2, 0), Vec3(0, 0, 3)], u.nanometer),
        }
    return {
        "frames": X * UREG.nanometer,
        "velocities": X * UREG.nanometer / UREG.ps,
        "forces": X * UREG.kcal / UREG.mol / UREG.nanometer,
        "time": np.array([1.0, 2.0]) * UREG.ns,
        "box": np.diag([1.0, 2.0, 3.0]) * UREG.nanometer,
    }


@pytest.mark.parametrize("library", ["openmm", "pint"])
def test_a_trajectory_is_stored_in_the_units_of_its_fields(handler, library):
    stored = handler.load_data(handler.store_trajectory(fields(library), "t"))
    np.testing.assert_allclose(stored["frames"], 10 * X, rtol=1e-6)
    assert stored["frames"].dtype == np.float32
    np.testing.assert_allclose(stored["velocities"], 10 * X, rtol=1e-6)
    np.testing.assert_allclose(stored["forces"], 4.184 * X, rtol=1e-6)
    np.testing.assert_allclose(stored["time"], [1000.0, 2000.0])
    np.testing.assert_allclose(stored["box"], np.diag([10.0, 20.0, 30.0]))


@pytest.mark.parametrize("library", ["openmm", "pint"])
def test_a_writer_takes_quantities_for_frames_and_fields(handler, library):
    given = fields(library)
    with handler.trajectory_writer("t") as writer:
        writer.append(given["frames"], velocities=given["velocities"], time=given["time"])
        first = {name: given[name][0] for name in ("frames", "velocities", "time")}
        writer.append(first["frames"], velocities=first["velocities"], time=first["time"])
    stored = handler["t"]
    np.testing.assert_allclose(stored["frames"], 10 * X[[0, 1, 0]], rtol=1e-6)
    np.testing.assert_allclose(stored["time"], [1000.0, 2000.0, 1000.0])


@pytest.mark.parametrize("library", ["openmm", "pint"])
def test_frames_may_be_quantities_that_are_iterated_over(handler, library):
    frames = fields(library)["frames"]
    stored = handler.load_data(
        handler.store_trajectory({"frames": (frames[i] for i in range(2))}, "t")
    )
    np.testing.assert_allclose(stored["frames"], 10 * X, rtol=1e-6)


def test_a_structure_takes_positions_as_openmm_gives_them(handler):
    positions = [Vec3(1, 2, 3), Vec3(4, 5, 6)] * u.nanometer
    lists = [Vec3(1, 2, 3) * u.nanometer, Vec3(4, 5, 6) * u.nanometer]
    for given in (positions, lists, tuple(lists)):
        key = handler.store_structure({"positions": given, "time": 5 * u.femtosecond}, "s")
        stored = handler.load_data(key)
        np.testing.assert_allclose(stored["positions"], [[10, 20, 30], [40, 50, 60]])
        assert stored["time"] == pytest.approx(0.005)


NM, DEG = u.nanometer, u.degree


@pytest.mark.parametrize(
    "cell",
    [
        [1 * NM, 2 * NM, 3 * NM, 90 * DEG, 60 * DEG, 120 * DEG],
        (1 * NM, 20 * u.angstrom, 3 * NM, 90.0, np.pi / 3 * u.radian, u.Quantity(120)),
        [1 * UREG.nm, 2 * UREG.nm, 3 * UREG.nm, 90 * UREG.deg, 60 * UREG.deg, 120 * UREG.deg],
        [
            1 * UREG.nm,
            2 * UREG.nm,
            30 * UREG.angstrom,
            90,
            np.pi / 3 * UREG.rad,
            UREG.Quantity(120),
        ],
    ],
)
def test_a_cell_of_lengths_and_angles_is_stored_in_angstrom_and_degrees(handler, cell):
    expected = [10, 20, 30, 90, 60, 120]
    stored = handler.load_data(handler.store_structure({"cell": cell}, "s"))
    np.testing.assert_allclose(stored["cell"], expected)
    trajectory = {"frames": X, "box": [cell, cell]}
    stored = handler.load_data(handler.store_trajectory(trajectory, "t"))
    np.testing.assert_allclose(stored["box"], [expected, expected])


@pytest.mark.parametrize("name", ["box", "cell"])
@pytest.mark.parametrize("unit", [NM, UREG.nanometer])
def test_angles_are_never_converted_as_lengths(handler, name, unit):
    six = np.array([1.0, 2, 3, 90, 90, 90])
    in_list = [value * unit for value in six]
    nested = [*in_list[:3], [90 * DEG], [90 * DEG], [90 * DEG]]
    for given in (six * unit, np.array([six] * 2) * unit, [six * unit] * 2, in_list, nested):
        with pytest.raises(InvalidArgumentError, match=rf"{name} is not valid.*degrees"):
            handler.store_structure({name: given}, "s")
    assert len(handler) == 0
    lengths = np.arange(18.0).reshape(6, 3)
    stored = handler.load_data(handler.store_structure({name: lengths * unit}, "s"))
    np.testing.assert_allclose(stored[name], 10 * lengths)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("positions", np.ones((2, 3)) * u.picosecond),
        ("positions", np.ones((2, 3)) * UREG.kelvin),
        ("positions", u.Quantity(np.ones((2, 3)), u.dimensionless)),
        ("forces", np.ones((2, 3)) * u.newton),
        ("temperature", 300.0 * u.kelvin),
        ("temperature", np.ones(3) * UREG.kelvin),
        ("distances", [1.0 * u.nanometer, 2.0 * u.nanometer]),
        ("positions", [Vec3(1, 2, 3) * u.nanometer, (4.0, 5.0, 6.0)]),
    ],
)
def test_other_dimensions_and_unknown_fields_are_refused_by_name(handler, name, value):
    with pytest.raises(InvalidArgumentError, match=name):
        handler.store_structure({name: value}, "s")
    assert len(handler) == 0


NM_LIBRARIES = pytest.mark.parametrize("unit", [NM, UREG.nanometer], ids=["openmm", "pint"])


@NM_LIBRARIES
def test_numbers_with_and_without_units_are_refused_wherever_each_is(handler, unit):
    atom = [1 * unit] * 3
    plain = [1.0] * 3
    for frames in (
        [[atom, atom], [plain, plain]],
        [[plain, plain], [atom, atom]],
        [[atom, plain], [atom, plain]],
        [np.ones((2, 3)) * unit, np.ones((2, 3))],
        [np.ones((2, 3)), np.ones((2, 3)) * unit],
    ):
        for given in (frames, iter(frames)):
            with pytest.raises(InvalidArgumentError, match=r"frames.*with and without units"):
                handler.store_trajectory({"frames": given}, "t")
        with pytest.raises(InvalidArgumentError, match="positions.*with and without units"):
            handler.store_structure({"positions": frames}, "s")
    assert len(handler) == 0


@NM_LIBRARIES
def test_a_writer_refuses_numbers_with_and_without_units_in_one_field(handler, tmp_path, unit):
    frames, time = np.ones((1, 2, 3)), np.array([1.0])
    # The fields of one frame may differ, those of all frames may not.
    first = {"frames": frames * unit, "time": time}
    writers = [handler.trajectory_writer("t"), create_trajectory(tmp_path / "run.fxt")]
    for writer in writers:
        with writer:
            with pytest.raises(InvalidArgumentError, match="time"):
                writer.append(frames, time=[1.0, 2.0])  # Says nothing of those to come.
            writer.append(**first)
            for other in ({"frames": frames}, {"time": time * u.picosecond}):
                with pytest.raises(
                    InvalidArgumentError, match=r"with and without units.*all frames"
                ):
                    writer.append(**{**first, **other})
            writer.append(**first)
    for stored in (handler.open("t"), open_trajectory(tmp_path / "run.fxt")):
        np.testing.assert_array_equal(stored[:], np.full((2, 2, 3), 10.0))


def test_lists_without_units_may_be_nested_as_deeply_as_without_libraries_of_units(handler):
    def nested(depth):
        value = [1.0]
        for _ in range(depth):
            value = [value]
        return value

    key = handler.store_structure({"nested": nested(390)}, "s")
    assert handler.load_data(key)["nested"] == nested(390)
    for n_lists in (1500, 100_000):
        with pytest.raises(InvalidArgumentError, match="nested"):
            handler.store_structure({"nested": nested(n_lists)}, "s")


def test_lists_of_quantities_that_make_no_array_are_refused(handler):
    deep = [1 * NM]
    for _ in range(2000):
        deep = [deep]
    holds_itself = [1 * NM]
    holds_itself.append(holds_itself)
    for given in (deep, holds_itself, [[1 * NM], [1 * NM, 2 * NM]]):
        with pytest.raises(InvalidArgumentError, match="positions can't be made an array"):
            handler.store_structure({"positions": given}, "s")


@NM_LIBRARIES
def test_quantities_of_masked_arrays_are_refused(handler, unit):
    masked = (
        unit * np.ma.masked_greater(X, 5)
        if unit is NM
        else UREG.Quantity(np.ma.masked_greater(X, 5), unit)
    )
    assert np.ma.isMaskedArray(getattr(masked, "magnitude", getattr(masked, "_value", None)))
    for given in (masked, (masked[i] for i in range(2)), [masked[0], masked[1]]):
        with pytest.raises(InvalidTypeError, match="frames.*masked"):
            handler.store_trajectory({"frames": given}, "t")
    with pytest.raises(InvalidTypeError, match="positions.*masked"):
        handler.store_structure({"positions": masked}, "s")
    assert len(handler) == 0


@pytest.mark.parametrize("library", ["xarray", "h5py"])
def test_a_unit_that_an_array_notes_is_that_of_the_field_or_refused(handler, library, tmp_path):
    file = h5py.File(tmp_path / "notes.h5", "w")

    def noting(unit):
        if library == "xarray":
            return xarray.DataArray(X, attrs={"units": unit})
        made = file.create_dataset(None, data=X)
        made.attrs["unit"] = unit
        return made

    for unit in ("angstrom", "Å", "Angstroms"):
        stored = handler.load_data(handler.store_trajectory({"frames": noting(unit)}, "t"))
        np.testing.assert_array_equal(stored["frames"], X)
    for unit in ("kJ/mol/nm", "kJ mol-1 nm-1", "kilojoules/mole/nanometer"):
        handler.store_trajectory({"frames": X, "forces": noting(unit)}, "t")
    for unit in ("nm", "nanometers", "angstrom/ps"):
        noted = noting(unit)
        for given in (noted, [noted[0], noted[1]] if library == "xarray" else noted, iter([noted])):
            with pytest.raises(InvalidArgumentError, match=f"frames in '{unit}'.*angstrom"):
                handler.store_trajectory({"frames": given}, "t")
    with handler.trajectory_writer("w") as writer:
        writer.append(X)
        with pytest.raises(InvalidArgumentError, match="velocities in 'nm/ps'"):
            writer.append(X, velocities=noting("nm/ps"))


def test_an_array_whose_notes_change_its_numbers_is_refused(handler):
    given = xarray.DataArray(X)
    for note, plain, other in (
        ("scale_factor", np.array([1.0]), 0.1),
        ("add_offset", 0, "x"),
        ("_FillValue", np.float32("nan"), np.array([1e20])),
        ("missing_value", "NaN", -1),
    ):
        given.attrs = {note: plain}
        handler.store_trajectory({"frames": given, "rmsd": given}, "t")
        given.attrs = {note: other}
        for data in ({"frames": given}, {"frames": X, "rmsd": given}):
            with pytest.raises(InvalidArgumentError, match=f"(frames|rmsd) with {note}="):
                handler.store_trajectory(data, "t")


@pytest.mark.parametrize("library", ["xarray", "h5py", "zarr"])
def test_arrays_of_others_are_values_of_structures_and_fields_without_a_unit(
    handler, library, tmp_path
):
    given = {
        "xarray": lambda: xarray.DataArray(X, attrs={"units": "angstrom"}),
        "h5py": lambda: h5py.File(tmp_path / "x.h5", "w").create_dataset("x", data=X),
        "zarr": lambda: pytest.importorskip("zarr").array(X),
    }[library]()
    data = {"positions": given, "frames": given, "other": given}
    of_structure = handler.load_data(handler.store_structure(data, "s"))
    data = {"frames": given, "rmsd": given}
    of_trajectory = handler.load_data(handler.store_trajectory(data, "t"))
    assert set(of_structure) == {"positions", "frames", "other"}
    assert set(of_trajectory) == {"frames", "rmsd"}
    for array in (*of_structure.values(), *of_trajectory.values()):
        assert array.dtype == X.dtype
        np.testing.assert_array_equal(array, X)
    given.attrs["units"] = "nm"
    with pytest.raises(InvalidArgumentError, match="positions in 'nm'.*angstrom"):
        handler.store_structure({"positions": given}, "s")


def test_what_xarray_was_given_comes_back(handler):
    given = {"frames": X, "velocities": X, "time": [1.0, 2.0], "box": np.ones((2, 6))}
    dataset = handler.open(handler.store_trajectory(given, "t")).to_xarray()
    again = {"frames": dataset.positions, "time": dataset.time, "box": dataset.box}
    stored = handler.load_data(handler.store_trajectory(again, "t"))
    for name in again:
        np.testing.assert_array_equal(stored[name], given[name])


def test_quantities_in_an_array_of_xarray_are_converted(handler):
    frames = xarray.DataArray(X * UREG.nanometer)
    stored = handler.load_data(handler.store_trajectory({"frames": frames}, "t"))
    np.testing.assert_allclose(stored["frames"], 10 * X, rtol=1e-6)
    stored = handler.load_data(handler.store_structure({"positions": frames}, "s"))
    np.testing.assert_allclose(stored["positions"], 10 * X, rtol=1e-6)


@pytest.mark.parametrize("unit", [u.nanometer, UREG.nanometer])
def test_a_quantity_that_is_too_large_in_the_unit_of_its_field_is_refused(handler, unit):
    large = X.copy()
    large[1, 2, 0] = 2e38
    with pytest.raises(InvalidArgumentError, match=r"frames in .*frames\[1, 2, 0\] is too large"):
        handler.store_trajectory({"frames": large * unit}, "x")
    large[1, 2, 0] = np.inf
    stored = handler.load_data(handler.store_trajectory({"frames": large * unit}, "x"))
    assert np.isinf(stored["frames"]).sum() == 1


def test_a_dimensionless_quantity_is_a_plain_number(handler):
    key = handler.store_structure({"fraction": u.Quantity(0.5), "n": UREG.Quantity(2.0)}, "s")
    assert handler.load_data(key) == {"fraction": 0.5, "n": 2.0}


def test_quantities_below_the_fields_are_refused(handler):
    for value in ({"a": 1.0 * u.nanometer}, {"a": np.ones(2) * UREG.nanometer}):
        with pytest.raises(InvalidTypeError, match="Quantity"):
            handler.store_structure({"nested": value}, "s")
        with pytest.raises(InvalidTypeError, match="Quantity"):
            handler.store_structure({"x": 1}, "s", value)
    assert len(handler) == 0


def test_arrays_that_are_more_than_their_items_are_refused_as_fields(handler):
    masked = np.ma.masked_greater(X, 5)
    with pytest.raises(InvalidTypeError, match="masked"):
        handler.store_trajectory({"frames": masked}, "t")
    with handler.trajectory_writer("t") as writer:
        writer.append(X)
        with pytest.raises(InvalidTypeError, match="masked"):
            writer.append(masked)
        # In lists, NumPy would take what is masked for numbers.
        for velocities in (list(masked), [X[0], masked[1]]):
            with pytest.raises(InvalidTypeError, match="masked"):
                writer.append(X, velocities=velocities)
    assert handler.open("t").n_frames == 2
