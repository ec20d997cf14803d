"""What the documentation tells users of a cluster to do, done on one.

Jobs that reach their time limit, are preempted and requeued lose no frame and have none twice; an
array shares a cache, a board and GPUs; dask's workers are jobs. SLURM sends a signal up to a minute
early, and the shortest time limit is a minute: that is what these tests wait for.
"""

import json
import subprocess
import textwrap
from pathlib import Path

import numpy as np
import pytest
from gpu.conftest import Machine, gpu, stub_library  # noqa: F401, a fixture
from mounts.conftest import AS_ANOTHER_HOST, mounted  # noqa: F401, a fixture
from proteinflex_optimization import CheckpointManager, DataHandler, ProgressTracker
from waiting import until

from .conftest import FLEXOPT, PYTHON, quoted

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

STEPS, INTERVAL = 3_000, 40
"""More than a job can do, also on a fast machine, before it is asked to stop the first time."""
SHORT = 1_000
TASKS = 20


def demo(output: Path, steps: int, *more: object) -> str:
    options = ["--output", output, "--steps", steps, "--frame-interval", INTERVAL]
    options += ["--checkpoint-interval", 200, *more]
    return f"{FLEXOPT} demo {quoted(*options)}"


def check(output: Path, steps: int) -> None:
    """Each frame of the run is there once, and the checkpoints name the jobs."""
    (summary,) = output.glob("*/summary.json")
    found = json.loads(summary.read_text())
    assert found["n_frames"] == steps // INTERVAL
    with DataHandler(output / "cache").open(found["trajectory_key"]) as trajectory:
        expected = np.arange(INTERVAL, steps + 1, INTERVAL)
        np.testing.assert_array_equal(trajectory.read(field="step"), expected, strict=False)


def batch_of_checkpoints(output: Path) -> list[tuple[str, int]]:
    (directory,) = output.glob("*/checkpoints")
    rows = CheckpointManager(directory, read_only=True).list_checkpoints()
    assert all(row["valid"] for row in rows)
    return [(row["batch"]["job_id"], row["batch"]["restart_count"]) for row in rows]


@pytest.fixture(scope="session")
def limited(cluster, tmp_path_factory):
    """Two jobs that their time limit of a minute ends, and that go on until they are done.

    They run while the other tests do.
    """
    jobs = {}
    for name in ("walltime", "signal"):
        directory = tmp_path_factory.mktemp(name)
        if name == "walltime":
            script = f"{demo(directory / 'out', STEPS, '--stop-margin', 45)}; status=$?"
            options = ["--time=1"]
        else:
            # The shell gets the signal, and hands it on once the demo listens.
            script = f"""\
pass_on() {{ until grep -q "watch it with" {directory}/log; do sleep 0.1; done; kill -USR1 $job; }}
{demo(directory / "out", STEPS, "--stop-margin", 0)} &
job=$!
trap pass_on USR1
wait $job; status=$?
# Interrupted by the signal, it has not waited.
[ $status -gt 130 ] && {{ wait $job; status=$?; }}"""
            options = ["--time=1", "--signal=B:USR1@35"]
        script += """
echo "$(date +%T) restart ${SLURM_RESTART_COUNT:-0} of job $SLURM_JOB_ID: status $status"
[ $status = 130 ] && scontrol requeue $SLURM_JOB_ID
exit $status"""
        jobs[name] = directory, cluster.submit(directory, script, *options)
    return jobs


ARRAY = """
import fcntl, os, sys, time
import numpy as np
from proteinflex_optimization import DataHandler, GPUManager, ProgressTracker

index = int(os.environ["SLURM_ARRAY_TASK_ID"])
# Half of them on one mount and half on the other, where there are two.
shared, slots = sys.argv[1 + index % 2], sys.argv[3]
tracker = ProgressTracker(checkpoint_dir=f"{shared}/board")
tracker.start_task("all", "All replicas", 20)
task = tracker.start_task(f"replica-{index}", f"Replica {index}", 10, "all")
handler = DataHandler(f"{shared}/cache")

def compute():
    print("computed", flush=True)
    time.sleep(0.5)
    return {"a": np.arange(1000.0)}

assert (handler.get_or_compute("common", compute)["a"] == np.arange(1000.0)).all()
gpus = GPUManager({"work": 8000}, prefer_single_gpu=True)
with task:
    (gpu,) = gpus.wait_for_gpus("work", 120, max_gpus=1)
    # A GPU has room for one: where two had it, the second would find it locked.
    witness = os.open(f"{slots}/{gpu}", os.O_RDWR | os.O_CREAT)
    fcntl.flock(witness, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for _ in range(10):
        time.sleep(0.02)
        task.update()
    os.close(witness)
    gpus.release_gpus()
    handler.store_trajectory({"frames": np.full((8, 30, 3), index, np.float32)}, f"r-{index}")
    if index == 7:
        raise RuntimeError("the energy is not finite")
tracker.close()
"""


@pytest.mark.parametrize("filesystem", ["local", "sshfs"])
def test_an_array_shares_a_cache_a_board_and_gpus(
    cluster,
    limited,
    tmp_path,
    request,
    filesystem,
    stub_library,  # noqa: F811
):
    here = there = tmp_path / "shared"
    if filesystem == "local":
        here.mkdir()
    else:
        here, there = request.getfixturevalue("mounted")("sshfs")
    slots = tmp_path / "slots"
    slots.mkdir()
    machine = Machine(tmp_path / "world", stub_library)
    machine.write(*(gpu(number, total=12000) for number in range(2)))
    (tmp_path / "array.py").write_text(ARRAY)
    names = ("PROTEINFLEX_NVML_LIBRARY", "NVML_STUB_WORLD", "PROTEINFLEX_GPU_STATE_DIR")
    environment = {name: machine.environment()[name] for name in names}
    exports = "\n".join(f"export {name}={value}" for name, value in environment.items())
    command = quoted(PYTHON, tmp_path / "array.py", here, there, slots)
    job = cluster.submit(
        tmp_path, f"{exports}\nexec {command}", f"--array=0-{TASKS - 1}%4", "--time=5"
    )
    until(
        lambda: not cluster.run("squeue", "--noheader", "--jobs", job).strip(),
        200,
        pause=0.5,
        said=(tmp_path / "log").read_text,
    )
    log = (tmp_path / "log").read_text()
    # Locks reach no other mount, where two may compute it.
    assert 1 <= log.count("computed") <= (1 if filesystem == "local" else 2), log
    handler = DataHandler(here / "cache")
    for index in range(TASKS):
        frames = handler.load_data(handler.key_for(f"r-{index}"))["frames"]
        assert (frames == index).all()
        assert frames.shape == (8, 30, 3)
    progress = ProgressTracker.attach(here / "board").get_progress()
    for index in range(TASKS):
        task = progress["tasks"][f"replica-{index}"]
        assert task["completed"] == 10, log
        assert task["status"] == ("failed" if index == 7 else "completed")
        assert task["batch"]["array_index"] == index
        assert task["batch"]["array_job_id"] == job
    assert progress["status"] == "failed"
    assert "the energy is not finite" in progress["reason"]
    table = subprocess.run(
        [*FLEXOPT.split(), "watch", "--once", here / "board"],
        capture_output=True,
        text=True,
        check=False,
    )
    print(table.stdout)


@pytest.mark.parametrize("filesystem", ["local", "sshfs"])
def test_a_preempted_job_is_requeued_and_finishes(cluster, limited, tmp_path, request, filesystem):
    output = again = tmp_path / "out"
    prefix: tuple[str, ...] = ()
    if filesystem == "sshfs":
        # It goes on as another host does, which has the directory by a mount of its own.
        output, again = (
            mount / tmp_path.name for mount in request.getfixturevalue("mounted")("sshfs")
        )
        prefix = (*AS_ANOTHER_HOST, "sh", "-c", 'hostname elsewhere; exec "$0" "$@"')
    script = f"""\
[ "${{SLURM_RESTART_COUNT:-0}}" = 0 ] && exec {demo(output, SHORT)}
exec {quoted(*prefix)} {demo(again, SHORT)}"""
    job = cluster.submit(
        tmp_path, script, "--partition=preemptible", "--cpus-per-task=5", "--time=10"
    )
    saved = "*/checkpoints/dynamics-step-*"
    until(lambda: list(output.glob(saved)), said=(tmp_path / "log").read_text)
    urgent = tmp_path / "urgent"
    urgent.mkdir()
    more = cluster.submit(urgent, "sleep 3", "--partition=urgent", "--cpus-per-task=5", "--time=1")
    assert cluster.wait(more, seconds=100)["JobState"] == "COMPLETED"
    found = cluster.wait(job)
    log = (tmp_path / "log").read_text()
    assert (found["JobState"], found["Restarts"]) == ("COMPLETED", "1"), log
    assert "PREEMPTION" in log
    assert "(SIGTERM); the same command goes on from there" in log
    assert "resuming from the checkpoint at step" in log
    until(lambda: list(output.glob("*/summary.json")))
    check(output, SHORT)
    assert batch_of_checkpoints(output)[-1] == (job, 1)
    if filesystem == "sshfs":
        (board,) = output.glob("*/progress")
        assert "elsewhere" in ProgressTracker.attach(board).get_progress()["hosts"]
    print(log)


DASK = """
import sys
import numpy as np
from dask.distributed import Client
from dask_jobqueue import SLURMCluster
from proteinflex_optimization import DataHandler

handler = DataHandler(sys.argv[1])
walk = np.random.default_rng(1).normal(size=(400, 50, 3)).cumsum(0).astype(np.float32)
key = handler.store_trajectory({"frames": walk}, "walk", precision=None)
with SLURMCluster(cores=1, processes=1, memory="1GB", walltime="00:05:00", interface="lo",
                  python=sys.executable, log_directory=sys.argv[2]) as cluster:
    cluster.scale(jobs=2)
    with Client(cluster) as client, handler.open(key) as trajectory:
        client.wait_for_workers(2, timeout=100)
        frames = trajectory.to_dask().astype("f8")
        rmsf = np.sqrt(((frames - frames.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0))
        found = rmsf.compute()
        pids = {w["host"] for w in client.scheduler_info()["workers"].values()}
frames = walk.astype("f8")
expected = np.sqrt(((frames - frames.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0))
np.testing.assert_allclose(found, expected, rtol=1e-9)
print("the same")
"""


@pytest.mark.filterwarnings("default")
def test_dask_s_workers_that_are_jobs_compute_the_rmsf(cluster, limited, tmp_path):
    pytest.importorskip("dask_jobqueue")
    (tmp_path / "rmsf.py").write_text(textwrap.dedent(DASK))
    done = subprocess.run(
        [PYTHON, tmp_path / "rmsf.py", tmp_path / "cache", tmp_path / "logs"],
        env=cluster.environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.stdout == "the same\n", done.stderr
    assert len(list((tmp_path / "logs").iterdir())) >= 2


@pytest.mark.parametrize(("name", "reason"), [("walltime", "walltime"), ("signal", "SIGUSR1")])
def test_a_job_that_reaches_its_time_limit_is_requeued_and_finishes(cluster, limited, name, reason):
    directory, job = limited[name]
    until(
        lambda: int(cluster.show(job)["Restarts"]),
        200,
        pause=0.5,
        said=(directory / "log").read_text,
    )
    # A minute for the first time, then as long as it takes; a job that runs already notices that.
    cluster.run("scontrol", "update", f"JobId={job}", "TimeLimit=10")
    found = cluster.wait(job)
    log = (directory / "log").read_text()
    assert found["JobState"] == "COMPLETED", log
    restarts = int(found["Restarts"])
    assert log.count(f"({reason}); the same command goes on from there") == restarts >= 1, log
    # It knew how long it had, and was not killed by the limit.
    assert "DUE TO TIME LIMIT" not in log
    assert log.count("resuming from the checkpoint at step") >= 1, log
    check(directory / "out", STEPS)
    assert batch_of_checkpoints(directory / "out")[-1] == (job, restarts)
    print(log)
