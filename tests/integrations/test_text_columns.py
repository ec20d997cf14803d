"""Numbers that have overflown their columns in a text file are an error, not other numbers."""

import numpy as np
import pytest
from proteinflex_optimization import InvalidArgumentError

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::UserWarning",
    # Files that readers of MDAnalysis leave open where they fail.
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)

PDB = "ATOM      1  CA  ALA A   1    {}  1.00  0.00           C\n"
GRO = "    1ALA     CA{:5}{}\n"
PLAIN = "   0.100   0.200   0.300"
MOVING = "  0.1000  0.2000  0.3000"


def refused(handler, path, text, message, **options):
    path.write_text(text)
    with pytest.raises(InvalidArgumentError, match=rf"{path.name}.*{message}"):
        handler.import_trajectory(options.pop("topology", path), path, "x", **options)
    assert handler.keys() == []


def read(handler, path, text, **options):
    path.write_text(text)
    return handler.load_data(
        handler.import_trajectory(options.pop("topology", path), path, "x", **options)
    )


@pytest.mark.parametrize("line_goes_on", [True, False])
@pytest.mark.parametrize(
    "numbers",
    [
        "12345.67823456.78934567.890",
        "   1.000   2.00012345.678",
        "   1.00012345.67823456.789",
        "123456.789234567.890345678.901",
    ],
)
def test_overflown_coordinates_of_a_later_model_are_refused(
    handler, tmp_path, numbers, line_goes_on
):
    atom = PDB if line_goes_on else PDB[: PDB.index("{}") + 2] + "\n"
    models = "".join(f"MODEL\n{atom.format(xyz)}ENDMDL\n" for xyz in (PLAIN, numbers))
    refused(handler, tmp_path / "run.pdb", f"{models}END\n", "line 5 holds .*too large")
    ended = f"{atom.format(numbers)}END\n"
    refused(handler, tmp_path / "one.pdbqt", ended, "line 1 holds", topology=None)
    options = {"format": "XPDB", "topology_format": "XPDB"}
    refused(handler, tmp_path / "one.xpdb", ended, "line 1 holds", **options)


def test_coordinates_to_the_left_of_their_columns_are_refused(handler, tmp_path):
    text = PDB.replace("    {}", "{}").format("   12345.678   2.000   3.000")
    refused(handler, tmp_path / "run.pdb", f"MODEL\n{text}ENDMDL\nEND\n", "line 2 holds")


def test_coordinates_that_fill_their_columns_are_read(handler, tmp_path):
    text = PDB.replace("  1.00  0.00", "100.00100.00").format("-123.456-1234.5612345.67")
    found = read(handler, tmp_path / "run.pdb", f"MODEL\n{text}ENDMDL\nEND\n")
    np.testing.assert_array_equal(found["frames"], np.float32([[[-123.456, -1234.56, 12345.67]]]))


def test_an_atom_before_the_first_model_is_refused(handler, tmp_path):
    atom = PDB.format(PLAIN)
    text = f"{atom}MODEL\n{atom}ENDMDL\nEND\n"
    refused(handler, tmp_path / "run.pdb", text, "1 atoms before its first MODEL", topology=None)


@pytest.mark.parametrize(
    ("numbers", "place"),
    [
        ((PLAIN, "12345.67823456.78934567.890"), 4),
        ((PLAIN, "   0.100   0.20012345.678"), 4),
        ((PLAIN + MOVING, PLAIN + "1234.12345678.12349012.1234"), 4),
        ((PLAIN + MOVING, PLAIN + "-2000.0000  0.0000  0.0000"), 4),
        # From the first atom, MDAnalysis takes the width of all columns.
        (("   0.10012345.67823456.789", PLAIN), 3),
        (("0.100   0.200   0.300", PLAIN), 3),
    ],
)
def test_overflown_columns_of_gro_are_refused(handler, tmp_path, numbers, place):
    atoms = "".join(GRO.format(i, text) for i, text in enumerate(numbers, 1))
    refused(handler, tmp_path / "run.gro", f"t\n2\n{atoms} 1 1 1\n", f"line {place} holds")


@pytest.mark.parametrize("n_decimals", [3, 5])
def test_columns_of_gro_that_are_full_are_read_at_any_precision(handler, tmp_path, n_decimals):
    x, v = -100 - 10.0**-n_decimals, -10 - 10.0 ** -(n_decimals + 1)
    numbers = (
        3 * f"{x:{n_decimals + 5}.{n_decimals}f}" + 3 * f"{v:{n_decimals + 5}.{n_decimals + 1}f}"
    )
    assert " " not in numbers
    atoms = "".join(GRO.format(i, numbers) for i in (1, 2))
    found = read(handler, tmp_path / "run.gro", f"t\n2\n{atoms} 1 1 1\n")
    np.testing.assert_allclose(found["frames"], 10 * x, rtol=1e-6)
    np.testing.assert_allclose(found["velocities"], 10 * v, rtol=1e-6)


def test_overflown_lines_of_amber_are_refused(handler, tmp_path):
    wide = "12345.1234567"
    six, three = 6 * "   1.0000000", 3 * "   1.0000000"
    for lines, place in ((f"{six}\n{3 * wide}\n", 4), (f"{6 * wide}\n{three}\n", 3)):
        text = f"t\n    3\n{lines}"
        refused(handler, tmp_path / "one.inpcrd", text, f"line {place} holds", topology=None)
    ten, two = 10 * "   1.000", 2 * "   1.000"
    options = {"topology": None, "n_atoms": 4}
    for overflown, place in ((f"{ten}\n12345.67823456.789", 6), (f"{10 * wide[:9]}\n{two}", 5)):
        text = f"t\n{ten}\n{two}\n{3 * '   9.000'}\n{overflown}\n{3 * '   9.000'}\n"
        refused(handler, tmp_path / "run.mdcrd", text, f"line {place} holds", **options)
    found = read(handler, tmp_path / "one.inpcrd", f"t\n    3\n{six}\n{three}\n", topology=None)
    assert found["frames"].tolist() == [[[1, 1, 1]] * 3]


def test_overflown_coordinates_of_crd_are_refused(handler, tmp_path):
    atom = "    1    1 ALA  CA  {} A    1      0.00000\n"
    text = "* t\n*\n    1\n" + atom.format("123456.12345   2.00000   3.12345")
    refused(handler, tmp_path / "one.crd", text, "line 4 holds .*column 50", topology=None)
