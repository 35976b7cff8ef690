"""BigCodeBench (arXiv 2406.15877), Instruct: functions that use libraries, judged by test cases of `unittest`.

Problems with a library that is not installed here are left out, and counted. Tests see a program's values as they are,
figures and tables too, and may patch modules, as in the authors' harness (bigcode-project/bigcodebench 0.2.5,
eval/__init__.py: the imports and the beginning of the prompt stand before the program). Programs that start
processes or connect are refused by the judge, also the authors'.
"""

from __future__ import annotations

import ast
import importlib.util
from typing import Any

from codepmp_jax.records.schema import Problem
from codepmp_jax.tasks.common.row import LeftOut, Row
from codepmp_jax.tasks.common.task import Passages, Task
from codepmp_jax.tasks.judges.execution import Program
from codepmp_jax.tasks.judges.programs import ProgramJudge

TEMPLATE = """\
{prompt}

Answer with the whole function, and the imports that it needs, in one code block.
"""
# The first failure, or error, of the test cases is that of the tests; what is skipped passes.
_RUNNER = """
class _FirstFailure(unittest.TestResult):
    def addFailure(self, test, error):
        raise error[1]
    addError = addFailure
    def addSubTest(self, test, subtest, error):
        if error is not None:
            raise error[1]
    def addUnexpectedSuccess(self, test):
        raise AssertionError(test)

_result = _FirstFailure()
unittest.defaultTestLoader.loadTestsFromTestCase(TestCases).run(_result)
assert _result.testsRun > 0
"""


def make_problem(row: Row, number: int) -> Problem:
    """Columns: task_id, instruct_prompt, code_prompt, canonical_solution, test, entry_point, libs (a list in Python).

    Raises LeftOut where a library is not installed.
    """
    start, test = row.text("code_prompt"), row.text("test")
    for name, code in (("code_prompt", f"{start}\n    pass\n"), ("test", test)):
        try:
            tree = ast.parse(code)
        except (SyntaxError, ValueError) as error:
            raise ValueError(f"{name} is not Python: {error}") from error
    if not any(isinstance(node, ast.ClassDef) and node.name == "TestCases" for node in tree.body):
        raise ValueError("test defines no TestCases")
    for library in _libraries(row):
        if importlib.util.find_spec(library) is None:
            raise LeftOut(f"need {library}, which is not installed")
    return Problem(
        row.identifier("task_id"),
        row.text("instruct_prompt").strip(),
        task="bigcodebench",
        reference={
            "entry_point": row.text("entry_point"),
            "solution": start + row.text("canonical_solution"),
            "setup": f"{start}\n    pass\n",
            "test": test,
        },
    )


def _libraries(row: Row) -> list[str]:
    """Top-level modules that the solution and its tests need."""
    text = row.text("libs")
    try:
        found = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        found = None
    if not isinstance(found, list) or not all(isinstance(name, str) and name for name in found):
        raise ValueError(f"libs is no list of names but {text!r:.80}")
    return sorted({name.partition(".")[0] for name in found})


def make_program(prompt: str, reference: dict[str, Any]) -> Program:
    """The test cases of a program, which runs behind the beginning of the prompt."""
    return Program(
        reference["setup"],
        tests=f"import unittest\n{reference['test']}\n{_RUNNER}",
        functions=(reference["entry_point"],),
        classes=(),
        is_plain=False,
    )


def _passages(row: dict[str, Any]) -> list[str]:
    return [row["instruct_prompt"], row["complete_prompt"] + row["canonical_solution"], row["test"]]


TASK = Task(
    template=TEMPLATE,
    judge=ProgramJudge(make_program, reference=("entry_point", "setup", "test")),
    make_problem=make_problem,
    passages=(
        Passages(
            "BigCodeBench",
            columns=("complete_prompt", "instruct_prompt", "canonical_solution", "test"),
            id="task_id",
            texts=_passages,
        ),
    ),
    hub="bigcode/bigcodebench",
    split="v0.1.4",
)
