"""The order, the failure and the summary of `launch/quickstart.py`; the stages have their own tests."""

import json
import pathlib
import runpy

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import QuickstartConfig
from codepmp_jax.evaluation.accuracy import accuracy_report
from codepmp_jax.evaluation.best_of_n import best_of_n_report
from codepmp_jax.evaluation.reports.summary import summarize, summary_table
from codepmp_jax.files.json_files import write_json
from codepmp_jax.records.schema import Candidate, PreferencePair, Problem, Score

ROOT = pathlib.Path(__file__).parents[2]
QUICKSTART = runpy.run_path(str(ROOT / "launch" / "quickstart.py"), run_name="quickstart")


def options(command):
    """Option -> value of a command line."""
    return {a: b for a, b in zip(command, [*command[1:], ""], strict=True) if a.startswith("--")}


def test_each_stage_reads_what_an_earlier_one_wrote(tmp_path):
    at = tmp_path / "my runs"
    commands = QUICKSTART["make_commands"](QuickstartConfig(output=str(at), input="some code"))
    scripts = [pathlib.Path(command[0]) for command in commands.values()]
    assert [script.name for script in scripts] == [
        *("corpus.py", "synthesize.py", "candidates.py", "tpu_pod.py", "convert.py"),
        *["evaluate.py"] * 4,
    ]
    assert all(script.is_file() for script in scripts)
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
    commands = QUICKSTART["make_commands"](QuickstartConfig(seed=3, num_steps=5))
    assert options(commands["training"])["--num-steps"] == "5"
    seeds = [options(command).get("--seed") for command in commands.values()]
    assert seeds == ["3"] * 4 + [None] * 5
    assert "--input" not in options(commands["corpus"])


def test_a_second_run_starts_clean(tmp_path):
    output = tmp_path / "quickstart"
    QUICKSTART["start_clean"](output, {"one": ["launch/one.py", "--name", "a b"]})
    assert (output / "quickstart_commands.sh").read_text() == "python launch/one.py --name 'a b'\n"
    (output / "train").mkdir()
    QUICKSTART["start_clean"](output, {})
    assert [path.name for path in output.iterdir()] == ["quickstart_commands.sh"]


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something that no quickstart wrote"):
        QUICKSTART["start_clean"](tmp_path, {})
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_the_first_failure_stops_the_run(tmp_path, capfd):
    script = tmp_path / "stage.py"
    script.write_text("import sys\nprint('ran', sys.argv[1])\nsys.exit(int(sys.argv[1]))\n")
    commands = {f"stage{status}": [str(script), str(status)] for status in (0, 3, 4)}
    with pytest.raises(UserError, match="stage 2/3: stage3 ended with status 3"):
        QUICKSTART["run_all"](commands)
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("ran")] == ["ran 0", "ran 3"]
    assert f"$ python {script} 0" in lines
    assert any(line.startswith("== stage 1/3: stage0 (0 s elapsed)") for line in lines)


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
