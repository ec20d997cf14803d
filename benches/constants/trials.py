"""What the codec's constants trade: sizes and times with each of them changed, one at a time.

A copy of the core is built for each value, and all of them take turns. Sets are those of
`benches/peers/trajectory.py`, at 0.01 Å and exact, and sizes are of whole entries.

    python benches/constants/trials.py [--only NAME,...] [--data DIR] [--into PAGE.md]
"""

from __future__ import annotations

import argparse
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "peers"))

from _compare import put_into, table
from _trajectory.data import data_sets

ROOT = Path(__file__).parents[2]
SETS = "adk_dcd,adk_namd,villin_implicit,villin_1ps,villin_10ps,villin_cut,adk_trr,yiip,amber_nc"
CODEC = "rust/core/src/codec"
#: What `sizes.rs` writes each set in.
ENCODINGS = ("default", "archive", "exact")


@dataclass(frozen=True)
class Constant:
    """Where it is, what it is, and values that it could have."""

    name: str
    file: str
    values: tuple[str, ...]

    def text(self, value: str | None = None) -> tuple[str, str]:
        """Give its value, and the text of its file, with another value if there is one."""
        source = (ROOT / CODEC / self.file).read_text(encoding="utf-8")
        found = list(re.finditer(rf"\bconst {self.name}: [^=]+ =\s+([^;]+);", source))
        if len(found) != 1:
            raise ValueError(f"{self.file} has {len(found)} constants {self.name}")
        start, end = found[0].span(1)
        return found[0][1], source[:start] + (value or found[0][1]) + source[end:]


CONSTANTS = [
    Constant("TILE", "geometry/model/mod.rs", ("128",)),
    Constant("LOOK_BACK", "geometry/measure/tile.rs", ("32", "96")),
    Constant("MODEL_BITS", "geometry/fit/search.rs", ("[4, 23, 7]", "[8, 28, 12]")),
    Constant("LONG", "geometry/fit/search.rs", ("1000000",)),
    Constant("INNOVATION_BITS", "geometry/fit/references.rs", ("0.0",)),
    Constant("COARSE", "geometry/fit/coefficients.rs", ("[11, 14, 16, 18]", "[15, 17, 19, 21]")),
    Constant("COARSE_FLOATS", "geometry/fit/coefficients.rs", ("[0, 11]",)),
    Constant("RIGID", "geometry/fit/rigid.rs", ("2.0",)),
    Constant("RIGID_PART", "geometry/fit/rigid.rs", ("0.005",)),
    Constant("SHARED_BITS", "geometry/fit/shared.rs", ("12",)),
    Constant("CLUSTER", "geometry/fit/shared.rs", ("1000000",)),
    Constant("AGAIN", "geometry/fit/repeats.rs", ("[3, 3]", "[1000000, 1000000]")),
    Constant("SLACK", "geometry/fit/mod.rs", ("[3, 6]", "[6, 12]")),
    Constant("KEY_BITS", "geometry/measure/moments.rs", ("56.0",)),
    Constant("UPPER", "geometry/encode/innovations.rs", ("3", "5")),
    Constant("UNUSUAL", "geometry/encode/innovations.rs", ("0.0",)),
    Constant("UNUSUAL_AXIS", "geometry/encode/innovations.rs", ("1e9",)),
    Constant("FEW", "geometry/encode/symbols.rs", ("0",)),
    Constant("CLASS_MEANS", "geometry/encode/symbols.rs", ("[0.75, 1.0]",)),
    Constant("ESCAPE", "geometry/entropy/symbol.rs", ("6",)),
    Constant("LONGEST", "geometry/entropy/huffman.rs", ("12",)),
    Constant("EARLY_MARGIN", "random_access.rs", ("1e9",)),
    Constant("NEAR", "periodic/find.rs", ("32",)),
    Constant("ARCHIVE_LEVEL", "random_access.rs", ("3", "12")),
]

#: By file and encoding: bytes, and nanoseconds of writing and reading in each round.
Measured = dict[tuple[str, str], tuple[int, list[tuple[int, int]]]]


def main() -> None:
    """Build, measure, and print a table."""
    options = arguments()
    chosen = [one for one in CONSTANTS if options.only is None or one.name in options.only]
    with tempfile.TemporaryDirectory(prefix="flexopt-bench-") as name:
        directory = Path(name)
        sources = copied_sources(directory)
        programs = {"": build(sources, directory / "now", None, None)}
        for number, constant in enumerate(chosen):
            for value in constant.values:
                key = f"{number} {value}"
                programs[key] = build(sources, directory / key, constant, value)
        measured = measure(programs, files(directory, options), options.rounds)
    rows = []
    for number, constant in enumerate(chosen):
        for value in constant.values:
            row = compare(measured[""], measured[f"{number} {value}"])
            module = constant.file.removesuffix(".rs").removesuffix("/mod")
            rows.append([f"`{module}` `{constant.name}`", constant.text()[0], value, *row])
    sizes = [f"{encoding}, %" for encoding in ENCODINGS]
    columns = ["constant", "is", "other", *sizes, "write, %", "read, %"]
    text = table("Sizes and times with other values", columns, rows)
    print(text)
    if options.into:
        put_into(options.into, "benches/constants/trials.py", text)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    names = {"type": lambda text: text.split(","), "metavar": "NAME,..."}
    parser.add_argument("--only", help="these constants", **names)
    parser.add_argument("--sets", help="these sets", default=SETS.split(","), **names)
    parser.add_argument("--data", type=Path, metavar="DIR", help="where simulated sets are kept")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--into", type=Path, metavar="PAGE", help="a page with marks for the table")
    return parser.parse_args()


def copied_sources(directory: Path) -> Path:
    """Copy what is built, without what was."""
    sources = directory / "sources"
    ignored = shutil.ignore_patterns("target", "fuzz")
    for name in ("rust", "benches"):
        shutil.copytree(ROOT / name, sources / name, ignore=ignored)
    for name in ("Cargo.toml", "Cargo.lock"):
        shutil.copy(ROOT / name, sources)
    return sources


def build(sources: Path, program: Path, constant: Constant | None, value: str | None) -> Path:
    """Build the program with a constant of another value."""
    if constant:
        print(f"building with {constant.name} = {value}", file=sys.stderr)
        path = sources / CODEC / constant.file
        path.write_text(constant.text(value)[1], encoding="utf-8")
    target = sources / "target"
    subprocess.run(
        ["cargo", "build", "--release", "--quiet", "--locked", "--bench", "sizes"],
        cwd=sources,
        env=os.environ | {"CARGO_TARGET_DIR": str(target)},
        check=True,
    )
    found = [path for path in (target / "release" / "deps").glob("sizes-*") if not path.suffix]
    shutil.copy(found[0], program)
    if constant:
        # Not the old file, whose time would tell cargo that nothing has changed.
        path.write_text(constant.text()[1], encoding="utf-8")
    return program


def files(directory: Path, options: argparse.Namespace) -> list[str]:
    """Write each set to a file, and tell the program what is in it."""
    found = []
    for data in data_sets(options.sets, options.data):
        path = directory / f"{data.name}.f4"
        data.frames.astype("<f4").tofile(path)
        found.append(f"{path}:{data.frames.shape[1]}")
    return found


def measure(programs: dict[str, Path], paths: list[str], rounds: int) -> dict[str, Measured]:
    """Run each program once in each round."""
    environment = os.environ | {"PROTEINFLEX_NUM_THREADS": "1"}
    measured: dict[str, Measured] = defaultdict(lambda: defaultdict(lambda: (0, [])))
    for _ in range(rounds):
        for key, program in programs.items():
            done = subprocess.run(
                [program, *paths], env=environment, check=True, capture_output=True, text=True
            )
            for line in done.stdout.splitlines():
                path, encoding, *numbers = line.split()
                size, written, read = map(int, numbers)
                times = measured[key][path, encoding][1]
                times.append((written, read))
                measured[key][path, encoding] = (size, times)
    return measured


def compare(now: Measured, other: Measured) -> list[str]:
    """Say by how much another value changes sizes, on average and of each set, and times."""
    cells = []
    for encoding in ENCODINGS:
        changes = [math.log(other[key][0] / now[key][0]) for key in now if key[1] == encoding]
        mean, least, most = (percent(f(changes)) for f in (statistics.mean, min, max))
        cells.append(mean if least == most else f"{mean} ({least} … {most})")
    for which in (0, 1):
        total = [
            sum(statistics.median(time[which] for time in times) for _, times in measured.values())
            for measured in (now, other)
        ]
        cells.append(f"{100 * (total[1] / total[0] - 1):+.0f}")
    return cells


def percent(logarithm: float) -> str:
    """Write a ratio as what it is more than one."""
    return f"{100 * math.expm1(logarithm):+.2f}"


if __name__ == "__main__":
    main()
