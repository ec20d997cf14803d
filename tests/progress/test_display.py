"""What a person sees, read back from an emulated terminal and from a notebook."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from proteinflex_optimization import ProgressTracker, display

JOB = """
import time
from proteinflex_optimization import ProgressTracker
with ProgressTracker(display=True) as tracker:
    task = tracker.start_task("fold", "Folding", 4)
    for step in range(4):
        print(f"residue {step} is done", flush=True)
        task.update(1, f"step {step}")
        time.sleep(0.25)
    tracker.finish()
print("after")
"""


def in_terminal(command: list[str], **environment: str) -> bytes:
    """Run a command in a terminal of 100 columns and give what it wrote there."""
    pid, terminal = pty.fork()
    if pid == 0:
        settings = {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40", **environment}
        inherited = {
            name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ
        }
        os.execve(command[0], command, {**inherited, **settings})
    output = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:
            break
        if not part:
            break
        output += part
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, output.decode()
    return output


def screen_of(output: bytes) -> list[str]:
    """What is left on the screen, as a person sees it."""
    pyte = pytest.importorskip("pyte")
    screen = pyte.Screen(100, 40)
    pyte.ByteStream(screen).feed(output)
    return [line.rstrip() for line in screen.display if line.strip()]


def test_a_terminal_shows_bars_below_the_output_of_the_job():
    output = in_terminal([sys.executable, "-c", JOB])
    assert output.count(b"Folding") >= 2, "it was drawn again"
    shown = screen_of(output)
    # Lines of the job stand whole and in order, then the bar as it was last, then the rest.
    assert shown[:4] == [f"residue {step} is done" for step in range(4)]
    assert re.search(r"Folding.*━+.*100\.0 %.*4/4.*step 3", shown[4])
    assert shown[5:] == ["after"]


def job(body: str) -> list[str]:
    return [sys.executable, "-c", f"import logging, os, sys, time\n{TRACK}{body}"]


TRACK = "from proteinflex_optimization import track\n"


@pytest.mark.parametrize("stream", ["stderr", "stdout"])
@pytest.mark.parametrize("begin", ["before", "inside"])
def test_log_lines_stay_whole_above_the_bars(stream: str, begin: str):
    setup = f"logging.basicConfig(level=20, format='%(message)s', stream=sys.{stream})"
    body = f"""
{setup if begin == "before" else ""}
for number in track(range(4), "frames"):
    {setup}
    logging.info("frame %d is read", number)
    time.sleep(0.15)
logging.info("after")
assert logging.root.handlers[0].stream is sys.__{stream}__ is sys.{stream}
"""
    shown = screen_of(in_terminal(job(body)))
    assert shown[:4] == [f"frame {number} is read" for number in range(4)]
    assert re.search(r"frames.*100\.0 %.*4/4", shown[4])
    assert shown[5:] == ["after"]


def test_a_line_that_is_begun_in_the_loop_is_written_at_its_end():
    body = """
for number in track(range(3), "frames"):
    time.sleep(0.25)
    print(f"[/{number}] ", end="")
print("after")
"""
    shown = screen_of(in_terminal(job(body)))
    assert shown[0] == "[/0] [/1] [/2]"
    assert re.search(r"frames.*100\.0 %.*3/3", shown[1])
    assert shown[2:] == ["after"]


def test_streams_that_the_loop_redirects_are_captured_and_restored():
    body = """
import contextlib, io
real, captured = sys.stderr, [io.StringIO(), io.StringIO()]
for number in track(range(2), "frames"):
    with contextlib.redirect_stderr(captured[number]):
        time.sleep(0.15)
        print("inside", file=sys.stderr)
assert [one.getvalue() for one in captured] == ["inside\\n"] * 2
assert sys.stderr is real
frames = iter(track(range(2), "more"))
next(frames)
with contextlib.redirect_stderr(io.StringIO()) as captured:
    list(frames)  # These bars end meanwhile.
    print("inside", file=sys.stderr)
assert captured.getvalue() == "inside\\n"
print("after", file=sys.stderr)
"""
    shown = screen_of(in_terminal(job(body)))
    assert "inside" not in "\n".join(shown)
    assert shown[-1] == "after"


def test_a_job_without_standard_error_shows_nothing():
    body = "for number in track(range(3)): print(number)"
    command = ["/bin/sh", "-c", 'exec "$0" "$@" 2>&-', *job(body)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "0\n1\n2\n"


def test_colors_that_are_forced_make_no_terminal_of_a_pipe(tmp_path: Path):
    forced = {**os.environ, "FORCE_COLOR": "1"}
    body = "with ProgressTracker(checkpoint_dir=sys.argv[1], display=True) as tracker:\n"
    body += " for _ in tracker.track(range(3), 'frames'): time.sleep(0.3)"
    script = job(f"from proteinflex_optimization import ProgressTracker\n{body}")
    watch = [sys.executable, "-m", "proteinflex_optimization", "watch", "--once"]
    for command in ([*script, str(tmp_path / "b")], [*watch, str(tmp_path / "b")]):
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=True, env=forced
        )
        assert "100.0 %" in done.stderr + done.stdout
        assert not re.search(r"\x1b\[\?25l|\x1b\[2K|\r", done.stderr + done.stdout)


def test_displays_at_once_are_drawn_together_and_each_leaves_one_line():
    nested = """
for number in track(range(2), "outer"):
    for _ in track(range(3), f"inner {number}"):
        time.sleep(0.06)
"""
    shown = screen_of(in_terminal(job(nested)))
    assert [line.split(" ━")[0] for line in shown] == ["inner 0", "inner 1", "outer"]
    assert all("100.0 %" in line for line in shown)
    side_by_side = """
for _ in zip(track(range(3), "left"), track(range(3), "right")):
    time.sleep(0.15)
print("after")
"""
    shown = screen_of(in_terminal(job(side_by_side)))
    assert [line.split(" ━")[0] for line in shown] == ["left", "right", "after"]


def test_what_is_piped_stays_in_the_pipe(tmp_path: Path):
    body = """
for number in track(range(4), "frames"):
    print(number)
    time.sleep(0.15)
"""
    piped = tmp_path / "out"
    program = tmp_path / "job.py"
    program.write_text(f"import time\n{TRACK}{body}")
    command = ["/bin/sh", "-c", f"exec {sys.executable} {program} > {piped}"]
    assert b"frames" in in_terminal(command)
    assert piped.read_text().split() == ["0", "1", "2", "3"]


def test_a_forked_child_writes_to_the_streams_themselves():
    body = """
logging.basicConfig(level=20)
for number in track(range(2), "frames"):
    while sys.stderr is sys.__stderr__:
        time.sleep(0.01)
    if os.fork() == 0:
        handler = logging.root.handlers[0]
        os._exit(handler.stream is sys.stderr is sys.__stderr__ and sys.stdout is sys.__stdout__)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 1
"""
    in_terminal(job(body))


def test_no_color_is_honoured_and_a_dumb_terminal_gets_plain_lines():
    colours = re.compile(rb"\x1b\[[0-9;]*\d[0-9;]*m")
    assert colours.search(in_terminal([sys.executable, "-c", JOB]))
    plain = in_terminal([sys.executable, "-c", JOB], NO_COLOR="1")
    assert b"Folding" in plain
    assert not re.search(rb"\x1b\[(3[0-9]|38;|9[0-7])[0-9;]*m", plain)
    dumb = in_terminal([sys.executable, "-c", JOB], TERM="dumb")
    assert b"\x1b" not in dumb
    assert b"100.0 %" in dumb


def test_watch_draws_another_process_and_ends_with_it(tmp_path: Path):
    code = JOB.replace("display=True", f"checkpoint_dir={str(tmp_path)!r}").replace("0.25", "0.5")
    job = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    while not list(tmp_path.glob(".progress/counters*")):
        assert job.poll() is None
        time.sleep(0.02)
    watch = [sys.executable, "-m", "proteinflex_optimization", "watch", str(tmp_path)]
    shown = screen_of(in_terminal(watch))
    assert job.wait() == 0
    assert re.search(r"Folding.*100\.0 %.*4/4", shown[-1])


def test_a_line_now_and_then_where_there_is_no_terminal():
    stream, interval = io.StringIO(), 0.2
    with ProgressTracker() as tracker:
        task = tracker.start_task("fold", "Folding", 10**6)
        shown = display.Display(tracker.get_progress, stream, interval)
        started = time.monotonic()
        shown.start()
        while stream.getvalue().count("\n") < 4:
            task.update()
            time.sleep(0.01)
        task.complete()
        shown.stop()
        took = time.monotonic() - started
    lines = stream.getvalue().splitlines()
    # One at the beginning, one at the end, and not more than one an interval in between.
    assert len(lines) - 2 <= took / interval
    assert all("/1000000 steps" in line for line in lines)
    assert lines[-1].startswith("100.0 %, 1000000/1000000 steps")
    assert "\x1b" not in stream.getvalue()


def test_a_job_that_is_interrupted_leaves_the_terminal_as_it_was():
    code = JOB.replace("time.sleep(0.25)", "import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    code = f"try:\n{re.sub('^', '    ', code, flags=re.M)}\nexcept KeyboardInterrupt:\n    pass"
    output = in_terminal([sys.executable, "-c", code])
    # The cursor is visible again.
    assert output.rfind(b"\x1b[?25h") > output.rfind(b"\x1b[?25l")


NOTEBOOK = """
from proteinflex_optimization import ProgressTracker
import threading, time
with ProgressTracker(display=True) as tracker:
    task = tracker.start_task("fold", "Folding", 4)
    for step in range(4):
        task.update(1, f"step {step}")
        time.sleep(0.2)
    tracker.finish()
"""


@pytest.mark.filterwarnings("ignore")
def test_a_notebook_shows_the_bars_and_keeps_nothing_running():
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    threads = "print(sorted(thread.name for thread in threading.enumerate()))"
    cells = [nbformat.v4.new_code_cell(code) for code in (NOTEBOOK, threads)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = str(notebook.cells[0].outputs)
    assert "Folding" in shown
    assert "100.0 %" in shown
    assert "proteinflex" not in str(notebook.cells[1].outputs)


def test_a_deep_and_wide_tree_is_drawn_in_a_few_rows():
    from proteinflex_optimization.display import MAX_ROWS, tree
    from rich.console import Console

    tracker = ProgressTracker()
    for number in range(200):
        parent = None if number % 2 else f"task-{number - 2}" if number else None
        tracker.start_task(f"task-{number}", "Task", 1, parent)
    console = Console(width=100, height=200, force_terminal=False)
    with console.capture() as capture:
        console.print(tree(tracker.get_progress()))
    lines = [line for line in capture.get().splitlines() if line.strip()]
    assert len(lines) <= MAX_ROWS + 2
    assert "more" in lines[-1]


def test_bars_fit_a_terminal_whose_encoding_lacks_a_character_of_a_name(tmp_path: Path):
    from rich.console import Console

    with ProgressTracker(checkpoint_dir=tmp_path) as tracker:
        tracker.start_task("a", "Ångström " * 20, 10).fail("too small: é")
        file = io.TextIOWrapper(io.BytesIO(), "ascii", "backslashreplace")
        Console(file=file, width=60, force_terminal=True, color_system=None).print(
            display.tree(tracker.get_progress())
        )
    file.flush()
    lines = file.buffer.getvalue().decode().splitlines()
    assert any(r"\xc5ngstr\xf6m" in line for line in lines)
    assert max(map(len, lines)) <= 60


def test_sigterm_ends_a_job_with_a_display():
    code = JOB.replace("time.sleep(0.25)", "time.sleep(300)")
    job = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None
    assert job.stdout.readline()
    job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=60) == -signal.SIGTERM
    job.stdout.close()


def test_where_the_rest_is_unknown_the_time_left_is_that_of_the_task_at_work():
    task = {"name": "Dynamics", "parent": None, "status": "running", "completed": 5, "total": 10}
    task |= {"rate": 1.0, "eta_seconds": 5.0}
    later = {**task, "name": "Figure", "completed": 0, "rate": None, "eta_seconds": None}
    progress = {"percent": 25.0, "rate": None, "status": "running", "elapsed_seconds": 5.0}
    progress |= {"eta_seconds": None, "message": None, "current_task": "md"}
    progress["tasks"] = {"md": task, "figure": later}
    assert "0:05 left of this task" in display.line(progress)
