"""The files that programs of molecular dynamics write: XTC and DCD, without any universe around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .contender import Contender, Frames, Indices, Stored

#: A box that coordinates of any of the data sets fit in, in nm.
BOX = np.eye(3, dtype=np.float32) * 50


def xtc_by_mdanalysis(spacing: float) -> Contender:
    """XTC through the library inside MDAnalysis, with its frame offsets at hand."""
    from MDAnalysis.lib.formats.libmdaxdr import XTCFile

    precision = round(10 / spacing)

    def write(path: Path, frames: Frames) -> None:
        with XTCFile(str(path), "w") as file:
            for step, frame in enumerate(frames / np.float32(10)):
                file.write(frame, BOX, step, float(step), precision)

    class Xtc(Stored):
        def __init__(self, path: Path) -> None:
            self.file = XTCFile(str(path))
            self.n_frames = len(self.file)  # finds the offsets

        def pick(self, indices: range) -> Frames:
            out = np.empty((len(indices), self.file.n_atoms, 3), np.float32)
            for place, index in enumerate(indices):
                if indices.step != 1 or place == 0:
                    self.file.seek(index)
                self.file.read_direct_x(out[place])
            out *= np.float32(10)
            return out

        def read(self) -> Frames:
            return self.pick(range(self.n_frames))

        def frame(self, index: int) -> Frames:
            return self.pick(range(index, index + 1))[0]

        def stride(self, step: int) -> Frames:
            return self.pick(range(0, self.n_frames, step))

        def close(self) -> None:
            self.file.close()

    return Contender("XTC, MDAnalysis", write, Xtc)


def xtc_by_mdtraj() -> Contender:
    """XTC through mdtraj, which always rounds to 0.001 nm."""
    from mdtraj.formats import XTCTrajectoryFile

    def write(path: Path, frames: Frames) -> None:
        with XTCTrajectoryFile(str(path), "w") as file:
            file.write(frames / np.float32(10), box=np.broadcast_to(BOX, (len(frames), 3, 3)))

    class Xtc(Stored):
        def __init__(self, path: Path) -> None:
            self.file = XTCTrajectoryFile(str(path))
            len(self.file)  # finds the offsets

        def angstrom(self, *arguments: object, **options: object) -> Frames:
            frames: Frames = self.file.read(*arguments, **options)[0]
            frames *= np.float32(10)
            return frames

        def read(self) -> Frames:
            self.file.seek(0)
            return self.angstrom()

        def frame(self, index: int) -> Frames:
            self.file.seek(index)
            return self.angstrom(1)[0]

        def stride(self, step: int) -> Frames:
            self.file.seek(0)
            return self.angstrom(stride=step)

        def atoms(self, indices: Indices) -> Frames:
            self.file.seek(0)
            return self.angstrom(atom_indices=indices)

        def close(self) -> None:
            self.file.close()

    return Contender("XTC, mdtraj", write, Xtc)


def dcd() -> Contender:
    """DCD through the library inside MDAnalysis."""
    from MDAnalysis.lib.formats.libdcd import DCDFile

    def write(path: Path, frames: Frames) -> None:
        with DCDFile(str(path), "w") as file:
            file.write_header("", frames.shape[1], 0, 1, 1.0, 0)
            for frame in frames:
                file.write(frame, np.zeros(6))

    class Dcd(Stored):
        def __init__(self, path: Path) -> None:
            self.file = DCDFile(str(path))

        def pick(self, **options: object) -> Frames:
            frames: Frames = self.file.readframes(order="fac", **options).xyz
            return frames

        def read(self) -> Frames:
            return self.pick()

        def frame(self, index: int) -> Frames:
            return self.pick(start=index, stop=index + 1)[0]

        def stride(self, step: int) -> Frames:
            return self.pick(step=step)

        def atoms(self, indices: Indices) -> Frames:
            return self.pick(indices=indices)

        def close(self) -> None:
            self.file.close()

    return Contender("DCD, MDAnalysis", write, Dcd)
