"""What the page shows: looked at by threads of its own, once for all who have it open.

No request waits for a file system or a driver. A look that hangs leaves the last one to be shown,
with its age.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from proteinflex_optimization.cli.boards import Boards, is_over, mean_percent, summarize
from proteinflex_optimization.cli.output import one_line, plain, warn
from proteinflex_optimization.cli.web import resources
from proteinflex_optimization.cli.web.history import Series
from proteinflex_optimization.errors import ProteinFlexError

__all__ = ["Body", "Observer"]

DUTY = 4
"""How many times as long as a look took the pause after it is, at least."""
IDLE_AFTER = 15.0
"""Seconds after the last request from which on nobody has the page open."""
IDLE_PAUSE = 10.0
"""Seconds between two looks while nobody has, for the history alone."""
WAIT = 3.0
"""Seconds that a request waits for the first look at a job or at the resources."""
MAX_TASKS = 2_000
"""Tasks of a job that the page is given; of more, those that are complete are left out first."""
MAX_OPEN = 100
"""Jobs whose tasks are looked at, those asked for last."""
PATIENCE = 1.0
"""Seconds that a look has to end in when the command does."""
RESOURCES_PAUSE = 5.0
"""Seconds between two looks at checkpoints, caches and GPUs."""


class Body:
    """A response as it is sent, the same bytes to everybody.

    Parameters
    ----------
    value : object
        Plain values.
    """

    def __init__(self, value: Any) -> None:
        self.plain = json.dumps(plain(value), allow_nan=False).encode("ascii")
        self.packed = gzip.compress(self.plain, 1, mtime=0)
        self.etag = f'"{hashlib.blake2b(self.plain, digest_size=12).hexdigest()}"'
        self.at = time.monotonic()

    @property
    def age(self) -> int:
        """Seconds since the look."""
        return int(time.monotonic() - self.at)


def name_of(path: str) -> str:
    """Name a board by a short text that can be a part of any URL; a path need not be text."""
    return hashlib.blake2b(os.fsencode(path), digest_size=8).hexdigest()


class Observer:
    """Looks at boards, checkpoints, caches and GPUs again and again.

    Parameters
    ----------
    boards : Boards
        The boards; closed by their creator.
    directories : list of str
        In and below which they are.
    interval : float
        Seconds between two looks at boards, at least.
    """

    def __init__(self, boards: Boards, directories: list[str], interval: float) -> None:
        self._boards = boards
        self._directories = directories
        self._interval = interval
        self._began = time.time()
        self._whole = Series()
        self._rates: dict[str, Series] = {}
        self._paths: dict[str, str] = {}
        self._asked = {"boards": 0.0, "resources": 0.0}
        self._open: dict[str, float] = {}
        self._bodies: dict[str, Body] = {}
        self._resources: dict[str, Any] = {}
        self._warned: set[str] = set()
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._wake_up = threading.Event()
        self._ended = threading.Event()

    def start(self) -> None:
        """Look once, then again and again in the background."""
        self._look()
        steps: tuple[tuple[str, Callable[[], None]], ...] = (
            ("boards", self._repeat_boards),
            ("storage", lambda: self._repeat_resources(self._look_at_storage)),
            ("gpus", lambda: self._repeat_resources(self._look_at_gpus)),
        )
        for name, step in steps:
            thread = threading.Thread(target=step, name=f"flexopt-{name}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> bool:
        """End the threads; returns whether they have ended, which a look that hangs does not."""
        self._ended.set()
        self._wake_up.set()
        with self._changed:
            self._changed.notify_all()
        until = time.monotonic() + PATIENCE
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0.0))
        return not any(thread.is_alive() for thread in self._threads)

    def boards(self) -> Body:
        """Return the records of all boards, and the history of the whole."""
        now = time.monotonic()
        if now - self._asked["boards"] > IDLE_AFTER:
            self._wake_up.set()
        self._asked["boards"] = now
        return self._bodies["boards"]

    def job(self, name: str) -> Body | None:
        """Return the tasks of a board and the history of its rate; None if there is no such board."""
        if name not in self._paths:
            return None
        with self._changed:
            is_new = name not in self._open
            self._open.pop(name, None)
            self._open[name] = time.monotonic()
            while len(self._open) > MAX_OPEN:
                self._forget(next(iter(self._open)))
            if is_new:
                self._wake_up.set()
            self._changed.wait_for(lambda: name in self._bodies, WAIT)
            return self._bodies.get(name)

    def resources(self) -> Body | None:
        """Return the checkpoints, caches and GPUs; None before the first look."""
        with self._changed:
            self._asked["resources"] = time.monotonic()
            self._changed.notify_all()
            self._changed.wait_for(lambda: "resources" in self._bodies, WAIT)
            return self._bodies.get("resources")

    def _repeat_boards(self) -> None:
        ended, took = time.monotonic(), 0.0
        while True:
            soonest = ended + max(self._interval, DUTY * took)
            is_idle = time.monotonic() - self._asked["boards"] > IDLE_AFTER
            due = max(soonest, ended + IDLE_PAUSE) if is_idle else soonest
            is_woken = self._wake_up.wait(max(due - time.monotonic(), 0.0))
            self._wake_up.clear()
            if self._ended.is_set():
                return
            began = time.monotonic()
            if is_woken and began < soonest:
                self._look_or_warn(self._look_at_jobs)
                continue
            self._look_or_warn(self._look)
            self._look_or_warn(self._look_at_jobs)
            ended = time.monotonic()
            took = ended - began

    def _look_or_warn(self, look: Callable[[], None]) -> None:
        """Look, and say once what went wrong; the next look may be better."""
        try:
            look()
        except Exception as error:
            text = f"the page is not up to date: {type(error).__name__}: {error}"
            if not self._ended.is_set() and text not in self._warned:
                self._warned.add(text)
                warn(text)

    def _look(self) -> None:
        now = time.time()
        records = self._boards.look()
        self._paths = {name_of(record["directory"]): record["directory"] for record in records}
        percent = mean_percent(records)
        if not is_over(records):
            self._whole.add(now, percent)
        rates = {}
        for record in records:
            series = rates[record["directory"]] = self._rates.get(record["directory"], Series())
            if record["status"] == "running":
                series.add(now, record["rate"])
        self._rates = rates
        rows = [{"id": name_of(record["directory"]), **record} for record in records]
        body = {
            "host": os.uname().nodename,
            "directories": self._directories,
            "counts": summarize(records),
            "percent": percent,
            "boards": rows,
            "notes": self._boards.notes,
            "since": self._began,
            "history": self._whole.points(),
        }
        self._publish("boards", body)

    def _look_at_jobs(self) -> None:
        with self._changed:
            for name, asked in list(self._open.items()):
                if time.monotonic() - asked > IDLE_AFTER or name not in self._paths:
                    self._forget(name)
            paths = {name: self._paths[name] for name in self._open}
        for name, path in paths.items():
            body: dict[str, Any] = {"error": None, "since": self._began}
            try:
                body["job"], body["tasks_left_out"] = shortened(self._boards.tasks_of(path))
            except KeyError:
                continue  # It is gone by now.
            except (ProteinFlexError, OSError) as error:
                body["error"] = one_line(str(error), "; ")
            series = self._rates.get(path)
            body["history"] = series.points() if series is not None else []
            self._publish(name, body)

    def _forget(self, name: str) -> None:
        self._open.pop(name, None)
        self._bodies.pop(name, None)

    def _repeat_resources(self, look: Callable[[], None]) -> None:
        took = 0.0
        while not self._ended.wait(max(RESOURCES_PAUSE, 2 * DUTY * took) if took else 0.0):
            with self._changed:
                while time.monotonic() - self._asked["resources"] > IDLE_AFTER:
                    self._changed.wait(1.0)
                    if self._ended.is_set():
                        return
            began = time.monotonic()
            self._look_or_warn(look)
            took = time.monotonic() - began

    def _look_at_storage(self) -> None:
        found = self._boards.found
        self._publish_resources(
            checkpoints=resources.checkpoints(found.checkpoints),
            caches=resources.usage_of_caches(found.caches),
        )

    def _look_at_gpus(self) -> None:
        self._publish_resources(gpus=resources.devices())

    def _publish_resources(self, **found: Any) -> None:
        # Two threads find them: neither may publish what the other has replaced meanwhile.
        with self._changed:
            self._resources.update(found)
            if "caches" in self._resources:
                self._publish("resources", self._resources)

    def _publish(self, name: str, value: Any) -> None:
        body = Body(value)
        with self._changed:
            if name in self._asked or name in self._open:
                self._bodies[name] = body
            self._changed.notify_all()


def shortened(job: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """Return a job with as many tasks as a page can show, and how many were left out.

    Those with a problem are kept first, then those at work, then the rest; each with the tasks that
    it is a part of.
    """
    tasks: Mapping[str, Mapping[str, Any]] = job["tasks"]
    if len(tasks) <= MAX_TASKS:
        return dict(job), 0
    order = {"failed": 0, "stopped": 1, "running": 2}
    kept: set[str] = set()
    for task in sorted(tasks, key=lambda name: order.get(tasks[name]["status"], 3)):
        above: str | None = task
        while above is not None and above not in kept:
            kept.add(above)
            above = tasks[above]["parent"]
        if len(kept) >= MAX_TASKS:
            break
    some = {name: data for name, data in tasks.items() if name in kept}
    failed = job["failed"][:MAX_TASKS]
    return {**job, "failed": failed, "tasks": some}, len(tasks) - len(some)
