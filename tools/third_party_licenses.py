"""Collect the licences of all crates whose code is in the wheel, into THIRD-PARTY-LICENSES.txt.

    python tools/third_party_licenses.py           write the file
    python tools/third_party_licenses.py --check   exit with 1 where it is not what would be written

What is in the wheel are the crates that the compiled module links. Those that only run while it is
built (build scripts, macros) are not. Texts come from the crates as cargo has unpacked them; a
crate without one is an error unless its licence has a standard text without names.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "THIRD-PARTY-LICENSES.txt"
PACKAGE = "proteinflex-python"
PLATFORMS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu")
LICENSE = re.compile(r"(licen[cs]e|copying|copyright|notice|unlicense)([-._].*)?", re.IGNORECASE)

NOT_CHOSEN = {("zstd-sys", "COPYING")}
"""Texts of a licence that the wheel does not make use of: zstd is under BSD or GPL 2."""

HEAD = """\
ProteinFlex Optimization itself is under the MIT licence (LICENSE). Its compiled module also holds
code of the crates that are listed here, each above the text of its licence, and of the Rust standard
library (The Rust Project Contributors; MIT or Apache-2.0, at your choice).

Written by tools/third_party_licenses.py.
"""


def linked() -> list[dict[str, Any]]:
    """Return cargo's records of the crates that are linked, by name and version."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1"]
    command += [part for platform in PLATFORMS for part in ("--filter-platform", platform)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    metadata = json.loads(done.stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    pending = [key for key, package in packages.items() if package["name"] == PACKAGE]
    found: dict[str, dict[str, Any]] = {}
    while pending:
        key = pending.pop()
        package = packages[key]
        kinds = {kind for target in package["targets"] for kind in target["kind"]}
        if key in found or "proc-macro" in kinds:
            continue
        found[key] = package
        for dependency in nodes[key]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                pending.append(dependency["pkg"])
    foreign = (package for package in found.values() if package["source"] is not None)
    return sorted(foreign, key=lambda package: (package["name"], package["version"]))


def texts_of(package: dict[str, Any]) -> list[str]:
    """Return the licence texts of a crate, and of the sources of others that it brings."""
    folder = Path(package["manifest_path"]).parent
    files = (path for pattern in ("*", "*/*") for path in sorted(folder.glob(pattern)))
    named = [
        path
        for path in files
        if LICENSE.fullmatch(path.name)
        and path.is_file()
        and (package["name"], path.name) not in NOT_CHOSEN
    ]
    return [tidy(path.read_text(encoding="utf-8", errors="replace")) for path in named]


def tidy(text: str) -> str:
    """Return a text without what differs between copies of the same licence."""
    lines = [line.rstrip().expandtabs() for line in text.strip("\n\f \t\ufeff").splitlines()]
    return "\n".join(lines)


def render(packages: Iterable[dict[str, Any]]) -> str:
    """Return the contents of the file: each text once, below all crates that it is of."""
    crates_of: dict[str, list[str]] = {}
    words: dict[str, str] = {}
    without: list[dict[str, Any]] = []
    for package in packages:
        texts = texts_of(package)
        if not texts:
            without.append(package)
        for text in texts:
            # The same words in other lines are the same licence.
            key = " ".join(text.split())
            crates_of.setdefault(words.setdefault(key, text), []).append(title(package))
    apache = next(text for text in words.values() if text.lstrip().startswith("Apache License"))
    for package in without:
        if "Apache-2.0" not in package["license"]:
            raise SystemExit(
                f"{title(package)} has no licence file, and {package['license']} names its "
                f"authors: add its text to {Path(__file__).name}"
            )
        crates_of[apache].append(title(package))
    rule = "\n" + "=" * 100 + "\n"
    parts = [
        rule + "\n".join(dict.fromkeys(crates)) + "\n" + "-" * 100 + "\n" + text + "\n"
        for text, crates in crates_of.items()
    ]
    return HEAD + "".join(parts)


def title(package: dict[str, Any]) -> str:
    """Name a crate with its version, licence and source."""
    where = package["repository"] or f"https://crates.io/crates/{package['name']}"
    return f"{package['name']} {package['version']} ({package['license']}) {where}"


def main() -> int:
    """Write or check the file; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    text = render(linked())
    if not parser.parse_args().check:
        FILE.write_text(text, encoding="utf-8")
    elif not FILE.exists() or FILE.read_text(encoding="utf-8") != text:
        print(f"{FILE.name} is out of date: run tools/{Path(__file__).name}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
