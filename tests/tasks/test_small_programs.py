"""Generated programs: descriptions, tests and candidates agree, and two seeds' problems are told apart."""

from __future__ import annotations

import collections

from codepmp_jax.config import ProblemsConfig, PuzzlesConfig
from codepmp_jax.tasks.judges.judge import CORRECT, WRONG
from codepmp_jax.tasks.small_programs import TASK, make_problems


def problems(number: int, seed: int = 0, **settings):
    puzzles = PuzzlesConfig(num_problems=number, seed=seed, **settings)
    config = ProblemsConfig(task="small_programs", puzzles=puzzles)
    return list(make_problems(config, collections.Counter()))


def passes(code: str, tests: list[str]) -> bool:
    scope: dict = {}
    try:
        exec(code, scope)
        exec("\n".join(tests), scope)
    except Exception:
        return False
    return True


def test_the_tests_tell_the_right_program_from_the_wrong_ones():
    for problem in problems(60):
        assert passes(problem.reference["solution"], problem.reference["tests"])
        right = [one for one in problem.candidates if one.is_correct]
        assert [one.response for one in right] == [problem.reference["solution"]]
        assert len({one.response for one in problem.candidates}) == 4
        for one in problem.candidates:
            assert passes(one.response, problem.reference["tests"]) == one.is_correct
            assert one.verdict == (CORRECT if one.is_correct else WRONG)
            head = problem.reference["solution"].splitlines()[0]
            assert one.response.splitlines()[0] == head


def test_a_seed_gives_the_same_problems_and_even_and_odd_ones_share_none():
    first, again, other = (problems(100, seed, num_candidates=0) for seed in (0, 0, 1))
    assert first == again
    prompts = {problem.prompt for problem in first}
    assert len(prompts) == 100
    assert prompts.isdisjoint(problem.prompt for problem in other)
    assert prompts & {problem.prompt for problem in problems(100, 2, num_candidates=0)}


def test_no_candidates_where_none_are_wanted():
    assert {problem.candidates for problem in problems(20, num_candidates=0)} == {()}


def test_the_judge_runs_the_tests(judges):
    problem = problems(1)[0]
    TASK.judge.check_reference(problem.reference)
    found = [
        judges.submit(problem, f"```python\n{one.response}\n```").result()
        for one in problem.candidates
    ]
    assert [one.is_correct for one in found] == [one.is_correct for one in problem.candidates]
