"""The integrations that methods of the classes call, by name.

Integrations stand on the classes. A class that offers one as a method knows only its name, and loads
it when the method is called; so imports go one way, and no library is loaded before it is used.
"""

from __future__ import annotations

import importlib
from typing import Any, Literal, TypeAlias

Name: TypeAlias = Literal[
    "dask",
    "fxt",
    "mdanalysis",
    "mdtraj",
    "nglview",
    "npz",
    "openmm",
    "structures",
    "xarray",
    "zarr",
]


def integration(name: Name) -> Any:
    """Load a module of `proteinflex_optimization.integrations`.

    Raises
    ------
    ImportError
        Its library is not installed; the message names the extra to install.
    """
    return importlib.import_module(f"{__package__}.integrations.{name}")
