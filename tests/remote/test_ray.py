"""The recipe for Ray Data in `docs/integrations.md` runs as it is printed."""

import re
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import create_trajectory, open_trajectory

PAGE = Path(__file__).parents[2] / "docs" / "integrations.md"


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore")
def test_ray_data_maps_over_blocks_of_many_trajectories(bucket, tmp_path):
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    for number in range(3):
        with create_trajectory(
            tmp_path / "run.fxt", {"kelvin": 300 + 10 * (number // 2)}
        ) as writer:
            writer.append(np.random.default_rng(number).normal(0, 10, (100, 500, 3)))
        bucket.put(f"runs/{number}.fxt", (tmp_path / "run.fxt").read_bytes())
        (tmp_path / "run.fxt").unlink()
    section = PAGE.read_text(encoding="utf-8").split("\n## Ray\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python notest\n(.*?)```", section, re.DOTALL)
    found = {"url": f"{bucket.url}/runs"}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        bucket.gate.forget()
        exec(compile(code, "integrations.md, Ray", "exec"), found)
        n_requests = len(bucket.gate.requests())
    finally:
        ray.shutdown()
    means = found["means"]
    assert means["key"].tolist() == [f"{bucket.url}/runs/{number}.fxt" for number in (0, 0, 1, 1)]
    assert means["start"].tolist() == [0, 64, 0, 64]
    # More than the list and the two ends of each, which were read here.
    assert n_requests > 1 + 2 * 3
    for row in means.itertuples():
        frames = open_trajectory(row.key).read(row.start, row.stop, atoms=slice(0, 10))
        np.testing.assert_allclose(row.mean, frames.mean(axis=(0, 1)))
