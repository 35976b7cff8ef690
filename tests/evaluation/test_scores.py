import json

import pytest

from codepmp_jax.errors import UserError
from codepmp_jax.evaluation.scores import by_item, write_scores
from codepmp_jax.records import Score

SCORES = [Score("a", 0, 0.5, 7), Score("a", 1, -1.25, 9)]


def test_a_line_a_score_in_order_and_nothing_else_in_the_folder(tmp_path):
    write_scores(tmp_path / "scores.jsonl", SCORES)
    lines = (tmp_path / "scores.jsonl").read_text().splitlines()
    assert [Score(**json.loads(line)) for line in lines] == SCORES
    assert [path.name for path in tmp_path.iterdir()] == ["scores.jsonl"]


def test_a_cut_off_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "scores.jsonl"
    write_scores(path, SCORES)
    before = path.read_bytes()

    def scores():
        yield SCORES[1]
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_scores(path, scores())
    assert path.read_bytes() == before


def test_look_up_by_item():
    found = by_item(SCORES)
    assert found("a", 1) == SCORES[1]
    with pytest.raises(UserError, match="b: text 0 has no score"):
        found("b", 0)
