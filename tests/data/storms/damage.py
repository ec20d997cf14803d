"""Files that are damaged."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from proteinflex_optimization import DataHandler
from proteinflex_optimization.errors import CacheKeyError, CorruptDataError

from .values import (
    WRONG,
    compare,
    directory,
    frames,
)


def damage(step: int = 7) -> dict[str, int]:
    """Flip bytes, cut, empty, replace and remove entries, before and while somebody has them open."""
    done: Counter = Counter({WRONG: 0})
    with directory() as path:
        for plain in (False, True):
            handler = DataHandler(path, enable_compression=not plain, durable=False)
            for number, n_frames in ((1, 3), (2, 400)):
                data = {"frames": frames(number, 0, n_frames), "name": "x" * 100}
                key = handler.store_trajectory(data, str(number))
                file = path / "entries" / key[2:4] / f"{key}.fxt"
                whole = file.read_bytes()

                def attack(change, what: str, handler=handler, key=key, data=data) -> None:
                    attacked(handler, key, data, change, done)
                    done[what] += 1
                    handler.store_trajectory(data, data_id(key, handler))

                for offset in offsets(len(whole), step):

                    def flip(file=file, offset=offset) -> None:
                        with file.open("r+b") as opened:
                            opened.seek(offset)
                            byte = opened.read(1)[0]
                            opened.seek(offset)
                            opened.write(bytes([byte ^ (1 << offset % 8)]))

                    attack(flip, "bytes flipped")
                for length in (0, 1, 63, 64, len(whole) // 2, len(whole) - 65, len(whole) - 1):
                    attack(lambda length=length, file=file: os.truncate(file, length), "files cut")
                attack(lambda file=file: file.unlink(), "files removed")
                attack(lambda file=file: replace(file, b"no entry at all"), "files replaced")
                attack(lambda file=file, whole=whole: replace(file, whole), "files replaced")
    return dict(done)


def data_id(key: str, handler: DataHandler) -> str:
    """Find the small number that was stored under a key."""
    return next(str(number) for number in range(9) if handler.key_for(str(number)) == key)


def attacked(handler: DataHandler, key: str, data: dict, change, done: Counter) -> None:
    """Read an entry that is changed, by somebody who has it open and by somebody who opens it."""
    held = handler.open(key)
    change()
    for read in (lambda: held.read(), lambda: handler.load_data(key)["frames"]):
        try:
            compare(read(), data["frames"], done)
            done["reads of damaged files that were given"] += 1
        except (CorruptDataError, CacheKeyError):
            done["reads of damaged files that were refused"] += 1


def offsets(length: int, step: int) -> list[int]:
    """Choose bytes: of small files all over, of others at both ends and some of what is between."""
    if length < 20_000:
        return list(range(0, length, step))
    ends = {*range(0, 300, step), *range(max(0, length - 600), length, step)}
    return sorted({*ends, *range(0, length, max(1, length // 40))})


def replace(file: Path, content: bytes) -> None:
    """Put another file in a file's place."""
    other = file.with_name("other")
    other.write_bytes(content)
    other.replace(file)
