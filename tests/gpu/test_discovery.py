"""Which GPUs there are, and what is said when something is wrong with them or their driver."""

import pytest
from proteinflex_optimization import (
    DataHandler,
    GPUError,
    GPUManager,
    InsufficientGPUMemoryError,
)

DOCUMENTED = ("index", "name", "memory_total", "memory_free", "compute_capability")


@pytest.mark.parametrize("count", [1, 2, 8])
def test_healthy_gpus_have_the_documented_keys(machine, count):
    machine.write(
        *(machine.gpu(number, used=1000, reserved=500, cc="8.6") for number in range(count))
    )
    found = GPUManager().get_available_gpus()
    assert [entry["index"] for entry in found] == list(range(count))
    first = {key: found[0][key] for key in DOCUMENTED}
    assert first == {
        "index": 0,
        "name": "NVIDIA A10",
        "memory_total": 24000,
        "memory_free": 22500,
        "compute_capability": (8, 6),
    }
    assert found[0]["uuid"].startswith("GPU-00000000")
    assert found[0]["pci_bus_id"] == "00000000:10:00.0"
    assert found[0]["status"] == "ok"


NO_DRIVER = """
import ctypes, logging, sys
from proteinflex_optimization import GPUManager
try:
    ctypes.CDLL("libnvidia-ml.so.1")
except OSError:
    pass
else:
    sys.exit("this machine has a driver")
logging.basicConfig(level="INFO", stream=sys.stdout, format="%(message)s")
manager = GPUManager()
assert manager.get_available_gpus() == []
assert manager.allocate_gpus("prediction") == []
assert manager.wait_for_gpus("prediction", 10) == []
assert manager.get_optimal_batch_size("prediction", []) >= 1
with manager.reserve("dynamics") as gpus:
    assert gpus == []
print("with a poller:")
assert GPUManager(poll_interval=0.1).get_available_gpus() == []
"""


def test_without_a_driver_there_are_no_gpus_and_one_line_says_why(machine):
    # In a process of its own: this one has loaded the scripted driver.
    process = machine.start(NO_DRIVER, PROTEINFLEX_NVML_LIBRARY="")
    out, err = process.communicate(timeout=120)
    if "this machine has a driver" in err:
        pytest.skip(err.strip())
    assert process.returncode == 0, err
    line = "no GPU is used: no NVIDIA driver on this machine (libnvidia-ml.so.1 not found)"
    assert out.splitlines() == [line, "with a poller:", line]


def test_the_figures_of_a_cache_say_once_that_there_is_no_gpu(monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    handler = DataHandler(tmp_path)
    with caplog.at_level("INFO", logger="proteinflex_optimization"):
        assert [handler.get_cache_stats()["memory"]["gpus"] for _ in range(3)] == [[]] * 3
    assert len([record for record in caplog.records if "no GPU is used" in record.message]) <= 1


def test_a_mask_that_hides_all_is_no_driver_question_at_all(machine, monkeypatch):
    machine.write(err__nvmlInit_v2=18)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert GPUManager().get_available_gpus() == []


@pytest.mark.parametrize(
    ("code", "remedy"),
    [(9, "modprobe"), (18, "restart"), (4, "permissions"), (999, "nvidia-smi"), (17, "container")],
)
def test_a_broken_driver_is_an_error_with_a_remedy(machine, code, remedy):
    path = machine.path
    machine.write(machine.gpu(0))
    path.write_text(f"err.nvmlInit_v2 = {code}\n" + path.read_text())
    script = (
        "from proteinflex_optimization import GPUManager, GPUError\n"
        "for call in ('get_available_gpus', 'allocate_gpus'):\n"
        "    try:\n"
        "        getattr(GPUManager(), call)(*(['dynamics'] if call[0] == 'a' else []))\n"
        "    except GPUError as error: print(error)\n"
    )
    lines = machine.run(script).splitlines()
    assert len(lines) == 2
    assert all(remedy in line for line in lines)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/nope/libnvidia-ml.so.1", "no such file"),
        ("libnope.so.1", "cannot open shared object file"),
        ("TEXT", "file too short|invalid ELF header"),
        ("libm.so.6", "undefined symbol"),
    ],
)
def test_a_library_that_was_named_and_is_none_is_an_error(
    machine, monkeypatch, tmp_path, name, reason
):
    text = tmp_path / "text.so"
    text.write_text("not a library")
    name = name.replace("TEXT", str(text))
    monkeypatch.setenv("PROTEINFLEX_NVML_LIBRARY", name)
    for manager in (GPUManager(), GPUManager(poll_interval=0.1)):
        for call, *task in ((manager.get_available_gpus,), (manager.allocate_gpus, "dynamics")):
            with pytest.raises(GPUError, match=f"^PROTEINFLEX_NVML_LIBRARY={name}: .*({reason})"):
                call(*task)


def test_a_driver_without_gpus_is_no_gpus(machine):
    machine.write()
    assert GPUManager().get_available_gpus() == []
    assert GPUManager().allocate_gpus("dynamics") == []


@pytest.mark.parametrize(
    ("code", "status"),
    [(4, "denied"), (15, "lost"), (16, "lost"), (11, "unreadable"), (200, "unreadable")],
)
@pytest.mark.parametrize("function", ["*", "nvmlDeviceGetMemoryInfo_v2"])
def test_a_failing_gpu_is_listed_and_never_selected(machine, code, status, function):
    machine.write(
        machine.gpu(0, **{f"err__{function}": code}), machine.gpu(1), machine.gpu(2), machine.gpu(3)
    )
    manager = GPUManager({"huge": 500_000, "small": 10})
    found = manager.get_available_gpus()
    (bad,) = [entry for entry in found if entry["status"] != "ok"]
    assert bad["status"] == status
    assert bad["reason"]
    assert bad["memory_free"] == 0
    if code == 200:
        assert "NVML error 200" in bad["reason"]
    good = [entry["index"] for entry in found if entry["status"] == "ok"]
    assert len(good) == 3
    assert sorted(manager.allocate_gpus("small")) == good
    with pytest.raises(InsufficientGPUMemoryError, match=status):
        manager.allocate_gpus("huge")


def test_old_drivers_answer_the_older_calls(machine):
    missing = "nvmlDeviceGetMemoryInfo_v2, nvmlDeviceGetComputeRunningProcesses_v3"
    machine.write(machine.gpu(0, used=1000, reserved=300, procs="77:900"), missing=missing)
    (found,) = GPUManager().get_available_gpus()
    assert found["memory_free"] == 22700
    assert found["processes"] == [{"pid": 77, "memory": 900}]


@pytest.mark.parametrize("code", [13, 25, 999])
def test_the_newer_memory_call_may_fail(machine, code):
    machine.write(machine.gpu(0, used=1000, err__nvmlDeviceGetMemoryInfo_v2=code))
    (found,) = GPUManager().get_available_gpus()
    assert found["memory_free"] == 23000


def test_unified_memory_is_the_machines(machine):
    machine.write(machine.gpu(0, err__nvmlDeviceGetMemoryInfo_v2=3))
    (found,) = GPUManager().get_available_gpus()
    assert found["unified_memory"]
    assert found["memory_free"] > 0


@pytest.mark.parametrize("keys", [{"name": "\\xff\\xfe"}, {"uuid": ""}, {"total": 0}])
def test_nonsense_from_the_driver_is_unreadable(machine, keys):
    machine.write(machine.gpu(0, **keys), machine.gpu(1))
    assert sorted(entry["status"] for entry in GPUManager().get_available_gpus()) == [
        "ok",
        "unreadable",
    ]


def test_changes_are_seen_at_once(machine):
    manager = GPUManager()
    machine.write(machine.gpu(0))
    assert len(manager.get_available_gpus()) == 1
    machine.write(machine.gpu(0, used=5000), machine.gpu(1))
    assert [entry["memory_free"] for entry in manager.get_available_gpus()] == [19000, 24000]


@pytest.mark.parametrize("function", ["nvmlInit_v2", "nvmlDeviceGetMemoryInfo_v2"])
def test_a_hanging_driver_is_an_error_in_time(machine, function):
    machine.become(f"sleep.{function} = 600\n" + machine.path.read_text())
    script = (
        "from proteinflex_optimization import GPUManager, GPUError\n"
        "for _ in range(2):\n"
        "    try: GPUManager().get_available_gpus()\n"
        "    except GPUError as error: print(error)\n"
    )
    lines = machine.run(script, PROTEINFLEX_GPU_TIMEOUT="0.5").splitlines()
    assert len(lines) == 2
    assert all("did not answer within 0.5 s" in line for line in lines)


@pytest.mark.parametrize("call", ["allocate_gpus('set')", "wait_for_gpus('set', 60)"])
@pytest.mark.parametrize(
    "function", ["nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetTopologyCommonAncestor"]
)
def test_no_call_takes_longer_than_the_timeout(machine, call, function):
    """Two GPUs are needed, so that the driver is also asked how they are connected."""
    machine.write(*(machine.gpu(number, total=10000) for number in range(80)))
    machine.become(f"sleep.{function} = 0.7\n" + machine.path.read_text())
    script = (
        "import time\n"
        "from proteinflex_optimization import GPUManager, GPUError\n"
        "manager = GPUManager({'set': 15000})\n"
        "start = time.monotonic()\n"
        f"try: print(manager.{call})\n"
        "except GPUError: pass\n"
        "print(time.monotonic() - start)\n"
    )
    taken = float(machine.run(script, PROTEINFLEX_GPU_TIMEOUT="1").split()[-1])
    # A second, two for waiting, and a busy machine's time; all answers together take a minute.
    assert taken < 30


@pytest.mark.parametrize(
    "call", ["get_optimal_batch_size('set', [0])", "cuda_env([0])", "wait_for_gpus('set', 60)"]
)
def test_a_signal_ends_a_wait_for_the_driver(machine, call):
    machine.become(f"sleep.nvmlDeviceGetMemoryInfo_v2 = 600\n{machine.path.read_text()}")
    script = (
        "import signal, time\n"
        "from proteinflex_optimization import GPUManager\n"
        "def stop(*_): raise KeyError('stop')\n"
        "signal.signal(signal.SIGALRM, stop)\n"
        "signal.setitimer(signal.ITIMER_REAL, 1)\n"
        "start = time.monotonic()\n"
        f"try: GPUManager({{'set': 15000}}).{call}\n"
        "except KeyError: print(time.monotonic() - start)\n"
    )
    assert float(machine.run(script, PROTEINFLEX_GPU_TIMEOUT="60")) < 30


@pytest.mark.parametrize("timeout", ["nan", "-1", "x", "inf"])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(machine, timeout):
    script = (
        "from proteinflex_optimization import GPUManager, InvalidArgumentError\n"
        "for ask in (GPUManager().get_available_gpus, lambda: GPUManager().allocate_gpus('dynamics')):\n"
        "    try: ask()\n"
        "    except InvalidArgumentError as error: print(error)\n"
    )
    said = machine.run(script, PROTEINFLEX_GPU_TIMEOUT=timeout).splitlines()
    expected = "is not valid: expected a number of seconds above 0 and up to 1e19"
    assert said == [f'PROTEINFLEX_GPU_TIMEOUT="{timeout}" {expected}'] * 2


def test_numbers_of_things_that_can_not_be_are_not_believed(machine):
    many = 4_000_000_000
    older = {"missing": "nvmlDeviceGetComputeRunningProcesses_v3"}
    machine.write(
        machine.gpu(0, proccount=many),
        machine.gpu(1, proccount=many, **older),
        machine.gpu(2, mig=1, migslots=many),
        machine.mig(1),
    )
    first, second, divided = GPUManager().get_available_gpus()
    for found in (first, second):
        assert (found["status"], found["processes"]) == ("ok", [])
    assert divided["status"] == "unreadable"
    assert f"{many} MIG instances" in divided["reason"]
    machine.write(machine.gpu(0), count=many)
    with pytest.raises(GPUError, match=f"it reports {many} GPUs.*nvidia-smi"):
        GPUManager().get_available_gpus()


def test_all_questions_of_a_call_share_its_time(machine):
    """An allocation asks twice: each answer alone would be in time."""
    machine.become("sleep.nvmlDeviceGetCount_v2 = 2.5\n" + machine.path.read_text())
    script = (
        "from proteinflex_optimization import GPUManager, GPUError\n"
        "print(len(GPUManager().get_available_gpus()))\n"
        "try: GPUManager().allocate_gpus('dynamics')\n"
        "except GPUError as error: print(error)\n"
    )
    lines = machine.run(script, PROTEINFLEX_GPU_TIMEOUT="4").splitlines()
    assert lines[0] == "4"
    assert "did not answer within 4 s" in lines[1]


def test_a_gpu_in_exclusive_mode_is_full_with_one_process(machine):
    machine.write(
        machine.gpu(0, computemode=3, procs="1:100"),
        machine.gpu(1, computemode=2),
        machine.gpu(2, computemode=3),
    )
    manager = GPUManager()
    assert manager.allocate_gpus("dynamics") == [2]


def test_instances_are_offered_and_the_cut_gpu_is_not(machine, monkeypatch):
    cut = machine.gpu(0, mig=1, total=80000, err__nvmlDeviceGetMemoryInfo_v2=4)
    machine.write(cut, machine.mig(1, slot=0), machine.mig(2, slot=3, total=20000))
    manager = GPUManager()
    (found,) = manager.get_available_gpus()
    assert (found["index"], found["is_mig"], found["memory_total"]) == (0, True, 10000)
    assert found["utilization"] is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-00000002-1111")
    assert manager.get_available_gpus()[0]["memory_total"] == 20000
    assert manager.allocate_gpus("prediction") == [0]


def test_import_and_construction_ask_no_driver(machine):
    script = (
        "import proteinflex_optimization as p; p.GPUManager()\n"
        "print('stub' in open('/proc/self/maps').read())"
    )
    assert machine.run(script).strip() == "False"
