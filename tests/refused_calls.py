"""Lets the system refuse some of its calls: `flock`, as on a file system without locks, or `fsync`.

Or lets them succeed without doing anything, as on one whose locks reach no other host. The system
does it (seccomp), also in children, so nothing of the package knows. A script gets it by what
`prelude` returns, or by being run by this one.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import runpy
import struct
import sys

NUMBERS = {
    "x86_64": {"flock": 73, "fsync": 74, "fdatasync": 75},
    "aarch64": {"flock": 32, "fsync": 82, "fdatasync": 83},
}.get(platform.machine(), {})
AVAILABLE = sys.platform == "linux" and bool(NUMBERS)
LOCKS = {"fails": errno.ENOSYS, "nothing": 0}
"""What `flock` returns where there are no locks, and where they exclude nobody."""


def refuse(error: int, *names: str) -> None:
    """Let these calls of this process and its children return this error, or 0 for success."""
    load, is_equal, give = 0x20, 0x15, 0x06
    steps = [(load, 0, 0, 0)]  # The number of the call.
    for left, name in zip(range(len(names), 0, -1), names, strict=True):
        steps.append((is_equal, left, 0, NUMBERS[name]))
    steps += [(give, 0, 0, 0x7FFF0000), (give, 0, 0, 0x50000 | error)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
    system = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, set_seccomp, by_program = 38, 22, 2
    for arguments in ((no_new_privileges, 1, 0, 0, 0), (set_seccomp, by_program, program, 0, 0)):
        if system.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


def prelude(error: int, *names: str) -> str:
    """Return the beginning of a script of which these calls are refused."""
    here = os.path.dirname(os.path.abspath(__file__))
    return (
        f"import sys; sys.path.insert(0, {here!r})\n"
        f"from refused_calls import refuse; refuse({error}, *{names})\n"
    )


if __name__ == "__main__":
    refuse(LOCKS[sys.argv[1]], "flock")
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")
