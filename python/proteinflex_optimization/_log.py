"""The package's loggers, in which no message can end a line or steer a terminal."""

from __future__ import annotations

import logging
import traceback

from proteinflex_optimization._text import printable

__all__ = ["get_logger"]


class _PrintableFilter(logging.Filter):
    """Makes messages and tracebacks printable; what quotes a file may hold anything."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, in printable form."""
        try:
            message = record.getMessage()
        except Exception:
            return True  # The handler reports what is wrong with its arguments.
        shown = printable(message)
        if shown != message:
            record.msg, record.args = shown, None
        if record.exc_info and record.exc_info[1] is not None:
            text = "".join(traceback.format_exception(record.exc_info[1]))
            record.exc_text = "\n".join(map(printable, text.rstrip("\n").split("\n")))
        return True


_FILTER = _PrintableFilter()


def get_logger(name: str = "proteinflex_optimization") -> logging.Logger:
    """Return a logger of this package; the compiled module writes to the one without a name."""
    logger = logging.getLogger(name)
    logger.addFilter(_FILTER)  # A second time changes nothing.
    return logger


get_logger()
