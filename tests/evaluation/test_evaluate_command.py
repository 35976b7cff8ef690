"""The commands `accuracy`, `best-of-n` and `report` of `launch/evaluate.py`, on scores made elsewhere."""

import csv
import json
import pathlib
import runpy

import numpy as np
import pytest

from codepmp_jax.files.json_files import write_lines
from codepmp_jax.records.schema import Candidate, PreferencePair, Problem, content_id
from codepmp_jax.records.shards import write_manifest, write_split

SCRIPT = pathlib.Path(__file__).parents[2] / "launch" / "evaluate.py"
MODELS = ("strong", "weak")


@pytest.fixture
def evaluate(monkeypatch, capsys):
    """Runs the script; gives its exit status, stdout and stderr."""

    def run(*argv):
        monkeypatch.setattr("sys.argv", ["evaluate.py", *map(str, argv)])
        status = 0
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        except SystemExit as exit_:
            status = exit_.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def files(tmp_path):
    """Pairs, judged candidates, and scores of two models over each, in a folder."""
    generator = np.random.default_rng(0)
    pairs = [
        PreferencePair(content_id(str(i)), "a b", "c d", "e " * i, subset=f"rate {i % 2}")
        for i in range(1, 21)
    ]
    shards = write_split(tmp_path / "pairs", "heldout", pairs, 2)
    write_manifest(tmp_path / "pairs", PreferencePair, {"heldout": shards}, {})
    problems = [
        Problem(
            str(i),
            "a",
            tuple(Candidate("b", j < i % 4, "r" if j < i % 4 else f"w{j % 2}") for j in range(5)),
            task="gsm8k",
            subset=f"level {i % 2}",
        )
        for i in range(1, 13)
    ]
    lines = "".join(problem.to_json() + "\n" for problem in problems)
    (tmp_path / "candidates.jsonl").write_text(lines)
    for model, lead in zip(MODELS, (2.0, 0.2), strict=True):
        rows = [
            {
                "pair_id": pair.pair_id,
                "index": index,
                "score": generator.normal() + lead * (1 - index),
            }
            for pair in pairs
            for index in (0, 1)
        ]
        write_lines(tmp_path / f"{model}_pairs.jsonl", rows)
        rows = [
            {
                "problem_id": problem.problem_id,
                "index": index,
                "score": generator.normal() + lead * bool(candidate.is_correct),
            }
            for problem in problems
            for index, candidate in enumerate(problem.candidates)
        ]
        write_lines(tmp_path / f"{model}_candidates.jsonl", rows)
    return tmp_path


def evaluate_all(evaluate, files):
    for model in MODELS:
        for command, option, name in (
            ("accuracy", "--pairs", "pairs"),
            ("best-of-n", "--candidates", "candidates"),
        ):
            data = files / (name if name == "pairs" else "candidates.jsonl")
            scores = files / f"{model}_{name}.jsonl"
            output = files / name[:4] / model
            status, out, err = evaluate(
                command, option, data, "--scores", scores, "--output", output
            )
            assert status == 0, err
            yield model, output, out


def read_csv(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_accuracy_best_of_n_and_report(files, evaluate):
    for model, output, out in evaluate_all(evaluate, files):
        report = json.loads((output / "report.json").read_text())
        assert report["model"] == model
        names = {path.name for path in output.iterdir()}
        if report["kind"] == "accuracy":
            assert names == {
                "report.json",
                "accuracy.csv",
                "reliability.csv",
                "pairs.csv",
                "accuracy.png",
            }
            wins = [float(row["win"]) for row in read_csv(output / "pairs.csv")]
            assert report["accuracy"] == pytest.approx(np.mean(wins))
            assert report["config"]["split"] == "heldout"
            assert "Lengths are in characters" in out
            assert out.splitlines()[-1].startswith(f"accuracy {report['accuracy']:.1%} on 20 pairs")
        else:
            assert names == {"report.json", "best_of_n.csv", "problems.csv", "best_of_n.png"}
            rows = read_csv(output / "problems.csv")
            for row in report["rows"]:
                values = [float(x["best_of_n"]) for x in rows if x["n"] == str(row["n"])]
                assert len(values) == 12
                assert row["best_of_n"] == pytest.approx(np.mean(values))
            assert report["benchmark"] == "gsm8k"
            assert "best of 4 " in out.splitlines()[-1]
    folders = [files / name / model for name in ("pair", "cand") for model in MODELS]
    output = files / "report"
    status, out, err = evaluate("report", "--inputs", *folders, "--output", output)
    assert status == 0, err
    assert {path.name for path in output.iterdir()} == {
        "report.json",
        "report.html",
        "accuracy.csv",
        "reliability.csv",
        "best_of_n.csv",
        "differences.csv",
        "accuracy_pairs.png",
        "best_of_n_gsm8k.png",
    }
    accuracies = [json.loads((folder / "report.json").read_text()) for folder in folders[:2]]
    (difference, *_) = read_csv(output / "differences.csv")
    expected = accuracies[1]["accuracy"] - accuracies[0]["accuracy"]
    assert float(difference["difference"]) == pytest.approx(expected)
    assert (difference["model"], difference["first_model"]) == ("weak", "strong")
    assert "weak - strong" in out
    whole = [row for row in read_csv(output / "accuracy.csv") if row["grouping"] == "all"]
    assert [float(row["accuracy"]) for row in whole] == [row["accuracy"] for row in accuracies]


def test_names_of_models_are_given_in_the_order_of_the_inputs(files, evaluate):
    list(evaluate_all(evaluate, files))
    inputs = [files / "pair" / model for model in MODELS]
    output = files / "report"
    status, _, err = evaluate(
        "report",
        "--inputs",
        *inputs,
        "--names",
        "PMP",
        "RM",
        "--output",
        output,
    )
    assert status == 0, err
    (group,) = json.loads((output / "report.json").read_text())["groups"]
    assert list(group["models"]) == ["PMP", "RM"]


def without_last_score(files):
    path = files / "strong_pairs.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def with_nan(files):
    path = files / "strong_candidates.jsonl"
    row = {"item_id": "1", "index": 0, "reward": float("nan")}
    path.write_text(json.dumps(row) + "\n" + "".join(path.read_text().splitlines(True)[1:]))


def with_duplicate_problem(files):
    path = files / "candidates.jsonl"
    path.write_text(path.read_text() + path.read_text().splitlines()[0] + "\n")


def with_duplicate_score(files):
    path = files / "strong_candidates.jsonl"
    path.write_text(path.read_text() + path.read_text().splitlines()[0] + "\n")


def without_judgement(files):
    path = files / "candidates.jsonl"
    path.write_text(path.read_text().replace('"is_correct": false', '"is_correct": null', 1))


@pytest.mark.parametrize(
    ("command", "spoil", "message"),
    [
        ("accuracy", without_last_score, "text 1 has no score"),
        ("best-of-n", with_nan, "strong_candidates.jsonl:1: reward is no finite number (nan)"),
        ("best-of-n", with_duplicate_problem, "candidates.jsonl:13: problem_id '1' is not unique"),
        ("best-of-n", with_duplicate_score, "strong_candidates.jsonl:61: "),
        ("best-of-n", without_judgement, "is_correct of candidate 1 = None: must be true or false"),
    ],
)
def test_spoilt_files_are_one_error(files, evaluate, command, spoil, message):
    spoil(files)
    options = (
        ("--pairs", files / "pairs", "--scores", files / "strong_pairs.jsonl")
        if command == "accuracy"
        else (
            "--candidates",
            files / "candidates.jsonl",
            "--scores",
            files / "strong_candidates.jsonl",
        )
    )
    output = files / "out"
    status, _, err = evaluate(command, *options, "--output", output)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert status == 2
    assert len(lines) == 1
    assert message in lines[0]
    assert not output.exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["acuracy"], "did you mean accuracy?"),
        (["best-of-n", "--candidates", "nowhere.jsonl"], "nowhere.jsonl"),
        (["accuracy", "--pairs", "nowhere"], "nowhere"),
        (["report", "--inputs", "nowhere"], "nowhere/report.json: no such file"),
    ],
)
def test_user_errors_are_one_line(evaluate, argv, message):
    status, _, err = evaluate(*argv)
    assert status == 2
    assert message in err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
