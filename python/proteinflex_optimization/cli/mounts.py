"""Which file system a directory is on, and where else on this host it is mounted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Mount", "mount_of", "other_mounts"]

MOUNTS = Path("/proc/self/mountinfo")


@dataclass(frozen=True)
class Mount:
    """One line of the system's table of mounts."""

    root: Path
    """The directory of the file system that is mounted."""
    point: Path
    """Where."""
    kind: str
    """Such as ``ext4``, ``nfs4`` or ``fuse.sshfs``."""
    source: str
    """The device, or the server and its directory."""


def _mounts() -> list[Mount]:
    try:
        lines = MOUNTS.read_bytes().splitlines()
    except OSError:
        return []
    mounts = []
    for line in lines:
        fields = [_unescaped(field) for field in line.split(b" ")]
        kind, source = fields[fields.index("-") + 1 :][:2]
        mounts.append(Mount(Path(fields[3]), Path(fields[4]), kind, source))
    return mounts


def _unescaped(field: bytes) -> str:
    for char in b" \t\n\\":
        field = field.replace(b"\\%03o" % char, bytes([char]))
    return os.fsdecode(field)


def mount_of(directory: Path) -> Mount | None:
    """Find the mount that a directory is on; None where the system has no table of mounts."""
    path = directory.resolve()
    found = [mount for mount in _mounts() if path.is_relative_to(mount.point)]
    # Of two on one point, the later one is in front.
    return max(reversed(found), key=lambda mount: len(mount.point.parts), default=None)


def other_mounts(directory: Path) -> list[Path]:
    """Find the other paths at which the file system of a directory is mounted on this host."""
    own = mount_of(directory)
    if own is None:
        return []
    inside = own.root / directory.resolve().relative_to(own.point)
    return [
        mount.point / inside.relative_to(mount.root)
        for mount in _mounts()
        if (mount.kind, mount.source) == (own.kind, own.source)
        and mount.point != own.point
        and inside.is_relative_to(mount.root)
    ]
