"""How Sphinx builds the site: `make docs`."""

import logging
import shutil
import warnings
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import is_typeddict

import matplotlib
import MDAnalysis  # noqa: F401, it sets filters of its own for warnings

matplotlib.use("Agg")

import proteinflex_optimization
from docutils import nodes

HERE = Path(__file__).parent
BUILD = HERE / "_build"
REPOSITORY = "https://github.com/proteinflex/proteinflex-optimization"

project = "ProteinFlex Optimization"
author = "The ProteinFlex Optimization developers"
copyright = author  # noqa: A001, Sphinx's name
release = proteinflex_optimization.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "sg_execution_times.rst"]

# --- Pages ------------------------------------------------------------------------------------------

# The pages are plain Markdown, so that they can be read in the repository as well.
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
suppress_warnings = [
    # `text` of a shell session, and `python notest`, which is Python that needs more than its page.
    "misc.highlighting_failure",
]
add_function_parentheses = False
# Single backticks in docstrings: a link where something has this name.
default_role = "py:obj"

# --- The reference ----------------------------------------------------------------------------------

autodoc_member_order = "bysource"
# Types are told by the docstrings, in words, for native and Python classes alike.
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"
numpydoc_xref_aliases = {
    "Path": "pathlib.Path",
    "ndarray": "numpy.ndarray",
    "Universe": "MDAnalysis.core.universe.Universe",
    "TaskHandle": "proteinflex_optimization.progress.TaskHandle",
    "ProgressReader": "proteinflex_optimization.progress.ProgressReader",
    "Tracked": "proteinflex_optimization.progress.Tracked",
    **{
        name: f"proteinflex_optimization.{name}"
        for name in ("CheckpointManager", "DataHandler", "ProgressTracker", "Trajectory")
    },
}
add_module_names = False
toc_object_entries_show_parents = "hide"
# Without torch, as with `make docs TORCH=0`, its modules are described and its example is left out.
autodoc_mock_imports = [name for name in ("torch", "lightning") if find_spec(name) is None]
nitpicky = True

# Where the names of others are documented. Their inventories are read from their sites; where these
# can't be reached, the few that this site links to are known here.
_TYPES = "library/stdtypes.html"
OTHERS = {
    "python": (
        "https://docs.python.org/3/",
        {
            **dict.fromkeys(
                ["int", "float", "str", "bytes", "list", "tuple", "dict", "set"], _TYPES
            ),
            "None": "library/constants.html",
            "OSError": "library/exceptions.html",
            "pathlib.Path": "library/pathlib.html",
        },
    ),
    "numpy": (
        "https://numpy.org/doc/stable/",
        {"numpy.ndarray": "reference/generated/numpy.ndarray.html"},
    ),
    "MDAnalysis": (
        "https://docs.mdanalysis.org/stable/",
        {"MDAnalysis.core.universe.Universe": "documentation_pages/core/universe.html"},
    ),
    "openmm": (
        "https://docs.openmm.org/latest/api-python/",
        {"openmm.app.simulation.Simulation": ("generated/openmm.app.simulation.Simulation.html")},
    ),
    "torch": ("https://docs.pytorch.org/docs/stable/", {"torch.Tensor": "tensors.html"}),
}
KINDS = {"None": "data", "OSError": "exception"}


def _inventory(name: str, pages: dict[str, str]) -> str:
    """Write what is known of a site, in the format of Sphinx's inventories."""
    lines = [f"{key} py:{KINDS.get(key, 'class')} 1 {page}#$ -" for key, page in pages.items()]
    path = BUILD / "inventories" / f"{name}.inv"
    path.parent.mkdir(parents=True, exist_ok=True)
    head = f"# Sphinx inventory version 2\n# Project: {name}\n# Version: \n"
    head += "# The remainder of this file is compressed using zlib.\n"
    path.write_bytes(head.encode() + zlib.compress("\n".join([*lines, ""]).encode()))
    return str(path)


intersphinx_mapping = {
    name: (url, (None, _inventory(name, pages))) for name, (url, pages) in OTHERS.items()
}
intersphinx_timeout = 5

# --- The gallery ------------------------------------------------------------------------------------

# What libraries tell their developers, and what is found in files of theirs, would name folders of this
# machine on the pages.
warnings.filterwarnings("ignore", category=DeprecationWarning)
logging.getLogger("proteinflex_optimization").addHandler(logging.NullHandler())

# The examples run in a copy of their folder, where what they leave does no harm.
EXAMPLES, TUTORIAL = BUILD / "examples", BUILD / "tutorial"
COPIES = {"examples": EXAMPLES, "examples/tutorial": TUTORIAL, "examples/data": BUILD / "data"}
for source, copy in COPIES.items():
    shutil.rmtree(copy, ignore_errors=True)
    unwanted = shutil.ignore_patterns("__pycache__", "README.md", "tutorial")
    shutil.copytree(HERE.parent / source, copy, ignore=unwanted)

NOT_SHOWN = ["pipeline", "restartable_openmm", *(["train"] if autodoc_mock_imports else [])]

sphinx_gallery_conf = {
    "examples_dirs": [str(EXAMPLES), str(TUTORIAL)],
    "gallery_dirs": ["gallery", "tutorial"],
    "filename_pattern": r"\.py$",
    "ignore_pattern": rf"({'|'.join(NOT_SHOWN)})\.py$",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "plot_gallery": True,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "doc_module": ("proteinflex_optimization",),
    "backreferences_dir": "gallery/uses",
    "capture_repr": (),
    "image_scrapers": ("matplotlib",),
}

# --- How it looks -----------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "github_url": REPOSITORY,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "show_prev_next": False,
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": [],
}
# What `make docs` has put there: the documentation of the Rust core.
html_extra_path = [str(path) for path in [BUILD / "extra"] if path.is_dir()]


PUBLIC = {
    **dict.fromkeys(proteinflex_optimization.__all__, "proteinflex_optimization"),
    **dict.fromkeys(proteinflex_optimization.errors.__all__, "proteinflex_optimization.errors"),
    **dict.fromkeys(
        ["TaskHandle", "ProgressReader", "Tracked"], "proteinflex_optimization.progress"
    ),
    **dict.fromkeys(["TrajectoryWriter", "PendingCheckpoint"], "proteinflex_optimization._native"),
}
"""Public names, and the module under which the reference has them."""


def _name_in_backticks(app, environment, node, content):
    """Link a public name of ours from anywhere, and show what is no link as what it is.

    Docstrings have both arguments and names of the package in single backticks; what looks like the
    latter and can't be found is reported, as any broken link is. And numpydoc links words such as
    ``callable`` into Python's own documentation, whose inventory may be out of reach.
    """
    target = node.get("reftarget", "")
    if target.startswith(("python:", "numpy:")):
        return nodes.Text(content.astext().split(":")[-1])
    if node.get("refdomain") != "py" or node.get("reftype") != "obj":
        return None
    module = PUBLIC.get(target.split(".")[0])
    if module is None:
        return content
    return environment.domains.python_domain.resolve_xref(
        environment, node["refdoc"], app.builder, "obj", f"{module}.{target}", node, content
    )


def _docstring(app, what, name, obj, options, lines):
    """Add the keys of a dict to its class; leave examples of modules to the page that tests them."""
    if what == "class" and is_typeddict(obj):
        lines += [
            "",
            *(f"* ``{key}``: {_shown(kind)}" for key, kind in obj.__annotations__.items()),
        ]
    if what == "module" and ".integrations." in name:
        lines[lines.index("") :] = [""]


def _shown(kind):
    """Return an annotation as it is written in the source."""
    text = kind.__forward_arg__ if hasattr(kind, "__forward_arg__") else str(kind)
    return f"``{text}``"


def _skip(app, what, name, obj, skip, options):
    """Leave out the constants of modules."""
    return True if what == "module" and name.isupper() else None


def setup(app):
    """Connect what is said above."""
    app.connect("missing-reference", _name_in_backticks, priority=900)  # After intersphinx.
    app.connect("autodoc-process-docstring", _docstring, priority=400)
    app.connect("autodoc-skip-member", _skip)
