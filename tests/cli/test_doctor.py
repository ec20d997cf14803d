"""`flexopt doctor` tells the truth, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import refused_calls
from proteinflex_optimization.cli import main, mounts
from proteinflex_optimization.cli.filesystem_checks import CHECKS


def doctor(capsys, directory):
    status = main(["doctor", "--json", str(directory)])
    report = json.loads(capsys.readouterr().out)
    return status, report, {check["name"]: check for check in report["checks"]}


@pytest.mark.parametrize("place", ["/dev/shm", None])
def test_a_local_file_system_is_named_and_fit(tmp_path, capsys, place):
    directory = tmp_path if place is None else place
    if not os.access(directory, os.W_OK):
        pytest.skip(f"{directory} can't be written")
    before = sorted(os.listdir(directory)) if place is None else None
    status, report, checks = doctor(capsys, directory)
    assert status == 0
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", directory], capture_output=True, text=True, check=True
    ).stdout
    if kind.startswith("tmpfs"):
        assert report["filesystem"]["kind"] == "tmpfs"
    assert len(checks) == len(CHECKS)
    assert all(check["means"] for check in checks.values() if check["ok"] is not True)
    if place is None:
        assert sorted(os.listdir(directory)) == before


def test_every_finding_is_explained_where_it_is_not_what_one_wishes(tmp_path, capsys):
    assert main(["doctor", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{tmp_path}: ")
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith(("no  ", "?   ", "FAIL")):
            assert following.startswith("     "), line


def test_locks_that_do_nothing_are_noticed(tmp_path):
    script = (
        "import sys\nfrom proteinflex_optimization.cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            refused_calls.prelude(0, "flock") + script,
            "doctor",
            "--json",
            tmp_path,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    found = {check["name"]: check["ok"] for check in json.loads(done.stdout)["checks"]}
    assert found["locks exclude two descriptors"] is False
    assert found["locks exclude two processes"] is False
    assert done.returncode == 0, "no promise needs a lock"


def test_nothing_is_left_behind_by_a_doctor_that_is_ended(tmp_path):
    script = (
        "import sys, time\n"
        "from proteinflex_optimization.cli import filesystem_checks, main, doctor\n"
        "slow = filesystem_checks.Check('slow', True, lambda place: (print('at work', flush=True),"
        " time.sleep(300))[1], '', '')\n"
        "doctor.CHECKS = (*filesystem_checks.CHECKS, slow)\n"
        "sys.exit(main(['doctor', sys.argv[1]]))\n"
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        command = [sys.executable, "-c", script, tmp_path]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout.readline() == "at work\n"
                assert list(tmp_path.iterdir())
                time.sleep(0.1)
                process.send_signal(number)
                assert process.wait(60) == 128 + number
            finally:
                process.kill()
        assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_mounted_twice_is_found_at_both_points(tmp_path, monkeypatch):
    table = tmp_path / "mountinfo"
    one, other = tmp_path / "one", tmp_path / "o ther"
    escaped = str(other).replace(" ", "\\040")
    table.write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"2 1 0:30 / {one} rw - fuse.sshfs me@server:/data rw,user_id=0\n"
        f"3 1 0:31 /sub {escaped} rw shared:3 - fuse.sshfs me@server:/data rw,user_id=0\n"
        f"4 1 0:32 / {tmp_path}/third rw - fuse.sshfs me@server:/elsewhere rw\n"
    )
    monkeypatch.setattr(mounts, "MOUNTS", table)
    assert mounts.mount_of(one / "sub" / "x").kind == "fuse.sshfs"
    assert mounts.other_mounts(one / "sub" / "x") == [other / "x"]
    assert mounts.other_mounts(other / "x") == [one / "sub" / "x"]
    assert mounts.other_mounts(one / "not shared") == []
    assert mounts.mount_of(tmp_path).kind == "ext4"
