import json

import numpy as np
import pytest

from codepmp_jax.errors import UserError
from codepmp_jax.evaluation.best_of_n import best_of_n_report, best_of_n_table
from codepmp_jax.records import Candidate, Problem, Score


def problem(problem_id, correct):
    return Problem(problem_id, "prompt", tuple(Candidate("text", value) for value in correct))


def scores(problem_id, rewards):
    return [Score(problem_id, index, reward, 5) for index, reward in enumerate(rewards)]


def author_among_rewrites(num_problems=40, num_candidates=16, lead=1.0):
    generator = np.random.default_rng(0)
    problems, scored = [], []
    for number in range(num_problems):
        correct = np.arange(num_candidates) == generator.integers(num_candidates)
        problems.append(problem(str(number), correct.tolist()))
        scored += scores(str(number), (generator.normal(size=num_candidates) + lead * correct))
    return problems, scored


def test_author_among_rewrites():
    report = best_of_n_report(*author_among_rewrites())
    rows = report["rows"]
    assert (report["num_problems"], report["num_candidates"]) == (40, 16)
    assert [row["n"] for row in rows] == [1, 2, 4, 8, 16]
    for row in rows:
        # One correct candidate: the selection accuracy is Best-of-N over the oracle.
        assert row["oracle"] == pytest.approx(row["n"] / 16)
        assert row["random"] == pytest.approx(1 / 16)
        assert row["selection_random"] == pytest.approx(1 / row["n"])
        assert row["selection_accuracy"] == pytest.approx(row["best_of_n"] * 16 / row["n"])
        low, high = row["selection_accuracy_interval"]
        assert low <= row["selection_accuracy"] <= high
    # With one correct candidate, N = 2 is the pairwise accuracy of the author against each rewrite.
    problems, scored = author_among_rewrites()
    rewards = np.array([score.reward for score in scored]).reshape(40, 16)
    correct = np.array([[c.is_correct for c in p.candidates] for p in problems])
    wins = (rewards[correct][:, None] > rewards[~correct].reshape(40, 15)).mean()
    assert rows[1]["selection_accuracy"] == pytest.approx(wins)
    assert json.loads(json.dumps(report)) == report


def test_problems_of_several_or_no_correct_candidates():
    problems = [problem("a", [True, True, False]), problem("b", [False] * 4)]
    report = best_of_n_report(problems, scores("a", [1.0, 0.0, 2.0]) + scores("b", [0.0] * 4))
    assert report["num_candidates"] == 3
    assert [row["n"] for row in report["rows"]] == [1, 2]
    one, two = report["rows"]
    assert one["best_of_n"] == pytest.approx((2 / 3) / 2)
    # Of a's three pairs, only the two correct ones' has a correct top; one is there in all of them.
    assert two["best_of_n"] == pytest.approx((1 / 3) / 2)
    assert two["oracle"] == pytest.approx(1 / 2)
    assert two["selection_accuracy"] == pytest.approx(1 / 3)


def test_candidates_nobody_judged_are_refused():
    with pytest.raises(UserError, match="problem a: is_correct"):
        best_of_n_report([problem("a", [True, None])], scores("a", [0.0, 1.0]))


def test_problems_without_candidates_are_refused():
    with pytest.raises(UserError, match="problem a: is_correct"):
        best_of_n_report([problem("a", [])], [])
    with pytest.raises(UserError, match="must be at least one"):
        best_of_n_report([], [])


def test_only_wrong_candidates_are_refused():
    with pytest.raises(UserError, match="must hold a correct candidate"):
        best_of_n_report([problem("a", [False, False])], scores("a", [0.0, 1.0]))


def test_missing_score_names_the_problem():
    with pytest.raises(UserError, match="a: text 1 has no score"):
        best_of_n_report([problem("a", [True, False])], scores("a", [0.0]))


def test_table_has_a_line_for_each_n():
    lines = best_of_n_table(best_of_n_report(*author_among_rewrites())).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["1", "2", "4", "8", "16"]
