"""The command `flexopt`: what is in a cache, how far a job is, which checkpoints and GPUs there are.

Exit status: 0 all is well, 1 a problem was found, 2 the command was used wrongly, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from proteinflex_optimization import ProteinFlexError, __version__
from proteinflex_optimization.errors import InvalidArgumentError

COMMANDS = ("demo", "cache", "watch", "checkpoints", "gpus", "doctor")


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="flexopt",
        description="Caches, checkpoints, progress and GPUs of long protein computations.",
    )
    parser.add_argument("--version", action="version", version=f"flexopt {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f"{__name__}.{name}").add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    options = build_parser().parse_args(arguments)
    try:
        status: int = options.func(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader has seen enough (`flexopt cache ls | head`). Nothing more can be written, not
        # even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except InvalidArgumentError as error:
        print(f"flexopt: {error}", file=sys.stderr)
        return 2
    except (ProteinFlexError, OSError, ImportError) as error:
        print(f"flexopt: {error}", file=sys.stderr)
        return 1
