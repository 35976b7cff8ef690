"""What every launch script answers to `--help` and to mistakes."""

from __future__ import annotations

import contextlib
import pathlib
import runpy

import pytest

from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.records.shards import write_manifest, write_split
from tests.e2e.launching import command, environment
from tests.processes import Process

LAUNCH = pathlib.Path(__file__).parents[2] / "launch"
SCRIPTS = sorted(path.name for path in LAUNCH.glob("*.py"))
# Scripts whose first argument is a command -> their commands.
COMMANDS = {
    "convert.py": ["to-hf", "to-peft", "from-hf", "from-gguf"],
    "evaluate.py": ["problems", "judge", "score", "accuracy", "best-of-n", "report"],
}
# Scripts without --output -> an option that they have.
OPTIONS = {
    "tpu_pod.py": "--workdir STR",
    "compile_check.py": "--workdir STR",
    "supervise.py": "--backoff-seconds FLOAT",
    "queued_resources.py": "--zone STR",
    "gcluster.py": "--location",
    "jobset.py": "--output",
    "serve.py": "--model STR",
    "xpk.py": "--zone STR",
}
CALLS = [
    (script, *([name] if name else [])) for script in SCRIPTS for name in COMMANDS.get(script, [""])
]


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs a script in this process; gives its exit status, stdout and stderr."""

    def run(script: str, *arguments: object) -> tuple[object, str, str]:
        monkeypatch.setattr("sys.argv", [f"launch/{script}", *map(str, arguments)])
        status: object = 0
        try:
            runpy.run_path(str(LAUNCH / script), run_name="__main__")
        except SystemExit as exit_:
            status = exit_.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def assert_one_line(err: str, *parts: str) -> None:
    """stderr is one line of error that holds these parts."""
    assert err.startswith("error: "), err
    assert err.count("\n") == 1, err
    assert err.endswith("\n"), err
    for part in parts:
        assert part in err


def test_the_scripts_are_there():
    assert {"corpus.py", "synthesize.py", "tpu_pod.py", "convert.py", "evaluate.py"} <= set(SCRIPTS)
    assert set(COMMANDS) <= set(SCRIPTS)


@pytest.mark.parametrize(
    "arguments",
    CALLS + [(script,) for script in COMMANDS],
    ids=lambda arguments: "-".join(arguments),
)
def test_help_fits_the_screen(arguments, call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = call(*arguments, "--help")
    assert (status, err) == (0, "")
    usage, *lines = out.splitlines()
    assert usage.startswith("usage: ")
    assert lines
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("arguments", CALLS, ids=lambda arguments: "-".join(arguments))
def test_a_typo_is_answered_with_the_nearest_option(arguments, call):
    right = OPTIONS.get(arguments[0], "--output STR")
    status, out, err = call(*arguments, right.split()[0].replace("o", "oo"), "somewhere")
    assert status == 2
    assert "Perhaps you meant" in out + err
    assert right in out + err
    assert "Traceback" not in out + err


@pytest.mark.parametrize("arguments", CALLS, ids=lambda arguments: "-".join(arguments))
def test_a_preset_of_another_script_is_refused(arguments, call):
    preset = "pmp_tiny" if arguments == ("corpus.py",) else "corpus_stdlib"
    status, out, err = call(*arguments, "--config", preset)
    assert (status, out) == (2, "")
    assert_one_line(err, f"--config {preset}: is a ", "Remedy: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("corpus.py", "--input"),
        ("train_tokenizer.py", "--input"),
        ("synthesize.py", "--input"),
        ("candidates.py", "--input"),
        ("import_pairs.py", "--input"),
        ("rm_data.py", "--input"),
        ("export_pairs.py", "--input"),
        ("convert.py", "to-hf", "--run"),
        ("evaluate.py", "accuracy", "--pairs"),
        ("evaluate.py", "best-of-n", "--candidates"),
        ("evaluate.py", "report", "--inputs"),
    ],
    ids=lambda arguments: "-".join(arguments[:-1]),
)
def test_a_missing_input_is_named(arguments, call, tmp_path):
    output = tmp_path / "output.jsonl"
    missing = tmp_path / "nowhere"
    status, out, err = call(*arguments, missing, "--output", output)
    assert (status, out) == (2, "")
    assert_one_line(err, str(missing), "Remedy: ")
    assert not output.exists()


def test_hosts_need_their_numbers(call, monkeypatch):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "localhost:1")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    monkeypatch.delenv("JAX_PROCESS_ID", raising=False)
    status, _, err = call("tpu_pod.py", "--config", "pmp_tiny")
    assert status == 2
    assert_one_line(err, "JAX_PROCESS_ID = ''", "Remedy: ")


def test_training_refuses_before_it_compiles(tmp_path):
    """With JAX_LOG_COMPILES, every compilation would be a line on stderr."""
    pairs = tmp_path / "pairs"
    pair = PreferencePair("1", "do it", "pass", "fail")
    splits = {name: write_split(pairs, name, [pair] * 16, 1) for name in ("train", "heldout")}
    write_manifest(pairs, PreferencePair, splits, {})
    mistakes = {
        ("--data.input", tmp_path / "nowhere"): "nowhere/manifest.json: no such file",
        ("--data.input", pairs, "--mesh.tensor", 3): "mesh (data, fsdp, tensor) = (1, -1, 3)",
        ("--data.input", pairs, "--model.init-from", tmp_path): "config.json: no such file",
    }
    workdir = tmp_path / "workdir"
    base = ("tpu_pod.py", "--config", "pmp_tiny", "--workdir", workdir)
    with contextlib.ExitStack() as stack:
        runs = [
            stack.enter_context(
                Process(command(*base, *arguments), environment(JAX_LOG_COMPILES="1"))
            )
            for arguments in mistakes
        ]
        for run, named in zip(runs, mistakes.values(), strict=True):
            assert (run.wait(), run.stdout) == (2, "")
            assert_one_line(run.stderr, named, "Remedy: ")
    assert not workdir.exists()
