"""The recipe for Ray Data in `docs/integrations.md` runs as it is printed."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import create_trajectory, open_trajectory

PAGE = Path(__file__).parents[2] / "docs" / "integrations.md"


@pytest.mark.soak
def test_ray_data_maps_over_blocks_of_many_trajectories(bucket, tmp_path):
    pytest.importorskip("ray.data")
    pandas = pytest.importorskip("pandas")
    for number in range(3):
        with create_trajectory(
            tmp_path / "run.fxt", {"kelvin": 300 + 10 * (number // 2)}
        ) as writer:
            writer.append(np.random.default_rng(number).normal(0, 10, (100, 500, 3)))
        bucket.put(f"runs/{number}.fxt", (tmp_path / "run.fxt").read_bytes())
        (tmp_path / "run.fxt").unlink()
    section = PAGE.read_text(encoding="utf-8").split("\n## Ray\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python notest\n(.*?)```", section, re.DOTALL)
    # A process of its own: Ray leaves some of its processes to the end of the one that began.
    program = f"""
import ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
url = {bucket.url + "/runs"!r}
{code}
means.to_pickle({str(tmp_path / "means")!r})
ray.shutdown()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=240)
    n_requests = len(bucket.gate.requests())
    means = pandas.read_pickle(tmp_path / "means")
    assert means["key"].tolist() == [f"{bucket.url}/runs/{number}.fxt" for number in (0, 0, 1, 1)]
    assert means["start"].tolist() == [0, 64, 0, 64]
    # More than the list and the two ends of each, which were read here.
    assert n_requests > 1 + 2 * 3
    for row in means.itertuples():
        frames = open_trajectory(row.key).read(row.start, row.stop, atoms=slice(0, 10))
        np.testing.assert_allclose(row.mean, frames.mean(axis=(0, 1)))
