"""One checkpoint from all processes of a `torch.distributed` group.

Each process writes its own components; the checkpoint is published when all are durable, or not
at all. The group's backend has to send Python objects, so with NCCL pass a second group
made with ``torch.distributed.new_group(backend="gloo")``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from proteinflex_optimization._arguments import instance
from proteinflex_optimization.checkpoint import CheckpointManager
from proteinflex_optimization.errors import CheckpointError, InvalidArgumentError, InvalidTypeError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

__all__ = ["create_checkpoint"]

_Result = TypeVar("_Result")


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
        Two processes have a component of the same name, or another `checkpoint_id`. Nothing was
        written.
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

    # What one process fails with, whatever it is, the others learn at the next exchange: else they
    # would wait for it in the group.
    declared, failure = _tried(_declared, manager, checkpoint_id, component_states)
    reports = of_all(_report(declared, failure))
    _raise_any(failure, _problems(reports))
    _check_declared([declared for declared, _ in reports])

    shared = None
    if rank == 0:
        shared, failure = _tried(manager._begin, checkpoint_id)
    directory, problem = of_first(
        _report(None if shared is None else str(shared.directory), failure)
    )
    _raise_any(failure, {} if problem is None else {0: problem})

    partial, failure = _tried(
        manager._write_components, directory, rank, component_states, metadata, allow_pickle
    )
    reports = of_all(_report(partial, failure))
    problems = _problems(reports)
    path = None
    if shared is not None and problems:
        _, abandoning = _tried(shared.abandon)
        failure = failure or abandoning
    elif shared is not None:
        path, failure = _tried(manager._publish, shared, [partial for partial, _ in reports])
    path, problem = of_first(_report(path, None if problems else failure))
    if problem is not None:
        problems[0] = problem
    _raise_any(failure, problems)
    return str(path)


def _declared(manager: Any, checkpoint_id: Any, component_states: Any) -> tuple[str, list[str]]:
    instance("manager", manager, CheckpointManager, "a CheckpointManager")
    """Return the checkpoint's id and the names of the components."""
    if not isinstance(component_states, Mapping):
        kind = type(component_states).__name__
        raise InvalidTypeError(f"component_states is of type {kind}: expected a dict")
    return str(checkpoint_id), [str(name) for name in component_states]


def _check_declared(declared: list[tuple[str, list[str]]]) -> None:
    """Refuse another id, or the same component, in two processes."""
    owner: dict[str, int] = {}
    for number, (checkpoint_id, names) in enumerate(declared):
        if checkpoint_id != declared[0][0]:
            raise InvalidArgumentError(
                f"checkpoint_id={checkpoint_id!r} in process {number} and {declared[0][0]!r} in "
                "process 0: expected the same in all"
            )
        for name in names:
            if name in owner:
                raise InvalidArgumentError(
                    f"component_states has {name!r} in the processes {owner[name]} and {number}: "
                    f"expected another name in each, such as {f'{name}.{number}'!r}"
                )
            owner[name] = number


def _tried(step: Callable[..., _Result], *arguments: Any) -> tuple[_Result | None, Any]:
    """Return what a step returns and None, or None and what it raised."""
    try:
        return step(*arguments), None
    except BaseException as error:
        return None, error


def _report(value: Any, failure: BaseException | None) -> tuple[Any, str | None]:
    """Pair a result with what went wrong, as another process can read it."""
    if failure is None:
        return value, None
    try:
        return value, f"{type(failure).__name__}: {failure}"
    except Exception:
        # An exception that can't be printed.
        return value, type(failure).__name__


def _problems(reports: list[tuple[Any, str | None]]) -> dict[int, str]:
    """Return what went wrong in which process."""
    return {number: said for number, (_, said) in enumerate(reports) if said is not None}


def _raise_any(own: BaseException | None, problems: Mapping[int, str]) -> None:
    """Raise what went wrong here, else what the other processes reported, if anything."""
    if own is not None:
        raise own
    if problems:
        reported = "; ".join(f"process {number}: {said}" for number, said in problems.items())
        raise CheckpointError(f"no checkpoint was made, because another process failed: {reported}")
