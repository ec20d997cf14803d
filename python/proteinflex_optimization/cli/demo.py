"""`flexopt demo`: the main job on a real structure."""

from __future__ import annotations

import argparse
import functools
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from proteinflex_optimization.cli.commands import add_examples
from proteinflex_optimization.cli.directories import expanded_path
from proteinflex_optimization.cli.output import one_line, print_json

NEEDED = ("openmm", "pdbfixer", "gemmi", "matplotlib")


def add_parser(subparsers: Any) -> None:
    """Add this command."""
    parser = subparsers.add_parser(
        "demo",
        help="from a structure to its flexibility, by real molecular dynamics",
        description=(
            "Minimise and simulate a protein in implicit solvent, analyse how it moves, and draw it. "
            "Interrupted or killed, the same command goes on from the last checkpoint; run again "
            "when complete, it takes the result from the cache. Missing atoms and hydrogens are "
            "added and modified residues standardised, and each change is printed; water and salt "
            "are left out."
        ),
    )
    parser.add_argument(
        "--pdb",
        type=expanded_path,
        metavar="FILE",
        help="the structure, PDB or mmCIF, gzipped or not (default: OpenMM's villin headpiece)",
    )
    parser.add_argument(
        "--drop-unknown",
        action="store_true",
        help="leave out ligands and other residues that the force field has no parameters for",
    )
    parser.add_argument(
        "--output",
        type=expanded_path,
        default=Path("demo-output"),
        metavar="DIR",
        help="where all of it goes (default: demo-output)",
    )
    parser.add_argument("--steps", type=int, default=16_000, help="of 0.004 ps (default: 16000)")
    parser.add_argument(
        "--frame-interval",
        type=int,
        default=40,
        metavar="STEPS",
        help="between stored frames (default: 40)",
    )
    parser.add_argument(
        "--checkpoint-interval",
        type=int,
        default=1_000,
        metavar="STEPS",
        help="between checkpoints (default: 1000)",
    )
    parser.add_argument(
        "--precision",
        type=_precision,
        default=0.001,
        metavar="Å",
        help="grid of stored coordinates, or 'lossless' (default: 0.001)",
    )
    parser.add_argument(
        "--temperature", type=float, default=300.0, metavar="K", help="in kelvin (default: 300)"
    )
    parser.add_argument(
        "--stop-margin",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="in a SLURM job: how long before its time limit to stop (default: 60)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of velocities and noise (default: 1)")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    add_examples(parser, "flexopt demo", "flexopt demo --pdb my.pdb --steps 50000 --output my-run")
    parser.set_defaults(func=run)


def run(options: argparse.Namespace) -> int:
    """Run the demo."""
    for module in NEEDED:
        if importlib.util.find_spec(module) is None:
            print(
                f"flexopt demo needs {module}: pip install 'proteinflex-optimization[demo]'",
                file=sys.stderr,
            )
            return 1
    from proteinflex_optimization import demo
    from proteinflex_optimization.demo.pipeline import InterruptedRunError

    settings = demo.Settings(
        pdb=options.pdb if options.pdb is not None else villin(),
        output=options.output,
        steps=options.steps,
        frame_interval=options.frame_interval,
        checkpoint_interval=options.checkpoint_interval,
        precision=options.precision,
        temperature=options.temperature,
        seed=options.seed,
        stop_margin=options.stop_margin,
        drop_unknown=options.drop_unknown,
    )
    said_to = sys.stderr if options.json else sys.stdout
    try:
        summary = demo.run(settings, say=functools.partial(print, file=said_to))
    except InterruptedRunError as stopped:
        print(one_line(str(stopped)), file=said_to, flush=True)
        if stopped.is_abandoned:
            # Its thread is in code that can't be stopped. What counts is durable, as for `kill -9`.
            os._exit(130)
        return 130
    if options.json:
        print_json(summary)
        return 0
    print(
        f"{summary['n_frames']} frames, mean RMSF {summary['mean_rmsf_A']} Å; most flexible: "
        f"{', '.join(summary['most_flexible'])}; trajectory saved "
        f"{summary['trajectory_saved_percent']} % of its bytes"
    )
    return 0


def villin() -> Path:
    """Find the solvated villin headpiece that comes with OpenMM."""
    from openmm import app

    return Path(app.__file__).parent / "data" / "test.pdb"


def _precision(text: str) -> float | None:
    try:
        return None if text == "lossless" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not valid: expected a number, in Å, or 'lossless'"
        ) from None
