"""Puzzles of reasoning-gym with right and wrong answers."""

import collections
import itertools
from typing import Any

import pytest
from codepmp_jax.evaluation.judges.puzzles import make_puzzle
from codepmp_jax.evaluation.tasks.puzzles import make_problems

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import ProblemsConfig, PuzzlesConfig
from codepmp_jax.records.schema import Problem


def puzzles(passed_over: Any = None, **settings: Any) -> list[Problem]:
    config = ProblemsConfig(puzzles=PuzzlesConfig(**{"num_problems": 6, **settings}))
    counts = collections.Counter() if passed_over is None else passed_over
    return list(make_problems(config, counts))


def test_puzzles_have_one_right_answer_among_different_wrong_ones():
    found = puzzles()
    assert len(found) == 30
    assert {problem.subset for problem in found} == set(PuzzlesConfig().datasets)
    for problem in found:
        reference = problem.reference
        puzzle = make_puzzle(*(reference[name] for name in ("generator", "seed", "size", "index")))
        assert puzzle.question == problem.prompt
        assert len({candidate.response for candidate in problem.candidates}) == 4
        for candidate in problem.candidates:
            answer = candidate.response.removeprefix("The answer is ").removesuffix(".")
            assert puzzle.is_solved_by(answer) == candidate.is_correct
        assert sum(bool(candidate.is_correct) for candidate in problem.candidates) == 1
    places = {[c.is_correct for c in problem.candidates].index(True) for problem in found}
    assert places == {0, 1, 2, 3}


def test_wrong_roles_take_their_articles():
    for problem in puzzles(datasets=("knights_knaves",), num_problems=40):
        for candidate in problem.candidates:
            words = candidate.response.lower().replace(",", "").replace(".", "").split()
            roles = [(a, b) for a, b in itertools.pairwise(words) if a in ("a", "an")]
            assert roles
            assert all((role[0] in "aeiou") == (article == "an") for article, role in roles)


def test_seeds_make_puzzles():
    assert puzzles(num_problems=2) == puzzles(num_problems=2)
    assert puzzles(num_problems=2)[0] != puzzles(num_problems=2, seed=1)[0]
    assert all(problem.candidates == () for problem in puzzles(num_problems=2, num_candidates=0))


def test_premises_that_contradict_each_other_are_passed_over_and_counted():
    passed_over = collections.Counter()
    found = puzzles(passed_over, datasets=("propositional_logic",), num_problems=40)
    assert len(found) == 40
    assert passed_over["propositional_logic"] > 0
    last = found[-1].reference["index"]
    assert last == 39 + passed_over["propositional_logic"]
    assert puzzles(datasets=("propositional_logic",), num_problems=40) == found


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"datasets": ("no_such",)}, "reasoning-gym makes no 'no_such'"),
        (
            {"datasets": ("syllogism",), "num_candidates": 9},
            "puzzles.num_candidates = 9: is more than most puzzles of syllogism",
        ),
    ],
)
def test_mistakes(settings, message):
    with pytest.raises(UserError, match=message):
        puzzles(**settings)
