"""A memoized function returns what it returned, for the same arguments and the same source only."""

import array
import concurrent.futures
import copy
import functools
import importlib.util
import inspect
import os
import pickle
import random
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import DataHandler, InvalidArgumentError, InvalidTypeError
from proteinflex_optimization._fingerprint import fingerprint


@pytest.fixture
def handler(tmp_path):
    return DataHandler(tmp_path / "cache")


class Other:
    pass


def counted(handler, **options):
    count = []

    @handler.memoize(ignore=["count"], **options)
    def twice(x, factor=2, *, count=count):
        count.append(1)
        return {"twice": x * factor, "pair": (1, "a"), "none": None}

    return twice, count


def test_the_first_call_and_every_later_one_return_equal_values(handler):
    twice, count = counted(handler)
    first = twice(np.arange(3))
    later = DataHandler(handler.cache_dir).load_data(twice.key_for(np.arange(3)))["result"]
    again = twice(np.arange(3))
    for other in (again, later):
        np.testing.assert_array_equal(first["twice"], other["twice"])
        assert first["twice"].dtype == other["twice"].dtype
        assert first["pair"] == other["pair"] == (1, "a")
        assert other["none"] is None
    assert len(count) == 1
    assert handler.get_cache_stats()["hits"] >= 1


@pytest.mark.parametrize("value", [None, 3.5, "text", [1, (2, 3)], {"a": {1, 2}}, np.float32(2)])
def test_any_value_that_can_be_stored_can_be_returned(handler, value):
    @handler.memoize
    def give():
        return value

    assert give() == give() == value
    assert type(give()) is type(value)


def test_defaults_names_and_places_of_arguments_make_no_difference(handler):
    twice, count = counted(handler)
    twice(3)
    twice(3, 2)
    twice(x=3, factor=2)
    twice(factor=2, x=3)
    assert len(count) == 1
    twice(3, 4)
    assert len(count) == 2


def test_arrays_are_known_by_content_and_not_by_their_place_in_memory(handler):
    twice, count = counted(handler)
    array = np.arange(12.0).reshape(3, 4)
    for same in (array, array.copy(), np.asfortranarray(array), np.tile(array, 2)[:, :4]):
        twice(same)
    assert len(count) == 1


@pytest.mark.torch
def test_tensors_are_known_by_content(handler):
    torch = pytest.importorskip("torch")
    a = torch.arange(6, dtype=torch.bfloat16).reshape(2, 3)
    assert fingerprint(a, "a", "content") == fingerprint(a.clone(), "a", "content")
    for other in (a + 1, a.T, a.float(), a.reshape(3, 2)):
        assert fingerprint(a, "a", "content") != fingerprint(other, "a", "content")
    wave = torch.tensor([1 + 2j])
    assert fingerprint(wave.conj(), "a", "content") == fingerprint(
        torch.tensor([1 - 2j]), "a", "content"
    )
    with pytest.raises(InvalidTypeError, match="a is a tensor whose values can't be read"):
        fingerprint(torch.ones(2, device="meta"), "a", "content")

    class Dated(torch.Tensor):
        pass

    dated, later = Dated([1.0]), Dated([1.0])
    dated.year, later.year = 1, 2
    assert fingerprint(dated, "a", "content") != fingerprint(later, "a", "content")
    twice, count = counted(handler)
    twice(torch.ones(3))
    np.testing.assert_array_equal(twice(torch.ones(3))["twice"], [2, 2, 2])
    assert len(count) == 1


def test_a_wait_for_another_call_is_bounded_by_its_timeout(handler):
    computing, release = threading.Event(), threading.Event()

    @handler.memoize(timeout=0.1, ignore=["computing", "release"])
    def slow(n):
        computing.set()
        assert release.wait(30)
        return n

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(slow, 1)
        assert computing.wait(30)
        try:
            for one in (slow, copy.copy(slow)):
                with pytest.raises(TimeoutError, match="computing"):
                    one(1)
        finally:
            release.set()
        assert first.result() == 1


def test_paths_are_known_by_content_or_by_name_and_time(handler, tmp_path):
    file = tmp_path / "a.pdb"
    file.write_text("one")
    by_content = handler.memoize(read_file)
    assert by_content(file) == "one"
    file.write_text("two")
    assert by_content(file) == "two"
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    (copy / "a.pdb").write_text("two")
    assert by_content.key_for(copy / "a.pdb") == by_content.key_for(file)

    by_time = handler.memoize(paths="mtime")(read_file)
    before = by_time.key_for(file)
    assert by_time.key_for(copy / "a.pdb") != before
    os.utime(file, ns=(1, 1))
    assert by_time.key_for(file) != before
    with pytest.raises(FileNotFoundError, match="argument 'path'.*missing"):
        by_content(tmp_path / "missing")
    with pytest.raises(InvalidTypeError, match="argument 'path'.*elsewhere"):
        by_content(copy)


def read_file(path):
    return path.read_text()


def test_a_method_depends_on_what_its_object_holds(handler):
    calls = []

    class Model:
        def __init__(self, weight):
            self.weight = weight

        @handler.memoize(ignore=["calls"])
        def predict(self, x):
            calls.append(1)
            return self.weight * x

    assert Model(2).predict(3) == Model(2).predict(3) == 6
    assert len(calls) == 1
    assert Model(3).predict(3) == 9
    assert len(calls) == 2


class Scaled:
    def __init__(self, weight):
        self.weight = weight

    def times(self, x, power=1):
        """Multiply."""
        return self.weight * x**power


def test_a_method_tells_the_key_of_its_object(handler, monkeypatch):
    memoized = handler.memoize(Scaled.times)
    monkeypatch.setattr(Scaled, "times", memoized)
    method = Scaled(2).times
    assert method(3, power=2) == 18
    assert method.key_for(3, 2) == memoized.key_for(Scaled(2), 3, power=2) in handler.keys()
    assert Scaled(4).times.key_for(3, 2) != method.key_for(3, 2)
    assert str(inspect.signature(method)) == "(x, power=1)"
    assert (method.__name__, method.__doc__) == ("times", "Multiply.")
    again = pickle.loads(pickle.dumps(method))
    assert again.key_for(3, 2) == method.key_for(3, 2)


def test_methods_of_one_object_are_equal(handler, monkeypatch):
    monkeypatch.setattr(Scaled, "times", handler.memoize(Scaled.times))
    one = Scaled(2)
    assert {one.times: 1}[one.times] == 1
    assert one.times != Scaled(2).times


MODULE = """
def make(handler):
    @handler.memoize
    def answer(x):
        print("computed")
        return x + {number}
    return answer
"""


def test_a_changed_source_is_computed_again(handler, tmp_path, capsys):
    def answer(number):
        # Under the same name and line, as after an edit.
        path = tmp_path / f"edited{number}" / "science.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(MODULE.format(number=number))
        spec = importlib.util.spec_from_file_location("science", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.make(handler)(1)

    assert [answer(1), answer(1), answer(2), answer(1)] == [2, 2, 3, 2]
    assert capsys.readouterr().out.count("computed") == 2


EDITED_MODULE = """
def add(x):
    return x + {number}

def apply(function, x):
    return function(x)
"""


@pytest.mark.parametrize("is_argument", [False, True])
def test_a_source_that_is_edited_while_its_old_code_runs_is_not_taken_for_what_it_returned(
    handler, tmp_path, is_argument
):
    def module(number):
        path = tmp_path / "edited.py"
        path.write_text(EDITED_MODULE.format(number=number))
        spec = importlib.util.spec_from_file_location("edited", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def memoized(module):
        apply = handler.memoize(module.apply)
        return functools.partial(apply, module.add) if is_argument else handler.memoize(module.add)

    running = module(1)
    early = memoized(running)
    module(100)  # The author goes on.
    assert [early(1), memoized(running)(2)] == [2, 3]
    next_run = memoized(module(100))
    assert [next_run(1), next_run(2)] == [101, 102]


def test_what_a_function_encloses_is_part_of_it(handler):
    def make(offset):
        @handler.memoize
        def add(x):
            return x + offset

        return add

    assert make(1)(1) == 2
    assert make(10)(1) == 11


def test_a_function_may_call_itself(handler):
    @handler.memoize
    def fibonacci(n):
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    assert fibonacci(30) == 832040


def test_exceptions_are_not_cached(handler):
    outcomes = [ValueError("not yet"), 5]

    @handler.memoize(ignore=["outcomes"])
    def compute(outcomes):
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    with pytest.raises(ValueError, match="not yet"):
        compute(outcomes)
    assert compute(outcomes) == 5
    assert compute(outcomes) == 5


@pytest.mark.parametrize(
    ("kind", "result", "message"),
    [
        ("structure", {"shape": object}, r"result\['shape'\]=<class 'object'> is of type type"),
        ("trajectory", 5, "result=5 is of type int"),
        ("trajectory", {"frames": np.zeros(1)}, r"result\['frames'\]=shape \[1\] is not valid"),
    ],
)
def test_a_result_that_cannot_be_stored_is_called_that_of_its_function(
    handler, kind, result, message
):
    @handler.memoize(kind=kind)
    def features():
        return result

    with pytest.raises(
        InvalidArgumentError, match=rf"^the result of \S*features can't .*: {message}"
    ):
        features()


def test_an_error_of_the_function_is_not_taken_for_one_of_its_result(handler):
    @handler.memoize
    def store():
        raise InvalidTypeError("structure_data['result'] of another store")

    with pytest.raises(InvalidTypeError, match=r"^structure_data\['result'\]"):
        store()


def test_the_order_of_keywords_counts_for_a_result_may_depend_on_it(handler):
    @handler.memoize
    def names(**columns):
        return list(columns)

    assert names(a=1, b=2) == ["a", "b"]
    assert names(b=2, a=1) == ["b", "a"]


def test_trajectories_are_stored_as_trajectories(handler):
    @handler.memoize(kind="trajectory")
    def simulate(n):
        return {"frames": np.zeros((n, 4, 3), np.float32), "time": np.arange(float(n))}

    assert simulate(5)["frames"].shape == simulate(5)["frames"].shape == (5, 4, 3)
    assert handler.open(simulate.key_for(5)).n_frames == 5
    assert handler.info(simulate.key_for(5))["metadata"]["function"].endswith("simulate")


@pytest.mark.parametrize("kind", ["structure", "trajectory"])
def test_arrays_are_read_only_whatever_is_in_them(handler, kind):
    arrays = {"noise": np.random.default_rng(0).bytes(8000), "few": np.arange(5.0)}
    arrays["noise"] = np.frombuffer(arrays["noise"], np.uint64)

    @handler.memoize(kind=kind)
    def give():
        return {"frames": np.zeros((300, 40, 3), np.float32), "nested": [(arrays,)], **arrays}

    for _ in range(2):
        result = give()
        found = [*result.values(), *result["nested"][0][0].values()]
        found = [value for value in found if isinstance(value, np.ndarray)]
        assert len(found) == 5
        assert not any(array.flags.writeable for array in found)


def generate():
    yield 1


async def wait():
    pass


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x, "a name with def"),
        (generate, "a generator"),
        (wait, "what is awaited"),
        (np.sin, "made by def"),
        (Other, "made by def"),
        (5, "made by def"),
    ],
)
def test_what_has_no_name_or_is_used_up_is_refused(handler, function, message):
    with pytest.raises(InvalidArgumentError, match=message):
        handler.memoize(function)


def test_unknown_parameters_and_options_are_named(handler):
    with pytest.raises(InvalidArgumentError, match="ignore='verbos'.*path"):
        handler.memoize(ignore="verbos")(read_file)
    with pytest.raises(InvalidArgumentError, match="kind='other'"):
        handler.memoize(kind="other")(read_file)
    with pytest.raises(InvalidArgumentError, match="paths='name'"):
        handler.memoize(paths="name")(read_file)


@pytest.mark.parametrize(
    "options",
    [{"kind": "other"}, {"paths": "name"}, {"ignore": 3}, {"ignore": ["x", 3]}]
    + [{"timeout": value} for value in ("5", True, -1, float("nan"))],
)
def test_arguments_of_the_decorator_are_refused_before_it_decorates(handler, options):
    (name,) = options
    with pytest.raises(InvalidArgumentError, match=f"{name}="):
        handler.memoize(**options)


def test_a_decorator_may_be_used_again(handler):
    keep = handler.memoize(ignore=iter(["verbose"]))

    for _ in range(2):

        @keep
        def double(x, verbose=False):
            return 2 * x

        assert double(1, verbose=True) == double(1) == 2
        assert double.key_for(1, verbose=True) == double.key_for(1)


@pytest.mark.parametrize(
    "value",
    [
        object(),
        iter([1]),
        (n for n in ()),
        sys.stdout,
        np.array([object()]),
        np.frompyfunc(lambda x: x + 1, 1, 1),
    ],
)
def test_what_has_no_content_is_refused_and_the_argument_named(handler, value):
    with pytest.raises(InvalidTypeError, match="argument 'path'"):
        handler.memoize(read_file)(value)
    with pytest.raises(InvalidTypeError, match="argument 'path'"):
        handler.memoize(read_file)([{"a": value}])


class Numbers(array.array):
    pass


@pytest.mark.parametrize(
    "make", [lambda _: random.Random(1), lambda handler: handler, lambda _: Numbers("d", [1.0])]
)
def test_what_compiled_classes_hold_beside_attributes_is_not_overlooked(handler, make):
    with pytest.raises(InvalidTypeError, match="argument 'path'"):
        handler.memoize(read_file)(make(handler))


def mean_of(trajectory):
    return float(trajectory.read().mean())


def test_trajectories_count_by_their_content(handler):
    for name, value in (("ones", 1), ("again", 1), ("zeros", 0)):
        frames = np.full((2, 3, 3), value, "f4")
        # A path that counts as a text: nobody asks for that file.
        handler.store_trajectory({"frames": frames}, name, metadata={"from": Path("gone")})
    memoized = handler.memoize(mean_of)
    ones, again, zeros = (handler.open(name) for name in ("ones", "again", "zeros"))
    assert [memoized(ones), memoized(zeros)] == [1.0, 0.0]
    before = handler.get_cache_stats()["hits"]
    assert memoized(again) == 1.0
    assert handler.get_cache_stats()["hits"] == before + 1


def scaled(factor):
    def decorate(function):
        @functools.wraps(function)
        def wrapper(value):
            return factor * function(value)

        return wrapper

    return decorate


def unchanged(value):
    return value


def applied(function):
    return function(1) + getattr(function, "more", 0)


def test_functions_that_wrap_another_count_by_what_they_do(handler):
    memoized = handler.memoize(applied)
    twice, thrice = scaled(2)(unchanged), scaled(3)(unchanged)
    assert [memoized(unchanged), memoized(twice), memoized(thrice)] == [1, 2, 3]
    twice.more = 5
    assert memoized(twice) == 7


def multiplied(value, by):
    return value * by


def test_a_wrapper_takes_what_it_is_defined_with(handler):
    def wrapper_of(function, default):
        @functools.wraps(function)
        def wrapper(value, scale=default):
            return function(value, 7) * scale

        return handler.memoize(wrapper)

    twice, thrice = wrapper_of(multiplied, 2), wrapper_of(multiplied, 3)
    assert [twice(1), thrice(1), twice(1, 5), twice(1, scale=6)] == [14, 21, 35, 42]
    assert twice.key_for(1) == twice.key_for(value=1, scale=2)


def test_another_memoized_function_that_is_enclosed_counts_as_what_it_does(handler):
    def using(function):
        memoized = handler.memoize(function)

        @handler.memoize
        def uses(value):
            return memoized(value)

        return uses

    assert [using(unchanged)(2), using(scaled(3)(unchanged))(2)] == [2, 6]


def test_a_pipe_is_refused_and_not_waited_for(handler, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidTypeError, match="pipe"):
        handler.memoize(read_file)(tmp_path / "pipe")


def test_what_contains_itself_is_refused(handler):
    loop = []
    loop.append(loop)
    with pytest.raises(InvalidTypeError, match="contains itself"):
        handler.memoize(read_file)(loop)


def test_wrong_arguments_are_those_of_the_function(handler):
    with pytest.raises(TypeError, match="missing a required argument: 'path'"):
        handler.memoize(read_file)()


def test_it_looks_like_the_function(handler):
    memoized = handler.memoize(unchanged)
    assert memoized.__name__ == "unchanged"
    assert memoized.__wrapped__ is unchanged
    assert repr(memoized).endswith("test_memoize.unchanged>")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[__name__], "unchanged", memoized)
        assert pickle.loads(pickle.dumps(memoized)) is memoized
    # Where the name leads to the function itself, it goes with that.
    copied = pickle.loads(pickle.dumps(memoized))
    assert copied.key_for(1) == memoized.key_for(1)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_gives_back_a_function_of_the_script_itself(handler, monkeypatch, protocol):
    memoized = handler.memoize(unchanged)
    monkeypatch.setattr(unchanged, "__module__", "__main__")
    memoized.__module__ = "__main__"
    monkeypatch.setattr(sys.modules["__main__"], "unchanged", memoized, raising=False)
    assert pickle.loads(pickle.dumps(memoized, protocol)) is memoized


def test_a_variable_without_content_is_named_with_the_function_that_uses_it(handler):
    opaque = [object()]

    def count(n):
        return n + len(opaque)

    with pytest.raises(
        InvalidTypeError, match=r"count: opaque\[0\], of type object, has no content"
    ):
        handler.memoize(count)(1)
