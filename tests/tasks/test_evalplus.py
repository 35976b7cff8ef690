"""HumanEval+ and MBPP+, with tests in Python and as EvalPlus' own files, judged as EvalPlus judges."""

from __future__ import annotations

import pytest

from tests.tasks.conftest import problem_of

MEAN = {
    "task_id": "HumanEval/900",
    "prompt": 'def mean(xs: list) -> float:\n    """The mean."""\n',
    "contract": "\n    assert xs\n",
    "canonical_solution": "\n    return sum(xs) / len(xs)\n",
    "entry_point": "mean",
    "base_input": [[[1.0, 2.0]], [[3]]],
    "plus_input": [[[0.1, 0.2, 0.3]], [[1e300, 1e300]]],
    "atol": 0,
}
# As EvalPlus converts them for the hub.
HUB = {name: MEAN[name] for name in ("task_id", "prompt", "canonical_solution", "entry_point")} | {
    "test": "\n\nimport numpy as np\n\ndef is_floats(x) -> bool:\n    return isinstance(x, float)\n\n"
    "def assertion(out, exp, atol):\n    exact_match = out == exp\n    if atol == 0 and is_floats(exp):\n        atol = 1e-6\n"
    "    if not exact_match and atol != 0:\n        np.testing.assert_allclose(out, exp, atol=atol)\n"
    "    else:\n        assert exact_match\n\ndef check(candidate):\n    inputs = [[[1.0, 2.0]], [[3]]]\n"
    "    results = [1.5, 3.0]\n    for i, (inp, exp) in enumerate(zip(inputs, results)):\n        assertion(candidate(*inp), exp, 0)\n"
}
SHARED = {
    "task_id": "Mbpp/2",
    "prompt": '"""\nWrite a function to find the shared elements.\nassert set(similar_elements((3, 4),(4, 5))) == {4}\n"""\n',
    "entry_point": "similar_elements",
    "canonical_solution": "\ndef similar_elements(a, b):\n  return tuple(set(a) & set(b))\n",
    "base_input": [[[3, 4], [4, 5]]],
    "plus_input": [[[], []], [[1, 2, 3], [3, 2]]],
    "contract": "",
    "atol": 0,
    "assertion": "assert ...",
}
HUB_SHARED = {
    "task_id": 2,
    "code": "def similar_elements(a, b):\n  return tuple(set(a) & set(b))\n",
    "prompt": "Write a function to find the shared elements.",
    "source_file": "x.ipynb",
    "test_imports": [],
    "test_list": ["assert set(similar_elements((3, 4),(4, 5))) == set((4,))"],
    "test": "import numpy as np\ninputs = [[(3, 4), (4, 5)]]\nresults = [(4,)]\n"
    "for i, (inp, exp) in enumerate(zip(inputs, results)):\n    assert set({name}(*inp)) == set(exp)\n",
}
FORMS = {
    "hub": ("humaneval_plus", HUB, "def mean(xs):\n    return sum(xs) / len(xs)"),
    "own": ("humaneval_plus", MEAN, "def mean(xs):\n    return sum(xs) / len(xs)"),
    "own, sloppy": (
        "humaneval_plus",
        MEAN,
        "def mean(xs):\n    return sum(x / len(xs) for x in xs)",
    ),
    "own, sets": (
        "mbpp_plus",
        SHARED,
        "def similar_elements(a, b):\n    assert type(a) is tuple\n    return [x for x in a if x in b]",
    ),
    "hub, by name": (
        "mbpp_plus",
        HUB_SHARED | {"test": HUB_SHARED["test"].format(name="similar_elements")},
        "def similar_elements(a, b):\n    return sorted(set(a) & set(b))",
    ),
    "hub, candidate": (
        "mbpp_plus",
        HUB_SHARED | {"test": HUB_SHARED["test"].format(name="candidate")},
        "def similar_elements(a, b):\n    return sorted(set(a) & set(b))",
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_programs_pass_in_every_form(judges, form):
    task, row, code = FORMS[form]
    problem = problem_of(task, row)
    assert problem.task == task
    assert problem.reference["solution"]
    assert judges.submit(problem, code).result().verdict == "correct"
    assert judges.submit(problem, problem.reference["solution"]).result().verdict == "correct"


def own(name: str, solution: str, inputs, atol=0, task="mbpp_plus", number=900):
    """A problem of EvalPlus' own file."""
    row = {
        "task_id": f"Mbpp/{number}",
        "prompt": f'"""\nWrite it.\n"""\ndef {name}(*a):\n    """Do."""\n'
        if task != "mbpp_plus"
        else '"""\nWrite it.\n"""\n',
        "entry_point": name,
        "canonical_solution": solution,
        "base_input": inputs,
        "plus_input": [],
        "atol": atol,
    }
    return problem_of(task, row)


JUDGED = [
    # (name, solution, inputs, atol, program, whether EvalPlus accepts it)
    ("f", "def f(x): return x", [[0.1]], 0, "def f(x): return x + 1e-9", True),
    ("f", "def f(x): return x", [[0.1]], 0, "def f(x): return x + 1e-3", False),
    ("f", "def f(x): return x", [[0.1]], 0.01, "def f(x): return x + 1e-3", True),
    ("f", "def f(x): return [x, x]", [[0.5]], 0, "def f(x): return (x, x)", False),
    ("f", "def f(x): return [x, x]", [[0.5]], 0, "def f(x): return [x]", False),
    ("f", "def f(x): return [x, x]", [[0.5]], 0, "def f(x): return [x, x + 1e-8]", True),
    ("f", "def f(x): return float('inf')", [[1]], 0, "def f(x): return 1e308", False),
    ("f", "def f(x): return float('inf')", [[1]], 0, "def f(x): return 1e999", True),
    ("f", "def f(x): return 1", [[1]], 0, "def f(x): return 1.0", True),
    ("f", "def f(x): x.append(1); return x", [[[0]]], 0, "def f(x): return x + [1]", True),
    (
        "are_equivalent",
        "def are_equivalent(a, b): return True",
        [[1, 2]],
        0,
        "def are_equivalent(a, b): return 3",
        True,
    ),
    ("sum_div", "def sum_div(n): return 7", [[8]], 0, "def sum_div(n): return 0", True),
    ("sum_div", "def sum_div(n): return 7", [[8]], 0, "def sum_div(n): return 1", False),
    (
        "check_str",
        "def check_str(s): return 'm'",
        [["a"]],
        0,
        "def check_str(s): return True",
        True,
    ),
    (
        "check_str",
        "def check_str(s): return None",
        [["a"]],
        0,
        "def check_str(s): return False",
        True,
    ),
    (
        "check_str",
        "def check_str(s): return None",
        [["a"]],
        0,
        "def check_str(s): return 'x'",
        False,
    ),
    (
        "Diff",
        "def Diff(a, b): return [1, 2]",
        [[[], []]],
        0,
        "def Diff(a, b): return (2, 1, 1)",
        True,
    ),
    (
        "surface_Area",
        "def surface_Area(b, s): return 33",
        [[3, 4]],
        0,
        "def surface_Area(b, s): return 35",
        True,
    ),
    (
        "surface_Area",
        "def surface_Area(b, s): return 33",
        [[3, 4]],
        0,
        "def surface_Area(b, s): return 34",
        False,
    ),
    (
        "digit_distance_nums",
        "def digit_distance_nums(a, b): return 9",
        [[1, 23]],
        0,
        "def digit_distance_nums(a, b): return 4",
        True,
    ),
    (
        "find_zero",
        "def find_zero(xs): return -0.5",
        [[[1, 2]]],
        1e-4,
        "def find_zero(xs): return -xs[0] / xs[1]",
        True,
    ),
    (
        "find_zero",
        "def find_zero(xs): return -0.5",
        [[[1, 2]]],
        1e-4,
        "def find_zero(xs): return 0.5",
        False,
    ),
]


@pytest.mark.parametrize(("name", "solution", "inputs", "atol", "program", "passes"), JUDGED)
def test_results_are_compared_as_evalplus_does(
    judges, name, solution, inputs, atol, program, passes
):
    """`passes` is what untrusted_check of evalplus 0.3.1 finds for the same, except for roots, none of which it counts."""
    judgement = judges.submit(own(name, solution, inputs, atol), program).result()
    assert judgement.is_correct == passes, judgement


RESTORED = [
    (2, [[1], [2]], "[(1,), (2,)]"),
    (63, [[[1, 2]]], "[[(1, 2)]]"),
    (75, [[[1], [2]], 3], "[[(1,), (2,)], 3]"),
    (106, [[1], [2]], "[[1], (2,)]"),
    (115, [[[1], []]], "[[{1}, {}]]"),
    (124, ["1", "2j"], "[1.0, 2j]"),
    (252, ["1+2j"], "[(1+2j)]"),
    (278, [[1, [2]]], "[(1, (2,))]"),
    (307, [[1], 2, 3], "[(1,), 2, 3]"),
    (401, [[[1]], [[2]]], "[((1,),), ((2,),)]"),
    (580, [[1, [2]]], "((1, (2,)),)"),
    (722, [{"a": [1]}, 2], "[{'a': (1,)}, 2]"),
    (900, [float("inf"), [1]], "[inf, [1]]"),
]


@pytest.mark.parametrize(("number", "given", "expected"), RESTORED)
def test_arguments_are_what_evalplus_makes_of_them(number, given, expected):
    """`expected` is what mbpp_deserialize_inputs of evalplus 0.3.1 gives."""
    problem = own("f", "def f(*a): return a", [given], number=number)
    assert f"    for arguments in [{expected}]:\n" in problem.reference["tests"][0]


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        ("humaneval_plus", MEAN | {"plus_input": "[]"}, "plus_input is no list of lists"),
        ("humaneval_plus", MEAN | {"base_input": [1]}, "base_input is no list of lists"),
        ("humaneval_plus", MEAN | {"atol": "small"}, "atol is no number but 'small'"),
        ("humaneval_plus", MEAN | {"entry_point": "other"}, "prompt does not define other"),
        ("humaneval_plus", HUB | {"test": ""}, "lacks test"),
        (
            "mbpp_plus",
            SHARED | {"plus_input": [[1, 2]]},
            "plus_input has other arguments than similar_elements",
        ),
        ("mbpp_plus", SHARED | {"canonical_solution": ""}, "lacks canonical_solution"),
        ("mbpp_plus", {**HUB_SHARED, "test": None}, "lacks test"),
        ("mbpp_plus", {**HUB_SHARED, "code": "def f(:"}, "code or test_list is not Python"),
    ],
)
def test_rows_of_no_use(task, row, message):
    with pytest.raises(ValueError, match=message):
        problem_of(task, row)
