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
    """Columns: task_id, text or prompt, code, test_list, and test_setup_code or test_imports (perhaps empty).

    The prompt shows the tests, as the authors' does: only they name the function.
    """
    tests = row.texts("test_list")
    setup = row.text("test_setup_code") if row.has("test_setup_code") else ""
    if row.has("test_imports"):
        setup = "\n".join((*row.texts("test_imports", may_be_empty=True), setup))
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


def make_program(prompt: str, reference: dict[str, Any]) -> Program:
    """The tests of a program, in the order of the authors: the set-up's imports, the program, the set-up, the tests.

    Tests see what the author's solution defines, by the program's definition, and the modules that it imports.
    """
    setup, solution = reference["setup"], ast.parse(reference["solution"])
    imports = [node for node in ast.parse(setup).body if isinstance(node, _IMPORT)]
    tests = "\n".join(reference["tests"])
    used = _names(ast.parse(f"{setup}\n{tests}"), ast.Load)
    functions, classes = _used(used, solution)
    return Program(
        "\n".join(map(ast.unparse, imports)),
        tests,
        functions,
        classes,
        test_imports="\n".join(
            ast.unparse(node)
            for node in solution.body
            if isinstance(node, _IMPORT) and _imported(node) & (used | {"*"})
        ),
        test_setup=setup,
    )


_IMPORT = ast.Import | ast.ImportFrom


def _names(tree: ast.AST, context: type[ast.expr_context]) -> set[str]:
    return {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, context)
    }


def _imported(node: ast.Import | ast.ImportFrom) -> set[str]:
    """Names that an import binds."""
    return {alias.asname or alias.name.partition(".")[0] for alias in node.names}


def _used(used: set[str], solution: ast.Module) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(functions and values, classes) of the solution that the tests use."""
    classes = {node.name for node in solution.body if isinstance(node, ast.ClassDef)}
    values = {
        node.name
        for node in solution.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    for node in solution.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            values |= _names(node, ast.Store)
    return tuple(sorted(used & values - classes)), tuple(sorted(used & classes))


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
