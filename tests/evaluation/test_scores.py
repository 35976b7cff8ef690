import json

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.evaluation.scores import by_item, meta_path, read_meta, to_line
from codepmp_jax.records.schema import Score
from codepmp_jax.records.scores import read_scores

SCORES = [Score("a", 0, 0.5, 7), Score("a", 1, -1.25, 9), Score("é", 0, 1e-7)]
ROW = {"item_id": "a", "index": 0, "reward": 1.0}


def write(path, lines):
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def test_what_is_written_is_read(tmp_path):
    assert read_scores(write(tmp_path / "scores.jsonl", map(to_line, SCORES))) == SCORES


def test_files_of_others_are_read(tmp_path):
    rows = [
        {"problem_id": 3, "index": 1, "score": 2, "more": [1]},
        {"pair_id": "b", "index": 0, "reward": -1},
    ]
    path = write(tmp_path / "scores.jsonl", [*map(json.dumps, rows), ""])
    assert read_scores(path) == [Score("3", 1, 2.0), Score("b", 0, -1.0)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "Expecting"),
        ("[]", "no object"),
        ("{}", "lacks item_id or problem_id or pair_id"),
        (json.dumps(ROW | {"item_id": True}), "item_id is no string"),
        (json.dumps(ROW | {"index": 1.0}), r"index is no whole number \(1\.0\)"),
        (json.dumps(ROW | {"index": -1}), "index is no whole number"),
        (json.dumps(ROW | {"num_tokens": "9"}), "num_tokens is no whole number"),
        (json.dumps(ROW | {"reward": None}), "lacks reward or score"),
        (json.dumps(ROW | {"reward": "1"}), "reward is no finite number"),
        (json.dumps(ROW | {"reward": True}), "reward is no finite number"),
        (json.dumps(ROW | {"reward": float("nan")}), r"reward is no finite number \(nan\)"),
        (json.dumps(ROW | {"reward": float("-inf")}), "reward is no finite number"),
        (json.dumps(ROW | {"reward": 10**400}), "reward is no finite number"),
        (to_line(SCORES[0]), "text 0 of 'a' has a score already, at line 1"),
    ],
)
def test_bad_lines_are_named(tmp_path, line, message):
    path = write(tmp_path / "scores.jsonl", [to_line(SCORES[0]), line])
    with pytest.raises(UserError, match=rf"scores\.jsonl:2: .*{message}"):
        read_scores(path)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_scores(tmp_path / "scores.jsonl")


def test_facts_lie_beside_the_scores(tmp_path):
    path = tmp_path / "scores.jsonl"
    assert read_meta(path) == {}
    meta_path(path).write_text('{"model": "m"}')
    assert read_meta(path) == {"model": "m"}
    assert meta_path(path).name == "scores.meta.json"
    meta_path(path).write_text("{")
    with pytest.raises(UserError, match=r"scores\.meta\.json: not JSON"):
        read_meta(path)


def test_look_up_by_item():
    found = by_item(SCORES)
    assert found("a", 1) == SCORES[1]
    with pytest.raises(UserError, match="b: text 0 has no score"):
        found("b", 0)
