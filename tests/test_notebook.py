"""What objects show of themselves in a notebook."""

from __future__ import annotations

import html.parser

import numpy as np
import pytest
from proteinflex_optimization import (
    CheckpointManager,
    DataHandler,
    GPUError,
    GPUManager,
    ProgressTracker,
)

HOSTILE = "<script>alert(1)</script>\n\x1b[31m&"


class Page(html.parser.HTMLParser):
    """Collects tags and text, and notes where tags are not closed in order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def shown(value: object) -> Page:
    page = Page(value._repr_html_())  # type: ignore[attr-defined]
    assert "script" not in page.tags
    assert "\x1b" not in page.text
    return page


@pytest.fixture
def handler(tmp_path):
    return DataHandler(tmp_path / HOSTILE.replace("/", "_"))


def walk(n_frames: int, n_atoms: int) -> np.ndarray:
    steps = np.random.default_rng(0).normal(size=(n_frames, n_atoms, 3))
    return steps.cumsum(axis=0).astype(np.float32)


def test_a_cache_shows_how_full_it_is_and_its_newest_entries(handler):
    handler.store_structure({"x": 1}, HOSTILE)
    for number in range(12):
        handler.store_trajectory({"frames": walk(3, 4)}, f"run{number}")
    page = shown(handler)
    assert "1 structure, 12 trajectories" in page.text
    assert page.tags.count("tr") == 11
    assert "run11" in page.text
    assert "3 frames × 4 atoms" in page.text
    assert "run1 " not in page.text
    assert handler.get_cache_stats()["hits"] == 0


def test_a_trajectory_shows_what_it_holds_and_plots_its_radius_of_gyration(handler):
    frames = walk(500, 20)
    data = {"frames": frames, "time": np.arange(500.0)}
    with handler.open(handler.store_trajectory(data, HOSTILE, {"note": HOSTILE})) as trajectory:
        page = shown(trajectory)
    assert "500 × 20" in page.text
    assert "0 to 499" in page.text
    assert "polyline" in page.tags
    centred = frames - frames.mean(axis=1, keepdims=True)
    first = np.sqrt((centred**2).sum(-1).mean(-1))[0]
    assert f"{first:.2f} to" in page.text


@pytest.mark.parametrize("frames", [walk(1, 5), walk(5, 1), walk(5, 0), np.full((5, 4, 3), np.nan)])
def test_a_trajectory_without_a_radius_has_no_plot(handler, frames):
    key = handler.store_trajectory({"frames": np.asarray(frames, np.float32)}, "run")
    assert "polyline" not in shown(handler.open(key)).tags


def test_a_file_larger_than_its_arrays_saves_nothing(handler):
    trajectory = handler.open(handler.store_trajectory({"frames": walk(1, 5)}, "run"))
    assert trajectory.stored_bytes > trajectory.raw_bytes
    assert "(0 % saved)" in shown(trajectory).text


def test_a_damaged_trajectory_shows_that_it_is(handler):
    key = handler.store_trajectory({"frames": walk(50, 2000)}, "run")
    trajectory = handler.open(key)
    path = next((trajectory.cache_dir / "entries").glob("*/*.fxt"))
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 64)
    assert "not readable" in shown(trajectory).text


def test_checkpoints_show_the_newest_first(tmp_path):
    manager = CheckpointManager(tmp_path / "run")
    for step in range(3):
        manager.create_checkpoint(f"step{step}", {"model": {"step": step}})
    text = shown(manager).text
    assert text.index("step2") < text.index("step0")
    assert "3 checkpoints" in text


def test_progress_shows_its_tasks_here_and_from_elsewhere(tmp_path):
    with ProgressTracker(checkpoint_dir=tmp_path / "run") as tracker:
        tracker.start_task("fold", HOSTILE, 4).update(2)
        for each in (tracker, ProgressTracker.attach(tmp_path / "run")):
            assert "50.0 %" in shown(each).text


def test_gpus_are_shown_also_where_there_are_none_or_the_driver_fails(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "no GPU is visible here" in shown(GPUManager()).text

    def fail(manager):
        raise GPUError("the driver does not work")

    monkeypatch.setattr(GPUManager, "get_available_gpus", fail)
    assert "the driver does not work" in shown(GPUManager()).text
