"""Importing: two paths, the same objects, nothing heavy."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from proteinflex_optimization._needed import needed

CLASSES = ("GPUManager", "DataHandler", "ProgressTracker", "CheckpointManager")


def python(code: str, *, cwd: Path | None = None, path: str = "") -> str:
    """Run code in a fresh interpreter; gives what it prints."""
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_documented_path_gives_the_same_objects(tmp_path):
    names = ", ".join(CLASSES)
    code = (
        f"from models.optimization import {names}\n"
        "import proteinflex_optimization as canonical\n"
        f"print([canonical.__dict__[c.__name__] is c for c in ({names})])"
    )
    assert python(code, cwd=tmp_path).strip() == str([True] * 4)


def test_it_is_the_installed_package_that_is_tested():
    import proteinflex_optimization

    repository = Path(__file__).parents[1]
    assert repository / "python" not in Path(proteinflex_optimization.__file__).parents


def test_a_pipeline_with_a_models_directory_of_its_own_keeps_both(tmp_path):
    """`models` is a namespace package, so a directory without `__init__.py` joins it."""
    (tmp_path / "models" / "structure").mkdir(parents=True)
    (tmp_path / "models" / "structure" / "__init__.py").write_text("name = 'theirs'\n")
    code = (
        "from models.structure import name\n"
        "from models.optimization import DataHandler\n"
        "print(name, DataHandler.__name__)"
    )
    assert python(code, path=str(tmp_path)).split() == ["theirs", "DataHandler"]


def test_a_models_package_of_their_own_hides_ours_until_one_line_is_added(tmp_path):
    """The case that `docs/install.md` describes, and its remedy word for word."""
    package = tmp_path / "models"
    package.mkdir()
    init = package / "__init__.py"
    init.write_text("")
    code = "import models.optimization"
    hidden = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No module named 'models.optimization'" in hidden.stderr

    guide = Path(__file__).parents[1] / "docs" / "install.md"
    remedy = '__path__ = __import__("pkgutil").extend_path(__path__, __name__)'
    assert remedy in guide.read_text(encoding="utf-8")
    init.write_text(remedy + "\n")
    assert python(code + "; print('found')", path=str(tmp_path)).strip() == "found"


def test_what_the_native_module_calls_by_name_is_there():
    from proteinflex_optimization import _hooks, errors

    sources = Path(__file__).parents[1] / "rust" / "bindings" / "src"
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources.rglob("*.rs"))
    called = re.findall(r'\bhook\([^"()]*(?:\(\))?[^"()]*"(\w+)"', code)
    assert set(called) == set(_hooks.__all__)
    assert set(re.findall(r'"(\w+Error)"', code)) <= set(errors.__all__)


def test_import_loads_nothing_heavy():
    code = (
        "import sys, numpy\n"
        "import models.optimization\n"
        "import json; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    )
    loaded = set(json.loads(python(code)))
    heavy = {"torch", "openmm", "MDAnalysis", "mdtraj", "dask", "rich", "matplotlib", "pynvml"}
    assert not loaded & heavy


def test_import_loads_no_gpu_driver():
    code = "import proteinflex_optimization\nprint('nvidia-ml' in open('/proc/self/maps').read())"
    assert python(code).strip() == "False"


def test_import_costs_less_than_numpy():
    # In processor time and beside NumPy's own, which other programs on the machine change as well.
    code = (
        "import time\n"
        "start = time.process_time()\n"
        "import numpy\n"
        "numpys = time.process_time()\n"
        "import proteinflex_optimization\n"
        "print((time.process_time() - numpys) / (numpys - start))"
    )
    # 0.4 where nothing else runs, 0.6 at times.
    assert min(float(python(code)) for _ in range(5)) < 1


@pytest.mark.parametrize("name", CLASSES)
def test_the_documented_signatures_can_be_seen(name):
    import inspect

    import proteinflex_optimization

    documented = {
        "GPUManager": ["required_memory", "prefer_single_gpu"],
        "DataHandler": ["cache_dir", "max_cache_size", "enable_compression"],
        "ProgressTracker": [
            "total_steps",
            "checkpoint_dir",
            "auto_checkpoint",
            "checkpoint_interval",
        ],
        "CheckpointManager": ["base_dir", "max_checkpoints", "auto_cleanup"],
    }[name]
    parameters = inspect.signature(getattr(proteinflex_optimization, name)).parameters
    positional = [
        parameter.name
        for parameter in parameters.values()
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]
    assert positional == documented
    if name == "DataHandler":
        assert parameters["max_cache_size"].default == 100.0
        assert parameters["profile"].default == "default"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ImportError("failed to map segment", name="xarray._core"), "failed to map segment"),
        (
            ModuleNotFoundError("No module named 'pandas'", name="pandas"),
            "No module named 'pandas'",
        ),
    ],
)
def test_a_library_that_is_there_and_can_not_be_loaded_is_named_with_the_cause(error, said):
    with (
        pytest.raises(ImportError, match=f"^xarray can't be loaded: {said}$"),
        needed("xarray", "xarray"),
    ):
        raise error


def test_too_little_memory_for_a_library_is_a_memory_error():
    with pytest.raises(MemoryError), needed("xarray", "xarray"):
        raise MemoryError
