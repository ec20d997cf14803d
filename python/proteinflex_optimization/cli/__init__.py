"""The command `flexopt`: what is in a cache, how far a job is, which checkpoints and GPUs there are.

Exit status: 0 all is well, 1 a problem was found, 2 the command was used wrongly, 130 interrupted,
141 the reader of the output has closed it.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from proteinflex_optimization import ProteinFlexError, __version__
from proteinflex_optimization._system_errors import is_of_system
from proteinflex_optimization.cli.commands import add_commands
from proteinflex_optimization.cli.output import one_line, printable, warn
from proteinflex_optimization.errors import InvalidArgumentError
from proteinflex_optimization.remote.urls import redacted

COMMANDS = ("demo", "cache", "watch", "checkpoints", "gpus", "doctor")
CLOSED_PIPE = 128 + signal.SIGPIPE
"""The exit status where the output is not read to its end, as of other programs by their signal."""
TYPED = {
    "cache_dir": "--dir",
    "data_id": "--id",
    "directory": "DIR",
    "key": "KEY",
    "path": "FILE",
    "source": "FILE",
    "trajectory": "FILE",
    "url": "URL",
}
"""What is typed for the argument of a function that is not an option of the same name."""
TRACEBACK = "PROTEINFLEX_TRACEBACK"
"""Where this variable is set, an error that was not foreseen is shown with its traceback."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors can be printed: they quote what was typed, or put in by a shell."""

    def error(self, message: str) -> NoReturn:
        """End with status 2 and the usage."""
        super().error(printable(redacted(message)))

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print: argparse says nothing where standard output can't be written."""
        if message and file is sys.stdout:
            file.write(message)
        else:
            super()._print_message(message, file)


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the whole command line."""
    parser = _Parser(
        prog="flexopt",
        description="Caches, checkpoints, progress and GPUs of long protein computations.",
        epilog="Exit status: 0 all is well, 1 a problem was found, 2 wrong usage. "
        "Each command has a --help with examples, such as: flexopt cache ls --help",
    )
    parser.add_argument("--version", action="version", version=f"flexopt {__version__}")
    subparsers = add_commands(parser, "COMMAND")
    for name in COMMANDS:
        importlib.import_module(f"{__name__}.{name}").add_parser(subparsers)
    if "_ARGCOMPLETE" in os.environ:
        _complete(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # Closed by the shell (`>&-`).
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding lacks is not a reason to fail.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    options = argparse.Namespace()
    try:
        try:
            build_parser().parse_args(arguments, options)
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                status: int = options.func(options)
        finally:
            sys.stdout.flush()  # Also what --help has printed.
        return status
    except BrokenPipeError:
        # The reader has seen enough (`flexopt cache ls | head`). Nothing more can be written, not
        # even at exit. Whether there was a problem isn't known: this is not a success.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        return _failed(error, options)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Show a warning as a line, without the place in a library where it arose."""
    warn(redacted(str(message)))


def _failed(error: Exception, options: argparse.Namespace) -> int:
    """Say in one line what went wrong; returns the exit status."""
    if os.environ.get(TRACEBACK):
        raise error
    text = redacted(one_line(str(error), "; "))
    if isinstance(error, InvalidArgumentError):
        text = _as_typed(text, options)
    if isinstance(error, MemoryError):
        text = "there is too little memory" + (f": {text}" if text else "")
    elif not (is_of_system(error) or isinstance(error, (ProteinFlexError, OSError, ImportError))):
        kind = type(error).__name__
        text = f"unexpected {kind}: {text}; with {TRACEBACK}=1 its traceback is shown"
    print(f"flexopt: {text}", file=sys.stderr)
    return 2 if isinstance(error, InvalidArgumentError) else 1


def _as_typed(text: str, options: argparse.Namespace) -> str:
    """Say which argument is wrong by the name under which it was typed."""
    typed = {name: f"--{name.replace('_', '-')}" for name in vars(options)} | TYPED
    return re.sub(r"^\w+(?=[=\[])", lambda name: typed.get(name[0], name[0]), text)


def _complete(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks how a command line may go on, and end."""
    try:
        import argcomplete
    except ImportError:
        return
    argcomplete.autocomplete(parser)
