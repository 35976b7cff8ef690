"""BigCodeBench: test cases of unittest, which look into what a program returns, and libraries that may be missing."""

from __future__ import annotations

import pytest

from codepmp_jax.tasks.common.row import LeftOut
from tests.tasks.conftest import problem_of

ROW = {
    "task_id": "BigCodeBench/900",
    "complete_prompt": "import random\nimport argparse\nN = 3\ndef task_func(seed):\n    '''Draws.'''\n",
    "instruct_prompt": "Draw N random numbers.\nYou should write self-contained code starting with:\n```\nimport random\n```",
    "canonical_solution": "    values = [random.random() for _ in range(N)]\n"
    "    return values, argparse.Namespace(title='Values')\n",
    "code_prompt": "import random\nimport argparse\nN = 3\ndef task_func(seed):\n",
    "test": """\
import unittest
from unittest.mock import patch
class TestCases(unittest.TestCase):
    def setUp(self):
        self.size = N
    @patch('random.random', return_value=0.25)
    def test_case_1(self, mocked):
        values, found = task_func(1)
        self.assertEqual(values, [0.25] * self.size)
        self.assertIsInstance(found, argparse.Namespace)
        self.assertEqual(found.title, 'Values')
    def test_case_2(self):
        with self.subTest('types'):
            self.assertIsInstance(task_func(1)[0][0], float)
""",
    "entry_point": "task_func",
    "doc_struct": "{}",
    "libs": "['argparse', 'random']",
}
SOLUTION = ROW["code_prompt"] + ROW["canonical_solution"]


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (SOLUTION, "correct"),
        # Imports and constants of the prompt are there.
        (SOLUTION.partition("N = 3\n")[2], "correct"),
        (SOLUTION.replace("'Values'", "'Other'"), "wrong answer"),
        (
            SOLUTION.replace(
                "return values, argparse.Namespace(title='Values')", "return [1] * N, None"
            ),
            "wrong answer",
        ),
        (
            SOLUTION.replace(
                "return values, argparse.Namespace(title='Values')", "return [1, 1, 1, 1], None"
            ),
            "wrong answer",
        ),
        (
            SOLUTION.replace("return values, argparse.Namespace(title='Values')", "return {}['a']"),
            "raised KeyError",
        ),
        (
            "import builtins\nbuiltins.isinstance = lambda *a: True\n" + SOLUTION,
            "tampered with the tests",
        ),
        ("def other(): pass", "raised TypeError"),
    ],
)
def test_programs(judges, code, verdict):
    problem = problem_of("bigcodebench", ROW)
    assert judges.submit(problem, f"```python\n{code}\n```").result().verdict == verdict


def test_tests_may_look_into_figures(judges):
    """Which hold themselves, and change what their library keeps."""
    start = "import matplotlib.pyplot as plt\ndef task_func():\n"
    test = (
        "import unittest\nimport matplotlib\nimport matplotlib.pyplot as plt\nmatplotlib.use('agg')\n"
        "class TestCases(unittest.TestCase):\n    def test_case(self):\n"
        "        self.assertEqual(task_func().figure.axes[0].get_title(), 'A')\n"
    )
    row = ROW | {"code_prompt": start, "test": test, "libs": "['matplotlib']"}
    problem = problem_of("bigcodebench", row)
    code = start + "    axes = plt.subplots()[1]\n    axes.set_title('A')\n    return axes\n"
    assert judges.submit(problem, code).result().verdict == "correct"


def test_a_problem_whose_library_is_missing_is_left_out():
    with pytest.raises(LeftOut, match="need no_such_library, which is not installed"):
        problem_of("bigcodebench", ROW | {"libs": "['no_such_library.part', 'random']"})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"libs": "pandas, random"}, "libs is no list of names but 'pandas, random'"),
        ({"test": "import unittest"}, "test defines no TestCases"),
        ({"test": "class TestCases(:"}, "test is not Python"),
        ({"code_prompt": "def task_func("}, "code_prompt is not Python"),
        ({"instruct_prompt": ""}, "lacks instruct_prompt"),
    ],
)
def test_rows_of_no_use(values, message):
    with pytest.raises(ValueError, match=message):
        problem_of("bigcodebench", ROW | values)
