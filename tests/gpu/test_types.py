"""The types of GPUs and reservations are those of the values that the manager returns."""

import typeguard
from proteinflex_optimization import DataHandler, GPUManager, types


def check(value, expected):
    strategy = typeguard.CollectionCheckStrategy.ALL_ITEMS
    typeguard.check_type(value, expected, collection_check_strategy=strategy)


def test_rows_of_whole_used_divided_and_unreadable_gpus(machine):
    machine.write(
        machine.gpu(0, used=900, procs="77:900", util=7),
        machine.gpu(1, mig=1),
        machine.mig(0),
        machine.gpu(2, **{"err__*": 15}),
        machine.gpu(3, mode=1),
    )
    rows = GPUManager({"fold": 100}).get_available_gpus()
    check(rows, list[types.GPUInfo])
    assert {row["status"] for row in rows} == {"ok", "lost"}


def test_reservations_and_what_hangs_on_them(machine, tmp_path):
    manager = GPUManager({"fold": 100}, prefer_single_gpu=True)
    with manager.reserve("fold") as indices:
        assert len(indices) == 1
        check(manager.reservations(), list[types.Reservation])
        (row,) = [row for row in manager.get_available_gpus() if row["index"] in indices]
        check(row["reservations"], list[types.GPUHolder])
        assert row["reservations"]
        check(manager._budgets("fold", indices), list[types.GPUBudget])
        check(manager.optimize_memory_usage("fold", indices), types.MemoryReport)
        check(manager.plan_batches("fold", [10, 20], indices), list[types.Batch])
        check(DataHandler(tmp_path / "cache").get_cache_stats(), types.CacheStats)
