"""Libraries that only a part of the package needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needed(library: str, extra: str, what: str = "this") -> Iterator[None]:
    """Within this a library is imported: where it is not installed, the error says how to do that.

    Raises
    ------
    ImportError
        It is not installed; or it is and can't be loaded, as where there is too little memory for it.
    """
    try:
        yield
    except ImportError as error:
        name = error.name or ""
        if isinstance(error, ModuleNotFoundError) and name.partition(".")[0] == library:
            text = f'install it with `pip install "proteinflex-optimization[{extra}]"`'
            raise ImportError(f"{what} needs {library}: {text}", name=library) from error
        raise ImportError(f"{library} can't be loaded: {error}", name=library) from error
