"""Several processes ask one cache for the same results: each is computed once.

python examples/shared_cache.py DIRECTORY
"""

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from proteinflex_optimization import DataHandler

SEQUENCES = ["MKVLAAGIVG", "GSHMLEDPVR", "AAAAKEAAAAK"]


def embed(sequence: str) -> dict[str, object]:
    """Stand in for a model: one vector for each residue, and who computed it."""
    seed = int.from_bytes(sequence.encode()[:8], "little")
    vectors = np.random.default_rng(seed).normal(size=(len(sequence), 64)).astype(np.float32)
    return {"embedding": vectors, "computed_by": os.getpid()}


def ask(directory: str) -> list[tuple[int, float]]:
    """Open the directory and ask for every protein, as each process does."""
    handler = DataHandler(directory)
    found = [handler.get_or_compute(s, partial(embed, s)) for s in SEQUENCES]
    return [(result["computed_by"], float(result["embedding"].sum())) for result in found]


def main(directory: str) -> None:
    with ProcessPoolExecutor(max_workers=4) as pool:
        by_process = list(pool.map(ask, [directory] * 4))
    agreed = all(results == by_process[0] for results in by_process)
    stats = DataHandler(directory).get_cache_stats()
    print(f"4 processes asked for {len(SEQUENCES)} results each; all agree: {agreed}")
    print(f"{stats['entries']} entries, {stats['used_bytes'] / 1e3:.1f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
