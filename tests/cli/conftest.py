"""Directories as the commands find them, and terminals to run them in."""

import contextlib
import http.client
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from proteinflex_optimization import CheckpointManager, DataHandler, ProgressTracker
from proteinflex_optimization.cli.boards import Boards
from proteinflex_optimization.cli.web.observer import Observer
from proteinflex_optimization.cli.web.server import Server

FLEXOPT = [sys.executable, "-m", "proteinflex_optimization"]


@pytest.fixture
def run():
    """Run the command as a program."""

    def run(*arguments, **options):
        return subprocess.run(
            [*FLEXOPT, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            stdin=subprocess.DEVNULL,
            **options,
        )

    return run


@pytest.fixture
def in_terminal():
    """Run the command in a terminal where somebody types; returns what was shown, and the status."""

    def run(*arguments, typed="", columns="100"):
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ["COLUMNS"] = columns
            os.execve(FLEXOPT[0], [*FLEXOPT, *map(str, arguments)], dict(os.environ))
        if typed:
            os.write(terminal, typed.encode())
        shown = b""
        while True:
            try:
                part = os.read(terminal, 65536)
            except OSError:
                break
            if not part:
                break
            shown += part
        os.close(terminal)
        return shown.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    return run


@pytest.fixture
def cache(tmp_path):
    """A cache of four entries of 100 kB, the one that was used last first in its list."""
    handler = DataHandler(tmp_path / "cache", max_cache_size=0.001)
    for number in range(4):
        array = np.random.default_rng(number).integers(0, 256, 100_000, np.uint8)
        handler.store_structure({"x": array}, f"entry {number}")
    return handler


@pytest.fixture
def checkpoints(tmp_path):
    """A directory of three checkpoints."""
    manager = CheckpointManager(tmp_path / "checkpoints")
    for step in range(3):
        state = {"positions": np.full(1000, step), "step": step, "name": "villin"}
        manager.create_checkpoint(f"step-{step}", {"dynamics": state}, metadata={"step": step})
    return tmp_path / "checkpoints"


class Page:
    """A page that is served, and what it takes to ask for it without a browser."""

    def __init__(self, process, url):
        self.process, self.url = process, url
        self.port = int(re.search(r":(\d+)/", url)[1])
        self.token = url.rpartition("=")[2]

    def get(self, path, headers=(), *, token=True, method="GET"):
        """Ask for a path; returns the status, the headers and the body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        if token:
            path += f"{'&' if '?' in path else '?'}token={self.token}"
        connection.request(method, path, headers=dict(headers))
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, answer.headers, body

    def json(self, path):
        """Ask for what is shown, again where the first look at it takes long."""
        until = time.monotonic() + 60
        while (answer := self.get(path))[0] == 404:
            assert time.monotonic() < until, path
        status, _, body = answer
        assert status == 200, (status, path)
        return json.loads(body)

    def boards(self):
        """The records of boards, by the last part of their directories."""
        return {
            row["directory"].rsplit("/", 1)[-1]: row for row in self.json("/boards.json")["boards"]
        }

    def wait_for(self, condition, seconds=60):
        """Ask again and again for the boards, until they are as expected; returns them."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            boards = self.boards()
            if condition(boards):
                return boards
            time.sleep(0.1)
        raise AssertionError(f"it never came to that: {boards}")


@pytest.fixture
def serve_here():
    """Serve the page of directories by this process, which takes no time to start."""
    with contextlib.ExitStack() as stack:

        def serve(*directories, interval=0.2):
            names = list(map(str, directories))
            observer = Observer(stack.enter_context(Boards(names)), names, interval)
            server = stack.enter_context(Server(0, observer))
            observer.start()
            stack.callback(observer.stop)
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            stack.callback(server.shutdown)
            page = Page(None, server.url)
            page.observer, page.close = observer, stack.close
            return page

        yield serve


@pytest.fixture
def serve_page():
    """Serve the page of directories, by the command."""
    with contextlib.ExitStack() as stack:

        def serve(*directories, interval="0.2", **options):
            command = [
                *FLEXOPT,
                "watch",
                *map(str, directories),
                "--web",
                "0",
                "--interval",
                interval,
            ]
            process = stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)
            )
            stack.callback(process.kill)
            return Page(process, process.stdout.readline().strip())

        yield serve


@pytest.fixture(scope="session")
def thousand_runs(tmp_path_factory):
    """A directory of 850 complete runs and 150 that have failed; only to be looked at."""
    place = tmp_path_factory.mktemp("thousand")
    for name, count in (("done", 850), ("bad", 150)):
        with ProgressTracker(checkpoint_dir=place / f"{name} 0") as tracker:
            task = tracker.start_task("fold", "Folding", 40)
            task.fail("no memory") if name == "bad" else task.complete()
        for number in range(1, count):
            shutil.copytree(place / f"{name} 0", place / f"{name} {number}")
    return place


JOB = """
import sys
from proteinflex_optimization import ProgressTracker
tracker = ProgressTracker(checkpoint_dir=sys.argv[1])
task = tracker.start_task("md", "Dynamics", 10)
task.update(3, "heating")
print("ready", flush=True)
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


class Job:
    """A process that counts, and does what it is told."""

    def __init__(self, directory):
        self.process = subprocess.Popen(
            [sys.executable, "-c", JOB, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"

    def do(self, line):
        """Run a line of Python there."""
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def kill(self):
        """End it by SIGKILL."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start_job():
    """Start a job whose tracker has this directory."""
    with contextlib.ExitStack() as stack:

        def start(directory):
            job = Job(directory)
            stack.callback(job.kill)
            return job

        yield start
