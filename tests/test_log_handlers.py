"""Log handlers of the program: they may make calls, and see what a call logs as of its thread."""

from __future__ import annotations

import contextvars
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from proteinflex_optimization import CheckpointManager

job: contextvars.ContextVar[str] = contextvars.ContextVar("job", default="-")


@contextmanager
def emitting(emit: Callable[[logging.LogRecord], None]) -> Iterator[None]:
    """Call `emit` for what is logged."""
    logger, handler = logging.getLogger("proteinflex_optimization"), logging.Handler()
    handler.emit = emit  # type: ignore[method-assign]
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def manager_of_damaged(directory: Path) -> CheckpointManager:
    """Make a directory where the latest sound checkpoint is older than three damaged ones."""
    manager = CheckpointManager(directory)
    for name in ("sound", "c", "b", "a"):
        manager.create_checkpoint(name, {"m": {"v": 1}})
    for name in "abc":
        (directory / name / "values").unlink()
    return manager


@pytest.mark.parametrize("call", ["h.verify()", "h.load_data('a')"])
def test_a_log_handler_may_make_calls_that_log(tmp_path, call):
    code = f"""
import logging, sys
import numpy as np
from pathlib import Path
from proteinflex_optimization import CorruptDataError, DataHandler

h = DataHandler(sys.argv[1])
h.store_structure({{"x": np.random.default_rng(1).random(400_000)}}, "a")
entry = next(Path(sys.argv[1]).glob("entries/*/*.fxt"))
content = bytearray(entry.read_bytes())
content[1_000_000] ^= 1
entry.write_bytes(content)

class Calling(logging.Handler):
    def emit(self, record):
        print(record.name)
        if record.name == "job":
            try:
                {call}
            except CorruptDataError:
                pass

logging.getLogger().addHandler(Calling())
logging.getLogger("job").error("the job has failed")
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert ended.stdout.split() == ["job", "proteinflex_optimization"]


def test_what_a_call_logs_has_its_thread_and_context_variables(tmp_path):
    manager, seen = manager_of_damaged(tmp_path), set()
    token = job.set("1200_17")
    try:
        with emitting(lambda record: seen.add((record.thread, record.threadName, job.get()))):
            manager.latest()
    finally:
        job.reset(token)
    caller = threading.current_thread()
    assert seen == {(caller.ident, caller.name, "1200_17")}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_all_that_a_call_logs_is_logged_in_order_before_it_raises_what_a_handler_raised(
    tmp_path, error
):
    manager, seen = manager_of_damaged(tmp_path), []

    def emit(record: logging.LogRecord) -> None:
        seen.append(record.getMessage())
        raise error(f"of record {len(seen)}")

    with emitting(emit), pytest.raises(error, match="of record 1"):
        manager.latest()
    names = [message.split(" is damaged")[0].rsplit("/")[-1] for message in seen]
    assert names == ["a", "b", "c"]
    assert manager.latest() == str(tmp_path / "sound")
