"""``flexopt watch --prometheus``: what a scraper gets."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from proteinflex_optimization import ProgressTracker
from proteinflex_optimization.cli import main
from proteinflex_optimization.progress import TaskHandle

parser = pytest.importorskip("prometheus_client.parser")


@contextlib.contextmanager
def exporter_of(directory: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "proteinflex_optimization", "watch", str(directory)]
    command += ["--prometheus", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as exporter:
        assert exporter.stdout is not None
        try:
            yield exporter, exporter.stdout.readline().strip()
        finally:
            exporter.kill()


def scrape(url: str) -> dict[tuple[str, str], float]:
    """The metrics, by their names and the task or status they are of."""
    with urllib.request.urlopen(url, timeout=60) as answer:
        text = answer.read().decode()
    return {
        (sample.name, sample.labels.get("task", sample.labels.get("status", ""))): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_scraper_sees_the_job_and_its_tasks_until_the_job_ends(tmp_path: Path):
    tracker = ProgressTracker(checkpoint_dir=tmp_path)
    task = tracker.start_task("protein", "Protein", 4)
    task.update()
    unknown = tracker.start_task("unknown", "Of unknown length", None, "protein")
    with exporter_of(tmp_path, "--linger", "3") as (exporter, url):
        watched(tracker, task, unknown, url)
        began = time.monotonic()
        tracker.finish()
        assert exporter.wait(timeout=120) == 0
        assert time.monotonic() - began >= 3, "it lingers"


def test_a_last_scrape_sees_the_end(tmp_path: Path):
    tracker = ProgressTracker(checkpoint_dir=tmp_path)
    tracker.start_task("protein", "Protein", 4)
    with exporter_of(tmp_path) as (exporter, url):
        tracker.finish()
        time.sleep(1.2)  # It looks every second whether the job has ended.
        assert scrape(url)["proteinflex_status", "completed"] == 1
        assert exporter.poll() is None


def watched(tracker: ProgressTracker, task: TaskHandle, unknown: TaskHandle, url: str) -> None:
    assert url.startswith("http://127.0.0.1:"), "this machine alone"
    before = scrape(url)
    assert before["proteinflex_progress_ratio", ""] == 0.25
    assert before["proteinflex_completed_steps_total", ""] == 1
    assert before["proteinflex_alive", ""] == 1
    assert before["proteinflex_status", "running"] == 1
    assert before["proteinflex_status", "completed"] == 0
    assert before["proteinflex_task_completed_steps_total", "protein"] == 1
    assert before["proteinflex_task_total_steps", "protein"] == 4
    assert ("proteinflex_task_total_steps", "unknown") not in before
    unknown.complete()
    task.update(2)
    assert scrape(url)["proteinflex_task_progress_ratio", "protein"] == 0.75


def test_a_job_that_stopped_gives_status_one(tmp_path: Path):
    job = "import sys; from proteinflex_optimization import ProgressTracker as T; " + (
        "T(checkpoint_dir=sys.argv[1]).start_task('a', 'A', 4).update()"
    )
    subprocess.run([sys.executable, "-c", job, str(tmp_path)], check=True)
    with exporter_of(tmp_path, "--linger", "0") as (exporter, url):
        assert url
        assert exporter.wait(timeout=120) == 1


@pytest.mark.parametrize("options", [["70000"], ["-1"], ["x"]])
def test_a_wrong_port_is_wrong_usage(tmp_path: Path, options: list[str]):
    ProgressTracker(checkpoint_dir=tmp_path).close()
    command = [sys.executable, "-m", "proteinflex_optimization", "watch", str(tmp_path)]
    done = subprocess.run(
        [*command, f"--prometheus={options[0]}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "port" in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["--prometheus", "0", "--json"],
        ["--prometheus", "0", "--interval", "1"],
        ["--prometheus", "0", "--once", "--linger", "0"],
        ["--address", "0.0.0.0"],
        ["--linger", "1"],
    ],
)
def test_options_that_would_do_nothing_are_wrong_usage(tmp_path, capsys, options: list[str]):
    ProgressTracker(checkpoint_dir=tmp_path).start_task("a", "A", 1)
    assert main(["watch", str(tmp_path), *options]) == 2
    assert "is not valid together with" in capsys.readouterr().err


def test_a_taken_port_is_named(tmp_path: Path):
    ProgressTracker(checkpoint_dir=tmp_path).start_task("a", "A", 1)
    command = [sys.executable, "-m", "proteinflex_optimization", "watch", str(tmp_path)]
    with exporter_of(tmp_path) as (_, url):
        port = url.rsplit(":", 1)[1].split("/")[0]
        second = subprocess.run(
            [*command, "--prometheus", port], capture_output=True, text=True, check=False
        )
    assert second.returncode == 1
    assert "in use" in second.stderr
    assert f"--prometheus={port} on 127.0.0.1" in second.stderr
    assert "Traceback" not in second.stderr


def test_many_jobs_are_scraped_together_each_by_its_directory(tmp_path: Path):
    tracker = ProgressTracker(checkpoint_dir=tmp_path / "a")
    tracker.start_task("protein", "Protein", 4).update()
    with ProgressTracker(checkpoint_dir=tmp_path / "b") as other:
        other.start_task("protein", "Protein", 4).fail("no memory")
    with exporter_of(tmp_path) as (_, url), urllib.request.urlopen(url, timeout=60) as answer:
        text = answer.read().decode()
    tracker.close()
    found = {
        (sample.name, Path(sample.labels["job_directory"]).name, sample.labels.get("status"))
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
        if sample.value
    }
    assert ("proteinflex_status", "a", "running") in found
    assert ("proteinflex_status", "b", "failed") in found
    assert ("proteinflex_job_info", "b", None) in found
    assert "proteinflex_task_" not in text, "a scrape of many jobs is not of all their tasks"
