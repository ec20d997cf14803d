"""Whether the compressed positions of an XTC frame can be decoded.

libxdrfile trusts what it decodes. From the first wrong bit on it takes coordinates for counts, and
then writes beyond its memory or divides by zero, which ends the process.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SIZES = range(9, 73)
"""The indices of libxdrfile's table of sizes that have one; a position by differences takes so many bits."""
LARGE = 0xFFFFFF
"""From here on, integers are written one by one, and not three as one."""
GROUPS = 24
"""How many of them are looked at together."""
TURNS = {bytes(map(int, f"{five:05b}")): (five // 3, five % 3 - 1) for five in range(2**5)}
"""Five bits: how many differences follow each position, and by how much the index of their size goes on."""


def is_decodable(stream: bytes, n_atoms: int, spans: Sequence[int], size: int) -> bool:
    """Follow groups of positions to their end: each is a whole one, a bit, and differences to it.

    Parameters
    ----------
    stream : bytes
        What is compressed.
    n_atoms : int
        How many positions it has.
    spans : sequence of int
        How many values each of the three integers of a whole position can have.
    size : int
        The index of the size of differences that the first group begins with.
    """
    if max(spans) > LARGE:
        whole = sum(span.bit_length() for span in spans)
    else:
        whole = (spans[0] * spans[1] * spans[2]).bit_length()
    bits = np.unpackbits(np.frombuffer(stream, np.uint8)).tobytes()
    n_bits = len(bits)
    place, n_left, n_more = whole, n_atoms, 0
    group = whole + 1
    while n_left > 0 and place < n_bits:
        if bits[place]:
            # Five more bits say what is other than in the group before.
            turn = TURNS.get(bits[place + 1 : place + 6])
            if turn is None:
                return False
            n_more, change = turn
            group = whole + 1 + n_more * size
            place += group + 5
            n_left -= n_more + 1
            if change:
                size += change
                if size not in SIZES:
                    return False
                group = whole + 1 + n_more * size
        else:
            same = bits[place : place + GROUPS * group : group]
            n_same = same.find(1)
            if n_same < 0:
                n_same = len(same)
            place += n_same * group
            n_left -= n_same * (n_more + 1)
    return n_left == 0 and 0 <= n_bits - (place - whole) < 8
