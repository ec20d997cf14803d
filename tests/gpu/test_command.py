"""`flexopt gpus`."""

import argparse
import json

import pytest
from proteinflex_optimization import GPUManager, InvalidArgumentError
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


def test_without_a_driver_it_says_so(machine, flexopt, capsys, monkeypatch):
    monkeypatch.setenv("PROTEINFLEX_NVML_LIBRARY", "/nonexistent/libnvidia-ml.so.1")
    assert flexopt() == 0
    assert "no GPU is visible" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["--task", "x"], ["--task", "x=y"], ["--task", "x=16000"], ["--interval", "0"]]
)
def test_wrong_usage_is_an_error(machine, flexopt, arguments):
    with pytest.raises(InvalidArgumentError):
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
        assert all(0 <= gpu["age"] < 5 for gpu in first["gpus"])
        machine.write(machine.gpu(0, used=4000))
        for line in process.stdout:
            if [gpu["memory_free"] for gpu in json.loads(line)["gpus"]] == [20000]:
                break
    finally:
        process.kill()
        process.communicate()
