"""The progress of jobs as metrics that Prometheus scrapes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from proteinflex_optimization._text import printable

if TYPE_CHECKING:
    from prometheus_client import Metric

__all__ = ["ProgressCollector", "serve"]

Look = Callable[[], Mapping[str, Mapping[str, Any]]]
"""Returns the progress of each job, by its directory."""

STATUSES = ("pending", "running", "completed", "failed", "stopped", "unreadable")
FACTS = ("job_id", "array_job_id", "array_index", "restart_count")
LINGER = 60.0
"""Seconds for which the last values are served, for one more scrape."""
POLL_INTERVAL = 1.0
"""Seconds between two checks whether the jobs have ended."""

GAUGES: tuple[tuple[str, str, Callable[[Mapping[str, Any]], float | None]], ...] = (
    ("total_steps", "Steps of the whole job.", lambda job: job["total_steps"]),
    (
        "progress_ratio",
        "Finished fraction, 0 to 1.",
        lambda job: None if job["percent"] is None else job["percent"] / 100,
    ),
    ("elapsed_seconds", "Active time so far.", lambda job: job["elapsed_seconds"]),
    ("eta_seconds", "Estimated time left, once known.", lambda job: job["eta_seconds"]),
    ("steps_per_second", "Recent rate, once known.", lambda job: job["rate"]),
    ("alive", "1 while some process is active.", lambda job: job["alive"]),
    ("stalled", "1 while nothing is updated for unusually long.", lambda job: job["stalled"]),
    (
        "last_update_timestamp_seconds",
        "When anything was last updated.",
        lambda job: job["updated"],
    ),
)


class ProgressCollector:
    """Exports the progress of jobs as metrics, at each scrape.

    Parameters
    ----------
    look : callable
        Returns, by directory, what ``get_progress()`` returns, or that without ``tasks``; the
        directory is the label ``job_directory`` of every metric.
    """

    def __init__(self, look: Look) -> None:
        self._look = look

    def describe(self) -> Iterable[Metric]:
        """Describe no metrics in advance: they depend on the jobs."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics of the jobs, then of their tasks where they are known."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        jobs = {printable(directory): job for directory, job in self._look().items()}
        own = ["job_directory"]
        steps = CounterMetricFamily(
            "proteinflex_completed_steps", "Finished steps of the whole job.", labels=own
        )
        status = GaugeMetricFamily(
            "proteinflex_status", "1 for the status of the job.", labels=[*own, "status"]
        )
        info = GaugeMetricFamily(
            "proteinflex_job_info", "Where the job runs, always 1.", labels=[*own, "host", *FACTS]
        )
        for label, job in jobs.items():
            if job["completed_steps"] is not None:
                steps.add_metric([label], job["completed_steps"])
            for name in STATUSES:
                status.add_metric([label, name], float(job["status"] == name))
            facts = job.get("batch") or {}
            host = facts.get("node") or next(iter(job["hosts"]), "")
            known = (facts.get(key) for key in FACTS)
            values = ["" if value is None else printable(str(value)) for value in known]
            info.add_metric([label, printable(host), *values], 1.0)
        yield steps
        for name, text, value_of in GAUGES:
            gauge = GaugeMetricFamily(f"proteinflex_{name}", text, labels=own)
            for label, job in jobs.items():
                value = value_of(job)
                if value is not None:
                    gauge.add_metric([label], float(value))
            if gauge.samples:
                yield gauge
        yield from (status, info)
        if any("tasks" in job for job in jobs.values()):
            yield from _tasks({label: job["tasks"] for label, job in jobs.items()})


def _tasks(jobs: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterable[Metric]:
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
        "proteinflex_task_status", "1 for the status of a task.", labels=[*labels, "status"]
    )
    for label, tasks in jobs.items():
        for task, data in tasks.items():
            values = [label, printable(task), printable(data["parent"] or "")]
            done.add_metric(values, data["completed"])
            if data["total"] is not None:
                total.add_metric(values, data["total"])
            if data["percent"] is not None:
                ratio.add_metric(values, data["percent"] / 100)
            status.add_metric([*values, data["status"]], 1.0)
    yield from (done, total, ratio, status)


def serve(
    look: Look,
    port: int,
    address: str,
    is_over: Callable[[], bool],
    linger: float,
) -> None:
    """Serve scrapes until the jobs are over, and `linger` seconds more; prints the URL.

    Parameters
    ----------
    look : callable
        Returns the progress of each job by its directory, as `ProgressCollector` takes it.
    port, address : int, str
        Where to listen; port 0 takes a free one.
    is_over : callable
        Returns whether all jobs have ended.
    linger : float
        Seconds for which the last values are served.

    Raises
    ------
    OSError
        The port is taken, or not allowed.
    """
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry()
    registry.register(ProgressCollector(look))
    try:
        server, thread = start_http_server(port, addr=address, registry=registry)
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"--prometheus={port} on {address}") from None
    try:
        host = f"[{address}]" if ":" in address else address
        print(f"http://{host}:{server.server_port}/metrics", flush=True)
        while not is_over():
            time.sleep(POLL_INTERVAL)
        time.sleep(linger)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
