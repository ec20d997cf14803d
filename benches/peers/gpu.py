"""What looking at the GPUs costs, beside nvidia-ml-py, on a scripted driver or on a real one.

Without a GPU both read the scripted driver library of this repository, with a machine of four GPUs.
Its calls cost next to nothing, so what is measured is what each side adds to the driver's own time:
on a real driver the list of processes alone takes milliseconds, of which nvidia-ml-py asks for it
twice and we once. With ``--real``, on a machine with an NVIDIA driver, both read that one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _compare import medians, often, table

REPOSITORY = Path(__file__).parents[2]
CALLS = 200
GPUS = 4


def scripted_driver(directory: Path) -> Path:
    """Build the scripted library, and describe a machine for it."""
    subprocess.run(
        ["cargo", "build", "--quiet", "--release", "--locked", "-p", "nvml-stub"],
        cwd=REPOSITORY,
        check=True,
    )
    world = directory / "world"
    world.write_text(
        "".join(
            f"[gpu]\nname = NVIDIA A10\nuuid = GPU-{number:08d}-aaaa-bbbb-cccc-dddddddddddd\n"
            f"bus = 00000000:{number + 16:02X}:00.0\ntotal = 24000\nused = 1000\nreserved = 0\n"
            f"util = 7\nprocs = 77:900\n"
            for number in range(GPUS)
        )
    )
    os.environ["NVML_STUB_WORLD"] = str(world)
    os.environ["NVML_STUB_STILL"] = "1"
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    return target / "release" / "libnvml_stub.so"


def with_nvidia_ml_py(library: Path | None) -> dict[str, Callable[[], Any]]:
    """Read the same with nvidia-ml-py: the documented fields, and all that ours gives."""
    import ctypes

    import pynvml

    if library is not None:
        load = ctypes.CDLL
        pynvml.CDLL = lambda name, *rest, **options: load(str(library), *rest, **options)
    pynvml.nvmlInit()

    def documented(number: int, handle: Any) -> dict[str, Any]:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        return {
            "index": number,
            "name": pynvml.nvmlDeviceGetName(handle),
            "memory_total": memory.total >> 20,
            "memory_free": memory.free >> 20,
            "compute_capability": pynvml.nvmlDeviceGetCudaComputeCapability(handle),
        }

    def everything(number: int, handle: Any) -> dict[str, Any]:
        try:
            is_mig = pynvml.nvmlDeviceGetMigMode(handle)[0] == 1
        except pynvml.NVMLError:
            is_mig = False
        return {
            **documented(number, handle),
            "uuid": pynvml.nvmlDeviceGetUUID(handle),
            "pci_bus_id": pynvml.nvmlDeviceGetPciInfo(handle).busId,
            "utilization": pynvml.nvmlDeviceGetUtilizationRates(handle).gpu,
            "compute_mode": pynvml.nvmlDeviceGetComputeMode(handle),
            "processes": [
                {"pid": process.pid, "memory": process.usedGpuMemory}
                for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
            ],
            "is_mig": is_mig,
        }

    def each(read: Callable[[int, Any], dict[str, Any]]) -> Callable[[], list[dict[str, Any]]]:
        def run() -> list[dict[str, Any]]:
            count = pynvml.nvmlDeviceGetCount()
            return [read(n, pynvml.nvmlDeviceGetHandleByIndex(n)) for n in range(count)]

        return run

    return {
        "nvidia-ml-py, the same fields": each(everything),
        "nvidia-ml-py, the five documented fields": each(documented),
    }


def main() -> None:
    """Measure and print the table."""
    with tempfile.TemporaryDirectory() as directory:
        library = None if "--real" in sys.argv[1:] else scripted_driver(Path(directory))
        if library is not None:
            os.environ["PROTEINFLEX_NVML_LIBRARY"] = str(library)
        os.environ["PROTEINFLEX_GPU_STATE_DIR"] = directory
        # The peer first: what it loads decides what can be compared.
        try:
            peers = with_nvidia_ml_py(library)
        except ImportError:
            print("nvidia-ml-py is not installed", file=sys.stderr)
            peers = {}
        from proteinflex_optimization import GPUManager

        manager, polling = GPUManager(), GPUManager(poll_interval=1.0)
        found = manager.get_available_gpus()
        for peer in peers.values():
            names = [gpu["name"] for gpu in peer()]
            assert names == [gpu["name"] for gpu in found], "they read different drivers"
        contenders = {
            "get_available_gpus(), asks the driver": often(CALLS, manager.get_available_gpus),
            "get_available_gpus() with poll_interval": often(CALLS, polling.get_available_gpus),
            **{name: often(CALLS, peer) for name, peer in peers.items()},
        }
        seconds = {name: time / CALLS for name, time in medians(contenders, rounds=9).items()}
        tool = shutil.which("nvidia-smi") if library is None else None
        if tool is not None:
            query = [tool, "--query-gpu=index,name,memory.total,memory.free", "--format=csv"]
            smi = lambda: subprocess.run(query, capture_output=True, check=True)  # noqa: E731
            seconds.update(medians({"nvidia-smi --query-gpu": smi}, rounds=5))
    base = seconds.get("nvidia-ml-py, the same fields")
    rows = [
        [name, f"{1e6 * time:.0f}", "" if base is None else f"{time / base:.2f}"]
        for name, time in seconds.items()
    ]
    where = "the driver" if library is None else "a scripted driver"
    columns = ["", "µs", "÷ nvidia-ml-py, same fields"]
    print(table(f"{len(found)} GPUs of {where}, once", columns, rows))


if __name__ == "__main__":
    main()
