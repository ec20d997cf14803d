"""What the README and the prose on performance say is what the tables of that page say."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "performance.md").read_text()


def table(heading):
    """The cells of each row of the tables below a heading, by its first cell."""
    text = re.split(r"\n##+ ", PAGE.split(f"\n{heading}\n", 1)[1])[0]
    rows = [[cell.strip(" *`") for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    found = {}
    for cells in rows:
        if cells:
            found.setdefault(cells[0], cells[1:])
    return found


def of(heading, row, column):
    return float(table(heading)[row][column])


def sets(*errors):
    """The headings of the sets of coordinates with one of these errors."""
    return [h for h in re.findall(r"\n(### .*)", PAGE) if h.endswith(errors)]


BIOMD, OURS, ARCHIVE, XTC = (
    "BIOMD, 64 frames, equal error",
    "ours",
    "ours, archive",
    "XTC, MDAnalysis",
)
SIZE, DECODE, FRAME = 0, 3, 4


def compared():
    """Numbers of the row of each set: sizes, speeds of encoding and of decoding, times of a frame."""
    for name, cells in table("### BIOMD and XTC, at 0.01 Å").items():
        if re.match(r"[\d.]+$", cells[0]):
            speeds = [[float(x) for x in cell.split(",")] for cell in cells[-3:]]
            yield name, [float(x) for x in cells[:-3]], *speeds


def test_biomd_is_ahead_where_the_page_says_so():
    found = list(compared())
    assert len(found) > 8
    written = [encode[2] / encode[1] for _, _, encode, *_ in found]
    assert min(written) > 1
    assert sum(ratio > 2 for ratio in written) > len(written) / 2
    sizes = {name: size[1] / size[5] for name, size, *_ in found}
    assert max(sizes.values()) < 1
    assert {name for name, size in sizes.items() if size > 0.985} == {"villin_0.1ps", "villin_10ps"}
    read = {name: decode[0] / decode[2] for name, _, _, decode, _ in found}
    assert 1 < read.pop("yiip") < 1.4
    assert min(read.values()) > 1


def test_frames_at_random_are_read_faster_than_those_of_xtc_where_the_page_says_so():
    ratios = {name: alone[2] / alone[0] for name, *_, alone in compared()}
    slower = {"villin_0.1ps", "villin_implicit", "amber_nc"}
    assert {name for name, ratio in ratios.items() if ratio < 1.2} == slower
    assert sum(ratio > 1.45 for ratio in ratios.values()) > len(ratios) / 2
    assert min(ratios, key=ratios.__getitem__) == "amber_nc"


def test_molly_is_ahead_where_the_page_says_so():
    headings = [h for h in sets("every bit", "Å") if "XTC, molly" in table(h)]
    assert len(headings) > 8
    assert all(of(h, "XTC, molly", FRAME) < of(h, OURS, FRAME) for h in headings)
    assert all(of(h, "XTC, molly", DECODE) > of(h, OURS, DECODE) for h in headings if "yiip" in h)


def test_figures_of_the_readme_are_those_of_the_page():
    def of_set(name, other, column):
        return of(f"### {name}", OURS, column) / of(f"### {name}", other, column)

    def saved(name, row):
        return 100 - of(f"### {name}", row, SIZE)

    progress = "## Progress (`benches/peers/progress.py`, `benches/peers/progress_sharing.py`)"
    checkpoints = "## Checkpoints (`benches/peers/checkpoint.py`)"
    whole, xtc = "adk_dcd, every bit", "adk_xtc, every bit"
    mapped, own = "ours, verified, mapped", "ours, verified, in memory of its own"
    measured = {
        "one progress update": [[of(progress, "handle.update(), mapped file", 1)]],
        "save 1 GiB": [[of(checkpoints, "ours, durable, checksummed", 1)]],
        "load it": [[of(checkpoints, mapped, 1), of(checkpoints, own, 1)]],
        "coordinates from an XTC": [[of_set(xtc, XTC, SIZE)], [of_set(xtc, XTC, DECODE)]],
        "0.01 Å kept": [[of_set("adk_dcd, at 0.01 Å", XTC, n)] for n in (SIZE, DECODE)],
        "0.001 Å kept": [[saved("adk_dcd, at 0.001 Å", row)] for row in (OURS, ARCHIVE)],
        "flexible bonds": [
            [of_set(whole, "pco", SIZE)],
            *([saved(whole, row)] for row in (OURS, ARCHIVE)),
        ],
    }
    rows = (ROOT / "README.md").read_text().split("## Measured")[1].split("\n\n")[1].splitlines()
    rows = [row.strip("| ").split(" | ") for row in rows[2:]]
    assert len(rows) == len(measured)
    for (start, values), (what, *_, said) in zip(measured.items(), rows, strict=True):
        assert what.startswith(start)
        ranges = re.findall(r"([\d.]+)(?:–([\d.]+))?(?= [×%])", said)
        assert len(ranges) == len(values), said
        for (low, high), numbers in zip(ranges, values, strict=True):
            rounding = 0 if high else 0.501 * 10 ** -len(low.partition(".")[2])
            for number in numbers:
                assert float(low) - rounding <= number <= float(high or low) + rounding, said
