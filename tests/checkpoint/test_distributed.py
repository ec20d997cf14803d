"""Several processes of a real gloo group make one checkpoint, or none."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from proteinflex_optimization import CheckpointManager

pytestmark = pytest.mark.torch

RANK = """
import os, sys
import torch
import torch.distributed as dist
from proteinflex_optimization import CheckpointManager
from proteinflex_optimization.integrations.distributed import create_checkpoint

directory, rank = sys.argv[1], int(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{directory}/meeting", rank=rank, world_size=2)
manager = CheckpointManager(directory + "/checkpoints", max_checkpoints=2)
weights = torch.full((1000,), float(rank))
"""


def run(directory: Path, code: str) -> list[tuple[int, str]]:
    """Run the code in two processes; returns their exit codes and errors."""
    script = RANK + textwrap.dedent(code) + "\ndist.destroy_process_group()\n"
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(directory), str(rank)],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(2)
    ]
    found = []
    for process in processes:
        _, error = process.communicate(timeout=250)
        found.append((process.returncode, error))
    return found


def test_the_components_of_all_processes_make_one_checkpoint(tmp_path: Path):
    found = run(
        tmp_path,
        """
        for step in range(3):
            weights += 10
            path = create_checkpoint(
                manager, f"step-{step}", {f"model.{rank}": {"w": weights, "rank": rank}},
                metadata={"step": step, "by": rank},
            )
            loaded = manager.load_checkpoint(path, components=[f"model.{rank}"])
            assert torch.equal(loaded[f"model.{rank}"]["w"], weights)
        """,
    )
    assert [code for code, _ in found] == [0, 0], found
    manager = CheckpointManager(tmp_path / "checkpoints", max_checkpoints=2)
    rows = manager.list_checkpoints()
    assert [row["checkpoint_id"] for row in rows] == ["step-1", "step-2"]
    assert rows[-1]["components"] == ["model.0", "model.1"]
    assert rows[-1]["metadata"] == {"step": 2, "by": 0}
    assert manager.verify(rows[-1]["path"])["ok"]
    loaded = manager.load_checkpoint(rows[-1]["path"])
    assert [float(loaded[f"model.{rank}"]["w"][0]) for rank in range(2)] == [30.0, 31.0]
    assert [loaded[f"model.{rank}"]["rank"] for rank in range(2)] == [0, 1]


@pytest.mark.parametrize("failing", [0, 1])
def test_nothing_is_published_where_one_process_fails(tmp_path: Path, failing: int):
    found = run(
        tmp_path,
        f"""
        create_checkpoint(manager, "good", {{f"model.{{rank}}": weights}})
        bad = {{"w": weights, "x": object()}} if rank == {failing} else weights
        try:
            create_checkpoint(manager, "bad", {{f"model.{{rank}}": bad}})
        except Exception as error:
            print(type(error).__name__, error, file=sys.stderr)
        """,
    )
    assert [code for code, _ in found] == [0, 0], found
    errors = [error for _, error in found]
    assert "InvalidTypeError" in errors[failing]
    assert "['x']" in errors[failing]
    assert "CheckpointError" in errors[1 - failing]
    assert f"process {failing}: InvalidTypeError" in errors[1 - failing]
    manager = CheckpointManager(tmp_path / "checkpoints")
    assert [row["checkpoint_id"] for row in manager.list_checkpoints()] == ["good"]
    assert sorted(os.listdir(tmp_path / "checkpoints")) == [".lock", "good"]


@pytest.mark.parametrize(
    ("manager", "error"),
    [
        ("directory", "manager="),
        ("CheckpointManager(manager.base_dir, read_only=True)", "read_only"),
    ],
)
def test_a_manager_that_can_not_write_fails_in_all_processes(tmp_path: Path, manager, error):
    found = run(
        tmp_path,
        f"""
        create_checkpoint(manager, "good", {{f"model.{{rank}}": weights}})
        other = {manager} if rank == 1 else manager
        try:
            create_checkpoint(other, "bad", {{f"model.{{rank}}": weights}})
        except Exception as error:
            print(type(error).__name__, error, file=sys.stderr)
        """,
    )
    assert [code for code, _ in found] == [0, 0], found
    assert "CheckpointError no checkpoint was made" in found[0][1]
    assert error in found[1][1]
    assert sorted(os.listdir(tmp_path / "checkpoints")) == [".lock", "good"]


def test_components_of_the_same_name_are_refused_before_anything_is_written(tmp_path: Path):
    found = run(
        tmp_path,
        """
        from proteinflex_optimization import InvalidArgumentError
        try:
            create_checkpoint(manager, "x", {"model": weights})
        except InvalidArgumentError as error:
            assert "'model' in the processes 0 and 1" in str(error), error
        else:
            sys.exit(3)
        """,
    )
    assert [code for code, _ in found] == [0, 0], found
    assert os.listdir(tmp_path / "checkpoints") == []


def test_what_one_process_fails_with_reaches_the_other_at_once(tmp_path: Path):
    found = run(
        tmp_path,
        """
        from proteinflex_optimization import CheckpointError, InvalidTypeError

        class Unprintable(Exception):
            def __str__(self):
                raise ValueError

        class Failing(type(manager)):
            def _write_components(self, *arguments):
                raise self.error

        interrupted, unprintable = Failing(directory + "/checkpoints"), Failing(directory + "/checkpoints")
        interrupted.error, unprintable.error = KeyboardInterrupt("stop"), Unprintable()
        for used, states, kind, said in (
            (manager, None, InvalidTypeError, "InvalidTypeError: component_states is of type None"),
            (manager, "model", InvalidTypeError, "InvalidTypeError: component_states is of type str"),
            (interrupted, {"b": 1}, KeyboardInterrupt, "process 1: KeyboardInterrupt: stop"),
            (unprintable, {"b": 1}, Unprintable, "process 1: Unprintable"),
        ):
            try:
                create_checkpoint(*((used, "bad", states) if rank else (manager, "bad", {"a": 1})))
            except (kind if rank else CheckpointError) as error:
                assert rank or said in str(error), error
            else:
                sys.exit(3)
        """,
    )
    assert [code for code, _ in found] == [0, 0], found
    assert CheckpointManager(tmp_path / "checkpoints").list_checkpoints() == []
    assert "bad" not in os.listdir(tmp_path / "checkpoints")


def test_different_ids_are_refused_in_all_processes(tmp_path: Path):
    found = run(
        tmp_path,
        """
        from proteinflex_optimization import InvalidArgumentError
        try:
            create_checkpoint(manager, f"step-{rank}", {f"model.{rank}": weights})
        except InvalidArgumentError as error:
            assert "'step-1' in process 1 and 'step-0' in process 0" in str(error), error
        else:
            sys.exit(3)
        """,
    )
    assert [code for code, _ in found] == [0, 0], found
    assert os.listdir(tmp_path / "checkpoints") == []


def test_a_process_that_dies_leaves_the_checkpoint_before(tmp_path: Path):
    found = run(
        tmp_path,
        """
        create_checkpoint(manager, "good", {f"model.{rank}": weights})
        if rank == 1:
            original = manager._write_components
            class Dying(type(manager)):
                def _write_components(self, *arguments):
                    original(*arguments)
                    os.kill(os.getpid(), 9)
            manager = Dying(directory + "/checkpoints")
        create_checkpoint(manager, "bad", {f"model.{rank}": weights})
        """,
    )
    assert found[1][0] == -9
    assert found[0][0] != 0, "the other process learns of it"
    manager = CheckpointManager(tmp_path / "checkpoints")
    assert [row["checkpoint_id"] for row in manager.list_checkpoints()] == ["good"]
    assert manager.verify(manager.latest() or "")["ok"]
    assert sorted(os.listdir(tmp_path / "checkpoints")) == [".lock", "good"]
