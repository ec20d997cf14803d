"""A machine with GPUs, made of a scripted driver library and a text file."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def stub_library():
    """The scripted libnvidia-ml.so, built from this repository."""
    command = ["cargo", "build", "--quiet", "-p", "nvml-stub", "--message-format=json"]
    built = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=280, check=False
    )
    assert built.returncode == 0, built.stderr
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    files = [
        name
        for message in messages
        if message.get("target", {}).get("name") == "nvml_stub"
        for name in message.get("filenames", [])
    ]
    (library,) = [name for name in files if name.endswith(".so")]
    return Path(library)


class Machine:
    """A scripted machine. Change what it has at any time: the stub reads it again."""

    def __init__(self, path, library):
        self.gpu = gpu
        self.mig = mig
        self.path = path
        self.library = library
        self.started = []

    def write(self, *sections, **keys):
        """Make a machine of these sections, with these keys of its own."""
        lines = [f"{key} = {value}" for key, value in keys.items()]
        self.become("\n".join([*lines, *sections]) + "\n")

    def become(self, text):
        """Be described by this text: all of it at once, also for one who reads meanwhile."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.path)

    def environment(self, **more):
        """The environment of a process on this machine."""
        environment = {
            key: value
            for key, value in os.environ.items()
            if key not in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")
        }
        environment["PROTEINFLEX_NVML_LIBRARY"] = str(self.library)
        environment["NVML_STUB_WORLD"] = str(self.path)
        environment["PROTEINFLEX_GPU_STATE_DIR"] = str(self.path.parent / "state")
        # A busy machine takes its time, and the scripted driver never hangs unless it is told to.
        environment["PROTEINFLEX_GPU_TIMEOUT"] = "60"
        environment.update(more)
        return environment

    def start(self, script, **more):
        """Start a Python script on this machine."""
        process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-c", script],
            env=self.environment(**more),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Its forked children are found by it.
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def stop(self):
        """End what a test that failed has left: scripts, their forked children, and pipes."""
        for process in self.started:
            # Also where the script has ended: a child that hangs holds the pipes.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                with contextlib.suppress(OSError):
                    pipe.close()

    def run(self, script, **more):
        """Run a Python script on this machine, and give what it printed."""
        process = self.start(script, **more)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        return out


def gpu(number, total=24000, used=0, name="NVIDIA A10", **keys):
    """A section for one GPU."""
    keys = {
        "name": name,
        "uuid": f"GPU-{number:08d}-aaaa-bbbb-cccc-dddddddddddd",
        "bus": f"00000000:{number + 16:02X}:00.0",
        "total": total,
        "used": used,
        "reserved": 0,
        **keys,
    }
    return section("gpu", keys)


def mig(number, total=10000, **keys):
    """A section for one instance of the GPU before it."""
    keys = {"uuid": f"MIG-{number:08d}-1111", "total": total, "gi": number, "ci": 0, **keys}
    return section("mig", keys)


def section(kind, keys):
    """A section as it stands in the file; ``__`` in a key is a dot there."""
    lines = [f"{key.replace('__', '.')} = {value}" for key, value in keys.items()]
    return "\n".join([f"[{kind}]", *lines])


@pytest.fixture
def machine(tmp_path, stub_library, monkeypatch):
    """A machine for child processes and for this one."""
    machine = Machine(tmp_path / "world", stub_library)
    machine.write(*(gpu(number) for number in range(4)))
    for key in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(key, raising=False)
    for key, value in machine.environment().items():
        if os.environ.get(key) != value:
            monkeypatch.setenv(key, value)
    yield machine
    machine.stop()
