"""The frames that a reporter's trajectory has, and whether a simulation may go on with them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from proteinflex_optimization._log import get_logger
from proteinflex_optimization.errors import InvalidArgumentError, ResumeError

from .reach import what_is_missing
from .restored import frames_when_saved, goes_on_with

if TYPE_CHECKING:
    from proteinflex_optimization.data_handler import DataHandler

logger = get_logger()


class StoredFrames:
    """The frames so far, each with its step.

    Parameters
    ----------
    handler : DataHandler
        The cache.
    data_id : str
        The trajectory's name in it.
    writer : TrajectoryWriter
        Its writer, to which nothing has been written yet.
    interval : int
        Steps between two frames from now on.
    overwrite : bool
        Whether those that were there have been dropped.
    """

    def __init__(
        self, handler: DataHandler, data_id: str, writer: Any, interval: int, overwrite: bool
    ) -> None:
        self._directory = handler.cache_dir
        self._data_id = data_id
        self._writer = writer
        self._interval = interval
        self._overwrite = overwrite
        self._was_finished = writer.n_frames > 0 and writer.key in handler

    def drop_after(self, step: int, level: int) -> None:
        """Drop the frames after a step; a line of this level says so where there are any."""
        steps = self._steps()
        kept = int(np.searchsorted(steps, step, side="right"))
        if kept < len(steps):
            logger.log(
                level,
                "trajectory %r: dropped %d frames after step %d, from which the simulation goes on",
                self._data_id,
                len(steps) - kept,
                step,
            )
            self._writer.truncate(kept)

    def check_reach(self, step: int, *, first: bool, others: Iterable[str] = ()) -> None:
        """Refuse to go on from a step to which the frames do not reach.

        A trajectory without frames may be begun anywhere with `first` or `overwrite`. `others` are the
        trajectories that the simulation was saved with.
        """
        steps = self._steps()
        missing = what_is_missing(steps, step, self._interval)
        if missing is None:
            return
        if len(steps) > 0 or not (first or self._overwrite):
            raise self._resume_error(step, missing)
        if not self._overwrite:
            logger.warning(
                "trajectory %r: begins at step %d of the simulation, without frames before; %s",
                self._data_id,
                step,
                f"its checkpoint was saved with {sorted(others)} and not with this one: replicas "
                "need a directory of checkpoints each"
                if others
                else "call resume_at(step) after restoring a checkpoint to have them asked for",
            )

    def check_may_go_on(self, simulation: Any, step: int) -> None:
        """Refuse to cut or continue what another simulation has finished."""
        if self._was_finished and not goes_on_with(simulation, self._directory, self._data_id):
            steps = self._steps()
            raise ResumeError(
                f"trajectory {self._data_id!r} in {self._directory} is finished, with "
                f"{len(steps)} frames up to step {steps[-1]}, and this simulation, at "
                f"step {step}, was not restored from a checkpoint that was saved with them. Load such a "
                "one with load_latest, call resume_at(step) after restoring a state in another way, "
                "use another data_id, or pass overwrite=True to replace the trajectory"
            )

    def are_those_saved(self, simulation: Any, step: int) -> bool:
        """Whether it is known with which frames the simulation was saved, and these are there.

        Raises
        ------
        ResumeError
            Others are there.
        """
        saved = frames_when_saved(simulation, step)
        if not saved or self._overwrite:
            return False
        found = int(np.searchsorted(self._steps(), step, side="right"))
        expected = saved.get(self._data_id)
        if expected is None and found > 0:
            raise ResumeError(
                f"trajectory {self._data_id!r} in {self._directory}: {found} stored frames are "
                f"up to step {step}, from which the simulation goes on, and its checkpoint was saved "
                f"with {sorted(saved)} and not with this one: it is another simulation's, such as "
                "another replica's. Give each a directory of checkpoints of its own and load its own, "
                "or pass overwrite=True to begin a new trajectory at this step"
            )
        if expected is not None and found != expected:
            raise self._resume_error(
                step, f"{found} stored frames are up to there, where it was saved with {expected}"
            )
        return expected is not None

    def _steps(self) -> Any:
        """Return the step of each frame."""
        if self._writer.n_frames == 0:
            return np.empty(0, np.int64)
        try:
            return self._writer.read(field="step")
        except InvalidArgumentError as error:
            raise InvalidArgumentError(
                f"data_id={self._data_id!r} is not valid: expected a trajectory whose frames carry "
                "their step; pass overwrite=True to replace the one that is there"
            ) from error

    def _resume_error(self, step: int, found: str) -> ResumeError:
        return ResumeError(
            f"trajectory {self._data_id!r} in {self._directory}: the simulation goes on from "
            f"step {step}, and {found}: the cache was removed, cleared or evicted from, another "
            "data_id was used, or the checkpoint was saved before its frames were flushed. Go on "
            "from a checkpoint that the frames reach, or pass overwrite=True to begin a new "
            "trajectory at this step"
        )
