"""How CUDA numbers the GPUs: asked of torch where it is at work, else of a fresh process."""

from __future__ import annotations

import contextlib
import os
import sys

# Run by a child process, for asking CUDA initialises it, which nobody has asked for in this one.
_ASK = """
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
"""


def initialised_uuids() -> list[str] | None:
    """Give the UUIDs in torch's order, where torch has initialised CUDA in this process."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return None
    devices = (cuda.get_device_properties(number) for number in range(cuda.device_count()))
    uuids = [getattr(device, "uuid", None) for device in devices]
    # Versions of torch before 2.4 don't tell.
    return None if None in uuids else [str(uuid) for uuid in uuids]


_answers: dict[tuple[str | None, bool], list[str] | None] = {}


def asked_uuids(visible: str | None, is_pci_order: bool, seconds: float) -> list[str] | None:
    """Give the UUIDs as a fresh process with this environment sees them, if CUDA answers.

    It is asked once, and again only if it did not answer in time.
    """
    import subprocess

    key = (visible, is_pci_order)
    if key not in _answers:
        # What can't be asked in time may be asked later.
        with contextlib.suppress(subprocess.TimeoutExpired):
            _answers[key] = _asked_uuids(visible, is_pci_order, seconds)
    return _answers.get(key)


def _asked_uuids(visible: str | None, is_pci_order: bool, seconds: float) -> list[str] | None:
    import subprocess

    environment = dict(os.environ)
    if visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = visible
    if is_pci_order:
        environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    try:
        answer = subprocess.run(
            [sys.executable, "-I", "-c", _ASK],
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.split()
