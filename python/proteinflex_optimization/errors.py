"""What can go wrong. Each message says what was asked, what was found and what to do.

Errors of the operating system stay `OSError`, with ``errno`` and ``filename``: a full disk is an
`OSError` with `errno.ENOSPC`.
"""

__all__ = [
    "CacheFullError",
    "CacheKeyError",
    "CheckpointError",
    "CorruptDataError",
    "GPUError",
    "InsufficientGPUMemoryError",
    "InternalError",
    "InvalidArgumentError",
    "InvalidTypeError",
    "LockTimeoutError",
    "ObjectChangedError",
    "ProteinFlexError",
    "RemoteError",
    "ResumeError",
    "UnknownTaskError",
    "UnsupportedFormatError",
    "WriterConflictError",
]


class ProteinFlexError(Exception):
    """The base of every error that this package defines."""


class InvalidArgumentError(ProteinFlexError, ValueError):
    """An argument has a value that makes no sense; the message names both."""


class InvalidTypeError(InvalidArgumentError, TypeError):
    """An argument, or a value inside one, has a type that can't be used."""


class CacheKeyError(ProteinFlexError, KeyError):
    """Nothing is stored under this key, or a trajectory that is not finished."""

    def __str__(self) -> str:
        """Show the message as it is; `KeyError` would show its repr."""
        return Exception.__str__(self)


class CorruptDataError(ProteinFlexError):
    """A file does not hold what was written to it; the message names the file and the part."""


class UnsupportedFormatError(ProteinFlexError):
    """A file is of another format, or of a newer version than this package reads."""


class CacheFullError(ProteinFlexError):
    """An entry does not fit into the cache.

    Nothing was removed, if its size was known beforehand; else others may have been evicted as it grew.
    """


class LockTimeoutError(ProteinFlexError, TimeoutError):
    """Another process holds a lock for too long; the message says which lock and, if known, who."""


class ResumeError(ProteinFlexError):
    """A run can't go on from where it says: the frames before that are not stored."""


class WriterConflictError(ProteinFlexError, RuntimeError):
    """What a writer writes is, or was stored by, another's; or the writer is another process's, or in use."""


class RemoteError(ProteinFlexError, OSError):
    """A server or object store gave no usable answer; the message names the URL and the cause."""


class ObjectChangedError(RemoteError):
    """Another object has taken the place of the one that was opened: open it again."""


class CheckpointError(ProteinFlexError):
    """A checkpoint can't be made, found or used."""


class GPUError(ProteinFlexError):
    """The GPU driver is there and does not work; the message says how to mend it."""


class InsufficientGPUMemoryError(GPUError):
    """No GPU has the memory that was asked for; the message lists what each of them has."""


class InternalError(ProteinFlexError):
    """A bug in this package: please report it. What was called has failed; later calls work."""


class UnknownTaskError(ProteinFlexError, KeyError):
    """A task that nobody declared; the message lists the known ones."""

    __str__ = CacheKeyError.__str__
