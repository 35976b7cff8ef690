"""`codepmp`: its table of contents, its answers to typos, and what it loads before it answers."""

from __future__ import annotations

import pathlib
import runpy
import subprocess
import sys

import pytest

from codepmp_jax import commands
from codepmp_jax.commands import main
from tests.e2e.launching import LAUNCH, environment

COMMANDS = [command for stage in main.STAGES.values() for command in stage]
# What the answers may load of the packages that are installed. Others, first of all jax, take seconds.
LIGHT = {
    "codepmp_jax",
    "docstring_parser",
    "pydantic",
    "pydantic_core",
    "typeguard",
    "typing_extensions",
    "typing_inspection",
    "annotated_types",
    "tyro",
}
# Runs codepmp with the arguments of each line of stdin; prints its status and the installed packages that it loaded.
LOADED = """
import contextlib, io, sys
from codepmp_jax.commands.main import main
for line in sys.stdin:
    sys.argv = ["codepmp", *line.split()]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            main()
        except SystemExit as exit_:
            status = exit_.code
    names = {name.split(".")[0] for name in sys.modules} - sys.stdlib_module_names
    print(status, *sorted(name for name in names if not name.startswith("_")))
"""


@pytest.fixture
def codepmp(monkeypatch, capsys):
    """Runs codepmp in this process; gives its exit status, stdout and stderr."""

    def run(*arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr("sys.argv", ["/usr/bin/codepmp", *arguments])
        with pytest.raises(SystemExit) as exit_:
            main.main()
        captured = capsys.readouterr()
        return exit_.value.code, captured.out, captured.err

    return run


def test_the_table_of_contents_has_every_command():
    folder = pathlib.Path(next(iter(commands.__path__)))
    modules = {path.stem.replace("_", "-") for path in folder.glob("*.py")}
    assert {name.split()[0] for name in COMMANDS} == modules - {
        "--init--",
        "main",
        "completion",
        "startup-script",
    }
    for name in ("convert", "evaluate"):
        listed = [command.split()[1] for command in COMMANDS if command.startswith(f"{name} ")]
        assert listed == list(main.command_module(name).COMMANDS)


def test_help_has_a_line_for_each_command_and_fits_the_screen(codepmp):
    status, out, err = codepmp("--help")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    listed = [line for line in lines if line.startswith("  ")]
    assert len(listed) == len(COMMANDS)
    for line, command in zip(listed, COMMANDS, strict=True):
        assert line.startswith(f"  {command} ")
        assert line.endswith(f"  {main.settings_and_help(command)[1]}")
    assert codepmp() == (2, out, "")


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("trian", "train"),
        ("import_pairs", "import-pairs"),
        ("score", "evaluate score"),
        ("to-hff", "convert to-hf"),
        ("evalute", "evaluate"),
    ],
)
def test_a_typo_is_answered_with_the_nearest_command(typo, meant, codepmp):
    status, out, err = codepmp(typo)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: codepmp {typo}: no such command; did you mean {meant}? ")


def test_a_name_far_from_all_is_answered_with_all(codepmp):
    status, _, err = codepmp("qqq")
    assert status == 2
    assert "did you mean" not in err
    assert {"train", "convert", "xpk."} <= set(err.replace(",", "").split())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_its_script(command, codepmp, monkeypatch, capsys):
    """The same help, but for the name in its first line."""
    name, *subcommand = command.split()
    status, out, err = codepmp(*command.split(), "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: codepmp {command} [")
    script = f"{'tpu_pod' if name == 'train' else name.replace('-', '_')}.py"
    monkeypatch.setattr("sys.argv", [f"launch/{script}", *subcommand, "--help"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(LAUNCH / script), run_name="__main__")
    assert capsys.readouterr().out.splitlines()[1:] == out.splitlines()[1:]


def test_answers_load_nothing_heavy():
    """`--help`, `--print-config` and mistakes in settings, of every command."""
    lines = [
        "--help",
        *(f"{command} --help" for command in COMMANDS),
        "train --config pmp_7b --print-config",
        "compile-check --config pmp_7b --print-config",
        "synthesize --config synth_qwen25_coder --print-config",
        *(f"{command} --print-config" for command in COMMANDS),
        "trian",
        "train --config corpus_stdlib",
        "train --optimizer.beta1 2",
        "compile-check --num-slices 0",
        *(f"{command} --no-such-option" for command in COMMANDS),
    ]
    done = subprocess.run(
        [sys.executable, "-c", LOADED],
        input="\n".join(lines),
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    for line, answer in zip(lines, done.stdout.splitlines(), strict=True):
        status, *loaded = answer.split()
        assert status == ("0" if line.endswith(("--help", "--print-config")) else "2"), line
        assert set(loaded) <= LIGHT, line
