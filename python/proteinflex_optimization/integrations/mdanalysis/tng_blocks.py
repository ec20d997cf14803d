"""The blocks of TNG files, whose checksums the library compares and then passes over."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import BinaryIO

from proteinflex_optimization.integrations.mdanalysis.findings import Findings
from proteinflex_optimization.integrations.mdanalysis.reader import TrajectoryReadError

HEADER = "3q16s"
"""Of a block: the sizes of its header and its contents, what it is, and the MD5 of its contents."""
N_HEADER = struct.calcsize(f">{HEADER}")
PIECE = 1 << 20


def tng(path: Path, findings: Findings) -> None:
    """Follow the blocks to the end of the file, and compare each with its MD5, where it has one.

    Raises
    ------
    TrajectoryReadError
        A block is cut, or is another: the library would give frames of it.
    """
    size = path.stat().st_size
    order = ">"
    with path.open("rb") as file:
        while (begin := file.tell()) < size:
            header = file.read(N_HEADER)
            if begin == 0 and header[0]:  # The lowest byte of a size.
                order = "<"
            if len(header) == N_HEADER:
                n_header, n_contents, _, expected = struct.unpack(order + HEADER, header)
                file.seek(begin + max(0, n_header))
                is_whole = n_header > N_HEADER and 0 <= n_contents <= size - begin - n_header
                if is_whole and (not any(expected) or _md5(file, n_contents) == expected):
                    file.seek(begin + n_header + n_contents)
                    continue
            raise TrajectoryReadError(
                f"{path} is cut or damaged: its block at byte {begin} is not what its header says"
            )


def _md5(file: BinaryIO, n_bytes: int) -> bytes:
    found = hashlib.md5(usedforsecurity=False)
    for start in range(0, n_bytes, PIECE):
        found.update(file.read(min(PIECE, n_bytes - start)))
    return found.digest()
