"""XTC files read by molly, a crate without a package for Python: cargo builds a library of it, where it is.

It has the same file as the reader of MDAnalysis, which is written by MDAnalysis as well.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .contender import Contender, Frames, Indices, Stored
from .md_files import xtc_by_mdanalysis

CRATE = Path(__file__).parents[1] / "_molly"
#: Ignored by git, and emptied by `make clean`.
TARGET = CRATE.parents[2] / "target" / "peers"
EVERYTHING = np.empty(0, np.bool_)


def xtc_by_molly(spacing: float) -> Contender:
    """XTC through molly, with its frame offsets at hand."""
    library = _library()

    class Xtc(Stored):
        def __init__(self, path: Path) -> None:
            self.file = library.molly_open(os.fsencode(path))
            if not self.file:
                raise OSError(f"molly can't open {path}")
            shape = np.empty(2, np.uintp)
            library.molly_shape(self.file, shape)
            self.n_frames, self.n_atoms = map(int, shape)

        def pick(self, indices: range, mask: NDArray[np.bool_] = EVERYTHING) -> Frames:
            n_atoms = int(mask.sum()) if len(mask) else self.n_atoms
            out = np.empty((len(indices), n_atoms, 3), np.float32)
            if not library.molly_read(
                self.file, indices.start, indices.step, mask, len(mask), out, out.size
            ):
                raise OSError("molly can't read")
            return out

        def read(self) -> Frames:
            return self.pick(range(self.n_frames))

        def frame(self, index: int) -> Frames:
            return self.pick(range(index, index + 1))[0]

        def stride(self, step: int) -> Frames:
            return self.pick(range(0, self.n_frames, step))

        def atoms(self, indices: Indices) -> Frames:
            mask = np.zeros(self.n_atoms, np.bool_)
            mask[indices] = True
            return self.pick(range(self.n_frames), mask)

        def close(self) -> None:
            library.molly_close(self.file)

    return Contender("XTC, molly", xtc_by_mdanalysis(spacing).write, Xtc, only_reads=True)


@functools.cache
def _library() -> ctypes.CDLL:
    """Load it. An `ImportError` leaves molly out, as a package that is not installed."""
    if reason := _build():
        raise ImportError(reason)
    library = ctypes.CDLL(str(TARGET / "release" / "libflexopt_bench_molly.so"))
    array = functools.partial(np.ctypeslib.ndpointer, flags="C_CONTIGUOUS")
    size, file = ctypes.c_size_t, ctypes.c_void_p
    library.molly_open.argtypes, library.molly_open.restype = [ctypes.c_char_p], file
    library.molly_shape.argtypes, library.molly_shape.restype = [file, array(np.uintp)], None
    library.molly_read.argtypes = [
        file,
        *(size, size),
        *(array(np.bool_), size),
        *(array(np.float32), size),
    ]
    library.molly_read.restype = ctypes.c_bool
    library.molly_close.argtypes, library.molly_close.restype = [file], None
    return library


@functools.cache
def _build() -> str:
    """Build it once, and tell what keeps it from being built."""
    cargo = shutil.which("cargo")
    if cargo is None:
        return "there is no cargo to build it with"
    command = [cargo, "build", "--release", "--locked", "--quiet", "--target-dir", str(TARGET)]
    built = subprocess.run(command, cwd=CRATE, capture_output=True, text=True, check=False)
    reason = built.stderr.strip().partition("\n")[0]
    return f"cargo can't build it: {reason}" if built.returncode else ""
