"""Check what is about to be published: one wheel and one source archive, complete and described."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import tomllib

NEEDED = ("Author", "Classifier", "Description-Content-Type", "Keywords", "License-Expression")
NEEDED += ("License-File", "Project-URL", "Requires-Python", "Summary")
PROJECT = Path(__file__).parents[1] / "pyproject.toml"
TAGS = {"cp310-abi3-manylinux_2_17_x86_64", "cp310-abi3-manylinux2014_x86_64"}
LICENSES = ("LICENSE", "THIRD-PARTY-LICENSES.txt")
LARGEST = 20_000_000


def problems_of_wheel(path: Path) -> list[str]:
    """Return what is wrong with the wheel."""
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        info = next(name.split("/")[0] for name in names if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(wheel.read(f"{info}/METADATA"))
        tags = message_from_bytes(wheel.read(f"{info}/WHEEL")).get_all("Tag", [])
    found = [f"the metadata lack {key}" for key in NEEDED if key not in metadata]
    extras = set(metadata.get_all("Provides-Extra", []))
    expected = set(tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"])
    if extras != expected:
        found.append(f"the extras are {sorted(extras)}, expected {sorted(expected)}")
    if set(tags) != TAGS:
        found.append(f"the tags are {tags}, expected {sorted(TAGS)}")
    wanted = [f"{info}/licenses/{name}" for name in LICENSES]
    wanted += ["proteinflex_optimization/py.typed", "proteinflex_optimization/_native.abi3.so"]
    wanted += ["models/optimization/__init__.py"]
    wanted += [
        f"proteinflex_optimization/cli/web/page/page.{kind}" for kind in ("html", "css", "js")
    ]
    found += [f"{name} is missing" for name in wanted if name not in names]
    if path.stat().st_size > LARGEST:
        found.append(f"{path.stat().st_size:,} bytes are more than {LARGEST:,}")
    return found


def problems_of_archive(path: Path) -> list[str]:
    """Return what is wrong with the source archive."""
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    wanted = {*LICENSES, "Cargo.lock", "pyproject.toml", "README.md", "rust/core/Cargo.toml"}
    found = [f"{name} is missing" for name in sorted(wanted - names)]
    built = [name for name in names if name.endswith((".so", ".pyc"))]
    return [*found, *(f"{name} is no source" for name in built)]


def main(folder: str) -> int:
    """Check the files in a folder; returns the exit status."""
    wheels = sorted(Path(folder).glob("*.whl"))
    archives = sorted(Path(folder).glob("*.tar.gz"))
    problems = {}
    if len(wheels) != 1 or len(archives) != 1:
        problems[folder] = ["expected one wheel and one source archive"]
    problems |= {path.name: problems_of_wheel(path) for path in wheels}
    problems |= {path.name: problems_of_archive(path) for path in archives}
    for name, found in problems.items():
        print(f"{name}: {'; '.join(found) or 'complete'}")
    return int(any(problems.values()))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
