"""The command `launch/evaluate.py`, from shards and candidates to report and plot."""

import json
import pathlib
import runpy

import pytest

from codepmp_jax.records import Candidate, PreferencePair, Problem, content_id
from codepmp_jax.shards import write_manifest, write_split

SCRIPT = pathlib.Path(__file__).parents[2] / "launch" / "evaluate.py"


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


def test_accuracy(tmp_path, plain_reward_model, evaluate):
    pairs = [
        PreferencePair(content_id(str(i)), "a b", "c d", "e " * i, subset=f"rate {i % 2}")
        for i in range(1, 7)
    ]
    shards = write_split(tmp_path / "pairs", "heldout", pairs, 2)
    write_manifest(tmp_path / "pairs", PreferencePair, {"heldout": shards}, {})
    output = tmp_path / "out"
    status, out, _ = evaluate(
        *("accuracy", "--model", plain_reward_model, "--input", tmp_path / "pairs"),
        *("--output", output, "--max-pairs", "5", "--scorer.device", "cpu"),
    )
    assert status == 0
    report = json.loads((output / "report.json").read_text())
    assert report["num_pairs"] == 5
    assert set(report["subsets"]) == {"rate 0", "rate 1"}
    assert report["num_truncated"] == 0
    assert report["config"]["max_pairs"] == 5
    lines = [json.loads(line) for line in (output / "scores.jsonl").read_text().splitlines()]
    assert [(line["item_id"], line["index"]) for line in lines] == [
        (pair.pair_id, index) for pair in pairs[:5] for index in (0, 1)
    ]
    wins = [a["reward"] > b["reward"] for a, b in zip(lines[::2], lines[1::2], strict=True)]
    assert report["accuracy"] == pytest.approx(sum(wins) / 5)
    names = {"accuracy.png", "report.json", "scores.jsonl"}
    assert {path.name for path in output.iterdir()} == names
    assert out.splitlines()[-1].startswith(f"accuracy {report['accuracy']:.1%} on 5 pairs")


def test_best_of_n(tmp_path, plain_reward_model, evaluate):
    problems = [
        Problem(str(i), "a", tuple(Candidate("b " * j, j == i) for j in range(1, 5)))
        for i in range(1, 4)
    ]
    path = tmp_path / "candidates.jsonl"
    path.write_text("".join(problem.to_json() + "\n" for problem in problems))
    output = tmp_path / "out"
    status, out, _ = evaluate(
        *("best-of-n", "--model", plain_reward_model, "--input", path),
        *("--output", output, "--scorer.device", "cpu"),
    )
    assert status == 0
    report = json.loads((output / "report.json").read_text())
    assert [row["n"] for row in report["rows"]] == [1, 2, 4]
    assert len((output / "scores.jsonl").read_text().splitlines()) == 12
    assert (output / "best_of_n.png").is_file()
    assert "at N = 4 over 3 problems, random pick 25.0%" in out.splitlines()[-1]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["acuracy"], "did you mean accuracy?"),
        (["best-of-n", "--input", "nowhere.jsonl"], "must be a file of candidates"),
        (["accuracy", "--input", "nowhere"], "manifest.json: no such file"),
    ],
)
def test_user_errors_are_one_line(evaluate, argv, message):
    status, _, err = evaluate(*argv)
    assert status == 2
    assert message in err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
