"""What a cache has to stand: many processes at once, kills, damage, full and read-only disks, size.

    python tests/data/storm.py                      tables of all that was tried, and of what went wrong
    python tests/data/storm.py long                 the same for as long as `make soak`
    python tests/data/storm.py kills count=100      one of them, as JSON

Every value that is read is computed again and compared bit for bit; values that are wrong, entries that are
lost and moments beyond the limit are counted. Any error but the one that is right ends the program with a
traceback.
"""

from __future__ import annotations

import json
import sys

from storms.damage import damage
from storms.disk import disk, small_disk
from storms.kills import kills
from storms.processes import processes
from storms.size import large
from storms.values import EXCEEDED, LOST, WRONG

ALL = {
    "processes": processes,
    "kills": kills,
    "damage": damage,
    "disk": disk,
    "large": large,
}
# As `make test` and `make soak` do.
BRIEF = {
    "processes": {"seconds": 10},
    "kills": {"count": 20},
    "damage": {"step": 37},
    "large": {"gigabytes": 0.5},
}
LONG = {
    "processes": {"seconds": 60},
    "kills": {"count": 100},
    "damage": {"step": 1},
    "large": {"gigabytes": 50},
}


def report(options: dict[str, dict]) -> None:
    """Do all, and print what was tried and what of it went wrong."""
    results = {name: function(**options.get(name, {})) for name, function in ALL.items()}
    bad = (WRONG, EXCEEDED, LOST)
    print("| | " + " | ".join(bad) + " |\n| --- | --- | --- | --- |")
    for name, done in results.items():
        print(f"| `{name}` | " + " | ".join(f"{done.get(what, '–')}" for what in bad) + " |")
    print("\n| what | how often |\n| --- | --- |")
    for done in results.values():
        for what in sorted(done.keys() - set(bad)):
            print(f"| {what} | {done[what]:,} |")


def main() -> None:
    """Run one, or all."""
    if sys.argv[1:] in ([], ["long"]):
        report(LONG if len(sys.argv) > 1 else BRIEF)
        return
    name, *options = sys.argv[1:]
    given = {key: json.loads(value) for key, value in (one.split("=") for one in options)}
    print(json.dumps((ALL | {"small_disk": small_disk})[name](**given)))


if __name__ == "__main__":
    main()
