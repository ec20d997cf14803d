"""A cached trajectory side by side with other ways to keep one.

The same coordinates go through XTC, DCD, zarr, HDF5, blosc2, pcodec, fpzip, zfp, SZ3, its molecular
codec BIOMD, and ours: exactly, and within half of 0.01 and 0.001 Å. What is compared is what they take
and what an analysis does: read every frame, one at random, every tenth, or the protein alone. Who is
not installed is left out, and of the readers of XTC molly where there is no cargo to build it.

    python benches/peers/trajectory.py [--sets adk_dcd,villin|all] [--bounds 0.01] [--only ours,XTC,BIOMD]
        [--data DIR] [--plot FILE.png] [--into PAGE.md]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import warnings
from pathlib import Path

from _compare import put_into
from _trajectory.data import SETS, data_sets
from _trajectory.measure import measure
from _trajectory.plot import plot
from _trajectory.report import biomd, caption, section, summary

#: The first keeps every bit; the others are the spacing of a grid, in Å.
BOUNDS = (None, 0.01, 0.001)


def main() -> None:
    """Measure, print, and put the report where it is asked for."""
    warnings.simplefilter("ignore")
    options = arguments()
    memory = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    measured = []
    report = []
    try:
        for data in data_sets(options.sets, options.data):
            for bound in options.bounds:
                # What lies on a grid of 0.01 Å is exact there, and nothing finer says more.
                if data.is_on_grid and bound is not None and bound < 0.01:
                    continue
                results = measure(data, bound, directory, options.rounds, options.only)
                measured.append((data, bound, results))
                report.append(section(data, bound, results))
                print(report[-1], flush=True)
    finally:
        shutil.rmtree(directory)
    report[:0] = [caption(options.rounds), summary(measured), biomd(measured)]
    print("\n".join(report[:3]))
    if options.plot:
        plot(measured, options.plot)
    if options.into:
        put_into(options.into, "benches/peers/trajectory.py", "\n".join(report))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    names = ",".join(SETS)
    parser.add_argument(
        "--sets",
        type=lambda text: list(SETS) if text == "all" else text.split(","),
        help=f"all, or some of {names}; by default without those that take longest to simulate",
    )
    parser.add_argument("--data", type=Path, help="where simulated sets are kept")
    parser.add_argument("--rounds", type=int, default=3, help="how often all take their turn")
    parser.add_argument(
        "--bounds",
        type=lambda text: [None if bound == "exact" else float(bound) for bound in text.split(",")],
        default=BOUNDS,
        help="some of exact,0.01,0.001",
    )
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=[""],
        help="contenders whose names begin so; ours is needed for the summary",
    )
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw size against speed")
    parser.add_argument(
        "--into", type=Path, metavar="PAGE", help="a page with marks for the report"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
