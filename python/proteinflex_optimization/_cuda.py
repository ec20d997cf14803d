"""How CUDA numbers the GPUs: by torch where it has initialised CUDA, else by a new process."""

from __future__ import annotations

import contextlib
import os

# Not when it is needed: a child that is forked while a thread imports it could never import it.
import subprocess
import sys

# Run by a child process, for a query initialises CUDA, which this process has not asked for.
_QUERY = """
import ctypes
cuda = ctypes.CDLL("libcuda.so.1")
def check(code):
    if code:
        raise SystemExit(code)
check(cuda.cuInit(0))
count = ctypes.c_int()
check(cuda.cuDeviceGetCount(ctypes.byref(count)))
get_uuid = getattr(cuda, "cuDeviceGetUuid_v2", None) or cuda.cuDeviceGetUuid
for number in range(count.value):
    device, uuid = ctypes.c_int(), (ctypes.c_ubyte * 16)()
    check(cuda.cuDeviceGet(ctypes.byref(device), number))
    check(get_uuid(uuid, device))
    text = bytes(uuid).hex()
    print("-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:])))
print("all")
"""


def initialised_uuids() -> list[str] | None:
    """Return the UUIDs in torch's order, where torch has initialised CUDA in this process."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return None
    devices = (cuda.get_device_properties(number) for number in range(cuda.device_count()))
    uuids = [getattr(device, "uuid", None) for device in devices]
    # Versions of torch before 2.4 don't report them.
    return None if None in uuids else [str(uuid) for uuid in uuids]


_results: dict[tuple[str | None, bool], list[str] | None] = {}


def queried_uuids(visible: str | None, is_pci_order: bool, seconds: float) -> list[str] | None:
    """Return the UUIDs as a new process with this environment sees them, if CUDA can say.

    It is queried once, and again only after a timeout.
    """
    key = (visible, is_pci_order)
    if key not in _results:
        # A query that timed out may be repeated later.
        with contextlib.suppress(subprocess.TimeoutExpired):
            _results[key] = _queried_uuids(visible, is_pci_order, seconds)
    return _results.get(key)


def _queried_uuids(visible: str | None, is_pci_order: bool, seconds: float) -> list[str] | None:
    environment = dict(os.environ)
    if visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = visible
    if is_pci_order:
        environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    try:
        result = subprocess.run(
            [sys.executable, "-I", "-c", _QUERY],
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except OSError:
        return None
    # Not by the exit status, which Python does not know where SIGCHLD is ignored.
    *uuids, last = result.stdout.split() or [""]
    return uuids if last == "all" else None
