"""Structure files that packages ship are read as two other readers do, or the table says why not.

`python tests/integrations/test_structure_corpus.py` prints how many files are identical, explained
and refused.
"""

import bz2
import fnmatch
import gzip
import importlib.util
import io
import re
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gemmi")

from proteinflex_optimization import InvalidArgumentError
from proteinflex_optimization.integrations.structures import read_structure

try:
    import tomllib
except ImportError:  # Python 3.10
    tomllib = pytest.importorskip("tomli")

TABLE = tomllib.loads((Path(__file__).parent / "structure_corpus.toml").read_text("utf-8"))
FOLDERS = {
    "MDAnalysisTests": "data",
    "openmm": "app/data",
    "pdbfixer": "tests/data",
    "biotite": "structure/info",
}
MODULES = {"MDAnalysis": "MDAnalysis", "Biotite": "biotite"}
STRUCTURE = re.compile(r"\.(pdb|ent|cif|pdbx|bcif|gro|mol2|mmtf|pqr|pdbqt)(\.gz|\.bz2)?$")
QUICK_BYTES = 140_000


def corpus():
    """Give the name and the path of each file of the packages that are installed."""
    for package, folder in FOLDERS.items():
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            top = Path(spec.origin).parent
            for path in sorted((top / folder).rglob("*")):
                if STRUCTURE.search(path.name):
                    yield f"{package}/{path.relative_to(top)}", path


OPENERS = {".gz": gzip.open, ".bz2": bz2.open}


def is_mmcif(path):
    return any(suffix in (".cif", ".pdbx") for suffix in Path(path).suffixes)


def text_of(path):
    with OPENERS.get(Path(path).suffix, open)(path, "rb") as file:
        return file.read().decode("latin-1")


def read_mdanalysis(path):
    """MDAnalysis, with its parsers of PDB and of mmCIF files. It guesses nothing."""
    import MDAnalysis

    options = {"to_guess": ()}
    if is_mmcif(path):
        kind = "CIF.GZ" if str(path).endswith(".gz") else "CIF"
        options |= {"format": kind, "topology_format": kind}
    elif ".ent" in Path(path).suffixes:
        options |= {"format": "PDB", "topology_format": "PDB"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        universe = MDAnalysis.Universe(str(path), **options)
    atoms = universe.atoms
    of = atoms.resindices

    def get(name):
        return getattr(atoms, name, None)

    return {
        "names": atoms.names,
        "residue names": atoms.resnames,
        "residue numbers": atoms.resids,
        "insertion codes": get("icodes"),
        "chains": get("chainIDs"),
        "elements": get("elements"),
        "alternative locations": get("altLocs"),
        "B-factors": get("tempfactors"),
        "occupancies": get("occupancies"),
        "positions": atoms.positions,
        "residues": np.flatnonzero(np.diff(of)) + 1,
        "cell": universe.dimensions,
    }


def read_biotite(path):
    """Biotite, which takes the authors' names as we do, and guesses elements that are missing."""
    import biotite.structure as struc
    from biotite.structure.io.pdb import PDBFile
    from biotite.structure.io.pdbx import CIFFile, get_structure

    file = io.StringIO(text_of(path))
    fields = ["b_factor", "occupancy"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if is_mmcif(path):
            atoms = get_structure(CIFFile.read(file), model=1, altloc="all", extra_fields=fields)
        else:
            atoms = PDBFile.read(file).get_structure(model=1, altloc="all", extra_fields=fields)
    cell = None
    if atoms.box is not None:
        a, b, c, alpha, beta, gamma = struc.unitcell_from_vectors(atoms.box)
        cell = np.array([a, b, c, *np.degrees([alpha, beta, gamma])])
    return {
        "names": atoms.atom_name,
        "residue names": atoms.res_name,
        "residue numbers": atoms.res_id,
        "insertion codes": atoms.ins_code,
        "chains": atoms.chain_id,
        "elements": atoms.element,
        "alternative locations": atoms.altloc_id,
        "B-factors": atoms.b_factor,
        "occupancies": atoms.occupancy,
        "positions": atoms.coord,
        "residues": struc.get_residue_starts(atoms)[1:],
        "cell": cell,
    }


READERS = {"MDAnalysis": read_mdanalysis, "Biotite": read_biotite}


def as_read_by_us(data):
    """Give what `read_structure` returns in the same form."""
    of = data["residue_index"]
    return {
        "names": data["atom_names"],
        "residue names": data["residue_names"][of],
        "residue numbers": data["residue_numbers"][of],
        "insertion codes": data["insertion_codes"][of],
        "chains": data["chains"][of],
        "elements": data["elements"],
        "alternative locations": data["altlocs"],
        "B-factors": data.get("b_factors"),
        "occupancies": data.get("occupancies"),
        "positions": data["positions"],
        "residues": np.flatnonzero(np.diff(of)) + 1,
        "cell": data.get("cell"),
    }


def differences(ours, theirs):
    """Return the names of the fields that differ."""
    if len(ours["names"]) != len(theirs["names"]):
        return {"atoms"}
    return {name for name in ours if not _is_same(name, ours[name], theirs[name])}


def _is_same(name, one, other):
    if name == "elements":
        return _are_same_elements(one, other)
    if one is None or other is None:
        # A cell of zeros is none; and that there is no array says that there is no value.
        return one is None and (other is None or (name == "cell" and not np.any(other)))
    if name in ("positions", "cell", "B-factors", "occupancies"):
        return one.shape == other.shape and np.allclose(one, other, atol=2e-3, equal_nan=True)
    if name in ("residues", "residue numbers"):
        return np.array_equal(one, other)
    one, other = (np.char.strip(np.asarray(array).astype(str)) for array in (one, other))
    if name == "alternative locations":
        other = np.where(other == ".", "", other)
    return np.array_equal(one, other)


def _are_same_elements(one, other):
    """Compare where the other reader has one."""
    if other is None:
        return True
    one, other = (np.char.upper(np.asarray(array).astype(str)) for array in (one, other))
    return bool(((one == other) | (other == "")).all())


FILES = dict(corpus())


def refusal(name):
    """Return what the table says of a file that is refused."""
    for row in TABLE["refused"]:
        if fnmatch.fnmatch(name, row["pattern"]):
            return row["message"]
    return None


def explained(name):
    """Return the differences of a file that the table explains, as (reader, field)."""
    return {
        (row["reader"], field)
        for row in TABLE["difference"]
        if name in row["files"]
        for field in row["fields"]
    }


def found(name, path):
    """Return the differences that there are."""
    ours = as_read_by_us(read_structure(path, altlocs="all"))
    different = set()
    for reader, read in READERS.items():
        if importlib.util.find_spec(MODULES[reader]) is None:
            continue
        try:
            fields = differences(ours, read(path))
        except Exception:
            fields = {"cannot read"}
        different |= {(reader, field) for field in fields}
    return different


def is_quick(name, path):
    # The many proteins of one folder are alike.
    alike = "/dssp/" in name and not name.endswith(("A6PA6.pdb.gz", "1mr1D.pdb.gz", "2cviA.pdb.gz"))
    return path.stat().st_size < QUICK_BYTES and not alike


def params(files):
    for name, path in files:
        marks = [] if is_quick(name, path) else [pytest.mark.soak]
        yield pytest.param(name, path, id=name, marks=marks)


READ = [(name, path) for name, path in FILES.items() if refusal(name) is None]
REFUSED = [(name, path) for name, path in FILES.items() if refusal(name) is not None]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "path"), list(params(READ)))
def test_a_file_is_read_as_others_read_it_or_the_table_says_why_not(name, path):
    expected = explained(name)
    missing = {reader for reader, module in MODULES.items() if not importlib.util.find_spec(module)}
    assert found(name, path) == {pair for pair in expected if pair[0] not in missing}


@pytest.mark.parametrize(("name", "path"), list(params(REFUSED)))
def test_a_file_of_another_format_is_refused_by_its_name(name, path):
    with pytest.raises(InvalidArgumentError, match=re.escape(refusal(name))) as error:
        read_structure(path)
    assert str(path) in str(error.value)


def test_every_row_of_the_table_is_of_a_file_that_is_there():
    for row in TABLE["difference"]:
        for name in row["files"]:
            is_installed = importlib.util.find_spec(name.split("/")[0]) is not None
            assert not is_installed or name in FILES, name
    for row in TABLE["refused"]:
        assert (
            not FILES
            or any(fnmatch.fnmatch(name, row["pattern"]) for name in FILES)
            or (row["pattern"].startswith("biotite/"))
        ), row["pattern"]


def main():
    """Print the table of the corpus."""
    counts = Counter()
    for name, path in FILES.items():
        message = refusal(name)
        if message is not None:
            counts[f"refused: {message}"] += 1
            continue
        different, expected = found(name, path), explained(name)
        kind = "identical" if not different else "explained" if different == expected else "WRONG"
        counts[kind] += 1
        if kind == "WRONG":
            print(f"{name}: {sorted(different ^ expected)}")
    for kind, count in sorted(counts.items()):
        print(f"{count:5d}  {kind}")
    print(f"{len(FILES):5d}  files")


if __name__ == "__main__":
    main()
