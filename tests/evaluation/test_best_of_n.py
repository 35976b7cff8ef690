import json

import numpy as np
import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import BestOfNConfig, ResamplingConfig, VotesConfig
from codepmp_jax.evaluation.best_of_n import (
    ESTIMATORS,
    VOTES,
    best_of_n_report,
    best_of_n_table,
    figure_rows,
    remarks,
)
from codepmp_jax.evaluation.statistics import estimators
from codepmp_jax.records.schema import Candidate, Problem, Score


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


def answered(problem_id, answers, subset="", task="gsm8k"):
    """A problem whose right answer is "r"."""
    candidates = tuple(Candidate("text", answer == "r", answer) for answer in answers)
    return Problem(problem_id, "prompt", candidates, task, subset)


def random_problems(sizes=(8, 8, 9, 12), seed=0):
    generator = np.random.default_rng(seed)
    problems, scored = [], []
    for number, size in enumerate(sizes):
        drawn = generator.choice(4, size, p=[0.4, 0.3, 0.2, 0.1])
        answers = [("r", "x", "y", None)[place] for place in drawn]
        problems.append(answered(str(number), answers, f"level {number % 2}"))
        scored += scores(str(number), generator.normal(size=size).tolist())
    return problems, scored


def test_every_estimator_is_the_mean_over_problems():
    problems, scored = random_problems()
    report = best_of_n_report(problems, scored)
    rewards = {}
    for score in scored:
        rewards.setdefault(score.item_id, []).append(score.reward)
    for row in report["rows"]:
        for name in ("best_of_n", "first_n"):
            values = [
                getattr(estimators, name)(
                    np.array(rewards[p.problem_id]),
                    np.array([c.is_correct for c in p.candidates]),
                    row["n"],
                )
                for p in problems
            ]
            assert row[name] == pytest.approx(np.mean(values)), name
        assert row["random"] <= row["oracle"] + 1e-12
        for name in ESTIMATORS:
            low, high = row[f"{name}_interval"]
            assert low - 1e-12 <= row[name] <= high + 1e-12
            assert row[name] <= row["oracle"] + 1e-12 or name in ("first_n", *VOTES)
    assert [row["n"] for row in report["rows"]] == [1, 2, 4, 8]
    assert (report["num_candidates"], report["most_candidates"]) == (8, 12)
    assert any("smallest number of candidates of a problem: 8" in line for line in remarks(report))


def test_subsets_average_to_the_whole():
    report = best_of_n_report(*random_problems())
    parts = report["subsets"].values()
    assert [part["num_problems"] for part in parts] == [2, 2]
    for place, row in enumerate(report["rows"]):
        for name in ESTIMATORS:
            parts_mean = np.mean([part["rows"][place][name] for part in parts])
            assert row[name] == pytest.approx(parts_mean), name
    assert [row[:3] for row in figure_rows(report)] == [
        (subset, num_problems, n)
        for subset, num_problems in (("all", 4), ("level 0", 2), ("level 1", 2))
        for n in (1, 2, 4, 8)
    ]


def test_votes_by_hand():
    problems = [answered("a", ["r", "x", "x", None])]
    # At temperature 1 the two x weigh 2, r weighs e.
    report = best_of_n_report(problems, scores("a", [1.0, 0.0, 0.0, 9.0]))
    one, two, four = report["rows"]
    assert [one["majority_vote"], four["majority_vote"], four["weighted_vote"]] == [0.25, 0, 1]
    # Of six pairs, r ties twice with x, and stands alone once beside the one that has no answer.
    assert two["majority_vote"] == pytest.approx((0.5 + 0.5 + 1) / 6)
    assert two["weighted_vote"] == pytest.approx(3 / 6)
    assert report["num_without_answer"] == 1
    assert all(row["majority_vote_standard_error"] == 0 for row in report["rows"])


def test_random_subsets_state_their_error_and_do_not_depend_on_the_company():
    problems, scored = random_problems(sizes=(20, 20))
    config = BestOfNConfig(votes=VotesConfig(num_draws=50))
    report = best_of_n_report(problems, scored, config)
    errors = [row["weighted_vote_standard_error"] for row in report["rows"]]
    assert errors[0] == 0 < min(errors[1:])
    turned = best_of_n_report(problems[::-1], scored, config)
    assert turned["items_id"] == report["items_id"]
    for ours, theirs in zip(report["rows"], turned["rows"], strict=True):
        for name in ESTIMATORS:
            assert ours[name] == pytest.approx(theirs[name], abs=1e-12)


def test_without_answers_votes_are_null_and_the_report_says_why():
    problems = [problem("a", [True, False]), problem("b", [False, True])]
    scored = scores("a", [0.0, 1.0]) + scores("b", [0.0, 1.0])
    report = best_of_n_report(problems, scored)
    assert report["no_votes_because"] == "no candidate of these problems has an answer"
    for row in report["rows"]:
        assert row["majority_vote"] is row["weighted_vote"] is row["majority_vote_interval"] is None
    assert "Votes do not apply: no candidate of these problems has an answer." in remarks(report)
    mixed = [answered("a", ["r", "x"]), Problem("b", "p", problems[1].candidates, "humaneval")]
    because = best_of_n_report(mixed, scored)["no_votes_because"]
    assert because == "no candidate of humaneval has an answer"


def test_equal_answers_that_are_judged_differently_are_counted():
    candidates = (Candidate("t", True, "4"), Candidate("t", False, "4"), Candidate("t", False, "5"))
    report = best_of_n_report([Problem("a", "p", candidates)], scores("a", [0.0, 0.0, 0.0]))
    assert report["num_contradictions"] == 1
    assert report["rows"][0]["majority_vote"] == pytest.approx((0.5 + 0.5) / 3)
    assert any("judged differently" in line for line in remarks(report))
    assert best_of_n_report(*random_problems())["num_contradictions"] == 0


def test_a_subset_without_a_correct_candidate_has_no_selection_accuracy():
    problems = [answered("a", ["r", "x"], "easy"), answered("b", ["x", "y"], "hard")]
    scored = scores("a", [1.0, 0.0]) + scores("b", [1.0, 0.0])
    report = best_of_n_report(problems, scored)
    (row, *_) = report["subsets"]["hard"]["rows"]
    assert row["best_of_n"] == row["oracle"] == 0
    assert row["selection_accuracy"] is row["selection_accuracy_interval"] is None
    assert json.loads(json.dumps(report)) == report


def test_the_interval_of_a_ratio_resamples_both_sides():
    """A ratio that is the same in every problem has an interval of no width."""
    problems, scored = [], []
    for number in range(1, 6):
        correct = [place < number for place in range(6)]
        problems.append(problem(str(number), correct))
        scored += scores(str(number), [float(value) for value in correct])
    config = BestOfNConfig(resampling=ResamplingConfig(num_resamples=100))
    for row in best_of_n_report(problems, scored, config)["rows"]:
        assert row["selection_accuracy_interval"] == pytest.approx([1, 1])
        assert row["best_of_n_interval"][0] < row["best_of_n_interval"][1] or row["n"] == 6


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [("answer", 4, "must be a string or null"), ("is_correct", "no", "must be true or false")],
)
def test_judgements_of_another_kind_are_refused(field, value, rule):
    strange = problem("a", [True])
    # As a file may hold it; the constructor would refuse it in tests.
    object.__setattr__(strange.candidates[0], field, value)
    with pytest.raises(UserError, match=f"problem a: {field} of candidate 0 = {value!r}: {rule}"):
        best_of_n_report([strange], scores("a", [0.0]))


def test_candidates_nobody_judged_are_refused():
    with pytest.raises(
        UserError, match="problem a: is_correct of candidate 1 = None: must be true"
    ):
        best_of_n_report([problem("a", [True, None])], scores("a", [0.0, 1.0]))


def test_problems_without_candidates_are_refused():
    with pytest.raises(UserError, match="problem a: candidates = 0: must be at least one"):
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
