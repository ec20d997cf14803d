"""The reference of the documentation has what the package offers."""

import re
from pathlib import Path

import proteinflex_optimization
from proteinflex_optimization import errors

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"


def test_every_public_name_has_a_place_in_the_reference():
    text = "\n".join(page.read_text(encoding="utf-8") for page in REFERENCE.glob("*.rst"))
    there = {
        name.split(".")[-1] for name in re.findall(r"^\.\. auto\w+:: (\S+)", text, re.MULTILINE)
    }
    # All errors are on one page, by their module.
    there |= {"__version__", *errors.__all__}
    assert set(proteinflex_optimization.__all__) - there == set()


def test_the_imports_are_as_printed():
    (code,) = re.findall(
        r"```python\n(.*?)```", (REFERENCE / "index.md").read_text(encoding="utf-8"), re.DOTALL
    )
    found = {}
    exec(compile(code, "reference/index.md", "exec"), found)
    assert found["DataHandler"] is proteinflex_optimization.DataHandler


def test_public_functions_and_methods_have_signatures_and_docstrings():
    """What the reference is made of; of a compiled class both come with the module."""
    import inspect

    from proteinflex_optimization import _native

    missing = []
    public = [getattr(proteinflex_optimization, name) for name in proteinflex_optimization.__all__]
    for cls in [*filter(inspect.isclass, public), _native.TrajectoryWriter, _native.TaskHandle]:
        for name, member in inspect.getmembers(cls):
            if name.startswith("_") or issubclass(cls, BaseException):
                continue
            if not inspect.getdoc(member) and not inspect.ismemberdescriptor(member):
                missing.append(f"{cls.__name__}.{name} has no docstring")
            if callable(member):
                inspect.signature(member)
    assert missing == []
