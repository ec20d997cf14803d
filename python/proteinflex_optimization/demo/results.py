"""What a run found: the summary, and the files in which it is published."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from proteinflex_optimization import DataHandler
from proteinflex_optimization._publish import published

from . import figure
from .analysis import Flexibility
from .settings import TIME_STEP, Settings
from .structure import Protein


def labels(protein: Protein) -> list[str]:
    """Name each residue that has a Cα; no name is there twice."""
    residues = protein.residues
    chains = {residue.chain.id for residue in residues}
    names = [
        (f"{residues[i].chain.id}:" if len(chains) > 1 else "")
        + f"{residues[i].name} {residues[i].id}{residues[i].insertionCode.strip()}"
        for i in measured(protein)
    ]
    seen: Counter[str] = Counter()
    for index, name in enumerate(names):
        seen[name] += 1
        if seen[name] > 1:
            names[index] = f"{name} ({seen[name]})"
    return names


def measured(protein: Protein) -> list[int]:
    """List the residues that have a Cα, by index."""
    atoms = list(protein.topology.atoms())
    return [atoms[index].residue.index for index in protein.alpha_carbons]


def summarise(
    settings: Settings,
    protein: Protein,
    flexibility: Flexibility,
    handler: DataHandler,
    trajectory_key: str,
    run: dict[str, Any],
) -> dict[str, Any]:
    """Return the summary; `run` is what only the run itself knows of itself."""
    stored = handler.info(trajectory_key)
    rmsf = dict(zip(labels(protein), flexibility.rmsf.tolist(), strict=True))
    ranked = sorted(rmsf, key=rmsf.__getitem__, reverse=True)
    return {
        "run": settings.run_id,
        "structure": settings.pdb.name,
        "n_atoms": protein.topology.getNumAtoms(),
        "n_residues": len(protein.residues),
        "n_frames": len(flexibility.rmsd),
        "steps": settings.steps,
        "simulated_ps": settings.steps * TIME_STEP,
        "temperature_K": settings.temperature,
        **run,
        "rmsf_A": {label: round(value, 3) for label, value in rmsf.items()},
        "mean_rmsf_A": round(float(flexibility.rmsf.mean()), 3),
        "most_flexible": ranked[:3],
        "final_rmsd_A": round(float(flexibility.rmsd[-1]), 3),
        "mean_radius_of_gyration_A": round(float(flexibility.radius_of_gyration.mean()), 3),
        "trajectory_key": trajectory_key,
        "trajectory_bytes": stored["stored_bytes"],
        "trajectory_raw_bytes": stored["raw_bytes"],
        "trajectory_saved_percent": round(stored["saved_percent"], 1),
        "precision_A": settings.precision,
    }


def publish(settings: Settings, result: dict[str, Any]) -> None:
    """Write figure and summary; each is whole or absent."""
    directory = settings.run_directory
    directory.mkdir(parents=True, exist_ok=True)
    summary = result["summary"]
    with published(directory / "flexibility.png", overwrite=True) as hidden:
        figure.draw(
            hidden,
            Flexibility(result["rmsf"], result["rmsd"], result["radius_of_gyration"]),
            labels=result["labels"],
            confidence=result["plddt"],
            frame_time=settings.frame_interval * TIME_STEP,
            title=f"{summary['structure']}: {summary['n_residues']} residues, "
            f"{summary['simulated_ps']:.0f} ps at {summary['temperature_K']:.0f} K",
        )
    with published(directory / "summary.json", overwrite=True) as hidden:
        hidden.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
