"""Errors of other people's libraries, as those that `stores` names."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ..errors import RemoteError
from .urls import without_credentials


class Translation(ABC):
    """Within this, what a library raises is raised as an error of this package, without credentials."""

    def __init__(self, shown: str) -> None:
        self.shown = shown
        """What is read or written, for messages."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        is_plain = isinstance(error, (RemoteError, BlockingIOError, InterruptedError, MemoryError))
        is_raised_within = isinstance(error, FileExistsError) and error.filename == self.shown
        if not isinstance(error, Exception) or is_plain or is_raised_within:
            return
        try:
            self.translate(error, without_credentials(str(error)))
        except Exception as translated:
            # The library's own words may have credentials, and travel with pickles.
            translated.__context__ = None
            raise

    @abstractmethod
    def translate(self, error: Exception, text: str) -> None:
        """Raise what `error` means; one for which this returns goes on as it is."""
