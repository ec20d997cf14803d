"""What the native module calls by its name, but for the exceptions in `errors` that it raises.

Renaming or moving one of these breaks the native module at run time, where no compiler sees it:
`tests/test_import.py` checks that each is here.
"""

from ._arrays import describe as describe_dtype
from ._arrays import parse as parse_dtype
from ._cuda import initialised_uuids, queried_uuids
from ._indexing import select as select_frames
from ._outline import Outliner, outlined
from ._states import PlainRestorer, Reducer, Restorer, array_of, is_tensor
from ._units import has_units, without_units
from .data_handler import reopen as reopen_trajectory
from .progress import _reopen_task as reopen_task
from .trajectory import reopen as reopen_trajectory_file
from .trajectory import reopen_object as reopen_trajectory_object

__all__ = [
    "Outliner",
    "PlainRestorer",
    "Reducer",
    "Restorer",
    "array_of",
    "describe_dtype",
    "has_units",
    "initialised_uuids",
    "is_tensor",
    "outlined",
    "parse_dtype",
    "queried_uuids",
    "reopen_task",
    "reopen_trajectory",
    "reopen_trajectory_file",
    "reopen_trajectory_object",
    "select_frames",
    "without_units",
]
