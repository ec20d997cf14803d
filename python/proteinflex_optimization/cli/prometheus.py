"""A job's progress as metrics that Prometheus scrapes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from proteinflex_optimization._text import printable

if TYPE_CHECKING:
    from prometheus_client import Metric

__all__ = ["ProgressCollector", "serve"]

Progress = Mapping[str, Any]

STATUSES = ("pending", "running", "completed", "failed", "stopped")
LINGER = 60.0
"""Seconds for which the last values are served, for one more scrape."""
POLL_INTERVAL = 1.0
"""Seconds between two checks whether the job has ended."""


class ProgressCollector:
    """Exports what ``get_progress()`` returns as metrics, at each scrape.

    Parameters
    ----------
    progress : callable
        Returns what ``get_progress()`` returns.
    job : str
        The label ``job_directory`` of every metric.
    """

    def __init__(self, progress: Callable[[], Progress], job: str) -> None:
        self._progress = progress
        self._job = printable(job)

    def describe(self) -> Iterable[Metric]:
        """Describe no metrics in advance: they depend on the job."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics of the job, then of its tasks."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        progress = self._progress()
        own = ["job_directory"]

        def gauge(name: str, text: str, value: float | None) -> Iterable[Metric]:
            if value is not None:
                metric = GaugeMetricFamily(f"proteinflex_{name}", text, labels=own)
                metric.add_metric([self._job], value)
                yield metric

        steps = CounterMetricFamily(
            "proteinflex_completed_steps", "Finished steps of the whole job.", labels=own
        )
        steps.add_metric([self._job], progress["completed_steps"])
        yield steps
        yield from gauge("total_steps", "Steps of the whole job.", progress["total_steps"])
        yield from gauge("progress_ratio", "Finished fraction, 0 to 1.", progress["percent"] / 100)
        yield from gauge("elapsed_seconds", "Active time so far.", progress["elapsed_seconds"])
        yield from gauge("eta_seconds", "Estimated time left, once known.", progress["eta_seconds"])
        yield from gauge("steps_per_second", "Recent rate, once known.", progress["rate"])
        yield from gauge("alive", "1 while some process is active.", float(progress["alive"]))
        status = GaugeMetricFamily(
            "proteinflex_status", "1 for the status of the job.", labels=[*own, "status"]
        )
        for name in STATUSES:
            status.add_metric([self._job, name], float(progress["status"] == name))
        yield status
        yield from self._tasks(progress["tasks"])

    def _tasks(self, tasks: Mapping[str, Mapping[str, Any]]) -> Iterable[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        labels = ["job_directory", "task", "parent"]
        done = CounterMetricFamily(
            "proteinflex_task_completed_steps", "Finished steps of a task.", labels=labels
        )
        total = GaugeMetricFamily(
            "proteinflex_task_total_steps", "Steps of a task, where known.", labels=labels
        )
        ratio = GaugeMetricFamily(
            "proteinflex_task_progress_ratio", "Finished fraction of a task, 0 to 1.", labels=labels
        )
        status = GaugeMetricFamily(
            "proteinflex_task_status",
            "1 for the status of a task.",
            labels=[*labels, "status"],
        )
        for task, data in tasks.items():
            values = [self._job, printable(task), printable(data["parent"] or "")]
            done.add_metric(values, data["completed"])
            if data["total"] is not None:
                total.add_metric(values, data["total"])
            if data["percent"] is not None:
                ratio.add_metric(values, data["percent"] / 100)
            status.add_metric([*values, data["status"]], 1.0)
        yield from (done, total, ratio, status)


def serve(
    progress: Callable[[], Progress],
    job: str,
    port: int,
    address: str,
    is_over: Callable[[Progress], bool],
    announce: Callable[[str], None],
    linger: float = LINGER,
) -> Progress:
    """Serve scrapes until the job is over, and `linger` seconds more.

    Parameters
    ----------
    progress : callable
        Returns what ``get_progress()`` returns.
    job : str
        The directory of the job, for the labels.
    port, address : int, str
        Where to listen; port 0 takes a free one.
    is_over : callable
        Returns, given the progress, whether the job has ended.
    announce : callable
        Called with the URL once it is served.
    linger : float
        Seconds for which the last values are served.

    Returns
    -------
    mapping
        The last progress.

    Raises
    ------
    OSError
        The port is taken, or not allowed.
    """
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry()
    registry.register(ProgressCollector(progress, job))
    server, thread = start_http_server(port, addr=address, registry=registry)
    try:
        host = f"[{address}]" if ":" in address else address
        announce(f"http://{host}:{server.server_port}/metrics")
        last = progress()
        while not is_over(last):
            time.sleep(POLL_INTERVAL)
            last = progress()
        time.sleep(linger)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
    return last
