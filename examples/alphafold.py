"""
AlphaFold structures with their confidence
==========================================

Structure files become plain arrays in the cache, with pLDDT where a file says that it is a
prediction.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from proteinflex_optimization import DataHandler

# %%
# A prediction of the AlphaFold database: RDT1 of baker's yeast, 28 residues, UniProt A0A0B7P221. A
# directory of thousands is imported by the same loop, and each is parsed once.

cache = DataHandler("cache")
for file in sorted(Path("data").glob("AF-*.pdb")):
    if cache.key_for(file.stem, "structure") not in cache:
        cache.import_structure(file, file.stem)

# %%
# What is loaded are NumPy arrays: of each atom ``positions``, ``atom_names``, …, of each residue
# ``plddt``, names and numbers.

protein = cache.load_data("AF-A0A0B7P221-F1")
plddt = protein["plddt"]
print(protein["sequences"])
print(f"{len(plddt)} residues, pLDDT {plddt.min():.0f} to {plddt.max():.0f}")

# %%
# The residues that are predicted well enough to rely on their backbone, by the usual limit of 70:

confident = plddt >= 70
print(f"{confident.sum()} of {len(plddt)} residues are confident")
calpha = protein["positions"][protein["atom_names"] == "CA"]
distances = np.linalg.norm(calpha[:, None] - calpha[None], axis=-1)

# %%
# The colours are those of the AlphaFold database.

COLOURS = {90: "#0053d6", 70: "#65cbf3", 50: "#ffdb13", 0: "#ff7d45"}
colours = [next(colour for limit, colour in COLOURS.items() if value >= limit) for value in plddt]

figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.4), layout="constrained")
left.bar(protein["residue_numbers"], plddt, color=colours)
left.axhline(70, color="grey", linestyle=":")
left.set(xlabel="residue", ylabel="pLDDT", ylim=(0, 100), title="RDT1, yeast")
image = right.imshow(distances, cmap="magma_r", origin="lower")
figure.colorbar(image, label="Cα to Cα, Å")
right.set(xlabel="residue", ylabel="residue")
figure.savefig("alphafold.png")
