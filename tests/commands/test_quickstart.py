"""The order, the failure and the summary of `codepmp quickstart`; the stages have their own tests."""

import json
import pathlib

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.commands import quickstart
from codepmp_jax.config import QuickstartConfig
from codepmp_jax.evaluation.accuracy import accuracy_report
from codepmp_jax.evaluation.best_of_n import best_of_n_report
from codepmp_jax.evaluation.reports.summary import summarize, summary_table
from codepmp_jax.files.json_files import write_json
from codepmp_jax.records.schema import Candidate, PreferencePair, Problem, Score


def options(command):
    """Option -> value of a command line."""
    return {a: b for a, b in zip(command, [*command[1:], ""], strict=True) if a.startswith("--")}


def test_each_stage_reads_what_an_earlier_one_wrote(tmp_path):
    at = tmp_path / "my runs"
    commands = quickstart.make_commands(QuickstartConfig(output=str(at), input="some code"))
    assert [command[0] for command in commands.values()] == [
        "corpus",
        "synthesize",
        "candidates",
        "train",
        "convert",
        *["evaluate"] * 4,
    ]
    assert options(commands["corpus"])["--input"] == "some code"
    written = set()
    for command in commands.values():
        given = options(command)
        inputs = (
            "--input",
            "--data.input",
            "--run",
            "--model",
            "--pairs",
            "--candidates",
            "--scores",
        )
        for name in inputs:
            assert given.get(name, "some code") in {"some code", *written}, command
        written.add(given.get("--output", given.get("--workdir")))
    assert all(pathlib.Path(path).is_relative_to(at) for path in written)


def test_settings_reach_the_stages():
    commands = quickstart.make_commands(QuickstartConfig(seed=3, num_steps=5))
    assert options(commands["training"])["--num-steps"] == "5"
    seeds = [options(command).get("--seed") for command in commands.values()]
    assert seeds == ["3"] * 4 + [None] * 5
    assert "--input" not in options(commands["corpus"])


def test_a_second_run_starts_clean(tmp_path):
    output = tmp_path / "quickstart"
    quickstart.start_clean(output, {"one": ["corpus", "--input", "a b"]})
    assert (output / "quickstart_commands.sh").read_text() == "codepmp corpus --input 'a b'\n"
    (output / "train").mkdir()
    quickstart.start_clean(output, {})
    assert [path.name for path in output.iterdir()] == ["quickstart_commands.sh"]


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something that no quickstart wrote"):
        quickstart.start_clean(tmp_path, {})
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_the_first_failure_stops_the_run(capfd):
    commands = {
        "one": ["--help"],
        "two": ["corpus", "--config", "nowhere"],
        "three": ["train", "--help"],
    }
    with pytest.raises(UserError, match="stage 2/3: two ended with status 2"):
        quickstart.run_all(commands)
    out, err = capfd.readouterr()
    assert [line for line in out.splitlines() if line.startswith("$ ")] == [
        "$ codepmp --help",
        "$ codepmp corpus --config nowhere",
    ]
    assert "== stage 1/3: one (0 s elapsed)" in out
    assert "usage: codepmp COMMAND" in out
    assert "--config nowhere: no such preset" in err


def test_summary_holds_what_the_stages_found(tmp_path):
    pairs = [PreferencePair(str(i), "p", "c", "r", subset=f"rate {i % 2}") for i in range(4)]
    sides = [Score(str(i), side, float(-side), 5 - side) for i in range(4) for side in (0, 1)]
    problem = Problem("a", "p", tuple(Candidate("r", i == 3) for i in range(4)))
    scores = [Score("a", i, float(i), 5) for i in range(4)]
    write_json(tmp_path / "accuracy/report.json", accuracy_report(pairs, sides))
    write_json(tmp_path / "best_of_n/report.json", best_of_n_report([problem], scores))
    splits = {"train": {"num_records": 30}, "heldout": {"num_records": 4}}
    write_json(tmp_path / "pairs/manifest.json", {"splits": splits})
    (tmp_path / "train").mkdir()
    metrics = [{"step": 1, "pair_loss": 0.7, "accuracy": 0.5}, {"step": 1, "eval_accuracy": 0.6}]
    lines = "".join(json.dumps(line) + "\n" for line in metrics)
    (tmp_path / "train/metrics.jsonl").write_text(lines)
    summary = summarize(tmp_path)
    assert pathlib.Path(summary["plot"]).is_file()
    assert summary == {
        "num_pairs": 34,
        "accuracy": 1,
        "accuracy_interval": [1, 1],
        "accuracy_by_subset": {"rate 0": 1, "rate 1": 1},
        "length_baseline": 1,
        "best_of_n": {"2": 1, "4": 1},
        "hf_folder": str(tmp_path / "hf"),
        "plot": str(tmp_path / "quickstart.png"),
    }
    table = summary_table(summary | {"seconds_by_stage": {"corpus": 3.2}})
    assert "corpus        3" in table
    assert "best of 4          100.0%" in table
