"""
First steps: a loop, a function, a state
========================================

Three lines that a script gains something from, without any simulation or model: a progress bar, a
function whose results are kept, and a state that survives the script. NumPy is all that this lesson
needs.
"""

import numpy as np
from proteinflex_optimization import CheckpointManager, DataHandler, track

# %%
# A loop with a progress bar
# --------------------------
#
# `~proteinflex_optimization.track` wraps any iterable. With a directory, ``flexopt watch run``
# shows the same bar from another terminal, and still does after the script was killed. Where there
# is no terminal, as here, it prints a line now and then.

random = np.random.default_rng(0)
chains = []
for _ in track(range(200), "chains", checkpoint_dir="run"):
    steps = random.normal(size=(50, 3))
    chains.append(3.8 * np.cumsum(steps / np.linalg.norm(steps, axis=1, keepdims=True), axis=0))
frames = np.array(chains, dtype=np.float32)
frames.shape

# %%
# A function whose results are kept
# ---------------------------------
#
# A cache is a directory with a limit. A function that is decorated with ``memoize`` computes a
# result once; every later call with the same arguments, in this process, another one or next week,
# loads it.

cache = DataHandler("cache", max_cache_size=1.0)  # GB
calls = 0


@cache.memoize
def end_to_end(frames: np.ndarray) -> np.ndarray:
    """Distances of the first from the last atom, in Å."""
    global calls
    calls += 1
    distances: np.ndarray = np.linalg.norm(frames[:, -1] - frames[:, 0], axis=-1)
    return distances


first, again = end_to_end(frames), end_to_end(frames)
print(f"{calls} call, the same result: {np.array_equal(first, again)}")
print(
    f"mean {first.mean():.1f} Å; a freely jointed chain has {3.8 * np.sqrt(49 * 8 / 3 / np.pi):.1f}"
)

# %%
# Data that has a name
# --------------------
#
# Trajectories and structures are stored by a name of yours, and read back whole or in part. Here
# coordinates may be rounded to a grid of 0.001 Å; every other array keeps all its bits.

cache.store_trajectory({"frames": frames, "weights": first}, "chains", precision=0.001)
trajectory = cache.open("chains")
print(repr(trajectory))
print("every 50th frame of atom 7:", trajectory.read(step=50, atoms=[7]).shape)
print("largest error:", np.abs(trajectory[:] - frames).max(), "Å")

# %%
# A state that survives
# ---------------------
#
# A checkpoint is there whole or not at all, and is verified when it is loaded. A script that begins
# with ``latest()`` goes on where it was stopped.

checkpoints = CheckpointManager("checkpoints", max_checkpoints=3)
position, first_step = np.zeros(3), 0
if latest := checkpoints.latest():
    state = checkpoints.load_checkpoint(latest)
    position, first_step = state["position"], state["step"]
for step in range(first_step, 5):
    position = position + random.normal(size=3)
    checkpoints.create_checkpoint(f"step-{step + 1}", {"position": position, "step": step + 1})
print("kept:", [row["checkpoint_id"] for row in checkpoints.list_checkpoints()])

# %%
# What is where
# -------------
#
# All of it is plain files below the directories that were named: ``flexopt cache ls --dir cache``,
# ``flexopt checkpoints ls checkpoints`` and ``flexopt watch run`` show them, and ``rm -r`` removes
# them. The :doc:`next lesson <structure_to_figure>` does the same for a simulation.
