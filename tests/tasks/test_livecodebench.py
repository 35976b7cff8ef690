"""LiveCodeBench: packed tests, programs that read and write, methods."""

from __future__ import annotations

import base64
import json
import os
import pickle
import zlib

import pytest

from codepmp_jax.evaluation.judges.pool import JudgePool
from codepmp_jax.tasks.common.row import Row
from codepmp_jax.tasks.judges.cases import is_same_output
from codepmp_jax.tasks.livecodebench import TASK, contest_date, unpacked
from tests.tasks.conftest import problem_of


def pack(value) -> str:
    """As the authors pack private tests."""
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


def json_of(kind: str, cases) -> str:
    return json.dumps([{"input": i, "output": o, "testtype": kind} for i, o in cases])


SUM = {
    "question_title": "Sum",
    "question_content": "Print the sum of the numbers.",
    "platform": "atcoder",
    "question_id": "abc301_a",
    "contest_id": "abc301",
    "contest_date": "2024-08-03T00:00:00",
    "starter_code": "",
    "difficulty": "easy",
    "public_test_cases": json_of("stdin", [("1 2\n3\n", "6\n")]),
    "private_test_cases": pack(json_of("stdin", [("", "0\n"), ("0.5 0.5", "1.00")])),
    "metadata": "{}",
}
PAIRS = SUM | {
    "question_id": "2757",
    "platform": "leetcode",
    "starter_code": "class Solution:\n    def pairs(self, nums: List[int], k: int) -> List[int]:\n        ",
    "public_test_cases": json_of("functional", [("[1, 2, 3]\n2", "[1, 2]")]),
    "private_test_cases": json_of("functional", [("[]\n1", "[]"), ("[4]\n5", "[4]")]),
    "metadata": json.dumps({"func_name": "pairs"}),
}
PRINTS = "print(sum(map(float, open(0).read().split())))"
READS = {
    "input": "n = 0\ntry:\n    while True:\n        for x in input().split(): n += float(x)\nexcept EOFError:\n    print(int(n))",
    "stdin": "import sys\nprint(sum(float(x) for line in sys.stdin for x in line.split()))",
    "buffer": "import sys\nprint(sum(map(float, sys.stdin.buffer.read().split())))",
    "descriptor": "import os\ndata = os.read(0, 999)\nos.write(1, str(sum(map(float, data.split()))).encode())",
    "open": PRINTS,
    "main": "def main():\n    print(sum(map(float, sys.stdin.read().split())))\nif __name__ == '__main__':\n    main()\n    sys.exit(0)",
    "thread": "import threading, time\ndef go():\n    time.sleep(0.05)\n    "
    + PRINTS
    + "\nthreading.Thread(target=go).start()",
    "the authors' imports": "print(float(reduce(operator.add, map(float, stdin.read().split()), 0)))",
}
WRONG = {
    "other number": ("print(7)", "wrong answer"),
    "one line more": (PRINTS + "\nprint(1)", "wrong answer"),
    "nothing": ("pass", "wrong answer"),
    "raises": ("print(int(input()))", "raised ValueError"),
    "leaves": ("import os\nos._exit(0)", "exited before the tests ended"),
    "shell": ("import os\nos.system('true')", "raised PermissionError"),
    "no Python": ("print(", "not parsable"),
}


@pytest.mark.parametrize("name", READS)
def test_programs_may_read_and_write_as_they_like(judges, name):
    problem = problem_of("livecodebench", SUM)
    code = f"Like this:\n```python\n{READS[name]}\n```"
    assert judges.submit(problem, code).result().verdict == "correct"


@pytest.mark.parametrize("name", WRONG)
def test_programs_that_write_something_else(judges, name):
    code, verdict = WRONG[name]
    assert judges.submit(problem_of("livecodebench", SUM), code).result().verdict == verdict


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (
            "class Solution:\n    def pairs(self, nums: List[int], k: int):\n        return nums[:k]",
            "correct",
        ),
        (
            "class Solution:\n    def pairs(self, nums, k):\n        return tuple(nums[:k])",
            "correct",
        ),
        ("def pairs(nums, k):\n    return nums[:k]", "correct"),
        ("class Solution:\n    def pairs(self, nums, k):\n        return nums", "wrong answer"),
        ("class Solution:\n    def other(self): pass", "raised AttributeError"),
        ("def other(): pass", "raised NameError"),
        (
            "class A(list):\n    __eq__ = lambda *a: True\n    __ne__ = lambda *a: False\n"
            "class Solution:\n    def pairs(self, nums, k):\n        return A()",
            "result of no plain type",
        ),
    ],
)
def test_methods(judges, code, verdict):
    assert judges.submit(problem_of("livecodebench", PAIRS), code).result().verdict == verdict


def test_every_case_has_the_limit_of_time():
    """Three cases that together take longer pass; one that never ends is timed out after its own."""
    sleeps = "import time\ntime.sleep(1.2)\n" + PRINTS
    with JudgePool(["livecodebench"], 1, timeout=3.0, memory=1 << 30) as judges:
        problem = problem_of("livecodebench", SUM)
        assert judges.submit(problem, sleeps).result().verdict == "correct"
        assert judges.submit(problem, "while True: pass").result().verdict == "timed out"


def test_outputs_are_compared_by_lines_and_decimals():
    assert is_same_output(" 1 2 \r\n3\n\n", "1 2\n3")
    assert is_same_output("1.0 2", "1 2.00")
    assert not is_same_output("1 2 3", "1 2\n3")
    assert not is_same_output("50000000000000000", "50000000000000001")
    assert not is_same_output("YES", "Yes")


def test_the_day_of_the_contest():
    assert contest_date(Row(SUM)).isoformat() == "2024-08-03"
    with pytest.raises(ValueError, match="contest_date is no date but 'soon'"):
        contest_date(Row({"contest_date": "soon"}))


class Attack:
    """Makes a folder where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("attacked",)


def test_a_pickle_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"cannot be unpacked: \w+\.mkdir is no text"):
        unpacked(pack(Attack()))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (SUM | {"private_test_cases": pack([1])}, "holds no text but a list"),
        (SUM | {"private_test_cases": "@@"}, "private_test_cases cannot be unpacked"),
        (SUM | {"private_test_cases": pack("[]")[:-12]}, "private_test_cases cannot be unpacked"),
        (SUM | {"private_test_cases": pack("{")}, "private_test_cases holds no JSON"),
        (SUM | {"public_test_cases": "[]", "private_test_cases": "[]"}, "are empty"),
        (SUM | {"metadata": "[]"}, "metadata is no JSON object"),
        (SUM | {"metadata": '{"func_name": "f"}'}, "starter_code lacks f"),
        (PAIRS | {"metadata": "{}"}, "has a test that is not stdin"),
        (PAIRS | {"public_test_cases": json_of("functional", [("[", "1")])}, "holds no JSON"),
        (
            SUM | {"public_test_cases": '[{"testtype": "stdin", "input": "1"}]'},
            "without input or output",
        ),
    ],
)
def test_rows_of_no_use(row, message):
    with pytest.raises(ValueError, match=message):
        problem_of("livecodebench", row)


def test_cases_that_are_none():
    with pytest.raises(ValueError, match="cases must be a list of pairs of texts"):
        TASK.judge.check_reference({"cases": [["1"]], "method": "", "starter": ""})
