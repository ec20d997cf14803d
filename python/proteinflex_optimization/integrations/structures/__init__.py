"""Structure files and other libraries' structures, as the plain arrays that the cache stores.

key = handler.import_structure("AF-P69905-F1-model_v4.cif", "P69905")
handler.load_data(key)["plddt"]
"""

from proteinflex_optimization._needed import needed

with needed("gemmi", "structures"):
    import gemmi as _gemmi  # noqa: F401

from .read import read_structure
from .topology import topology_of

__all__ = ["read_structure", "topology_of"]
