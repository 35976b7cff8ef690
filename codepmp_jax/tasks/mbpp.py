"""MBPP (arXiv 2108.07732): a function in a sentence; assertions judge it."""

from __future__ import annotations

import ast
from typing import Any

from codepmp_jax.records.schema import Problem
from codepmp_jax.tasks.common.row import Row
from codepmp_jax.tasks.common.task import Passages, Task
from codepmp_jax.tasks.judges.execution import Program
from codepmp_jax.tasks.judges.programs import ProgramJudge

TEMPLATE = """\
{prompt}

Answer with Python code alone, in one code block.
"""


def make_problem(row: Row, number: int) -> Problem:
    """Columns: task_id, text or prompt, code, test_list, and test_setup_code or test_imports.

    The prompt shows the tests, as the authors' does: only they name the function.
    """
    tests = row.texts("test_list")
    setup = row.text("test_setup_code") if row.has("test_setup_code") else ""
    if row.has("test_imports"):
        setup = "\n".join((*row.texts("test_imports"), setup))
    shown = "\n".join(tests)
    return Problem(
        f"mbpp/{row.identifier('task_id')}",
        f"{row.text('text', 'prompt').strip()}\nYour code should pass these tests:\n\n{shown}",
        task="mbpp",
        reference={
            "solution": row.text("code").replace("\r\n", "\n"),
            "setup": setup.replace("\r\n", "\n"),
            "tests": list(tests),
        },
    )


def make_program(prompt: str, reference: dict[str, Any], code: str) -> Program:
    """The code with its tests, which use what the author's solution defines."""
    tests = "\n".join(reference["tests"])
    functions, classes = _used(tests, reference["solution"])
    return Program(reference["setup"], code, tests, functions, classes)


def _used(tests: str, solution: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(functions and values, classes) of the solution that the tests name."""
    used = {node.id for node in ast.walk(ast.parse(tests)) if isinstance(node, ast.Name)}
    defined: dict[str, bool] = {}
    for node in ast.parse(solution).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined[node.name] = isinstance(node, ast.ClassDef)
        elif isinstance(node, ast.Assign):
            defined |= {target.id: False for target in node.targets if isinstance(target, ast.Name)}
    names = sorted(used & defined.keys())
    return (
        tuple(name for name in names if not defined[name]),
        tuple(name for name in names if defined[name]),
    )


def _passages(row: dict[str, Any]) -> list[str]:
    problem = row["text"] if "text" in row else row["prompt"]
    return [problem, row["code"], "\n".join(row.get("test_list") or ())]


TASK = Task(
    template=TEMPLATE,
    judge=ProgramJudge(make_program, reference=("tests", "setup", "solution")),
    make_problem=make_problem,
    passages=(
        Passages("MBPP", columns=("text", "code", "task_id"), id="task_id", texts=_passages),
        Passages("MBPP", columns=("prompt", "code", "task_id"), id="task_id", texts=_passages),
    ),
    hub="google-research-datasets/mbpp",
    configurations=("sanitized",),
)
