"""Puzzles of reasoning-gym."""

import pytest
from codepmp_jax.evaluation.judges.puzzles import answer_text, judge, make_puzzle

from codepmp_jax.evaluation.judges import puzzles


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
    found = judge(
        "reasoning_gym",
        puzzle.question,
        reference(generator),
        f"So:\nThe answer is {puzzle.answer}.",
    )
    assert found.verdict == "correct"
    assert found.answer == puzzle.answer.rstrip(".").lower()
    assert (
        judge(
            "reasoning_gym", puzzle.question, reference(generator), "The answer is 98765."
        ).verdict
        == "wrong answer"
    )
    assert judge("reasoning_gym", puzzle.question, reference(generator), " ").verdict == "no answer"


def test_a_puzzle_that_comes_out_otherwise_is_said_to():
    other = make_puzzle("chain_sum", 3, 5, 1)
    found = judge(
        "reasoning_gym", other.question, reference("chain_sum", 0), f"The answer is {other.answer}"
    )
    assert found == (False, None, puzzles.OTHER_VERSION)


def test_a_scorer_that_trips_over_an_answer_refuses_it():
    assert not make_puzzle("prime_factorization", 3, 5, 1).is_solved_by("zzz")
