"""The bytes of a structure file, and which format they are: told by what is in it, not by its name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from proteinflex_optimization._filesystem import refuse_other_than_a_file
from proteinflex_optimization._packed import unpacked, without_suffix
from proteinflex_optimization.errors import InvalidArgumentError
from proteinflex_optimization.topology import MMCIF

Format = Literal["PDB", "mmCIF", "mmJSON"]

READ = "PDB, mmCIF and mmJSON files are read, plain or compressed with gzip, bzip2 or xz"

MMCIF_ATOMS = re.compile(rb"^[ \t]*_atom_site\.", re.IGNORECASE | re.MULTILINE)
ATOM_RECORD = re.compile(rb"^[ \t]*(ATOM|HETATM)", re.IGNORECASE | re.MULTILINE)
GRO = re.compile(rb"[^\n]*\n\s*\d+\s*\n[ \d]{5}.{10}[ \d]{5}\s*-?\d+\.\d+\s*-?\d+\.\d+")

OTHERS = {
    "BinaryCIF": re.compile(rb".{0,40}dataBlocks|.{0,200}encoder.{0,400}dataBlocks", re.DOTALL),
    "MMTF": re.compile(rb"[\x80-\xdf].{0,4000}mmtf", re.DOTALL),
    "an HTML page (a download that failed?)": re.compile(
        rb"\s*(<!--.*?-->\s*)?<(!doctype html|html|head|body)\b", re.IGNORECASE | re.DOTALL
    ),
    "XML (PDBML?)": re.compile(rb"\s*<(\?xml|[\w:]+)"),
    "MOL2": re.compile(rb".*?@<TRIPOS>", re.DOTALL),
    "a tar archive (extract the file from it)": re.compile(rb".{257}ustar", re.DOTALL),
    "SDF or MOL": re.compile(rb"(?:[^\n]*\n){3}[^\n]*V[23]000"),
    "PSF (a topology without positions)": re.compile(rb"\s*PSF\b"),
    "an Amber topology (without positions)": re.compile(rb"\s*%VERSION"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd"),
    "ZIP": re.compile(rb"PK\x03\x04"),
    "7-Zip": re.compile(rb"7z\xbc\xaf\x27\x1c"),
}
"""How files of other formats look."""

REMEDIES = {
    "GRO": "convert it, for example with `gmx editconf -f box.gro -o box.pdb`",
    "PQR": "use the PDB file that it was made from",
    "PDBQT": "use the PDB file that it was made from",
    "BinaryCIF": "take the mmCIF file instead",
    "MMTF": "take the mmCIF file instead",
    "MOL2": "convert it to PDB or mmCIF",
}


def invalid(path: Path, problem: str, *, line: int | None = None) -> InvalidArgumentError:
    """Return the error that says what is wrong in which file, and in which line of it."""
    place = "" if line is None else f"line {line}: "
    return InvalidArgumentError(f"source={str(path)!r} is not valid: {place}{problem}")


def other_format(path: Path, name: str) -> InvalidArgumentError:
    """Return the error that says that this format is not read."""
    remedy = REMEDIES.get(name)
    return invalid(path, f"this is {name}; {READ}" + (f" ({remedy})" if remedy else ""))


def read_content(path: Path) -> bytes:
    """Return what is in the file: decompressed, and in UTF-8 where it was in UTF-16.

    Raises
    ------
    InvalidArgumentError
        It is empty, a directory or a pipe, or its compressed data is damaged.
    OSError
        It can't be opened.
    """
    refuse_other_than_a_file("source", path)
    content = b"".join(unpacked("source", path))
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            content = content.decode("utf-16").encode()
        except UnicodeDecodeError as error:
            raise invalid(path, f"its UTF-16 text is damaged ({error})") from error
    content = content.removeprefix(b"\xef\xbb\xbf")
    if b"\n" not in content:
        content = content.replace(b"\r", b"\n")  # The line ends of old Macs.
    if not content.strip():
        raise invalid(path, "the file is empty")
    return content


def find_format(path: Path, content: bytes) -> Format:
    """Return the format; other formats are an error that names them."""
    suffix = Path(without_suffix(path.name.lower())).suffix
    for name in ("PQR", "PDBQT"):
        # Both have atom records that look like those of PDB and mean something else.
        if suffix == f".{name.lower()}":
            raise other_format(path, name)
    if MMCIF.match(content):
        return "mmCIF"
    for name, pattern in OTHERS.items():
        if pattern.match(content[:100_000]):
            raise other_format(path, name)
    if b"\0" in content:
        raise invalid(path, f"it has NUL bytes: damaged, binary, or UTF-16 without a mark; {READ}")
    if content.lstrip()[:1] == b"{":
        return "mmJSON"
    if MMCIF_ATOMS.search(content):
        raise invalid(
            path,
            "this is mmCIF that does not begin with a data block: expected a line such as data_1ABC "
            "before all others",
        )
    if ATOM_RECORD.search(content):
        return "PDB"
    if GRO.match(content[:5000]) or suffix == ".gro":
        raise other_format(path, "GRO")
    beginning = content.lstrip()[:40].split(b"\n")[0].strip()
    raise invalid(
        path,
        f"it has no ATOM or HETATM record and no data_ block, and begins with {beginning!r}; {READ}",
    )
