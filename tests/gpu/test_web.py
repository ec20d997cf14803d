"""The GPUs on the page of `flexopt watch --web`."""

import getpass
import json
import os

from proteinflex_optimization import GPUManager
from proteinflex_optimization.cli import main
from proteinflex_optimization.cli.web import resources


def without_age(gpus):
    return [{key: value for key, value in gpu.items() if key != "age"} for gpu in gpus]


def test_the_page_has_the_gpus_that_json_prints_and_the_names_of_holders(machine, capsys):
    machine.write(machine.gpu(0, used=1000, util=7), machine.gpu(1, **{"err__*": 15}))
    manager = GPUManager({"prediction": 16000})
    assert manager.allocate_gpus("prediction") == [0]
    shown = resources.devices()
    assert main(["gpus", "--json"]) == 1, "a GPU is lost"
    told = json.loads(capsys.readouterr().out)
    assert without_age(shown["gpus"]) == without_age(told["gpus"])
    assert (shown["fits"], shown["required_memory"]) == (told["fits"], told["required_memory"])
    assert shown["users"] == {str(os.getuid()): getpass.getuser()}
    assert shown["error"] is None


def test_a_driver_that_can_not_be_read_is_said(machine):
    machine.write(machine.gpu(0), **{"err.nvmlInit_v2": 18})
    script = "from proteinflex_optimization.cli.web import resources; print(resources.devices())"
    assert "'gpus': []" in machine.run(script)
    assert "restart" in machine.run(script)


def test_without_a_visible_gpu_there_is_nothing_to_show(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    shown = resources.devices()
    assert (shown["gpus"], shown["error"]) == ([], None)
