"""`flexopt cache`: what it prints, what it removes and how it exits."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from proteinflex_optimization import DataHandler, create_trajectory
from proteinflex_optimization.cli import main
from proteinflex_optimization.cli.transfer import ProgressLine
from proteinflex_optimization.topology import STRUCTURE_SUFFIXES


@pytest.fixture
def handler(tmp_path):
    handler = DataHandler(tmp_path / "cache", max_cache_size=0.01)
    for number in range(4):
        array = np.random.default_rng(number).integers(0, 256, 100_000, np.uint8)
        handler.store_structure({"x": array}, f"entry {number}")
    handler.store_trajectory({"frames": np.zeros((5, 4, 3), np.float32)}, "md\x1b[2J")
    return handler


def flexopt(handler, *arguments):
    return main(["cache", arguments[0], "--dir", str(handler.cache_dir), *arguments[1:]])


def test_ls_lists_entries_and_no_control_characters(handler, capsys):
    assert flexopt(handler, "ls") == 0
    text = capsys.readouterr().out
    assert "entry 2" in text
    assert "\x1b" not in text
    assert "md\\x1b[2J" in text
    assert "5 entries" in text
    assert text.startswith(str(handler.cache_dir))
    assert flexopt(handler, "ls", "--kind", "structure", "--sort", "size", "--json") == 0
    entries = json.loads(capsys.readouterr().out)["entries"]
    assert {entry["data_id"] for entry in entries} == {f"entry {number}" for number in range(4)}
    assert entries[0]["stored_bytes"] > 100_000
    assert flexopt(handler, "ls", "-q") == 0
    assert capsys.readouterr().out.split() == handler.keys()


def test_stats_say_how_full_it_is(handler, capsys):
    assert flexopt(handler, "stats", "--json") == 0
    stats = json.loads(capsys.readouterr().out)
    assert stats["entries"] == 5
    assert stats["max_bytes"] == 10_000_000
    assert flexopt(handler, "stats") == 0
    assert "10.0 MB" in capsys.readouterr().out


def test_verify_exits_with_1_where_something_is_damaged(handler, capsys):
    assert flexopt(handler, "verify") == 0
    assert "5 checked, 0 damaged" in capsys.readouterr().out
    key = handler.key_for("entry 1", kind="structure")
    (path,) = Path(handler.cache_dir).glob(f"entries/*/{key}.*")
    damaged = bytearray(path.read_bytes())
    damaged[50_000] ^= 1
    path.write_bytes(damaged)
    assert flexopt(handler, "verify", "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["checked"], report["ok"]) == (5, False)
    assert [entry["key"] for entry in report["damaged"]] == [key]
    assert flexopt(handler, "verify") == 1, "looking sets nothing aside"
    assert flexopt(handler, "verify", "--quarantine") == 1
    assert flexopt(handler, "verify") == 0
    assert flexopt(handler, "verify", key) == 1


def test_export_writes_arrays_and_trajectories(handler, tmp_path, capsys):
    data = {"frames": np.ones((5, 4, 3), np.float32), "file": np.arange(5), "name": "x"}
    key = handler.store_trajectory(data, "run")
    assert flexopt(handler, "export", key, str(tmp_path / "run.npz")) == 0
    assert "name" in capsys.readouterr().out
    with np.load(tmp_path / "run.npz") as found:
        assert sorted(found) == ["file", "frames"]
        np.testing.assert_array_equal(found["frames"], data["frames"])
    pytest.importorskip("MDAnalysis")
    assert flexopt(handler, "export", key, str(tmp_path / "run.unknown")) == 2
    assert "run.unknown" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "run.npz"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_export_replaces_no_file_unless_forced(handler, tmp_path, capsys):
    data = {"frames": np.ones((5, 4, 3), np.float32), "masses": np.ones(4), "energy": np.ones(5)}
    key = handler.store_trajectory(data, "run")
    for name in ("run.npz", "run.xtc", "run.zarr"):
        if name != "run.npz":
            pytest.importorskip("MDAnalysis")
            pytest.importorskip("zarr", minversion="3")
        path = tmp_path / name
        path.write_bytes(b"precious")
        assert flexopt(handler, "export", key, str(path)) == 2
        assert "--force" in capsys.readouterr().err
        assert path.read_bytes() == b"precious"
        assert flexopt(handler, "export", key, str(path), "--force", "--json") == 0
        result = json.loads(capsys.readouterr().out)
        assert result["bytes"] > 100
        missing = {"run.npz": [], "run.xtc": ["energy", "masses"], "run.zarr": []}
        assert result["left_out"] == missing[name]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_import_stores_a_trajectory_file_under_its_name(handler, tmp_path, capsys):
    pytest.importorskip("MDAnalysis")
    from MDAnalysisTests.datafiles import DCD, PSF

    path = tmp_path / "adk.dcd"
    path.write_bytes(Path(DCD).read_bytes())
    assert flexopt(handler, "import", str(path), "--topology", PSF, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["data_id"] == "adk"
    assert handler.open(result["key"]).shape == (98, 3341, 3)
    assert flexopt(handler, "import", str(path), "--topology", PSF) == 2
    assert "--force" in capsys.readouterr().err
    arguments = ("--topology", PSF, "--force", "--precision", "0.01", "--profile", "archive")
    assert flexopt(handler, "import", str(path), *arguments) == 0
    output = capsys.readouterr()
    assert "stored adk as" in output.out
    assert output.err == ""  # Progress is for terminals.
    assert handler.info(result["key"])["stored_bytes"] < result["stored_bytes"] / 2
    assert flexopt(handler, "info", result["key"]) == 0
    assert ", to 0.01" in capsys.readouterr().out
    by_field = ("--topology", PSF, "--force", "--precision", "frames=0.1,velocities=1")
    assert flexopt(handler, "import", str(path), *by_field) == 0
    assert handler.info(result["key"])["precision"] == {"frames": 0.1}
    capsys.readouterr()
    assert flexopt(handler, "import", str(tmp_path / "missing.dcd")) == 2
    assert "missing.dcd" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["md.npz", "md.zarr", "protein.npz"])
def test_what_was_exported_is_imported(handler, tmp_path, capsys, name):
    if name.endswith("zarr"):
        pytest.importorskip("zarr", minversion="3")
    if name.startswith("md"):
        data, kind = {"frames": np.arange(60, dtype=np.float32).reshape(2, 10, 3)}, "trajectory"
        key = handler.store_trajectory(data, "source")
    else:
        data, kind = {"positions": np.arange(30.0).reshape(10, 3)}, "structure"
        key = handler.store_structure(data, "source")
    path = tmp_path / name
    assert flexopt(handler, "export", key, str(path)) == 0
    capsys.readouterr()
    assert flexopt(handler, "import", str(path), "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["data_id"], result["kind"]) == (path.stem, kind)
    found = handler.load_data(result["key"])
    assert sorted(found) == sorted(data)
    for field, expected in data.items():
        np.testing.assert_array_equal(found[field], expected)


@pytest.mark.parametrize("directory", [".", "run.xtc"])
def test_import_refuses_a_directory_that_is_no_zarr_group(
    handler, tmp_path, capsys, monkeypatch, directory
):
    monkeypatch.chdir(tmp_path)
    Path("run.xtc").mkdir()
    assert flexopt(handler, "import", directory) == 2
    assert f"FILE={directory!r} is not valid: it is a directory" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_import_joins_the_parts_of_a_run(handler, tmp_path, capsys, caplog):
    pytest.importorskip("MDAnalysis")
    dump = (
        "ITEM: TIMESTEP\n{}\nITEM: NUMBER OF ATOMS\n1\nITEM: BOX BOUNDS pp pp pp\n0 9\n0 9\n0 9\n"
        "ITEM: ATOMS id x y z\n1 0 0 0\n"
    )
    parts = [tmp_path / "1.dump", tmp_path / "2.dump"]
    parts[0].write_text("".join(dump.format(step) for step in (0, 5, 10)))
    parts[1].write_text("".join(dump.format(step) for step in (10, 15)))
    files = [str(path) for path in parts]
    assert flexopt(handler, "import", *files, "--id", "run", "--topology", files[0]) == 2
    formats = ("--format", "LAMMPSDUMP", "--topology-format", "LAMMPSDUMP")
    assert flexopt(handler, "import", *files, "--id", "run", "--topology", files[0], *formats) == 0
    steps = handler.load_data(handler.key_for("run"))["step"]
    np.testing.assert_array_equal(steps, [0, 5, 10, 15])
    assert "1.dump: 1 of 3 frames are left out" in caplog.text
    keep = ("--format", "LAMMPSDUMP", "--overlap", "keep", "--force")
    assert flexopt(handler, "import", *files, "--id", "run", *keep) == 0
    assert handler.open(handler.key_for("run")).n_frames == 5
    parts[1].write_text(parts[1].read_text()[:-3])
    assert flexopt(handler, "import", files[1], "--format", "LAMMPSDUMP") == 1
    assert "--allow-truncated" in capsys.readouterr().err
    assert flexopt(handler, "import", files[1], "--format", "LAMMPSDUMP", "--allow-truncated") == 0
    assert handler.open(handler.key_for("2")).n_frames == 1


@pytest.mark.parametrize("name", ["md.fxt", "md.npz", "protein.npz"])
def test_import_keeps_what_was_stored_meanwhile_under_its_name(
    handler, tmp_path, monkeypatch, capsys, name
):
    md = {"frames": np.ones((3, 4, 3), np.float32)}
    handler.store_trajectory(md, "md")
    handler.store_structure({"positions": np.ones((4, 3))}, "protein")
    source, kind = name.split(".")[0], "structure" if "protein" in name else "trajectory"
    path = str(tmp_path / name)
    assert flexopt(handler, "export", source, path) == 0

    def store_meanwhile(self):
        other = DataHandler(handler.cache_dir)
        other.store_structure({"positions": np.zeros((9, 3))}, "new")
        other.store_trajectory({"frames": np.zeros((9, 4, 3), np.float32)}, "new")
        return []

    monkeypatch.setattr(DataHandler, "unfinished", store_meanwhile)
    assert flexopt(handler, "import", path, "--id", "new") == 1
    assert f'{kind} "new"' in capsys.readouterr().err
    new = handler.key_for("new", kind=kind)
    assert len(next(iter(handler.load_data(new).values()))) == 9
    assert {file.suffix for file in Path(handler.cache_dir).glob("entries/*/*")} == {".fxt"}
    assert flexopt(handler, "import", path, "--id", "new", "--force") == 0
    assert len(next(iter(handler.load_data(new).values()))) < 9


@pytest.mark.parametrize(
    ("name", "option"),
    [
        *(
            (name, option)
            for name in ("x.pdb", "x.npz")
            for option in ("--precision 0.1", "--profile archive", "--dt 2", "--overlap keep")
        ),
        *(("x.pdb", option) for option in ("--allow-truncated", "--topology-format PSF")),
        ("x.pdb", "--kind structure --format PDB"),
        ("x.pdb", "--kind structure --topology x.pdb"),
        *(("x.fxt", option) for option in ("--overlap keep", "--allow-truncated", "--dt 2")),
    ],
)
def test_an_option_that_means_nothing_for_a_file_is_refused(
    handler, tmp_path, monkeypatch, capsys, name, option
):
    monkeypatch.chdir(tmp_path)
    Path("x.pdb").write_text("END\n")
    np.savez("x.npz", positions=np.zeros((5, 3)))
    with create_trajectory("x.fxt") as writer:
        writer.append(np.zeros((2, 4, 3), np.float32))
    before = handler.keys()
    assert flexopt(handler, "import", name, "--id", "new", *option.split()) == 2
    word = re.findall("--([a-z-]+)", option)[-1]
    assert f"{word}=" in capsys.readouterr().err.replace("_", "-")
    assert handler.keys() == before


def test_import_stores_structure_files_as_structures(handler, capsys):
    pytest.importorskip("gemmi")
    pytest.importorskip("MDAnalysisTests")
    from MDAnalysisTests.datafiles import PDB_icodes

    assert flexopt(handler, "import", PDB_icodes, "--json") == 0  # 1osm.pdb.gz
    result = json.loads(capsys.readouterr().out)
    assert (result["data_id"], result["kind"]) == ("1osm", "structure")
    assert handler.load_data(result["key"])["positions"].shape == (1431, 3)
    assert flexopt(handler, "import", PDB_icodes, "--kind", "structure") == 2
    assert flexopt(handler, "import", PDB_icodes, "--force") == 0


@pytest.mark.parametrize("suffix", STRUCTURE_SUFFIXES)
def test_import_takes_each_suffix_of_structures_for_one(handler, tmp_path, capsys, suffix):
    gemmi = pytest.importorskip("gemmi")
    structure = gemmi.read_pdb_string(
        "ATOM      1  CA  ALA A   1       1.000   2.000   3.000  1.00  0.00           C\nEND\n"
    )
    structure.setup_entities()
    document = structure.make_mmcif_document()
    text = document.as_json(mmjson=True) if suffix == ".json" else document.as_string()
    if suffix in (".pdb", ".ent"):
        text = structure.make_pdb_string()
    path = tmp_path / f"protein{suffix}"
    path.write_text(text)
    assert flexopt(handler, "import", str(path), "--json") == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "structure"


def test_progress_is_drawn_on_a_terminal_and_cleared(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with ProgressLine("importing") as progress:
        for done in range(1, 1001):
            progress(done, 1000)
    text = capsys.readouterr().err
    assert "importing 1000/1000 frames, 100 %" in text
    assert text.endswith("\r\x1b[K")
    assert text.count("\r") < 100


def test_rm_removes_and_names_what_is_not_there(handler, capsys):
    key = handler.key_for("entry 1", kind="structure")
    assert flexopt(handler, "rm", key) == 0
    assert key not in handler
    assert flexopt(handler, "rm", key, "../../etc/passwd") == 1
    assert "etc/passwd" in capsys.readouterr().err


def test_wrong_usage_exits_with_2(handler, tmp_path, capsys):
    assert flexopt(handler, "prune", "--to", "much") == 2
    assert "--to" in capsys.readouterr().err
    assert main(["cache", "ls", "--dir", str(tmp_path / "missing")]) == 1
    assert not (tmp_path / "missing").exists()
    with pytest.raises(SystemExit) as exit_status:
        main(["cache", "ls", "--kind", "other"])
    assert exit_status.value.code == 2


def test_a_failed_import_leaves_no_new_cache(handler, tmp_path, capsys):
    pytest.importorskip("MDAnalysis")
    garbage = tmp_path / "garbage.xtc"
    garbage.write_bytes(b"hello" * 40)
    new = tmp_path / "new"
    assert main(["cache", "import", str(garbage), "--dir", str(new)]) != 0
    assert not new.exists()
    assert flexopt(handler, "import", str(garbage)) != 0
    assert len(handler) == 5, "what was there stays"
    assert "garbage.xtc" in capsys.readouterr().err


@pytest.mark.parametrize("path", [".", "..", "/"])
def test_export_to_a_path_without_a_name_is_refused(handler, capsys, path):
    assert flexopt(handler, "export", handler.keys("trajectory")[0], path, "--force") == 2
    assert "unexpected" not in (said := capsys.readouterr().err)
    assert said.startswith("flexopt: FILE=")


def test_an_import_names_what_was_typed_and_shows_warnings_as_lines(cache, run, tmp_path):
    pytest.importorskip("MDAnalysis")
    (tmp_path / "run.xyz").write_text("1\n\nC 1.0 2.0 3.0\n")
    (tmp_path / "top.odd").write_text("1\n\nC 1.0 2.0 3.0\n")
    (tmp_path / "top.pdb").write_text(
        f"{'ATOM      1  CA  ALA A   1':30}{'1.000':>8}{'2.000':>8}{'3.000':>8}\n"
    )

    def imported(*words):
        return run("cache", "import", "run.xyz", *words, "--dir", cache.cache_dir, cwd=tmp_path)

    failed = imported("--format", "ODD")
    assert failed.returncode == 2
    assert "--format and --topology-format" in failed.stderr
    assert "opology=" not in failed.stderr
    failed = imported("--topology", "top.odd")
    assert "FILE='run.xyz' with the topology 'top.odd' is not valid" in failed.stderr
    done = imported("--topology", "top.pdb")
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("flexopt: Element information is missing")
