"""Real file systems, mounted for the tests: networked ones as two hosts see them, layered and local.

They need root, FUSE or loop devices, and the packages sshfs, openssh-server, bindfs, fuse-overlayfs,
xfsprogs and btrfs-progs; what is not there is skipped. Nothing of the system's own ssh is touched.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from waiting import until

AS_ANOTHER_HOST = ("unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
IMAGE_BYTES = {"xfs": 320 << 20, "btrfs": 128 << 20}
FILESYSTEMS = ("sshfs", "bindfs", "fuse-overlayfs", "xfs", "btrfs")


@dataclass
class Shared:
    """One directory, as each of two processes sees it."""

    filesystem: str
    here: Path
    there: Path
    is_another_host: bool
    """Whether the second process is one that the first one can't see, under another host's name."""

    def start(self, script, *arguments, second=False):
        """Start a Python script that gets the path, and whether it is the second process."""
        command = [sys.executable, "-c", script, self.there if second else self.here]
        command += [str(int(second)), *map(str, arguments)]
        if second and self.is_another_host:
            renamed = 'hostname elsewhere; exec "$0" "$@"'
            command = [*AS_ANOTHER_HOST, "sh", "-c", renamed, *command]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, text=True, **pipes)


def need(*programs):
    """Skip where something is missing."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    for program in programs:
        if shutil.which(program) is None and not Path("/usr/sbin", program).exists():
            pytest.skip(f"{program} is not installed")


def run(*command):
    """Run a program; skip with what it said where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        pytest.skip(f"{command[0]} fails here: {(done.stderr or done.stdout).strip()[-200:]}")


@pytest.fixture(scope="session")
def mounted(tmp_path_factory):
    """Mount a file system once, and unmount it at the end."""
    with contextlib.ExitStack() as stack:
        known = {}

        def mount(filesystem):
            if filesystem not in known:
                base = tmp_path_factory.mktemp(filesystem)
                known[filesystem] = MOUNT[filesystem](base, stack)
            return known[filesystem]

        yield mount


@pytest.fixture(params=FILESYSTEMS)
def shared(request, mounted, tmp_path):
    """An empty directory of each file system, of two processes."""
    here, there = mounted(request.param)
    name = tmp_path.name
    (here / name).mkdir()
    until((there / name).is_dir)
    return Shared(request.param, here / name, there / name, request.param == "sshfs")


def _mount(stack, point, *command):
    point.mkdir()
    run(*command, point)
    until(point.is_mount)
    stack.callback(_unmount, point)
    return point


def _unmount(point):
    # Lazily: a process that a test could not end must not keep the machine from being tidied up.
    subprocess.run(["umount", "--lazy", point], check=False, timeout=60)


def _bindfs(base, stack):
    need("bindfs")
    source = base / "source"
    source.mkdir()
    return tuple(_mount(stack, base / name, "bindfs", source) for name in ("one", "other"))


def _overlay(base, stack):
    need("fuse-overlayfs")
    for name in ("lower", "upper", "work"):
        (base / name).mkdir()
    options = f"lowerdir={base / 'lower'},upperdir={base / 'upper'},workdir={base / 'work'}"
    point = _mount(stack, base / "merged", "fuse-overlayfs", "-o", options)
    return point, point


def _image(kind):
    def mount(base, stack):
        need(f"mkfs.{kind}", "mount")
        image = base / "image"
        with image.open("wb") as file:
            file.truncate(IMAGE_BYTES[kind])
        run(f"mkfs.{kind}", "-q", image)
        point = _mount(stack, base / "disk", "mount", "-o", "loop", image)
        return point, point

    return mount


def _sshfs(base, stack):
    """Two mounts of one directory, through an ssh server of the tests' own on loopback."""
    need("sshfs", "sshd", "ssh-keygen", "unshare", "hostname")
    run(*AS_ANOTHER_HOST, "true")
    for name in ("host_key", "user_key"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", base / name)
    (base / "authorized").write_bytes((base / "user_key.pub").read_bytes())
    (base / "data").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (base / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {base / 'host_key'}\n"
        f"AuthorizedKeysFile {base / 'authorized'}\nPidFile none\nUsePAM no\nStrictModes no\n"
        "PermitRootLogin prohibit-password\nPasswordAuthentication no\n"
        "Subsystem sftp internal-sftp\n"
    )
    privileges = Path("/run/sshd")  # An empty directory that sshd insists on.
    if not privileges.exists():
        privileges.mkdir(mode=0o755)
        stack.callback(privileges.rmdir)
    server = shutil.which("sshd") or "/usr/sbin/sshd"
    log = stack.enter_context((base / "sshd.log").open("w"))
    process = subprocess.Popen([server, "-D", "-e", "-f", base / "sshd_config"], stderr=log)

    def stop():
        process.terminate()
        process.wait(30)

    stack.callback(stop)

    def answers():
        assert process.poll() is None, (base / "sshd.log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    until(answers)
    # Attributes are cached for a second rather than sshfs's 20, to wait less in tests.
    options = (
        f"port={port},IdentityFile={base / 'user_key'},IdentitiesOnly=yes,ssh_command=ssh -F none,"
        "StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null,LogLevel=ERROR,"
        "dcache_timeout=1,dcache_stat_timeout=1,dcache_dir_timeout=1,dcache_link_timeout=1"
    )
    source = f"root@127.0.0.1:{base / 'data'}"
    return tuple(
        _mount(stack, base / name, "sshfs", "-o", options, source) for name in ("one", "other")
    )


MOUNT = {
    "sshfs": _sshfs,
    "bindfs": _bindfs,
    "fuse-overlayfs": _overlay,
    "xfs": _image("xfs"),
    "btrfs": _image("btrfs"),
}
