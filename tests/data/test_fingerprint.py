"""Different values have different fingerprints, and equal ones the same in every process."""

import collections
import dataclasses
import datetime
import enum
import functools
import inspect
import itertools
import os
import subprocess
import sys
import zoneinfo
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import InvalidTypeError, Topology
from proteinflex_optimization._fingerprint import PIECE, _pieces, fingerprint


class Caching:
    """Keeps what it was asked for, and a hash of its own that is another in each process."""

    def __init__(self, name):
        self.name, self._hash = name, hash(name)

    def __getstate__(self):
        return {name: item for name, item in vars(self).items() if name != "_hash"}

    @functools.cached_property
    def length(self):
        return len(self.name)


def quantities():
    from openmm import unit

    pint = pytest.importorskip("pint").UnitRegistry()
    return [
        *[5 * unit.nanometer, 6 * unit.nanometer, 6 * unit.kelvin, unit.nanometer],
        *[
            [1.0, 2.0] * unit.angstrom,
            np.ones(2) * unit.angstrom,
            {unit.kelvin: 5 * unit.picosecond},
        ],
        *[5 * pint.nm, 6 * pint.nm, 6 * pint.kelvin, pint.nm, np.ones(2) * pint.nm / pint.ps],
    ]


def test_what_an_object_notes_of_itself_makes_no_difference():
    sparse = pytest.importorskip("scipy.sparse")
    matrix, used = (sparse.csr_matrix(np.eye(3)) for _ in range(2))
    assert used.has_sorted_indices
    assert fingerprint(used, "m", "content") == fingerprint(matrix, "m", "content")
    assert fingerprint(used * 2, "m", "content") != fingerprint(matrix, "m", "content")
    whole, read = (Topology(["CA"], ["C"], [0], ["ALA"], [1], [0], ["A"]) for _ in range(2))
    assert read.names.tolist() == ["CA"]
    assert fingerprint(read, "t", "content") == fingerprint(whole, "t", "content")
    fresh, asked = Caching("a"), Caching("a")
    assert asked.length == 1
    assert fingerprint(asked, "c", "content") == fingerprint(fresh, "c", "content")
    assert fingerprint(Caching("b"), "c", "content") != fingerprint(fresh, "c", "content")
    fresh.file = sys.stdout
    with pytest.raises(InvalidTypeError, match=r"c\['file'\]"):
        fingerprint(fresh, "c", "content")


HASHED = """
import sys
sys.path.insert(0, sys.argv[1])
from test_fingerprint import Caching, fingerprint, quantities
print([fingerprint(value, "value", "content") for value in [Caching("a"), *quantities()]])
"""


def test_quantities_count_by_number_and_unit_the_same_in_every_process():
    pytest.importorskip("openmm")
    runs = []
    for seed in "12":
        run = subprocess.run(
            [sys.executable, "-c", HASHED, Path(__file__).parent],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr
        runs.append(run.stdout)
    assert runs[0] == runs[1]
    values = quantities()
    digests = [fingerprint(value, "value", "content") for value in values]
    assert len(set(digests)) == len(digests)
    for value, digest in zip(values, digests, strict=True):
        if hasattr(value, "magnitude"):
            # Of these the unit notes its dimension.
            assert (value * value).to_base_units().dimensionality != value.dimensionality
        assert fingerprint(value, "value", "content") == digest


STRUCTURES = [
    {"names": ["a", "b"], "formats": ["i4", "i4"], "offsets": [4, 0]},
    {"names": ["a", "b"], "formats": ["i4", "i4"], "offsets": [0, 0]},
    {"names": ["a", "b"], "formats": ["i4", "i4"], "offsets": [0, 4]},
    [(("title of a", "a"), "i4"), ("b", "i4")],
]


def different_values(tmp_path):
    class Colour(enum.Enum):
        RED = 1
        BLUE = 2

    @dataclasses.dataclass
    class Point:
        x: float

    class Plain:
        def __init__(self, x):
            self.x = x

    class Weighted(list):
        weight = 0

    class Labelled(dict):
        label = ""

    class Measured(np.ndarray):
        unit = ""

    class Slotted(list):
        __slots__ = ("__hidden", "unset")

        def __init__(self, hidden):
            super().__init__([1])
            self.__hidden = hidden

    class Bare:
        __slots__ = ("x",)

        def __init__(self, x):
            self.x = x

    def phase(value):
        """An enum as it is in one version of a script, and in the next."""

        class Phase(enum.Enum):
            HOT = value

        return Phase.HOT

    def masked(data, **options):
        return np.ma.masked_array(data, [False, True], **options)

    light, heavy = Weighted([1]), Weighted([1])
    heavy.weight = 5
    named, other_name = Labelled(a=1), Labelled(a=1)
    other_name.label = "b"
    metres, feet = np.zeros(3).view(Measured), np.zeros(3).view(Measured)
    feet.unit = "ft"

    file = tmp_path / "a.txt"
    file.write_text("a")
    other = tmp_path / "b.txt"
    other.write_text("a")
    utc = datetime.timezone.utc
    return [
        None,
        0,
        0.0,
        -0.0,
        False,
        "",
        b"",
        (),
        [],
        {},
        set(),
        frozenset(),
        1,
        1.0,
        True,
        "1",
        b"1",
        1 << 40_000,
        float("nan"),
        float("inf"),
        1j,
        [1, 2],
        [2, 1],
        (1, 2),
        [[1], 2],
        [[1, 2]],
        {"a": 1},
        {"a": 1, "b": 2},
        {"b": 2, "a": 1},
        {1, 2},
        range(3),
        range(0, 4, 2),
        slice(3),
        np.arange(3),
        np.arange(3.0),
        np.arange(3, dtype=">i8"),
        np.arange(3)[:, None],
        np.zeros(3, np.int64),
        np.float64(1),
        np.float32(1),
        np.array("a"),
        np.array([]),
        np.zeros((0, 3)),
        *[np.ndarray(3, "U0"), np.ndarray(3, "S0"), np.ndarray((2, 3), "U0")],
        *[np.str_("a"), np.str_("a\0"), np.bytes_(b"a"), np.bytes_(b"a\0")],
        np.array([("a", 1)], dtype=[("n", "U1"), ("v", int)]),
        np.ma.masked_array([0, 1, 2], [True, False, False]),
        Colour.RED,
        Colour.BLUE,
        Colour,
        Point,
        Point(1),
        Point(2),
        Plain(1),
        Plain(2),
        datetime.date(2020, 1, 1),
        datetime.datetime(2020, 1, 1),
        datetime.datetime(2020, 1, 1, tzinfo=utc),
        datetime.timedelta(1),
        file,
        other,
        str(file),
        np.sin,
        len,
        test_defaults_are_seen,
        *[lambda: 1, lambda: 2, lambda: [x + 1 for x in ()], lambda: [x + 2 for x in ()]],
        *[collections.defaultdict(int), collections.defaultdict(list)],
        *[light, heavy, named, other_name, metres, feet],
        *[Slotted(1), Slotted(2), Bare(1), Bare(2), phase(300), phase(310)],
        *[masked([1, 2]), masked([1, 3]), masked([1, 2], fill_value=5)],
        *[masked([1, 2], hard_mask=True), np.ma.masked_array([1, 2]), np.ma.masked],
        *[np.zeros(2, dtype) for dtype in STRUCTURES],
        *[os.stat_result((0,) * 10, {"st_atime_ns": ns}) for ns in (1, 2)],
    ]


def test_defaults_are_seen():
    def make(default):
        def f(x=default):
            return x

        return f

    assert fingerprint(make(1), "f", "content") == fingerprint(make(1), "f", "content")
    assert fingerprint(make(1), "f", "content") != fingerprint(make(2), "f", "content")


def wrappers(by):
    """Functions that seem to take no more than `x`."""

    def base(x):
        return x

    @functools.wraps(base)
    def wrapper(x, scale=by):
        return base(x) * scale

    @functools.wraps(base)
    def of_a_keyword(x, *, scale=by):
        return base(x) * scale

    def signed(x, scale=by):
        return x * scale

    signed.__signature__ = inspect.signature(base)
    return [wrapper, of_a_keyword, signed, functools.partial(wrapper), [wrapper]]


def test_what_seems_to_be_another_function_counts_by_its_own_defaults():
    for two, again, three in zip(wrappers(2), wrappers(2), wrappers(3), strict=True):
        assert fingerprint(two, "f", "content") == fingerprint(again, "f", "content")
        assert fingerprint(two, "f", "content") != fingerprint(three, "f", "content")


def calling_themselves(by):
    """Functions that call themselves by something that does more."""

    def by_wrapper(x):
        return wrapper(x - 1) if x else 1

    @functools.wraps(by_wrapper)
    def wrapper(x):
        return by * by_wrapper(x)

    def by_object(x):
        return scaled(x - 1) if x else 1

    class Scaled:
        def __init__(self, function):
            functools.update_wrapper(self, function)
            self.by, self.function = by, function

        def __call__(self, x):
            return self.by * self.function(x)

    scaled = Scaled(by_object)
    return [by_wrapper, wrapper, by_object, scaled]


def test_a_function_that_calls_itself_by_a_wrapper_counts_by_that_too():
    for two, again, three in zip(*map(calling_themselves, (2, 2, 3)), strict=True):
        assert fingerprint(two, "f", "content") == fingerprint(again, "f", "content")
        assert fingerprint(two, "f", "content") != fingerprint(three, "f", "content")


def attributed(make, more):
    made = make()
    vars(made).update(more)
    return made


def shadowed(by):
    def function(x):
        return x * by

    function.by = 0
    return function


Pressure = collections.namedtuple("Pressure", "temperature pressure")
OtherOrder = collections.namedtuple("Pressure", "pressure temperature")


class Row(list):
    pass


class Table(dict):
    pass


@pytest.mark.parametrize(
    ("value", "other"),
    [
        (Pressure(300, 1), OtherOrder(300, 1)),
        (functools.partial(max, 1), attributed(lambda: functools.partial(max, 1), {"a": 1})),
        (
            functools.lru_cache(shadowed),
            attributed(lambda: functools.lru_cache(shadowed), {"a": 1}),
        ),
        (shadowed(2), shadowed(3)),
        (slice(np.arange(5000)), slice(np.r_[:2000, 0, 2001:5000])),
        (Row([1, "a", 2]), attributed(lambda: Row([1]), {"a": 2})),
        (Table(a=1, b=2), attributed(lambda: Table(a=1), {"b": 2})),
    ],
)
def test_names_and_attributes_of_values_count(value, other):
    assert fingerprint(value, "value", "content") != fingerprint(other, "value", "content")


class Zone(datetime.tzinfo):
    """Has no text of its own but its address, or that of another zone."""

    def __init__(self, hours=1, name=None):
        self.hours, self.name = hours, name

    def utcoffset(self, time):
        return datetime.timedelta(hours=self.hours if time and time.month > 6 else 1)

    def __str__(self):
        return self.name or super().__repr__()


def test_time_zones_count_by_their_rules_and_not_by_their_names():
    zones = [Zone(), Zone(2), Zone(2, "Europe/Berlin"), zoneinfo.ZoneInfo("Europe/Berlin")]
    zones += [datetime.timezone(datetime.timedelta(hours=1), "Europe/Berlin"), None]
    times = [datetime.datetime(2020, 1, 1, tzinfo=zone) for zone in zones]
    digests = [fingerprint(value, "t", "content") for value in (*zones, *times)]
    assert len(set(digests)) == len(digests)
    assert fingerprint(Zone(), "t", "content") == digests[0]
    path = Path(zoneinfo.TZPATH[0], "UTC") if zoneinfo.TZPATH else None
    if path and path.is_file():
        with path.open("rb") as file:
            unnamed = zoneinfo.ZoneInfo.from_file(file)
        with pytest.raises(InvalidTypeError, match=r"the time zone of t has no content.*its key"):
            fingerprint(times[0].replace(tzinfo=unnamed), "t", "content")


def test_different_values_have_different_fingerprints_and_equal_ones_the_same(tmp_path):
    first, second = different_values(tmp_path), different_values(tmp_path)
    for value, same in zip(first, second, strict=True):
        before = fingerprint(value, "value", "content")
        assert before == fingerprint(same, "value", "content"), repr(value)
    for value, other in itertools.combinations(first, 2):
        assert fingerprint(value, "value", "content") != fingerprint(other, "value", "content"), (
            value,
            other,
        )


def test_padding_between_numbers_is_no_content():
    records, same = (np.zeros(2, np.dtype([("a", "i1"), ("b", "f8")], align=True)) for _ in "ab")
    records.view("u1")[1] = 7
    longs = np.empty(3, np.longdouble)
    longs.view("u1")[:] = 255
    longs[:] = 1, 2, 3
    for value, equal in (
        (records, same),
        (records[0], same[0]),
        (longs, np.array([1, 2, 3], np.longdouble)),
        (longs[::2], np.array([1, 3], np.longdouble)),
        (longs[0], np.longdouble(1)),
        (longs.astype(np.clongdouble), np.array([1, 2, 3], np.clongdouble)),
    ):
        assert fingerprint(value, "x", "content") == fingerprint(equal, "x", "content")
    same["b"][1] = np.nextafter(0, 1)
    assert fingerprint(records, "x", "content") != fingerprint(same, "x", "content")
    assert fingerprint(longs, "x", "content") != fingerprint(longs[::-1], "x", "content")


def test_arrays_of_any_layout_are_hashed_in_pieces():
    numbers = np.arange(3 * PIECE // 8 + 1.0)
    arrays = [
        numbers,
        numbers[::2],
        numbers[:-1].reshape(-1, 3).T,
        numbers[None, ::-1],
        numbers[:0],
    ]
    arrays += [np.broadcast_to(numbers[7], (PIECE, 1)), np.float32(1)]
    for array in arrays:
        pieces = [piece.tobytes() for piece in _pieces(np.asarray(array))]
        assert b"".join(pieces) == array.tobytes()
        assert max(map(len, pieces), default=0) <= PIECE


@pytest.mark.torch
def test_tensors_of_one_number_and_of_parts_of_complex_ones_count_by_content():
    torch = pytest.importorskip("torch")
    pair = torch.tensor([1 + 2j, 3 + 4j])
    for tensor, equal in (
        (torch.arange(10.0)[3::10], torch.tensor([3.0])),
        (pair[:1].imag, torch.tensor([2.0])),
        (torch.stack([pair, pair]).conj()[:, 0], torch.tensor([1 - 2j, 1 - 2j])),
        (torch.zeros(2, 0, 3), torch.zeros(2, 0, 3)),
        (torch.arange(6.0).reshape(2, 3).T[1], torch.tensor([1.0, 4.0])),
        (torch.arange(6.0)[2], torch.tensor(2.0)),
    ):
        assert fingerprint(tensor, "x", "content") == fingerprint(equal, "x", "content")
