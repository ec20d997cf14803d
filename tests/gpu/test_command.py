"""`flexopt gpus`."""

import argparse
import json

import pytest
from proteinflex_optimization import GPUManager, InsufficientGPUMemoryError, InvalidArgumentError
from proteinflex_optimization.cli import gpus


@pytest.fixture
def flexopt():
    parser = argparse.ArgumentParser()
    gpus.add_parser(parser.add_subparsers())

    def run(*arguments):
        options = parser.parse_args(["gpus", *arguments])
        return options.func(options)

    return run


def test_gpus_holders_and_tasks_are_shown(machine, flexopt, capsys):
    machine.write(machine.gpu(0, used=1000, util=7), machine.gpu(1))
    manager = GPUManager({"folding": 20000}, prefer_single_gpu=True)
    index = manager.allocate_gpus("folding")[0]
    assert flexopt("--task", "small=2000MiB", "--task", "large=20000MiB") == 0
    shown = capsys.readouterr().out
    assert "23000 MiB of 24000 free" in shown
    assert "20000 MiB for folding: pid" in shown
    assert "small (2000 MiB) fits on: 0, 1" in shown
    assert f"large (20000 MiB) fits on: {1 - index}" in shown


def test_scripts_get_json_and_a_status(machine, flexopt, capsys):
    assert flexopt("--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["gpus"]) == 4
    assert report["fits"] == {"dynamics": [0, 1, 2, 3], "prediction": [0, 1, 2, 3]}
    machine.write(machine.gpu(0, **{"err__*": 15}), machine.gpu(1))
    assert flexopt() == 1
    assert "lost" in capsys.readouterr().out


STARTS_A_PROGRAM = """
import subprocess, sys
from proteinflex_optimization import GPUManager
GPUManager({"dynamics": 8000}).allocate_gpus("dynamics")
with subprocess.Popen(["sleep", "300"]) as program:
    print(program.pid, flush=True)
    sys.stdin.readline()
    program.kill()
"""


def test_memory_is_not_reserved_as_far_as_a_task_would_get_it(
    machine, flexopt, capsys, monkeypatch
):
    """Less what a program of a holder uses of its reservation, and at most what MPS leaves."""
    machine.write(machine.gpu(0, total=24000))
    holder = machine.start(STARTS_A_PROGRAM)
    program = int(holder.stdout.readline())
    machine.write(machine.gpu(0, total=24000, used=8000, procs=f"{program}:8000"))
    for limit, unreserved in [(None, 16000), ("0=10G", 10240)]:
        if limit:
            monkeypatch.setenv("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", limit)
        assert flexopt("--json", "--task", f"most={unreserved}MiB") == 0
        report = json.loads(capsys.readouterr().out)
        assert report["gpus"][0]["memory_unreserved"] == unreserved
        assert report["fits"] == {"most": [0]}
        manager = GPUManager({"most": unreserved, "more": unreserved + 1})
        with pytest.raises(InsufficientGPUMemoryError):
            manager.allocate_gpus("more")
        assert manager.allocate_gpus("most") == [0]
        manager.release_gpus()
    holder.communicate("end\n", timeout=60)


def test_a_gpu_that_its_compute_mode_closes_fits_no_task(machine, flexopt, capsys):
    machine.write(machine.gpu(0, total=24000, computemode=2), machine.gpu(1, total=24000))
    assert flexopt("--json", "--task", "most=1GiB") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["gpus"][0]["obstacle"] == "its compute mode is Prohibited"
    assert report["gpus"][1]["obstacle"] is None
    assert report["fits"] == {"most": [1]}
    assert GPUManager({"most": 1024}).allocate_gpus("most", max_gpus=2) == [1]
    assert flexopt() == 0
    assert "0 %; its compute mode is Prohibited" in capsys.readouterr().out


def test_without_a_visible_gpu_it_says_so(machine, flexopt, capsys, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert flexopt() == 0
    assert "no GPU is visible" in capsys.readouterr().out


def test_a_script_gets_the_gpus_for_a_task_and_no_reserved_ones(machine, flexopt, capsys):
    machine.write(machine.gpu(0, used=1000), machine.gpu(1, used=2000), machine.gpu(2, used=20000))
    first, second, _ = (gpu["uuid"] for gpu in GPUManager().get_available_gpus())
    assert flexopt("--select", "prediction") == 0
    assert capsys.readouterr().out == f"{first},{second}\n"
    assert flexopt("--select", "fold=16000MiB", "--max-gpus", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "task": "fold",
        "required_memory": 16000,
        "gpu_indices": [0],
        "environment": {"CUDA_VISIBLE_DEVICES": first},
    }
    holder = GPUManager({"folding": 20000}, prefer_single_gpu=False)
    assert holder.allocate_gpus("folding", max_gpus=1) == [0]
    assert flexopt("--select", "prediction") == 0
    assert capsys.readouterr().out == f"{second}\n"
    assert [each["task"] for each in holder.reservations()] == ["folding"]
    with pytest.raises(InsufficientGPUMemoryError):
        flexopt("--select", "large=90GiB")
    assert capsys.readouterr().out == ""


def test_without_a_visible_gpu_a_script_gets_an_empty_list(machine, flexopt, capsys, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert flexopt("--select", "prediction") == 0
    assert capsys.readouterr().out == "\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--task", "x"],
        ["--task", "x=y"],
        ["--task", "x=16000"],
        ["--interval", "0"],
        ["--interval", "1"],
        ["--interval", "inf", "--watch"],
        ["--select", "x"],
        ["--select", "x=16000"],
        ["--select", "prediction", "--max-gpus", "0"],
        ["--max-gpus", "1"],
    ],
)
def test_wrong_usage_is_an_error_that_names_the_option(machine, flexopt, arguments):
    with pytest.raises(InvalidArgumentError, match=f"^({arguments[0]}|max_gpus)"):
        flexopt(*arguments)


def test_watching_goes_on_and_sees_what_changes(machine):
    import subprocess
    import sys

    command = [sys.executable, "-m", "proteinflex_optimization", "gpus", "--json"]
    process = subprocess.Popen(
        [*command, "--watch", "--interval", "0.1"],
        env=machine.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        first = json.loads(process.stdout.readline())
        assert [gpu["memory_free"] for gpu in first["gpus"]] == [24000] * 4
        assert all(0 <= gpu["age"] < 60 for gpu in first["gpus"])
        machine.write(machine.gpu(0, used=4000))
        for line in process.stdout:
            if [gpu["memory_free"] for gpu in json.loads(line)["gpus"]] == [20000]:
                break
    finally:
        process.kill()
        process.communicate()
