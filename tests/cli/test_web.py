"""`flexopt watch --web`, without a browser: who is let in, what is served, and what holds nothing up."""

import gzip
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from datetime import datetime
from pathlib import Path

import pytest
from proteinflex_optimization import CheckpointManager, DataHandler, ProgressTracker
from proteinflex_optimization.cli import main
from proteinflex_optimization.cli.boards import Boards
from proteinflex_optimization.cli.web import observer as observers
from proteinflex_optimization.cli.web import server as servers
from proteinflex_optimization.cli.web.history import MAX_POINTS, Series
from proteinflex_optimization.cli.web.observer import Observer, shortened
from waiting import until


def board(directory, *, reason=None):
    with ProgressTracker(checkpoint_dir=directory) as tracker:
        task = tracker.start_task("fold", "Folding", 4)
        task.update(2)
        part = tracker.start_task("dock", "Docking", 2, "fold")
        if reason is None:
            part.complete()
            task.complete()
        else:
            part.fail(reason)


@pytest.fixture
def runs(tmp_path):
    """Runs that are done, failed and damaged, with checkpoints and a cache beside them."""
    board(tmp_path / "runs" / "a")
    board(tmp_path / "runs" / "b", reason="no memory")
    board(tmp_path / "runs" / "c")
    for file in (tmp_path / "runs" / "c" / ".progress").iterdir():
        if file.is_file():
            file.write_bytes(b"other" * 2000)
    manager = CheckpointManager(tmp_path / "runs" / "a" / "checkpoints", max_checkpoints=7)
    for step in range(7):
        manager.create_checkpoint(f"step-{step}", {"model": {"step": step}})
    handler = DataHandler(tmp_path / "runs" / "cache", max_cache_size=0.01)
    handler.store_structure({"x": list(range(1000))}, "villin")
    # Neither of them is of this package.
    (tmp_path / "runs" / "site" / "app").mkdir(parents=True)
    (tmp_path / "runs" / "site" / "app" / "manifest.json").write_text("{}")
    (tmp_path / "runs" / "other").mkdir()
    (tmp_path / "runs" / "other" / "CACHEDIR.TAG").touch()
    return tmp_path / "runs"


def printed(capsys, *arguments):
    capsys.readouterr()
    main([*map(str, arguments), "--json"])
    return json.loads(capsys.readouterr().out)


def comparable(value, key=None):
    """All figures but the time that has gone by, which goes on; points in time in seconds."""
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if key != "elapsed_seconds"}
        return {key: comparable(item, key) for key, item in kept.items()}
    if key in ("updated", "created_at") and value is not None:
        return round(
            datetime.fromisoformat(value).timestamp() if isinstance(value, str) else value, 3
        )
    return value


def test_nothing_is_served_without_the_token(runs, serve_here):
    page = serve_here(runs)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{22}", page.url), "128 bits"
    wrong = page.token[:-1] + ("A" if page.token[-1] != "A" else "B")
    tries = [
        ("/", {}),
        ("/page.js", {}),
        ("/boards.json", {}),
        ("/nothing", {}),
        ("//[", {}),
        (f"/?token={wrong}", {}),
        (f"/?token={page.token}x", {}),
        ("/?token=%C3%A9", {}),
        ("/?token=", {"Cookie": "; =;flexopt-=;"}),
        ("/", {"Cookie": f"flexopt={page.token}"}),
        ("/", {"Authorization": page.token}),
    ]
    for path, headers in tries:
        status, answered, body = page.get(path, headers, token=False)
        assert (status, body) == (403, b"Forbidden\n"), path
        assert "Set-Cookie" not in answered
    for method in ("POST", "PUT", "HEAD", "OPTIONS", "WHATEVER"):
        status, answered, _ = page.get("/boards.json", method=method)
        assert status == 403, method
        assert "Set-Cookie" not in answered
    for sent in (
        b"\0\xff\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9\r\n\r\n",
        b"GET " + b"/" * 99999,
    ):
        with socket.create_connection(("127.0.0.1", page.port), timeout=60) as connection:
            connection.sendall(sent)
            assert b"200" not in connection.recv(1000)
    assert page.get("/")[0] == 200


def test_the_cookie_of_the_page_serves_the_rest(runs, serve_here):
    page = serve_here(runs)
    status, headers, body = page.get("/")
    assert status == 200
    assert b"<table" in body
    cookie, *attributes = headers["Set-Cookie"].split("; ")
    assert set(attributes) == {"HttpOnly", "SameSite=Strict", "Path=/"}
    allowed = {"Cookie": f"other=1; {cookie}"}
    page.json("/resources.json")  # From now on they are there.
    linked = re.findall(r'(?:src|href)="(/[^"]+)"', body.decode())
    assert {"/page.js", "/page.css", "/icon.svg"} <= set(linked)
    for path in [*linked, "/boards.json", "/resources.json"]:
        assert page.get(path, allowed, token=False)[0] == 200, path
    # A second server's cookie does not replace it, for browsers keep one jar for all ports.
    other = serve_here(runs).get("/")[1]["Set-Cookie"]
    assert other.split("=")[0] != cookie.split("=")[0]


def test_a_name_that_was_made_to_lead_here_is_refused(runs, serve_here):
    page = serve_here(runs)
    for host in (
        "localhost",
        "LOCALHOST:8000",
        "127.0.0.1:1",
        "[::1]:80",
        f"127.0.0.1:{page.port}",
    ):
        assert page.get("/", {"Host": host})[0] == 200, host
    for host in ("evil.example", f"evil.example:{page.port}", "127.0.0.1.evil.example", "", "a:b"):
        assert page.get("/", {"Host": host})[0] == 403, host
    for hosts in (b"", b"Host: localhost\r\nHost: evil.example\r\n"):
        with socket.create_connection(("127.0.0.1", page.port), timeout=60) as connection:
            path = f"/?token={page.token}".encode()
            connection.sendall(b"GET " + path + b" HTTP/1.1\r\n" + hosts + b"\r\n")
            assert b" 403 " in connection.recv(1000)


def test_a_browser_may_load_nothing_from_elsewhere_and_others_read_nothing(runs, serve_here):
    _, headers, body = serve_here(runs).get("/")
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy.pop("default-src") == "'none'"
    assert set(policy.values()) <= {"'self'", "'none'"}
    assert policy["frame-ancestors"] == "'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in headers
    assert not re.search(rb'(src|href)="(?!/\w)', body)


def test_the_page_has_the_figures_that_json_prints(runs, serve_here, capsys):
    page = serve_here(runs)
    rows = page.json("/boards.json")["boards"]
    names = {row["directory"].rsplit("/", 1)[-1]: row.pop("id") for row in rows}
    told = printed(capsys, "watch", runs, "--once")["boards"]
    assert comparable(rows) == comparable(told)
    assert [row.keys() for row in rows] == [row.keys() for row in told]
    assert list(names) == ["b", "c", "a"], "problems first"
    job = page.json(f"/job.json?id={names['b']}")
    told = printed(capsys, "watch", runs / "b", "--once")
    assert comparable(job["job"]) == comparable(told)
    assert job["job"]["failed"][0]["reason"] == "no memory"
    assert str(runs / "c") in page.json(f"/job.json?id={names['c']}")["error"]
    resources = page.json("/resources.json")
    (cache,) = resources["caches"]["directories"]
    assert cache.pop("error") is None
    assert cache == printed(capsys, "cache", "stats", "--dir", runs / "cache")
    (folder,) = resources["checkpoints"]["directories"]
    listed = printed(capsys, "checkpoints", "ls", runs / "a" / "checkpoints")["checkpoints"]
    assert (folder["count"], folder["damaged"]) == (7, 0)
    assert folder["size_bytes"] == sum(row["size_bytes"] for row in listed)
    newest = [{key: row[key] for key in folder["checkpoints"][0]} for row in listed[::-1][:5]]
    assert comparable(folder["checkpoints"]) == comparable(newest)


def test_what_did_not_change_is_not_sent_again(tmp_path, serve_here, monkeypatch):
    monkeypatch.setattr(observers, "RESOURCES_PAUSE", 0.2)
    DataHandler(tmp_path / "cache", max_cache_size=0.01)
    page = serve_here(tmp_path)
    # They are looked at beside the storage.
    until(lambda: "gpus" in page.json("/resources.json"))
    for path, body_of in (
        ("/boards.json", page.observer.boards),
        ("/resources.json", page.observer.resources),
    ):
        _, headers, body = page.get(path)
        packed = page.get(path, {"Accept-Encoding": "gzip"})
        assert gzip.decompress(packed[2]) == body
        before = body_of()
        until(lambda body_of=body_of, before=before: body_of() is not before)  # One more look.
        status, again, nothing = page.get(path, {"If-None-Match": headers["ETag"]})
        assert (status, nothing) == (304, b""), path
        assert again["ETag"] == headers["ETag"]
        assert again["Age"].isdecimal()
        assert page.get(path, {"If-None-Match": '"other"'})[0] == 200


def test_what_two_looks_find_at_once_is_all_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(observers, "RESOURCES_PAUSE", 1000.0)
    DataHandler(tmp_path / "cache", max_cache_size=0.01)
    is_first, is_second = threading.Event(), threading.Event()
    body_of, publish = observers.Body, Observer._publish

    def slow_body(value):
        body = body_of(value)
        if b"caches" in body.plain and b"gpus" not in body.plain:
            is_first.set()
            # It comes if nothing holds it up.
            is_second.wait(0.3)
        return body

    def publishing(self, name, value):
        publish(self, name, value)
        if "gpus" in value:
            is_second.set()

    monkeypatch.setattr(observers, "Body", slow_body)
    monkeypatch.setattr(Observer, "_publish", publishing)
    monkeypatch.setattr(observers.resources, "devices", lambda: is_first.wait(60) and {"gpus": []})
    with Boards([str(tmp_path)]) as boards:
        observer = Observer(boards, [str(tmp_path)], 0.2)
        observer.start()
        observer.resources()
        assert is_second.wait(60)
        assert observer.stop()
        assert json.loads(observer.resources().plain).keys() == {"caches", "checkpoints", "gpus"}


def test_runs_appear_change_are_killed_and_go(tmp_path, serve_page, start_job):
    page = serve_page(tmp_path)
    assert page.boards() == {}
    job = start_job(tmp_path / "run")
    assert page.wait_for(lambda boards: "run" in boards)["run"]["status"] == "running"
    job.do("task.update(4, 'cooling')")
    page.wait_for(lambda boards: boards["run"]["completed_steps"] == 7)
    job.kill()
    boards = page.wait_for(lambda boards: boards["run"]["status"] == "stopped")
    assert "no process is at work there" in boards["run"]["reason"]
    shutil.rmtree(tmp_path / "run")
    page.wait_for(lambda boards: boards == {})
    assert page.process.poll() is None, "it is served until it is told to end"


def test_a_thousand_runs_are_served_to_many_at_once(thousand_runs, serve_here):
    page = serve_here(thousand_runs, interval=1)
    _, _, packed = page.get("/boards.json", {"Accept-Encoding": "gzip"})
    assert len(json.loads(gzip.decompress(packed))["boards"]) == 1000
    assert len(packed) < 100_000
    answers = []

    def ask():
        answers.extend(page.get("/boards.json", {"Accept-Encoding": "gzip"})[0] for _ in range(3))

    clients = [threading.Thread(target=ask) for _ in range(20)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert answers == [200] * 60


def test_however_many_ask_there_is_one_look_at_a_time(tmp_path, monkeypatch):
    board(tmp_path / "a")
    looks = []
    look = Boards.look
    monkeypatch.setattr(Boards, "look", lambda self: looks.append(1) or look(self))
    with Boards([str(tmp_path)]) as boards:
        observer = Observer(boards, [str(tmp_path)], 0.2)
        began = time.monotonic()
        observer.start()
        asked = 0
        while len(looks) < 4 or asked <= 100:
            assert observer.boards().plain
            asked += 1
            assert time.monotonic() - began < 60
        observer.stop()
        assert len(looks) <= 2 + (time.monotonic() - began) / 0.2


def test_a_look_that_hangs_leaves_the_last_one_to_be_shown(tmp_path, monkeypatch):
    board(tmp_path / "a")
    begun, ends = threading.Event(), threading.Event()
    with Boards([str(tmp_path)]) as boards:
        observer = Observer(boards, [str(tmp_path)], 0.05)
        observer.start()
        monkeypatch.setattr(boards, "look", lambda: begun.set() or ends.wait())
        monkeypatch.setattr(observers, "WAIT", 0.1)
        assert observer.boards()  # Somebody has the page open.
        assert begun.wait(60)
        time.sleep(1.1)
        (row,) = json.loads(observer.boards().plain)["boards"]
        assert observer.boards().age >= 1
        assert observer.job(row["id"]) is None, (
            "and a job that was not looked at keeps nobody waiting"
        )
        observer.stop()
        ends.set()


def test_a_look_that_fails_is_said_once_and_the_next_one_is_shown(tmp_path, monkeypatch, capsys):
    board(tmp_path / "a")
    looks = []
    with Boards([str(tmp_path)]) as boards:
        observer = Observer(boards, [str(tmp_path)], 0.05)
        observer.start()
        with monkeypatch.context() as broken:
            broken.setattr(boards, "look", lambda: looks.append(1) or 1 / 0)
            assert observer.boards()  # Somebody has the page open.
            until(lambda: len(looks) > 3)
        board(tmp_path / "b")
        until(lambda: len(json.loads(observer.boards().plain)["boards"]) == 2)
        observer.stop()
    assert capsys.readouterr().err.count("not up to date: ZeroDivisionError") == 1


def test_slow_clients_hold_nobody_up_and_take_little_memory(tmp_path, serve_page):
    board(tmp_path / "0", reason="x" * 1000)
    for number in range(1, 300):
        shutil.copytree(tmp_path / "0", tmp_path / str(number))
    page = serve_page(tmp_path)
    page.get("/boards.json")

    def memory():
        text = Path(f"/proc/{page.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1])

    before = memory()
    stuck = []
    request = f"GET /boards.json?token={page.token} HTTP/1.1\r\nHost: localhost\r\n"
    for number in range(3 * servers.MAX_CONNECTIONS):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", page.port))
        # Some do not read what they have asked for, the others never end their request.
        connection.sendall((request + "\r\n" * (number % 4 == 0)).encode())
        stuck.append(connection)
    began = time.monotonic()
    for _ in range(5):
        assert page.get("/boards.json")[0] == 200
    # A busy machine may hold up some, who waits for those that are stuck waits for all.
    assert time.monotonic() - began < 5 * servers.TIMEOUT / 2
    assert memory() - before < 50_000, "kB"
    threads = len(os.listdir(f"/proc/{page.process.pid}/task"))
    assert threads < 2 * servers.MAX_CONNECTIONS
    for connection in stuck:
        connection.close()


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_at_once_though_clients_are_connected(runs, serve_page, sent, status):
    page = serve_page(runs, stderr=subprocess.PIPE)
    with socket.create_connection(("127.0.0.1", page.port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        page.get("/boards.json")
        page.process.send_signal(sent)
        _, error = page.process.communicate(timeout=60)
    assert (page.process.returncode, error) == (status, "")


HANGS = """
import sys, time
from proteinflex_optimization.cli import boards, main
look, looks = boards.Boards._look, []
def slow(self, path):
    looks.append(path)
    if len(looks) > 1:
        print("hangs", flush=True)
        time.sleep(1000)
    return look(self, path)
boards.Boards._look = slow
raise SystemExit(main(["watch", sys.argv[1], "--web", "0", "--interval", "0.1"]))
"""


def test_a_signal_ends_it_though_a_file_system_hangs(tmp_path):
    board(tmp_path / "a")
    command = [sys.executable, "-c", HANGS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        with urllib.request.urlopen(url.replace("?", "boards.json?"), timeout=60):
            assert process.stdout.readline() == "hangs\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 143


def test_what_can_not_be_served_is_an_error_that_names_it(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["watch", str(tmp_path), "--web", str(port)]) == 1
    error = capsys.readouterr().err
    assert re.match(rf"flexopt: port {port} of 127\.0\.0\.1 .*in use", error)
    assert main(["watch", str(tmp_path / "nothing"), "--web", "0"]) == 1
    for options in (["--once"], ["--json"], ["--prometheus", "0"], ["--address", "0.0.0.0"]):
        assert main(["watch", str(tmp_path), "--web", "0", *options]) == 2, options
        assert options[0] in capsys.readouterr().err


def test_a_history_stays_small_and_makes_no_values_up():
    series = Series()
    for second in range(100_000):
        if not 50_000 < second < 70_000:
            series.add(second, float(second))
        series.add(second, None)
    points = series.points()
    assert MAX_POINTS / 3 < len(points) <= MAX_POINTS + 1
    assert all(value in (None, time) for time, value in points)
    breaks = [time for time, value in points if value is None]
    assert len(breaks) == 1, "there was one time of which nothing is known"
    assert 49_000 < breaks[0] <= 50_000
    assert points[-1][0] > 98_000


def test_of_too_many_tasks_those_with_a_problem_are_kept_with_what_they_are_part_of(monkeypatch):
    monkeypatch.setattr(observers, "MAX_TASKS", 10)
    tasks = {"top": {"status": "running", "parent": None}}
    tasks |= {f"part {n}": {"status": "completed", "parent": "top"} for n in range(50)}
    tasks["group"] = {"status": "running", "parent": "top"}
    tasks["bad"] = {"status": "failed", "parent": "group"}
    job, left_out = shortened({"failed": [], "tasks": tasks})
    assert {"top", "group", "bad"} <= set(job["tasks"])
    assert len(job["tasks"]) + left_out == len(tasks)
    assert next(iter(job["tasks"])) == "top", "in their order"
