"""EvalPlus (arXiv 2305.01210): its own files of HumanEval+ and MBPP+, whose tests are inputs for the authors' solution.

A row has `base_input` and `plus_input` (lists of arguments), `canonical_solution`, `entry_point` and `atol`. The tests
made of it call the solution and the program with copies of each input, and compare by the authors' rule
(evalplus/evalplus 0.3.1, eval/__init__.py and eval/_special_oracle.py): results are equal; or, where the expected one holds
floats or `atol` is given, of one type, as long, and close to 1e-7 of it and `atol` (1e-6 at least).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from codepmp_jax.tasks.common.row import Row
from codepmp_jax.tasks.common.task import Passages

_TESTS = """\
import copy
import math
from math import inf, nan


def _is_floats(value):
    if isinstance(value, (list, tuple)):
        return len(value) > 0 and all(isinstance(part, float) for part in value)
    return isinstance(value, float)


def _is_close(found, expected, tolerance):
    if isinstance(expected, (list, tuple)):
        pairs = zip(found, expected)
        return len(found) == len(expected) and all(_is_close(*pair, tolerance) for pair in pairs)
    near = abs(found - expected) <= tolerance + 1e-07 * abs(expected)
    return found == expected or (near and abs(expected) < inf)


def check(candidate):
    authors = {{}}
    exec({solution!r}, authors)
    tolerance = {tolerance!r}
    for arguments in {inputs}:
        expected = authors[{name!r}](*copy.deepcopy(arguments))
        found = candidate(*copy.deepcopy(arguments))
        exact = found == expected
{oracle}\
        if tolerance == 0 and _is_floats(expected):
            tolerance = 1e-6
        if not exact and tolerance != 0:
            assert type(found) is type(expected) and _is_close(found, expected, tolerance)
        else:
            assert exact
"""
# Entry point -> what is right besides, or instead of, what equals the authors' result.
_SETS = [
    "similar_elements",
    "find_char_long",
    "common_in_nested_lists",
    "extract_singly",
    "larg_nnum",
    "intersection_array",
    "find_dissimilar",
    "Diff",
]
_WHETHER = ["check_str", "text_match_three", "text_starta_endb"]
_SAME_SET = ["exact = set(found) == set(expected)"]
_SAME_TRUTH = [
    "expected = expected is not None",
    "exact = (found if isinstance(found, bool) else found is not None) == expected",
]
_ORACLES: dict[str, list[str]] = {
    # Any root will do, of coefficients with the constant first. (EvalPlus 0.3.1 means this, but forgets to count it.)
    "find_zero": [
        "powers = enumerate(arguments[0])",
        "assert abs(sum(part * found**power for power, part in powers)) <= tolerance",
        "continue",
    ],
    "are_equivalent": ["exact = True"],
    "sum_div": ["exact = exact or found == 0"],
    # The height of a pyramid may be that of its apex.
    "surface_Area": [
        "base, height = arguments",
        "slant = math.sqrt((base / 2) ** 2 + height**2)",
        "exact = exact or abs(found - round(base**2 + 2 * base * slant)) <= tolerance",
    ],
    # The shorter number may get zeros before it.
    "digit_distance_nums": [
        "size = max(len(str(part)) for part in arguments)",
        "digits = zip(*(str(part).zfill(size) for part in arguments))",
        "exact = exact or found == sum(abs(int(a) - int(b)) for a, b in digits)",
    ],
    **dict.fromkeys(_SETS, _SAME_SET),
    **dict.fromkeys(_WHETHER, _SAME_TRUTH),
}


def has_inputs(row: Row) -> bool:
    """Whether a row is one of EvalPlus' own files; else it has tests in Python."""
    return row.has("base_input") or row.has("plus_input")


def make_test(
    row: Row, solution: str, restore: Callable[[list[Any]], Any] = lambda given: given
) -> str:
    """The code of a function `check` that asserts what the row asks of a program.

    `solution` is the authors' whole program; `restore` makes the arguments of a call of what JSON could hold of them.
    Raises ValueError where the row is malformed.
    """
    name = row.text("entry_point")
    inputs = []
    for column in ("base_input", "plus_input"):
        found = row.values.get(column) or []
        if not isinstance(found, list) or not all(isinstance(given, list) for given in found):
            raise ValueError(f"{column} is no list of lists of arguments but {found!r:.80}")
        try:
            inputs += [restore(given) for given in found]
        except (TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
            raise ValueError(f"{column} has other arguments than {name} takes: {error}") from error
    tolerance = row.values.get("atol", 0)
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float):
        raise ValueError(f"atol is no number but {tolerance!r:.80}")
    lines = "".join(f"        {line}\n" for line in _ORACLES.get(name, ()))
    return _TESTS.format(
        solution=solution, tolerance=tolerance, inputs=repr(inputs), name=name, oracle=lines
    )


def _passages(row: dict[str, Any]) -> list[str]:
    return [row["prompt"], row["canonical_solution"]]


PASSAGES = Passages(
    "EvalPlus",
    columns=("prompt", "canonical_solution", "plus_input"),
    id="task_id",
    texts=_passages,
)
"""Both of its files have these columns."""
