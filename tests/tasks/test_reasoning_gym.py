"""reasoning-gym: puzzles with right and wrong answers, and their judge."""

import collections
import itertools
from typing import Any

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import ProblemsConfig, PuzzlesConfig
from codepmp_jax.records.schema import Problem
from codepmp_jax.tasks.reasoning_gym import (
    OTHER_VERSION,
    PuzzleJudge,
    answer_text,
    make_problems,
    make_puzzle,
)


def puzzles(skipped: Any = None, **settings: Any) -> list[Problem]:
    config = ProblemsConfig(puzzles=PuzzlesConfig(**{"num_problems": 6, **settings}))
    counts = collections.Counter() if skipped is None else skipped
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


def test_worked_solutions_stand_among_copies_with_a_slip():
    skipped = collections.Counter()
    found = puzzles(skipped, datasets=("gsm_symbolic",), num_problems=40, answers="worked")
    assert skipped.total() < 8
    for problem in found:
        puzzle = make_puzzle(*(problem.reference[name] for name in PuzzleJudge.reference))
        (right,) = (one.response for one in problem.candidates if one.is_correct)
        assert right == puzzle.solution
        for candidate in problem.candidates:
            judged = PuzzleJudge().judge(problem.prompt, problem.reference, candidate.response, 1.0)
            assert judged.is_correct == candidate.is_correct
            assert len(candidate.response.splitlines()) == len(right.splitlines())


def test_premises_that_contradict_each_other_are_skipped_and_counted():
    skipped = collections.Counter()
    found = puzzles(skipped, datasets=("propositional_logic",), num_problems=40)
    assert len(found) == 40
    assert skipped.total() > 0
    last = found[-1].reference["index"]
    assert last == 39 + skipped.total()
    assert puzzles(datasets=("propositional_logic",), num_problems=40) == found


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"datasets": ("no_such",)}, "reasoning-gym makes no 'no_such'"),
        (
            {"datasets": ("syllogism",), "num_candidates": 9},
            "puzzles.num_candidates = 9: is more than most puzzles of syllogism",
        ),
        (
            {"datasets": ("chain_sum",), "answers": "worked"},
            "puzzles.answers = 'worked': needs worked solutions, and chain_sum writes none",
        ),
    ],
)
def test_mistakes(settings, message):
    with pytest.raises(UserError, match=message):
        puzzles(**settings)


# --- judging --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("I add.\n<answer> 12 </answer> done", "12"),
        (r"so \boxed{12}", "12"),
        ("#### 12\nbye", "12"),
        ("The answer is 12.", "12"),
        (
            "Final answer: **Amy is a knight, and Bob is a knave.**",
            "Amy is a knight, and Bob is a knave",
        ),
        ("The answer is: (P ∧ Q)", "(P ∧ Q)"),
        ("first\n\n-4\n", "-4"),
        ("-4", "-4"),
        ("  \n", None),
        ("", None),
        ("<think>the answer is 6</think>The answer is 7.", "7"),
    ],
)
def test_the_answer_of_a_response(response, answer):
    assert answer_text(response) == answer


def reference(generator, index=0):
    return {"generator": generator, "seed": 3, "size": 5, "index": index}


@pytest.mark.parametrize(
    "generator",
    ["chain_sum", "basic_arithmetic", "gsm_symbolic", "knights_knaves", "propositional_logic"],
)
def test_the_generators_own_answer_is_correct_and_another_is_not(generator):
    puzzle = make_puzzle(generator, 3, 5, 0)

    def judge(response: str):
        return PuzzleJudge().judge(puzzle.question, reference(generator), response, 1.0)

    found = judge(f"So:\nThe answer is {puzzle.answer}.")
    assert found.verdict == "correct"
    assert found.answer == puzzle.answer.rstrip(".").lower()
    assert judge("The answer is 98765.").verdict == "wrong answer"
    assert judge(" ").verdict == "no answer"


def test_a_puzzle_of_another_version_has_its_own_verdict():
    other = make_puzzle("chain_sum", 3, 5, 1)
    response = f"The answer is {other.answer}"
    found = PuzzleJudge().judge(other.question, reference("chain_sum", 0), response, 1.0)
    assert found == (False, None, OTHER_VERSION)


def test_an_answer_that_the_scorer_cannot_read_is_wrong():
    assert not make_puzzle("prime_factorization", 3, 5, 1).is_solved_by("zzz")
