"""Reservations beyond one user, one container and one well-kept directory."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import refused_calls
from proteinflex_optimization import GPUError, GPUManager, InsufficientGPUMemoryError

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def shared(machine, monkeypatch):
    """A machine whose reservations are in a directory for all users, as an administrator makes it."""
    directory = Path(tempfile.mkdtemp(prefix="pfx-gpu-", dir="/tmp"))
    directory.chmod(0o755)
    reservations = directory / "state" / "reservations"
    reservations.mkdir(parents=True)
    reservations.chmod(0o1777)
    world = directory / "world"
    machine.path = world
    machine.write(machine.gpu(0, total=10000), machine.gpu(1, total=10000))
    world.chmod(0o644)
    monkeypatch.setenv("NVML_STUB_WORLD", str(world))
    monkeypatch.setenv("PROTEINFLEX_GPU_STATE_DIR", str(directory / "state"))
    yield machine
    shutil.rmtree(directory)


AS_NOBODY = f"""
import os, sys
from proteinflex_optimization import GPUManager, InsufficientGPUMemoryError
manager = GPUManager({{"work": 8000}}, True)
manager.get_available_gpus()  # all that must be read is read while that is allowed
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
def ask():
    try: print(*manager.allocate_gpus("work"), flush=True)
    except InsufficientGPUMemoryError: print("none", flush=True)
ask()
for line in sys.stdin:
    manager.release_gpus()
    ask()
"""


@needs_root
def test_users_see_each_others_reservations(shared):
    mine = GPUManager({"work": 8000}, True)
    assert mine.allocate_gpus("work") == [0]
    other = shared.start(AS_NOBODY)
    assert other.stdout.readline() == "1\n"
    with pytest.raises(InsufficientGPUMemoryError, match=f"user {NOBODY}"):
        GPUManager({"work": 8000}).allocate_gpus("work")
    assert {entry["user"] for entry in mine.reservations()} == {0, NOBODY}
    other.kill()
    other.communicate()
    second = GPUManager({"work": 8000}, True)
    assert second.allocate_gpus("work") == [1]


@needs_root
def test_what_another_user_left_dead_is_passed_over(shared):
    """In a directory with the sticky bit a user can't remove what another one left."""
    holder = shared.start(
        "from proteinflex_optimization import GPUManager\n"
        "manager = GPUManager({'work': 8000})\n"
        "print(manager.allocate_gpus('work'), flush=True)\n"
        "input()\n"
    )
    assert holder.stdout.readline() == "[0, 1]\n"
    holder.kill()
    holder.communicate()
    directory = Path(os.environ["PROTEINFLEX_GPU_STATE_DIR"]) / "reservations"
    assert list(directory.glob("*/*.lease"))
    other = shared.start(AS_NOBODY)
    assert other.stdout.readline() == "0\n"
    assert len(list(directory.glob("*/*.lease"))) == 2
    other.communicate("", timeout=60)
    # Its own user tidies up.
    manager = GPUManager({"work": 8000}, True)
    assert manager.allocate_gpus("work") == [0]
    assert len(list(directory.glob("*/*.lease"))) == 1


def reservations():
    return Path(os.environ["PROTEINFLEX_GPU_STATE_DIR"]) / "reservations"


DROP = f"""
import fcntl, json, os, pathlib, sys, time  # That user may not be able to read the library.
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
"""


def as_nobody(script, *arguments):
    """Run a Python script as another user; gives what it printed."""
    command = [sys.executable, "-I", "-c", DROP + script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_root
def test_another_user_can_not_take_a_lease_away(shared):
    """Neither its file, its directory, its lock nor the place of any of them."""
    shared.write(shared.gpu(0, total=10000))
    mine = GPUManager({"work": 8000}, True)
    assert mine.allocate_gpus("work") == [0]
    attack = """
root = pathlib.Path(sys.argv[1])
for path in sorted(root.rglob("*"), reverse=True):
    for harm in (path.unlink, path.rmdir, lambda: path.rename(root / "away"),
                 lambda: path.chmod(0o777), lambda: path.open("r+").close(),
                 lambda: (path / "planted.lease").write_text("{}")):
        try: harm()
        except OSError: pass
        else: print("did harm to", path)
"""
    assert as_nobody(attack, reservations()) == ""
    assert [lease["memory"] for lease in mine.reservations()] == [{SOLE_UUID: 8000}]
    other = shared.start(AS_NOBODY)
    assert other.stdout.readline() == "none\n"
    other.communicate("", timeout=60)


CONTENDER = """
import fcntl, os, random, sys, time
user, directory = int(sys.argv[1]), sys.argv[2]
slots = [os.open(f"{directory}/slot-{index}", os.O_RDWR | os.O_CREAT) for index in range(2)]
from proteinflex_optimization import GPUManager, InsufficientGPUMemoryError
manager = GPUManager({"work": 8000}, prefer_single_gpu=True)
manager.get_available_gpus()
if user:
    os.setgroups([]); os.setgid(user); os.setuid(user)
chance, done = random.Random(user), 0
print("ready", flush=True)
sys.stdin.readline()
while done < 40:
    try: (index,) = manager.allocate_gpus("work")
    except InsufficientGPUMemoryError:
        time.sleep(chance.random() * 0.002)
        continue
    # The kernel tells whether two have the memory, whatever the reservations say.
    try: fcntl.flock(slots[index], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError: sys.exit("given twice")
    time.sleep(chance.random() * 0.01)
    fcntl.flock(slots[index], fcntl.LOCK_UN)
    manager.release_gpus()
    done += 1
"""


@needs_root
def test_users_that_choose_at_once_never_get_the_same_memory(shared):
    """No lock is shared by them: of two that reserve at the same moment one withdraws."""
    shared.write(*(shared.gpu(number, total=9000) for number in range(2)))
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", CONTENDER, str(user), shared.path.parent],
            env=shared.environment(
                PROTEINFLEX_GPU_STATE_DIR=os.environ["PROTEINFLEX_GPU_STATE_DIR"]
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for user in (0, NOBODY, NOBODY - 1, NOBODY - 2)
    ]
    try:
        assert [worker.stdout.readline() for worker in workers] == ["ready\n"] * 4
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        for worker in workers:
            worker.wait(100)
    finally:
        for worker in workers:
            worker.kill()
        ends = [worker.communicate() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4, ends


SOLE_UUID = "GPU-00000000-aaaa-bbbb-cccc-dddddddddddd"

FORGE = """
root, lease = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
own = root / "proteinflex-gpu-65534"
own.mkdir(exist_ok=True)
file = (own / "forged.lease").open("w")
json.dump(lease, file); file.flush()
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@needs_root
def test_a_lease_that_another_user_forges_is_counted_as_that_users(shared):
    """It says that it is this very process's: then this process would count the memory as its own."""
    shared.write(shared.gpu(0, total=10000))
    mine = GPUManager({"work": 8000}, True)
    assert mine.allocate_gpus("work") == [0]
    (file,) = reservations().glob("*/*.lease")
    lease = json.loads(file.read_text())
    mine.release_gpus()
    lease["shares"][0]["memory"] = 5000
    forger = subprocess.Popen(
        [sys.executable, "-I", "-c", DROP + FORGE, reservations(), json.dumps(lease)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert forger.stdout.readline() == "held\n"
        (found,) = mine.reservations()
        assert (found["user"], found["pid"]) == (NOBODY, os.getpid())
        (gpu,) = mine.get_available_gpus()
        assert (gpu["memory_reserved_here"], gpu["memory_reserved_by_others"]) == (0, 5000)
        with pytest.raises(InsufficientGPUMemoryError, match=f"user {NOBODY}"):
            mine.allocate_gpus("work")
    finally:
        forger.communicate(timeout=60)
    assert mine.allocate_gpus("work") == [0]


@needs_root
def test_a_name_that_another_user_has_taken_is_passed_over(shared):
    root = reservations()
    taken = root / f"proteinflex-gpu-{os.geteuid()}"
    as_nobody("os.mkdir(sys.argv[1], 0o777); os.chmod(sys.argv[1], 0o777)", taken)
    mine = GPUManager({"work": 8000}, True)
    assert mine.allocate_gpus("work") == [0]
    assert list(taken.iterdir()) == []
    other = shared.start(AS_NOBODY)
    assert other.stdout.readline() == "1\n"
    other.communicate("", timeout=60)


@needs_root
@pytest.mark.parametrize(
    ("owner", "mode", "problem"),
    [
        (NOBODY, 0o1777, f"belongs to user {NOBODY}"),
        (NOBODY, 0o755, f"belongs to user {NOBODY}"),
        (0, 0o777, "mode 0777"),
        (0, 0o775, "mode 0775"),
        ("link", 0, "no directory of its own"),
        ("pipe", 0, "no directory of its own"),
    ],
)
def test_a_foreign_or_open_directory_is_refused_with_a_remedy(shared, owner, mode, problem):
    root = reservations()
    root.rmdir()
    if owner == "link":
        other = root.with_name("other")
        other.mkdir(mode=0o755)
        root.symlink_to(other)
    elif owner == "pipe":
        os.mkfifo(root)
    else:
        root.mkdir()
        os.chown(root, owner, owner)
        root.chmod(mode)
    before = sorted(root.parent.rglob("*"))
    manager = GPUManager({"work": 8000}, True)
    for ask in (lambda: manager.allocate_gpus("work"), manager.reservations):
        with pytest.raises(GPUError, match=rf"{problem}(?s:.*)install -d -o root -m 1777") as error:
            ask()
        assert "PROTEINFLEX_GPU_STATE_DIR" in str(error.value)
    assert sorted(root.parent.rglob("*")) == before


@needs_root
def test_one_who_may_not_write_there_is_told_what_to_do(shared):
    reservations().chmod(0o755)
    script = AS_NOBODY.replace(
        'except InsufficientGPUMemoryError: print("none", flush=True)',
        "except Exception as error: print(type(error).__name__, error, flush=True)",
    )
    other = shared.start(script)
    said = other.communicate("", timeout=60)[0]
    assert said.startswith("GPUError ")
    assert f"user {NOBODY} can't make it" in said
    assert "PROTEINFLEX_GPU_STATE_DIR" in said


@needs_root
def test_links_pipes_and_files_of_others_in_a_users_directory_are_no_reservations(shared):
    shared.write(shared.gpu(0, total=10000))
    mine = GPUManager({"work": 8000}, True)
    assert mine.allocate_gpus("work") == [0]
    (file,) = reservations().glob("*/*.lease")
    own = reservations() / f"proteinflex-gpu-{NOBODY}"
    own.mkdir()
    os.chown(own, NOBODY, NOBODY)
    text = file.read_text()
    mine.release_gpus()
    (own / "link.lease").symlink_to(file)
    os.mkfifo(own / "pipe.lease")
    os.mkdir(own / "directory.lease")
    # A file of root in it: it was linked there, or its directory was given away.
    with (own / "foreign.lease").open("w") as foreign:
        foreign.write(text)
        foreign.flush()
        fcntl.flock(foreign, fcntl.LOCK_EX)
        assert mine.reservations() == []
        assert mine.allocate_gpus("work") == [0]


@needs_root
def test_observed_peaks_of_another_user_are_refused(shared):
    state = reservations().parent
    state.chmod(0o1777)
    as_nobody("os.mkdir(sys.argv[1])", state / "peaks-0")
    manager = GPUManager({"work": 8000}, True)
    with pytest.raises(GPUError, match=f"belongs to user {NOBODY}"):
        manager.observe("work", 1, 100, gpu_indices=[0])
    assert list((state / "peaks-0").iterdir()) == []


def test_where_locks_do_nothing_nothing_is_reserved(machine):
    """As on some network file systems. The memory would be given twice."""
    script = """
from proteinflex_optimization import GPUError, GPUManager
try: print(GPUManager({"work": 8000}).allocate_gpus("work"))
except GPUError as error: print(error)
"""
    said = machine.run(refused_calls.prelude(0, "flock") + script)
    assert "locks do nothing" in said
    assert not list((machine.path.parent / "state").rglob("*.lease"))


def test_a_lease_that_was_removed_is_made_again_by_the_next_call(machine):
    """As by a program that cleans /tmp."""
    machine.write(machine.gpu(0, total=10000))
    manager = GPUManager({"work": 8000})
    assert manager.allocate_gpus("work") == [0]
    (file,) = (machine.path.parent / "state").rglob("*.lease")
    file.unlink()
    assert manager.allocate_gpus("work") == [0]
    assert len(manager.reservations()) == 1


def test_the_directory_of_reservations_is_locked_against_cleaners(machine):
    """systemd-tmpfiles leaves a directory that it can't lock, however old it is."""
    manager = GPUManager({"work": 8000})
    manager.allocate_gpus("work")
    (directory,) = (machine.path.parent / "state" / "reservations").iterdir()

    def is_locked():
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    assert is_locked()
    manager.release_gpus()
    assert not is_locked()


def test_a_holder_in_another_process_namespace_is_alive(machine):
    """As in another container: its process id means nothing here, and its lock does."""
    unshare = shutil.which("unshare")
    flags = [] if unshare is None else [unshare, "--pid", "--fork", "--mount-proc", "--kill-child"]
    if unshare is None or subprocess.run([*flags, "true"], capture_output=True).returncode:
        pytest.skip("no process-id namespace can be made here")
    machine.write(machine.gpu(0, total=10000))
    script = (
        "import os\n"
        "from proteinflex_optimization import GPUManager\n"
        "manager = GPUManager({'work': 8000})\n"
        "print(os.getpid(), *manager.allocate_gpus('work'), flush=True)\n"
        "input()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    holder = subprocess.Popen(
        [*flags, sys.executable, "-c", script], env=machine.environment(), **pipes
    )
    try:
        pid, index = holder.stdout.readline().split()
        assert (int(pid) < 10, index) == (True, "0")
        manager = GPUManager({"work": 8000})
        assert len(manager.reservations()) == 1
        with pytest.raises(InsufficientGPUMemoryError, match=rf"pid {pid},"):
            manager.allocate_gpus("work")
    finally:
        holder.communicate("\n", timeout=60)
    assert manager.allocate_gpus("work") == [0]


def test_two_who_want_two_gpus_each_get_all_or_nothing(machine):
    """Whichever way round they see them: nobody holds one and waits for the other."""
    machine.write(*(machine.gpu(number, total=10000) for number in range(2)))
    script = """
import sys
from proteinflex_optimization import GPUManager
manager = GPUManager({"set": 18000})
sys.stdin.readline()
for _ in range(20):
    assert sorted(manager.wait_for_gpus("set", 60)) == [0, 1]
    manager.release_gpus()
print("done")
"""
    masks = ("0,1", "1,0")
    workers = [machine.start(script, CUDA_VISIBLE_DEVICES=mask) for mask in masks]
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    assert [worker.communicate(timeout=120)[0] for worker in workers] == ["done\n"] * 2
