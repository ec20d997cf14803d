"""One checkpoint from all processes of a `torch.distributed` group.

Each process writes its own components; the checkpoint is published when all are durable, or not
at all. The group's backend has to send Python objects, so with NCCL pass a second group
made with ``torch.distributed.new_group(backend="gloo")``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from proteinflex_optimization.checkpoint import CheckpointManager
from proteinflex_optimization.errors import CheckpointError, InvalidArgumentError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

__all__ = ["create_checkpoint"]


def create_checkpoint(
    manager: CheckpointManager,
    checkpoint_id: str,
    component_states: dict[str, Any],
    *,
    metadata: dict[str, Any] | None = None,
    allow_pickle: bool = False,
    group: ProcessGroup | None = None,
) -> str:
    """Save the components of all processes of a group as one checkpoint.

    Every process of the group calls it, with the same `checkpoint_id` and a manager of the same
    directory, which all of them can write to.

    Parameters
    ----------
    manager : CheckpointManager
        Where to save. Retention is that of the manager of the group's first process.
    checkpoint_id : str
        As for `CheckpointManager.create_checkpoint`.
    component_states : dict
        This process's components. Their names differ from those of the other processes, such as
        ``f"model.{rank}"``; a process without any passes an empty dict.
    metadata : dict, optional
        Plain values; those of the group's first process are stored.
    allow_pickle : bool
        As for `CheckpointManager.create_checkpoint`.
    group : ProcessGroup, optional
        The processes; all by default.

    Returns
    -------
    str
        The path of the checkpoint's directory, the same in every process.

    Raises
    ------
    InvalidArgumentError
        Two processes have a component of the same name. Nothing was written.
    CheckpointError
        Another process failed; the message says which, and why. Nothing was published.
    InvalidTypeError, OSError
        This process failed: a value can't be stored, the disk is full.
    """
    import torch.distributed as dist

    rank, size = dist.get_rank(group), dist.get_world_size(group)
    first = dist.get_global_rank(group, 0) if group is not None else 0

    def of_all(own: Any) -> list[Any]:
        found: list[Any] = [None] * size
        dist.all_gather_object(found, own, group=group)
        return found

    def of_first(own: Any) -> Any:
        found = [own]
        dist.broadcast_object_list(found, src=first, group=group)
        return found[0]

    owner: dict[str, int] = {}
    for number, names in enumerate(of_all([str(name) for name in component_states])):
        for name in names:
            if name in owner:
                raise InvalidArgumentError(
                    f"component_states has {name!r} in the processes {owner[name]} and {number}: "
                    f"expected another name in each, such as {f'{name}.{number}'!r}"
                )
            owner[name] = number

    shared, failure = None, None
    if rank == 0:
        try:
            shared = manager._begin(checkpoint_id)
        except Exception as error:
            failure = error
    directory, problem = of_first(
        _report(None if shared is None else str(shared.directory), failure)
    )
    if directory is None:
        _raise(failure, {0: problem})
    partial = None
    try:
        partial = manager._write_components(
            directory, rank, component_states, metadata, allow_pickle
        )
    except Exception as error:
        failure = error
    partials, problems = [], {}
    for number, (found, problem) in enumerate(of_all(_report(partial, failure))):
        partials.append(found)
        if problem is not None:
            problems[number] = problem

    path = None
    if shared is not None:
        try:
            if problems:
                shared.abandon()
            else:
                path = manager._publish(shared, partials)
        except Exception as error:
            failure = error
    path, problem = of_first(_report(path, failure if not problems else None))
    if problem is not None:
        problems[0] = problem
    if path is None:
        _raise(failure, problems)
    return str(path)


def _report(value: Any, failure: Exception | None) -> tuple[Any, str | None]:
    """Pair a result with what went wrong, as another process can read it."""
    return value, None if failure is None else f"{type(failure).__name__}: {failure}"


def _raise(own: Exception | None, problems: Mapping[int, str | None]) -> None:
    """Raise what went wrong here, else what the other processes reported."""
    if own is not None:
        raise own
    reported = "; ".join(f"process {number}: {problem}" for number, problem in problems.items())
    raise CheckpointError(f"no checkpoint was made, because another process failed: {reported}")
