"""Runs a program in which `flock` fails, or returns without locking anything.

As on a file system without locks, or one whose locks reach no other host. It is done by the system
(seccomp), so nothing of the package knows.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import runpy
import sys

NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER = 38, 22, 2
FLOCK = {"x86_64": 73, "aarch64": 32}.get(platform.machine())
AVAILABLE = sys.platform == "linux" and FLOCK is not None


class Instruction(ctypes.Structure):
    """One of the classic BPF."""

    _fields_ = (
        ("code", ctypes.c_ushort),
        ("if_true", ctypes.c_ubyte),
        ("if_false", ctypes.c_ubyte),
        ("value", ctypes.c_uint),
    )


class Program(ctypes.Structure):
    """Instructions, as the system takes them."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(Instruction)))


def disable_locks(code: int) -> None:
    """Let every `flock` of this process and its children return this error, or 0 for success."""
    load, equal, give = 0x20, 0x15, 0x06
    steps = (Instruction * 4)(
        Instruction(load, 0, 0, 0),  # The number of the call.
        Instruction(equal, 0, 1, FLOCK or 0),
        Instruction(give, 0, 0, 0x50000 | code),
        Instruction(give, 0, 0, 0x7FFF0000),
    )
    program = Program(4, steps)
    system = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (NO_NEW_PRIVILEGES, 1, 0, 0, 0),
        (SET_SECCOMP, FILTER, ctypes.byref(program), 0, 0),
    ):
        if system.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    disable_locks({"fails": errno.ENOSYS, "nothing": 0}[sys.argv[1]])
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")
