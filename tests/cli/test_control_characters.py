"""What others have written never steers a terminal, ends a line of a log or spoils a metric."""

import contextlib
import json
import logging
import os
import unicodedata

import numpy as np
import pytest
from proteinflex_optimization import (
    CacheKeyError,
    CheckpointManager,
    DataHandler,
    InvalidArgumentError,
    ProgressTracker,
    UnknownTaskError,
)
from proteinflex_optimization._text import one_line, printable
from proteinflex_optimization.cli import main

HOSTILE = "md\x1b[2J\r\x07\x9b31m\u202ecba\u2066\u200b\x7f"
"""Clear the screen, go back, ring, colour by C1, and turn the direction of what follows."""


def steering(text):
    """The characters of a text that are no visible ones, line ends left out."""
    categories = {char: unicodedata.category(char) for char in text if char != "\n"}
    return {char for char, category in categories.items() if category[0] == "C"}


def shown_by(capsys, *arguments):
    """What a command prints."""
    with contextlib.suppress(SystemExit):  # Of argparse.
        main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    text = output.out + output.err
    assert text
    return text


def test_every_character_that_steers_is_shown_as_an_escape():
    everything = "".join(map(chr, range(0x30000)))
    assert steering(printable(everything)) == set()
    assert printable("Å × 5 “résumé” 蛋白质") == "Å × 5 “résumé” 蛋白质"
    assert printable("\udcff\x1b") == "\\udcff\\x1b"
    assert one_line("two\nlines\r\n\x1b") == "two lines \\x1b"


def test_no_command_prints_what_steers_a_terminal(tmp_path, capsys):
    place = tmp_path / HOSTILE
    cache, checkpoints, run = place / "cache", place / "checkpoints", place / "run"
    handler = DataHandler(cache)
    key = handler.store_trajectory(
        {"frames": np.zeros((5, 4, 3), np.float32), HOSTILE: np.zeros((5, 2))},
        HOSTILE,
        metadata={HOSTILE: HOSTILE},
    )
    writer = handler.trajectory_writer("unfinished" + HOSTILE)
    writer.append(np.zeros((2, 4, 3), np.float32))
    writer.suspend()
    manager = CheckpointManager(checkpoints)
    manager.create_checkpoint("step-1", {HOSTILE: {HOSTILE: HOSTILE}}, metadata={HOSTILE: HOSTILE})
    with ProgressTracker(checkpoint_dir=run) as tracker:
        tracker.start_task(HOSTILE, HOSTILE, 10).fail(HOSTILE)
        tracker.start_task("other", HOSTILE, 10).update(1, message=HOSTILE)
    commands = [
        ("cache", "ls", "--dir", cache),
        ("cache", "ls", "--dir", cache, "--json"),
        ("cache", "stats", "--dir", cache),
        ("cache", "info", key, "--dir", cache),
        ("cache", "info", HOSTILE * 2, "--dir", cache),
        ("cache", "verify", "--dir", cache),
        ("cache", "export", key, place / "out.npz", "--dir", cache),
        ("cache", "export", key, place / "out.npz", "--dir", cache),
        ("cache", "import", place / HOSTILE, "--dir", cache),
        ("cache", "prune", "--to", HOSTILE, "--dir", cache),
        ("cache", "clear", "--dry-run", "--dir", cache),
        ("cache", "ls", "--dir", place / "missing"),
        ("cache", "ls", place / "as the shell has put it in"),
        ("cache", HOSTILE),
        ("cache", "ls", "--sort", HOSTILE),
        ("checkpoints", "ls", checkpoints),
        ("checkpoints", "show", checkpoints, "step-1"),
        ("checkpoints", "show", checkpoints, HOSTILE),
        ("checkpoints", "verify", checkpoints),
        ("checkpoints", "ls", place / "missing"),
        ("watch", run, "--once"),
        ("watch", run, "--once", "--json"),
        ("watch", place / "missing", "--once"),
        ("gpus", "--task", f"{HOSTILE}=1GiB", "--state-dir", place / "gpus"),
        ("gpus", "--task", HOSTILE),
        ("doctor", place),
        ("doctor", place, "--json"),
        ("doctor", place / "missing"),
        ("cache", "rm", key, "--yes", "--dir", cache),
    ]
    for arguments in commands:
        text = shown_by(capsys, *arguments)
        assert steering(text) == set(), (arguments, text)


def test_errors_of_the_core_have_one_line_and_nothing_that_steers(tmp_path):
    handler = DataHandler(tmp_path / HOSTILE)
    failing = [
        (CacheKeyError, lambda: handler.load_data(HOSTILE)),
        (InvalidArgumentError, lambda: DataHandler(tmp_path, profile=HOSTILE)),
        (InvalidArgumentError, lambda: DataHandler(tmp_path, max_cache_size=HOSTILE)),
        (UnknownTaskError, lambda: ProgressTracker().reset_task(HOSTILE)),
        (Exception, lambda: CheckpointManager(tmp_path / HOSTILE, read_only=True)),
        (Exception, lambda: CheckpointManager(tmp_path / HOSTILE).load_checkpoint(HOSTILE)),
        (OSError, lambda: ProgressTracker.attach(tmp_path / HOSTILE / "missing")),
    ]
    for kind, fail in failing:
        with pytest.raises(kind) as caught:
            fail()
        assert steering(str(caught.value)) == set(), repr(caught.value)
        assert "\n" not in str(caught.value)


def test_a_log_line_is_one_line(tmp_path, caplog):
    handler = DataHandler(tmp_path / HOSTILE)
    key = handler.store_structure({"x": np.arange(1000)}, "damaged")
    (path,) = (tmp_path / HOSTILE).rglob(f"{key}*")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING, "proteinflex_optimization"):
        with pytest.raises(Exception, match="damaged"):
            handler.load_data(key)
        # The package's own messages in Python, with an error that somebody else wrote.
        logger = logging.getLogger("proteinflex_optimization.progress")
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            logger.exception("%s failed", HOSTILE)
    assert len(caplog.records) >= 2
    assert steering(caplog.text) == set()
    for record in caplog.records:
        assert "\n" not in record.getMessage()


def test_metrics_can_be_scraped_whatever_names_are(tmp_path):
    client = pytest.importorskip("prometheus_client")
    parser = pytest.importorskip("prometheus_client.parser")
    from proteinflex_optimization.cli.prometheus import ProgressCollector

    with ProgressTracker(checkpoint_dir=tmp_path) as tracker:
        tracker.start_task(HOSTILE + '"\\\n', HOSTILE, 10).update(4)
        progress = tracker.get_progress()
    registry = client.CollectorRegistry()
    registry.register(ProgressCollector(lambda: {os.fsdecode(b"run\xff\x1b"): progress}))
    text = client.generate_latest(registry).decode()
    assert steering(text) == set()
    families = parser.text_string_to_metric_families(text)
    samples = [sample for family in families for sample in family.samples]
    assert {sample.labels["job_directory"] for sample in samples} == {"run\\udcff\\x1b"}
    assert any(sample.labels.get("task", "").startswith("md\\x1b[2J") for sample in samples)


def test_json_of_a_name_gives_the_name_back(tmp_path, capsys):
    name = os.fsdecode(b"dir\xff")
    cache = tmp_path / name
    DataHandler(cache).store_structure({"x": np.arange(3)}, HOSTILE)
    main(["cache", "ls", "--dir", str(cache), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["cache_dir"] == str(cache)
    assert report["entries"][0]["data_id"] == HOSTILE
