"""One trajectory, several writers: one has it, the others lose cleanly, and no frames are mixed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import refused_calls
from proteinflex_optimization import DataHandler, InvalidArgumentError, WriterConflictError

EXPIRED = 61  # Seconds without a sign of life after which a writer counts as gone.


@pytest.fixture(params=[True, False], ids=["compressed", "plain"])
def handler(tmp_path, request):
    return DataHandler(tmp_path / "cache", enable_compression=request.param)


def frames(who, n=8):
    """Frames that tell who wrote them."""
    found = np.random.default_rng(who).normal(size=(n, 5, 3)).astype(np.float32)
    found[..., 0] = who
    return found


def writers(found):
    """Who wrote the frames, in their order."""
    return list(dict.fromkeys(int(who) for who in found[:, 0, 0]))


def files(handler):
    """The files of entries, but for their folders."""
    return sorted(path.name for path in handler.cache_dir.glob("entries/*/*"))


def begun(handler):
    """An unfinished trajectory of 8 frames, whose writer has let go of it."""
    writer = handler.trajectory_writer("run")
    writer.append(frames(0))
    writer.suspend()


CHILD = """
import sys
from test_writer_conflict import frames
from proteinflex_optimization import DataHandler

handler = DataHandler(sys.argv[1])  # What is resumed stays as it is encoded.
writer = handler.trajectory_writer("run", resume=True)
print("goes on after", writer.n_frames, flush=True)
for line in sys.stdin:
    try:
        if line.strip() == "append":
            writer.append(frames(int(sys.argv[2])))
            writer.flush()
            print("flushed", writer.n_frames, flush=True)
        else:
            print("closed", writer.close(), flush=True)
    except Exception as error:
        print(type(error).__name__, str(error), flush=True)
"""


class Writer:
    """A writer in a process of its own."""

    def __init__(self, handler, who, locks=None):
        program = [str(handler.cache_dir), str(who)]
        script = handler.cache_dir.parent / "writer.py"
        script.write_text(CHILD)
        shim = [] if locks is None else [refused_calls.__file__, locks]
        self.process = subprocess.Popen(
            [sys.executable, *shim, str(script), *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
            },
        )
        assert self.process.stdout.readline().startswith("goes on after")

    def tell(self, what):
        """Let it do something, and return what came of it."""
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def stop(self):
        os.kill(self.process.pid, signal.SIGSTOP)
        stat = Path(f"/proc/{self.process.pid}/stat")
        while stat.exists() and stat.read_text().rsplit(")")[1].split()[0] != "T":
            time.sleep(0.01)

    def go_on(self):
        os.kill(self.process.pid, signal.SIGCONT)

    def end(self):
        self.process.kill()
        self.process.communicate()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.end()


def silence(handler, seconds):
    """Let the sign of life of the writer be as old as this, and return its lease."""
    (lease,) = handler.cache_dir.glob("entries/*/*.lease")
    then = time.time() - seconds
    os.utime(lease, (then, then))
    return lease


def test_the_one_that_appends_first_has_it_and_the_other_leaves_nothing(handler):
    begun(handler)
    slow, fast = (handler.trajectory_writer("run", resume=True) for _ in range(2))
    assert slow.n_frames == fast.n_frames == 8
    fast.append(frames(2))
    fast.flush()
    for call in (lambda: slow.append(frames(1)), slow.flush, slow.close, lambda: slow.truncate(0)):
        with pytest.raises(WriterConflictError, match=r"'run'|\"run\""):
            call()
    slow.suspend()
    with pytest.raises(InvalidArgumentError, match=r"this process \(\d+\) has it open"):
        handler.trajectory_writer("run", resume=True)
    fast.close()
    assert writers(handler.load_data("run")["frames"]) == [0, 2]
    assert files(handler) == [f"{handler.key_for('run')}.fxt"]


def test_what_was_published_is_not_continued_by_one_who_has_seen_it_before(handler):
    for make in (lambda: begun(handler), lambda: None):
        slow = handler.trajectory_writer("run", resume=True)
        make()
        late = handler.trajectory_writer("run", resume=True)
        with handler.trajectory_writer("run", resume=True) as fast:
            fast.append(frames(2))
        published = handler.load_data("run")["frames"]
        before = published.copy()
        for writer in (slow, late):
            with pytest.raises(WriterConflictError, match="changed"):
                writer.append(frames(1))
            with pytest.raises(WriterConflictError):
                writer.close()
        np.testing.assert_array_equal(published, before)
        np.testing.assert_array_equal(handler.load_data("run")["frames"], before)
        assert files(handler) == [f"{handler.key_for('run')}.fxt"]


def test_what_was_stored_since_a_writer_began_stays_and_its_frames_wait(handler):
    writer = handler.trajectory_writer("run")
    writer.append(frames(1, 3))
    other = DataHandler(handler.cache_dir)
    other.store_trajectory({"frames": frames(2, 200)}, "run")
    with pytest.raises(WriterConflictError, match=r"200 frames was stored.*remove\(\"run\"\)"):
        writer.close()
    np.testing.assert_array_equal(other.open("run")[...], frames(2, 200))
    assert [(one["n_frames"], one["writer"]) for one in handler.unfinished()] == [(3, None)]
    with pytest.raises(InvalidArgumentError, match="3 frames waits.*newer one of 200"):
        handler.trajectory_writer("run", resume=True)
    handler.remove("run")
    with handler.trajectory_writer("run", resume=True) as writer:
        assert writer.n_frames == 3
    np.testing.assert_array_equal(handler.open("run")[...], frames(1, 3))


def test_a_killed_writer_that_is_resumed_replaces_nothing_that_was_stored_meanwhile(handler):
    with Writer(handler, 1) as job:
        assert job.tell("append") == "flushed 8"
        handler.store_trajectory({"frames": frames(2)}, "run")
        # The file is newer than what was stored, and was begun before.
        assert job.tell("append") == "flushed 16"
    with pytest.raises(InvalidArgumentError, match="16 frames waits.*newer one of 8"):
        handler.trajectory_writer("run", resume=True)
    assert writers(handler.load_data("run")["frames"]) == [2]


def test_to_look_changes_nothing(handler):
    begun(handler)
    before = files(handler)
    writer = handler.trajectory_writer("run", resume=True)
    assert writer.n_frames == 8
    np.testing.assert_array_equal(writer.read("frames"), frames(0))
    (one,) = handler.unfinished()
    assert (one["n_frames"], one["writer"], one["host"]) == (8, None, None)
    handler.cleanup()
    writer.suspend()
    assert files(handler) == before


def test_a_forked_child_gets_an_error_and_harms_nothing_when_it_ends(handler):
    writer = handler.trajectory_writer("run")
    writer.append(frames(1))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for call in (lambda: writer.append(frames(2)), writer.flush, writer.close):
                with pytest.raises(WriterConflictError, match="forked"):
                    call()
            del writer
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    writer.append(frames(1))
    writer.flush()
    writer.close()
    assert handler.open("run").n_frames == 16


@pytest.mark.skipif(not refused_calls.AVAILABLE, reason="no seccomp here")
@pytest.mark.parametrize("locks", ["fails", "nothing"])
def test_two_jobs_without_locks_never_mix_their_frames(handler, locks):
    begun(handler)
    with Writer(handler, 1, locks) as one, Writer(handler, 2, locks) as two:
        assert two.tell("append") == "flushed 16"
        assert one.tell("append").startswith("WriterConflictError")
        assert two.tell("append") == "flushed 24"
        assert one.tell("append").startswith("WriterConflictError")
    with handler.trajectory_writer("run", resume=True) as writer:
        assert writer.n_frames == 24
    assert writers(handler.load_data("run")["frames"]) == [0, 2]


def test_a_killed_writer_is_followed_at_once_and_its_frames_are_all_there(handler):
    begun(handler)
    with Writer(handler, 1) as job:
        assert job.tell("append") == "flushed 16"
        (one,) = handler.unfinished()
        assert one["writer"] == job.process.pid
    (one,) = handler.unfinished()
    assert one["writer"] is None
    with handler.trajectory_writer("run", resume=True) as writer:
        assert writer.n_frames == 16
        writer.append(frames(2))
    assert writers(handler.load_data("run")["frames"]) == [0, 1, 2]
    assert files(handler) == [f"{handler.key_for('run')}.fxt"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("then", ["left", "closed"])
def test_a_stopped_writer_is_followed_once_its_sign_is_old_and_loses_cleanly(handler, then):
    begun(handler)
    with Writer(handler, 1) as stopped:
        assert stopped.tell("append") == "flushed 16"
        stopped.stop()
        silence(handler, 30)
        # It may go on at any moment.
        with pytest.raises(InvalidArgumentError, match=r"last sign of life \d\d s ago.*again in"):
            handler.trajectory_writer("run", resume=True)
        assert not handler.remove_unfinished("run")
        silence(handler, EXPIRED)
        writer = handler.trajectory_writer("run", resume=True)
        assert writer.n_frames == 16
        writer.append(frames(2))
        writer.flush()
        if then == "closed":
            writer.close()
        stopped.go_on()
        # The file that it still has open is its own, and nobody's any more.
        assert stopped.tell("append").startswith("WriterConflictError")
        assert stopped.tell("close").startswith("WriterConflictError")
        if then == "left":
            writer.append(frames(2))
            writer.close()
    assert writers(handler.load_data("run")["frames"]) == [0, 1, 2]
    assert handler.verify()["ok"]
    assert files(handler) == [f"{handler.key_for('run')}.fxt"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_running_writer_is_alive_however_old_its_sign_is(handler):
    begun(handler)
    with Writer(handler, 1) as job:
        assert job.tell("append") == "flushed 16"
        silence(handler, 3600)
        with pytest.raises(InvalidArgumentError, match=rf"process {job.process.pid} on this host"):
            handler.trajectory_writer("run", resume=True)
        assert job.tell("append") == "flushed 24"


def test_a_writer_whose_files_were_removed_says_so_at_its_next_flush(handler):
    for pattern in ("entries/*/*.lease", "entries/*/*.writing"):
        writer = handler.trajectory_writer("run", overwrite=True)
        writer.append(frames(1))
        writer.flush()
        (file,) = handler.cache_dir.glob(pattern)
        file.unlink()
        writer.append(frames(1))
        with pytest.raises(WriterConflictError):
            writer.flush()
        with pytest.raises(WriterConflictError, match="as an earlier error said"):
            writer.close()
        assert "run" not in handler


def test_a_writer_whose_directory_was_moved_does_not_blame_another_writer(handler):
    writer = handler.trajectory_writer("run")
    writer.append(frames(1))
    writer.flush()
    moved = handler.cache_dir.rename(handler.cache_dir.with_name("moved"))
    writer.append(frames(2))
    with pytest.raises(WriterConflictError, match=r"removed, or the directory moved.*resume=True"):
        writer.flush()
    with DataHandler(moved).trajectory_writer("run", resume=True) as writer:
        assert writer.n_frames in (8, 16)


def test_leases_of_killed_writers_are_cleaned_up_with_their_trajectories(handler):
    begun(handler)
    with Writer(handler, 1) as job:
        assert job.tell("append") == "flushed 16"
    for file in handler.cache_dir.glob("entries/*/*.writing"):
        file.unlink()
    assert handler.cleanup(dry_run=True)["temporary"] == 1
    assert handler.cleanup()["temporary"] == 1
    assert files(handler) == []


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_sign_of_life_is_given_by_itself_and_missed_by_a_stopped_process(handler):
    begun(handler)
    with Writer(handler, 1) as job:
        assert job.tell("append") == "flushed 16"
        lease = silence(handler, 3600)
        time.sleep(21)  # It waits for input, and appends nothing.
        assert time.time() - lease.stat().st_mtime < 12
        job.stop()
        time.sleep(EXPIRED + 2)
        with handler.trajectory_writer("run", resume=True) as writer:
            writer.append(frames(2))
        job.go_on()
        assert job.tell("append").startswith("WriterConflictError")
    assert writers(handler.load_data("run")["frames"]) == [0, 1, 2]
