"""Help with examples, errors in one line, pipes that end early, and completion in a real shell."""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from proteinflex_optimization.cli import build_parser, main


def parsers(parser):
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from parsers(child)


def test_every_help_has_an_example_that_is_right():
    parser = build_parser()
    found = [other for other in parsers(parser) if other is not parser]
    assert len(found) > 15
    for command in found:
        examples = [line.strip() for line in (command.epilog or "").splitlines()[1:]]
        assert examples, f"{command.prog} has no example"
        for example in examples:
            assert example.startswith(command.prog), example
            if "COMMAND" not in command.format_usage():
                parser.parse_args(example.split()[1:])


def test_every_option_of_the_demo_that_has_a_default_says_it():
    (found,) = [other for other in parsers(build_parser()) if other.prog == "flexopt demo"]
    shown = " ".join(found.format_help().split())
    for action in found._actions:
        default = action.default
        if default not in (None, False, argparse.SUPPRESS):
            value = f"{default:g}" if isinstance(default, float) else default
            assert f"(default: {value})" in shown, action.option_strings


def test_an_error_is_one_line_and_says_where_a_traceback_is(monkeypatch, capsys, tmp_path):
    assert main(["cache", "ls", "--dir", str(tmp_path / "two\nlines\x1b[2J")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "\x1b" not in error

    def broken(*_):
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr("proteinflex_optimization.cli.entries.look_at_cache", broken)
    assert main(["cache", "stats"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("flexopt: unexpected RuntimeError: first; second; with PROTEINFLEX")
    monkeypatch.setenv("PROTEINFLEX_TRACEBACK", "1")
    with pytest.raises(RuntimeError):
        main(["cache", "stats"])


@pytest.mark.parametrize("command", ["cache ls --dir {}", "--help", "checkpoints --help"])
def test_a_reader_that_goes_away_is_no_error(cache, command):
    program = f"{sys.executable} -m proteinflex_optimization"
    command = f"{program} {command.format(cache.cache_dir)} | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize(
    "command", ["cache ls --dir {}", "--help", "--version", "checkpoints --help"]
)
def test_output_that_can_not_be_written_is_an_error(cache, command):
    program = f"{sys.executable} -m proteinflex_optimization"
    command = f"{program} {command.format(cache.cache_dir)} >/dev/full"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "No space left on device" in done.stderr.splitlines()[0]


def test_a_terminal_that_lacks_a_character_is_no_error(cache, run):
    cache.store_structure({"x": 1}, "Å\U0001f9ec")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = run("cache", "ls", "--dir", cache.cache_dir, env=environment)
    assert done.returncode == 0, done.stderr
    assert "\\U0001f9ec" in done.stdout


@pytest.fixture
def complete(tmp_path):
    """What bash offers for the last word of a command line."""
    pytest.importorskip("argcomplete")
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "flexopt"
    package = "proteinflex_optimization"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m {package} "$@"\n')
    program.chmod(0o755)
    shellcode = "from argcomplete import shellcode; print(shellcode(['flexopt']))"
    setup = subprocess.run([sys.executable, "-c", shellcode], capture_output=True, check=True)
    (tmp_path / "complete.sh").write_bytes(setup.stdout)

    def complete(line):
        words = " ".join(f"'{word}'" for word in line.split(" "))
        script = f"""
            source {tmp_path}/complete.sh
            COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
            COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; COMP_TYPE=9; COMP_KEY=9
            _python_argcomplete flexopt
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
        done = subprocess.run(
            [bash, "-c", script], capture_output=True, text=True, check=True, env=environment
        )
        return [word.strip() for word in done.stdout.splitlines() if word.strip()]

    return complete


def test_a_shell_completes_commands_keys_names_and_ids(cache, checkpoints, complete):
    directory = cache.cache_dir
    assert complete("flexopt ch") == ["checkpoints"]
    assert set(complete("flexopt cache v")) == {"verify"}
    key = cache.keys()[0]
    assert complete(f"flexopt cache info --dir {directory} {key[:8]}") == [key]
    cache.store_structure({"x": 1}, "villin")
    assert complete(f"flexopt cache rm --dir {directory} vil") == ["villin"]
    ids = complete(f"flexopt checkpoints show {checkpoints} step")
    assert ids == ["step-0", "step-1", "step-2"]
    assert complete(f"flexopt checkpoints show {Path('/nowhere')} step") == []
