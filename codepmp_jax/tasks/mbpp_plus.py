"""MBPP+ (arXiv 2305.01210): MBPP with thirty-five times as many tests.

As on the hub, with tests in Python, or as EvalPlus' own file, with inputs. JSON holds these as lists; which of them are
tuples, sets or complex numbers depends on the problem (evalplus/evalplus, data/mbpp.py).
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable
from typing import Any

from codepmp_jax.records.schema import Problem
from codepmp_jax.tasks import mbpp
from codepmp_jax.tasks.common import evalplus
from codepmp_jax.tasks.common.row import Row
from codepmp_jax.tasks.common.task import Task

Arguments = list[Any]


def _tuples(values: list[Any]) -> list[Any]:
    return [tuple(value) for value in values]


def _all_tuples(value: Any) -> Any:
    return tuple(map(_all_tuples, value)) if isinstance(value, list) else value


def _lists_of_tuples(given: Arguments) -> Arguments:
    return [_tuples(value) for value in given]


def _first_is_list_of_tuples(given: Arguments) -> Arguments:
    return [_tuples(given[0]), given[1]]


def _second_is_tuple(given: Arguments) -> Arguments:
    return [given[0], tuple(given[1])]


def _first_is_tuple(given: Arguments) -> Arguments:
    return [tuple(given[0]), *given[1:]]


def _list_of_sets(given: Arguments) -> Arguments:
    # An empty one is a dictionary, as {} is.
    return [[set(value) if isinstance(value, list) and value else {} for value in given[0]]]


def _tuple_of_tuples(given: Arguments) -> Arguments:
    return _tuples(_lists_of_tuples(given))


def _tuple_with_tuples(given: Arguments) -> Arguments:
    return [tuple(tuple(value) if isinstance(value, list) else value for value in given[0])]


def _dictionary_of_tuples(given: Arguments) -> Arguments:
    return [{key: tuple(value) for key, value in given[0].items()}, *given[1:]]


# What restores the arguments -> the problems whose arguments need it.
_RESTORED: tuple[tuple[Callable[[Arguments], Any], str], ...] = (
    (
        _tuples,
        "2 116 132 143 222 261 273 394 399 421 424 429 470 560 579 596 616 630 726 740 744 809",
    ),
    (_lists_of_tuples, "63 64 70 94 120 237 272 299 400 409 417 438 473 614 780"),
    (_first_is_list_of_tuples, "75 413 444 753"),
    (_second_is_tuple, "106 750"),
    (_list_of_sets, "115"),
    (lambda given: [float(given[0]), complex(given[1])], "124"),
    (_first_is_tuple, "250 307 405 446 617 720 763 808"),
    (_tuple_of_tuples, "259 401 445"),
    (lambda given: [complex(given[0])], "252"),
    (_tuple_with_tuples, "278"),
    (_dictionary_of_tuples, "722"),
    (_all_tuples, "580 615 791"),
)
_RESTORE = {number: restore for restore, numbers in _RESTORED for number in numbers.split()}


def make_problem(row: Row, number: int) -> Problem:
    """Columns: those of MBPP and test; or, in EvalPlus' own file, task_id (`Mbpp/2`), prompt (a docstring with an
    assertion), entry_point, canonical_solution, base_input, plus_input, atol."""
    if evalplus.has_inputs(row):
        return _of_inputs(row)
    problem = mbpp.make_problem(row, number)
    test = row.text("test")
    # Of some versions the tests call what they test `candidate`.
    name = _tested(problem.reference["solution"], "\n".join(row.texts("test_list")))
    tests = [f"candidate = {name}", test] if name and "candidate(" in test else [test]
    return _renamed(problem, {"tests": tests})


def _of_inputs(row: Row) -> Problem:
    identifier = row.identifier("task_id").rpartition("/")[2]
    solution, name = row.text("canonical_solution").strip() + "\n", row.text("entry_point")
    restore = _RESTORE.get(identifier, lambda given: given)
    test = evalplus.make_test(row, solution, restore)
    reference = {"solution": solution, "setup": "", "tests": [test, f"check({name})"]}
    prompt = row.text("prompt").strip().strip('"').strip()
    return Problem(f"mbpp_plus/{identifier}", prompt, task="mbpp_plus", reference=reference)


def _renamed(problem: Problem, reference: dict[str, Any]) -> Problem:
    return dataclasses.replace(
        problem,
        problem_id=problem.problem_id.replace("mbpp/", "mbpp_plus/"),
        task="mbpp_plus",
        reference=problem.reference | reference,
    )


def _tested(solution: str, tests: str) -> str | None:
    """The function of the solution that tests call. Raises ValueError where one of them is not Python."""
    try:
        trees = ast.parse(solution), ast.parse(tests)
    except SyntaxError as error:
        raise ValueError(f"code or test_list is not Python: {error}") from error
    names = {node.name for node in trees[0].body if isinstance(node, ast.FunctionDef)}
    called = [
        node.func.id
        for node in ast.walk(trees[1])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    return next((name for name in called if name in names), None)


TASK = Task(
    template=mbpp.TEMPLATE,
    judge=mbpp.TASK.judge,
    make_problem=make_problem,
    passages=(*mbpp.TASK.passages, evalplus.PASSAGES),
    hub="evalplus/mbppplus",
)
