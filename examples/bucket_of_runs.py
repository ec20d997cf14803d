"""
Many runs in a bucket, analysed by a cluster
============================================

A set of trajectories lies in an object store. Which ones there are is read from their ends, some are
chosen by their metadata, and the processes of a cluster read the frames they work on, each by itself:
nothing is copied whole.
"""

import logging
import os
from pathlib import Path

import boto3
import matplotlib.pyplot as plt
import MDAnalysis
import numpy as np
import pandas
from dask.distributed import Client, LocalCluster
from MDAnalysisTests import datafiles
from moto.server import ThreadedMotoServer
from obstore.store import from_url
from proteinflex_optimization import Trajectory, create_trajectory, list_trajectories
from proteinflex_optimization.integrations.dask import map_blocks

RUNS = {
    "dims/1": (datafiles.PSF, datafiles.DCD, {"method": "DIMS", "program": "CHARMM"}),
    "dims/2": (datafiles.PSF, datafiles.DCD2, {"method": "DIMS", "program": "CHARMM"}),
    "targeted/1": (
        datafiles.PSF_NAMD_GBIS,
        datafiles.DCD_NAMD_GBIS,
        {"method": "targeted", "program": "NAMD"},
    ),
}
"""Adenylate kinase between its closed and its open form, of MDAnalysis's test data."""


def put_runs_into(bucket: str) -> None:
    """Write each run as a file, and copy it into the bucket as anything else is."""
    store = from_url(bucket, client_options={"allow_http": True})
    for name, (topology, coordinates, metadata) in RUNS.items():
        universe = MDAnalysis.Universe(topology, coordinates)
        with create_trajectory("run.fxt", metadata, structure=universe, overwrite=True) as writer:
            for _ in universe.trajectory:
                writer.append(universe.atoms.positions[np.newaxis])
        store.put(f"{name}.fxt", Path("run.fxt"))


def opening(trajectory: Trajectory, start: int, stop: int) -> np.ndarray:
    """Return how far the lid is from the core, in Å: between the centres of their Cα atoms."""
    topology = trajectory.topology
    assert topology is not None
    number = topology.residue_numbers[topology.residue_index]
    is_alpha = topology.names == "CA"
    lid = np.flatnonzero(is_alpha & (number >= 122) & (number <= 159))
    core = np.flatnonzero(is_alpha & ((number <= 29) | (number >= 68) & (number <= 117)))
    # Of the object, only the chunks with these atoms and frames are fetched.
    between = trajectory.read(start, stop, atoms=lid).mean(axis=1)
    between -= trajectory.read(start, stop, atoms=core).mean(axis=1)
    distances: np.ndarray = np.linalg.norm(between, axis=1)
    return distances


# %%
# A server on this machine stands for the object store; what follows is the same for any. Credentials and
# endpoints come from the environment, also in the processes of the cluster.

if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_REGION": "us-east-1",
    }
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="runs")
    put_runs_into("s3://runs/adk")

    # The index: a table of what is there.
    runs = pandas.DataFrame(list_trajectories("s3://runs"))
    runs = runs.join(pandas.DataFrame(runs["metadata"].tolist()))
    print(runs[["key", "n_frames", "n_atoms", "method"]].to_string(index=False))
    chosen = runs.query("method == 'DIMS'")["key"].tolist()

    # The function is sent to the processes, and so are the URLs; frames are not.
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        tasks = map_blocks(opening, chosen, frames_per_block=64)
        results = [np.concatenate(blocks) for blocks in client.gather(client.compute(tasks))]
    server.stop()

    figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
    for url, distances in zip(chosen, results, strict=True):
        axes.plot(distances, label=url)
        print(f"{url}: from {distances[0]:.1f} to {distances[-1]:.1f} Å in {len(distances)} frames")
    axes.set(xlabel="frame", ylabel="lid to core, Å")
    axes.legend(frameon=False)
    figure.savefig("bucket_of_runs.png")
