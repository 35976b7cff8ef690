"""MBPP: what the tests use of a program, and in which order code runs."""

import pytest

from codepmp_jax.tasks.common.row import Row
from codepmp_jax.tasks.mbpp import TASK, make_problem, make_program

# Rows in the forms of the full and of the sanitized file, whose solutions pass.
ROWS = (
    {
        "text": "Write a function to check if a binary tree is balanced or not.",
        "code": "class Node:\r\n    def __init__(self, data):\r\n        self.data = data\r\n        self.left = None\r\n"
        "def is_leaf(root):\r\n    return root.left is None",
        "task_id": 1,
        "test_setup_code": "root = Node(1)\r\nroot.left = Node(2)",
        "test_list": ["assert is_leaf(root) == False", "assert is_leaf(Node(3)) == True"],
        "challenge_test_list": [],
    },
    {
        "text": "Write a function to find the size of a tuple.",
        "code": "import sys \r\ndef tuple_size(tuple_list):\r\n  return (sys.getsizeof(tuple_list)) ",
        "task_id": 2,
        "test_setup_code": "",
        "test_list": ["assert tuple_size((1, 2)) == sys.getsizeof((1, 2))"],
        "challenge_test_list": [],
    },
    {
        "text": "Write a function to find the longest chain of pairs.",
        "code": "class Pair(object):\n    def __init__(self, a, b):\n        self.a = a\ndef longest(pairs):\n    return len(pairs)\n"
        "LIMIT, OTHER = 3, 4\nfrom math import *\n",
        "task_id": 3,
        "test_setup_code": "",
        "test_list": [
            "assert longest([Pair(5, 24), Pair(15, 25)]) == floor(2.5)",
            "assert LIMIT == 3",
        ],
        "challenge_test_list": [],
    },
    {
        "source_file": "a.ipynb",
        "task_id": 4,
        "prompt": "Write a function named as one of Python's.",
        "code": "def sum(a, b):\n    return a + b",
        "test_imports": [],
        "test_list": ["assert sum(10, 15) == 25"],
    },
    {
        "source_file": "a.ipynb",
        "task_id": 5,
        "prompt": "Write a function to halve.",
        "code": "def half(x):\n    return x / 2 if not math.isnan(x) else x",
        "test_imports": ["import math"],
        "test_list": ["assert math.isclose(half(1), 0.5)"],
    },
    {
        "source_file": "a.ipynb",
        "task_id": 6,
        "prompt": "Write a function to look for a word.",
        "code": "import re\ndef find(text):\n  return re.search('a', text)",
        "test_imports": [],
        "test_list": ["assert find('a')", "assert not find('b')"],
    },
)


def test_the_names_that_the_tests_use_come_from_the_solution():
    reference = {
        "setup": "import math\nNUMBER = Pair.__name__",
        "solution": "class Pair:\n    pass\nLIMIT, X = 3, 4\ndef longest(x):\n    return x\ndef unused(): pass\n",
        "tests": ["assert longest([]) == math.pi", "assert LIMIT == 3"],
    }
    program = make_program("", reference)
    assert program.functions == ("LIMIT", "longest")
    assert program.classes == ("Pair",)
    assert program.tests == "\n".join(reference["tests"])
    assert (program.setup, program.test_setup) == ("import math", reference["setup"])


def test_tests_see_the_modules_that_the_solution_imports():
    reference = {"setup": "", "solution": "import sys, re\nimport json\n", "tests": ["assert sys"]}
    assert make_program("", reference).test_imports == "import sys, re"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["task_id"])
def test_the_authors_solutions_pass(row, judges):
    problem = make_problem(Row(row), 0)
    TASK.judge.check_reference(problem.reference)
    assert judges.submit(problem, row["code"]).result().verdict == "correct"


@pytest.fixture(scope="module")
def judges():
    from codepmp_jax.evaluation.judges.pool import JudgePool

    with JudgePool(["mbpp"], 1, timeout=60.0, memory=1 << 30) as judges:
        yield judges


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({"tests": "assert ("}, "tests is not Python: '\\(' was never closed"),
        ({"setup": 3}, "setup must be a text or a list of texts, and is 3"),
        ({"solution": None}, "solution must be a text"),
    ],
)
def test_a_reference_that_is_no_code(reference, message):
    whole = {"tests": ["assert True"], "setup": "", "solution": "", **reference}
    with pytest.raises(ValueError, match=message):
        TASK.judge.check_reference(whole)
