"""`flexopt cache` on URLs: trajectories that are read by ranges, without a copy of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proteinflex_optimization.cli import transfer
from proteinflex_optimization.cli.output import age, print_json, printable, size
from proteinflex_optimization.errors import InvalidArgumentError
from proteinflex_optimization.remote.stores import open_store
from proteinflex_optimization.remote.urls import is_url, without_credentials

if TYPE_CHECKING:
    from proteinflex_optimization.types import CacheVerification

SUFFIX = ".fxt"


def print_list(options: argparse.Namespace) -> int:
    """List the trajectories below a URL by what the store says of them: none is opened."""
    if not is_url(options.url) or options.dir is not None or options.kind is not None:
        raise InvalidArgumentError(
            f"URL={without_credentials(options.url)!r} is not valid: expected one such as "
            "s3://bucket/project, without --dir and --kind"
        )
    store = open_store(options.url)
    found = [one for one in store.list() if one.name.endswith(SUFFIX)]
    sort = {
        "used": lambda one: -(one.modified.timestamp() if one.modified else 0),
        "created": lambda one: -(one.modified.timestamp() if one.modified else 0),
        "size": lambda one: -one.size,
        "id": lambda one: one.name,
    }[options.sort]
    found.sort(key=sort)
    rows = [
        {"url": f"{store.url}/{one.name}", "stored_bytes": one.size, "modified": one.modified}
        for one in found
    ]
    if options.json:
        print_json({"url": store.url, "objects": rows})
    elif options.quiet:
        for row in rows:
            print(printable(str(row["url"])))
    else:
        print(printable(store.url))
        for one in found:
            when = "" if one.modified is None else f"  {age(one.modified)} ago"
            print(f"  {printable(one.name)}  {size(one.size)}{when}")
    return 0


def info(url: str) -> dict[str, Any]:
    """Return what is known of a trajectory by its two ends."""
    from proteinflex_optimization.trajectory import open_trajectory

    of_a_cache = ("last_used", "pinned")
    found = open_trajectory(url)._info().items()
    return {name: value for name, value in found if name not in of_a_cache}


def verify(url: str) -> CacheVerification:
    """Read all of a trajectory; what is damaged is named by the URL."""
    from proteinflex_optimization.errors import CorruptDataError
    from proteinflex_optimization.trajectory import open_trajectory

    shown = without_credentials(url)
    try:
        report = open_trajectory(url)._verify()
    except CorruptDataError as error:
        # Its head or index: nothing else of it can be read.
        return {"checked": 1, "ok": False, "damaged": [{"key": shown, "reason": str(error)}]}
    for damaged in report["damaged"]:
        damaged["key"] = shown
    return report


def export(options: argparse.Namespace) -> dict[str, Any]:
    """Write a trajectory as a file; returns where it is, its size, and what it has no place for."""
    from proteinflex_optimization.trajectory import open_trajectory

    trajectory = open_trajectory(options.key)
    is_npz = Path(options.file).suffix.lower() == ".npz"
    return (transfer.write_arrays if is_npz else transfer.write_trajectory)(trajectory, options)
