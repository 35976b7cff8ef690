"""MBPP (arXiv 2108.07732): a function in a sentence; assertions judge it."""

from __future__ import annotations

from codepmp_jax.evaluation.tasks.benchmark import Benchmark, Row
from codepmp_jax.records.schema import Problem


def make_problem(row: Row, number: int) -> Problem:
    """Columns: task_id, text or prompt, code, test_list, and test_setup_code or test_imports.

    The prompt shows the tests, as the authors' does: they alone say what the function is called.
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


BENCHMARK = Benchmark(
    "mbpp",
    judge="programs",
    reference=("tests", "setup", "solution"),
    make_problem=make_problem,
    hub="google-research-datasets/mbpp",
    configurations=("sanitized",),
)
