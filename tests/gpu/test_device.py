"""On a machine with an NVIDIA GPU and a torch that can use it: numbers against torch's, real memory.

Run by ``pytest -m gpu``. Everything else about GPUs is tested on a scripted driver, without any.
"""

import gc
import os
import subprocess
import sys

import pytest
from proteinflex_optimization import GPUManager, InsufficientGPUMemoryError

pytestmark = pytest.mark.gpu

MIB = 1 << 20


def why_not():
    """Why these tests can't run here, if they can't."""
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    if torch.version.cuda is None:
        return "this torch is built without CUDA"
    if not torch.cuda.is_available():
        return "torch finds no usable NVIDIA GPU"
    return None


@pytest.fixture(scope="module")
def torch():
    """Torch, at work on a GPU; asked for only when a test of these runs."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    import torch

    torch.zeros(1, device="cuda:0")
    return torch


@pytest.fixture
def manager(torch, tmp_path):
    found = GPUManager({"work": 2000}, True, state_dir=tmp_path)
    yield found
    found.release_gpus()
    gc.collect()
    torch.cuda.empty_cache()


def test_every_index_is_torchs(torch, manager):
    found = [entry for entry in manager.get_available_gpus() if entry["index"] is not None]
    assert [entry["index"] for entry in found] == list(range(torch.cuda.device_count()))
    for entry in found:
        real = torch.cuda.get_device_properties(entry["index"])
        assert entry["name"] == real.name
        assert entry["compute_capability"] == (real.major, real.minor)
        assert entry["uuid"].removeprefix("GPU-") == str(real.uuid)
        # What the driver keeps for itself is not torch's.
        assert 0 <= entry["memory_total"] - real.total_memory // MIB < 2048


def test_every_index_is_cudas_before_torch_has_begun(torch):
    """A fresh process must find the same numbers by itself."""
    script = """
import json
from proteinflex_optimization import GPUManager
before = [(gpu["index"], gpu["uuid"]) for gpu in GPUManager().get_available_gpus()]
import torch
torch.zeros(1, device="cuda")
after = [(n, "GPU-" + str(torch.cuda.get_device_properties(n).uuid))
         for n in range(torch.cuda.device_count())]
print(json.dumps([before, after]))
"""
    import json

    before, after = json.loads(subprocess.check_output([sys.executable, "-c", script], text=True))
    assert before == after


def test_the_numbers_are_nvidia_smis(torch, manager):
    query = ["nvidia-smi", "--query-gpu=uuid,name,memory.total,memory.free"]
    try:
        lines = subprocess.check_output([*query, "--format=csv,noheader,nounits"], text=True)
    except FileNotFoundError:
        pytest.skip("there is no nvidia-smi")
    rows = {line.split(", ")[0]: line.split(", ")[1:] for line in lines.splitlines()}
    for entry in manager.get_available_gpus():
        if entry["is_mig"] or entry["status"] != "ok":
            continue
        name, total, free = rows[entry["uuid"]]
        assert entry["name"] == name
        assert entry["memory_total"] == int(total)
        assert abs(entry["memory_free"] - int(free)) < 256


def test_free_memory_is_what_cuda_says(torch, manager):
    for entry in manager.get_available_gpus():
        if entry["status"] == "ok" and entry["index"] is not None:
            free, _ = torch.cuda.mem_get_info(entry["index"])
            assert abs(entry["memory_free"] - free // MIB) < 256


def test_memory_that_is_taken_is_missing_at_once(torch, manager):
    before = manager.get_available_gpus()[0]["memory_free"]
    block = torch.empty(1024 * MIB, dtype=torch.uint8, device="cuda:0")
    taken = before - manager.get_available_gpus()[0]["memory_free"]
    assert 900 <= taken <= 1300
    del block
    torch.cuda.empty_cache()
    assert before - manager.get_available_gpus()[0]["memory_free"] < 200


def test_reserved_memory_is_there(torch, manager):
    (index,) = manager.allocate_gpus("work")
    block = torch.empty(1300 * MIB, dtype=torch.uint8, device=f"cuda:{index}")
    block[:: 1 << 20] = 1
    torch.cuda.synchronize(index)
    assert manager.get_available_gpus()[index]["memory_reserved_here"] == 2000


def test_processes_never_get_more_than_there_is(torch, manager, tmp_path):
    free = min(entry["memory_free"] for entry in manager.get_available_gpus())
    script = """
import sys
from proteinflex_optimization import GPUManager, InsufficientGPUMemoryError
manager = GPUManager({"share": float(sys.argv[1])}, True, state_dir=sys.argv[2])
sys.stdin.readline()
try: print(*manager.allocate_gpus("share", max_gpus=1), flush=True)
except InsufficientGPUMemoryError: print("none", flush=True)
sys.stdin.readline()
"""
    share = free * 0.4
    command = [sys.executable, "-c", script, str(share), str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen(command, **pipes) for _ in range(8)]
    try:
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        answers = [worker.stdout.readline().strip() for worker in workers]
        given = [int(answer) for answer in answers if answer != "none"]
        assert given
        sights = {entry["index"]: entry for entry in manager.get_available_gpus()}
        for index in set(given):
            assert given.count(index) * share <= sights[index]["memory_free"] + 256
            assert sights[index]["memory_reserved_by_others"] >= int(share) * given.count(index)
    finally:
        for worker in workers:
            worker.communicate("end\n", timeout=60)


def test_a_measured_peak_is_what_was_used(torch, manager):
    torch.cuda.empty_cache()
    for batch in (1, 2, 4, 8):
        with manager.measure("work", batch, gpu_indices=[0]):
            torch.empty(batch * 200 * MIB, dtype=torch.uint8, device="cuda:0")
        torch.cuda.empty_cache()
    free = manager.get_available_gpus()[0]["memory_free"]
    batch = manager.get_optimal_batch_size("work", [0])
    # At most 16 times what was seen, and what was seen was 200 MB for an item and a context.
    assert min(0.7 * (free - 3000) / 200, 8 * 10) <= batch <= min(free / 195, 8 * 16)


def test_a_batch_that_was_proposed_fits(torch, manager):
    """A pair tensor and its triangle update, at lengths and batches of its own choice."""

    def work(batch, length):
        pair = torch.zeros(batch, length, length, 32, device="cuda:0")
        return torch.einsum("bikc,bjkc->bijc", pair, pair).sum().item()

    for length in (64, 96, 128, 192):
        with manager.measure("work", 2, length, gpu_indices=[0]):
            work(2, length)
        torch.cuda.empty_cache()
    batch = manager.get_optimal_batch_size("work", [0], length=256)
    assert batch >= 1
    work(batch, 256)


def test_a_real_lack_of_memory_is_recognised_halved_and_remembered(torch, manager):
    free, _ = torch.cuda.mem_get_info(0)
    item = free // 6
    tried = []

    def work(batch):
        tried.append(batch)
        return torch.empty(batch * item, dtype=torch.uint8, device="cuda:0").numel() // item

    assert manager.run_with_oom_backoff(work, "work", [0], batch_size=16) == 4
    assert tried == [16, 8, 4]
    torch.cuda.empty_cache()
    assert manager.get_optimal_batch_size("work", [0]) < 8
    with pytest.raises(InsufficientGPUMemoryError):
        manager.run_with_oom_backoff(lambda batch: work(64 * batch), "work", [0], batch_size=1)


def test_the_memory_limit_of_torch_holds(torch, manager):
    torch.cuda.empty_cache()
    gpus = manager.allocate_gpus("work")
    try:
        manager.optimize_memory_usage("work", gpus)
        with pytest.raises(torch.cuda.OutOfMemoryError):
            torch.empty(2000 * MIB, dtype=torch.uint8, device=f"cuda:{gpus[0]}")
        torch.empty(1000 * MIB, dtype=torch.uint8, device=f"cuda:{gpus[0]}")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, gpus[0])


def test_a_forked_child_can_look(torch, manager):
    """It may not use CUDA, which its parent has initialised; the driver's numbers are its own."""
    script = """
import os
from proteinflex_optimization import GPUManager
manager = GPUManager()
mine = [gpu["uuid"] for gpu in manager.get_available_gpus()]
child = os.fork()
if child == 0:
    os._exit(0 if [gpu["uuid"] for gpu in manager.get_available_gpus()] == mine else 3)
assert os.waitpid(child, 0)[1] == 0
assert [gpu["uuid"] for gpu in manager.get_available_gpus()] == mine
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_a_child_sees_the_gpu_that_it_was_given(torch, manager):
    last = torch.cuda.device_count() - 1
    script = "import torch; print(torch.cuda.get_device_properties(0).uuid)"
    environment = {**os.environ, **manager.cuda_env([last])}
    seen = subprocess.check_output([sys.executable, "-c", script], env=environment, text=True)
    assert seen.strip() == str(torch.cuda.get_device_properties(last).uuid)
