"""MDAnalysis's writers, with every error of the system: what they wrote is whole, or it is one.

C libraries tell of few errors, and not which one it was; HDF5 ends the process where a file can't be
written when it is closed.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from MDAnalysis.lib.formats.libdcd import DCDFile
from MDAnalysis.lib.formats.libmdaxdr import TRRFile, XTCFile

FILES = {".dcd": DCDFile, ".trr": TRRFile, ".xtc": XTCFile}
"""Of the formats whose writers don't notice all errors, besides TRZ."""

TRZ_HEADER = 100

PROBE_BYTES = 1 << 20
"""Written where a writer failed, to be told the reason: more than such a writer keeps back."""


class WholeWriter:
    """Writes frames to a file that is whole, or raises what the system says.

    Parameters
    ----------
    hidden : path
        The file to write.
    path : path
        The name for it in errors.
    make : callable
        Called with the name of the file, returns MDAnalysis's writer.
    """

    def __init__(self, hidden: Path, path: Path, make: Callable[[str], Any]) -> None:
        self._hidden, self._path = hidden, path
        self._file: _SilentFile | None = None
        self._worker: ThreadPoolExecutor | None = None
        with self._explained():
            hidden.touch()  # Which says clearly what is in the way.
            self._writer = make(str(hidden))
            if hidden.suffix.lower() == ".h5md":
                # Which is opened with the first frame.
                self._file = self._writer.filename = _SilentFile(hidden, "w+")
                # Ctrl-C is raised in the main thread, and so never where HDF5 calls the file.
                self._worker = ThreadPoolExecutor(1)
                # Now: where Ctrl-C meets the start of its thread, it starts a second one.
                self._worker.submit(int).result()

    def write(self, atoms: Any) -> None:
        """Write the current frame of a universe."""
        try:
            with self._explained():
                self._call(self._writer.write, atoms)
        except OSError:
            dataset: Any = getattr(self._writer, "trjfile", None)
            if hasattr(dataset, "_isopen"):
                # By netCDF4, where that is installed: closing what can't be written ends the process.
                dataset._isopen, self._writer.trjfile = 0, None
                os.truncate(self._hidden, 0)  # As it stays open, it would take space.
            raise

    def close(self) -> None:
        """Close the file, which need not be whole."""
        with self._explained():
            self._call(self._close)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        if self._worker is None:
            function(*arguments)
        else:
            self._worker.submit(function, *arguments).result()

    def _close(self) -> None:
        writer = self._writer
        try:
            writer.close()
            if self._file is not None and writer.h5md_file is not None:
                writer.h5md_file.close()
        finally:
            writer.close = lambda: None  # It is called again when the writer is deleted.
            if self._file is not None:
                self._file.close()
            if self._worker is not None:
                self._worker.shutdown(wait=False)

    def check(self, n_frames: int) -> None:
        """Check that the closed file has so many frames: an error of the last ones is not told.

        Raises
        ------
        OSError
            It has not.
        """
        suffix = self._hidden.suffix.lower()
        if suffix == ".trz":
            expected = TRZ_HEADER + n_frames * self._writer.frameDtype.itemsize
            with self._explained():
                if self._hidden.stat().st_size != expected:
                    raise OSError(f"{n_frames} frames end at byte {expected}")
        if suffix not in FILES:
            return
        with self._explained(), FILES[suffix](str(self._hidden)) as file:
            if len(file) != n_frames:
                raise OSError(f"{len(file)} of {n_frames} frames were written")
            file.seek(n_frames - 1)
            file.read()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise the system's error where there was one, whatever the writer makes of it."""
        try:
            yield
        except Exception as error:
            cause = self._cause(error)
            if cause is error:
                raise
            raise cause from error
        if self._file is not None and self._file.error is not None:
            raise self._cause(self._file.error)

    def _cause(self, error: Exception) -> Exception:
        if self._file is not None and self._file.error is not None:
            error = self._file.error
        elif isinstance(error, (OSError, RuntimeError)) and getattr(error, "errno", None) is None:
            try:
                # Twice, as readers open what they count: there may be too few descriptors.
                with self._hidden.open("ab") as file, self._hidden.open("rb"):
                    file.write(bytes(PROBE_BYTES))
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as found:
                error = found
        if not isinstance(error, OSError):
            return error
        if error.errno is None:
            return OSError(errno.EIO, f"it can't be written ({error})", str(self._path))
        return OSError(error.errno, error.strerror, str(self._path))


class _SilentFile(io.FileIO):
    """A file for HDF5, which never sees an error: it could not close the file then."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        try:
            while done < len(view):
                done += super().write(view[done:])
        except OSError as error:
            self.error = self.error or error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return self.tell() if size is None else size
