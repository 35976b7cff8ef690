"""MATH (arXiv 2103.03874): competition problems with an answer in LaTeX; and its 500 of arXiv 2305.20050."""

from __future__ import annotations

from codepmp_jax.evaluation.judges.answers import last_box
from codepmp_jax.evaluation.tasks.benchmark import Benchmark, Row
from codepmp_jax.records.schema import Problem

_SUBJECTS = (
    *("algebra", "counting_and_probability", "geometry", "intermediate_algebra"),
    *("number_theory", "prealgebra", "precalculus"),
)


def _make(task: str, row: Row, number: int) -> Problem:
    """Columns: problem, level (`Level 5`, or 5), and solution with the answer in a box, or answer."""
    problem = row.text("problem")
    answer = row.text("answer") if row.has("answer") else last_box(row.text("solution"))
    if not answer:
        raise ValueError("solution has no \\boxed{...}, and there is no answer")
    level = row.identifier("level").removeprefix("Level ")
    identifier = row.identifier("unique_id") if row.has("unique_id") else number
    return Problem(
        f"{task}/{identifier}",
        problem,
        task=task,
        subset=f"level {level}",
        reference={"answer": answer},
    )


def make_problem(row: Row, number: int) -> Problem:
    """A problem of the whole test split."""
    return _make("math", row, number)


def make_problem_of_500(row: Row, number: int) -> Problem:
    """A problem of MATH-500, which has unique_id and answer too."""
    return _make("math500", row, number)


MATH = Benchmark(
    "math",
    judge="answers",
    reference=("answer",),
    make_problem=make_problem,
    hub="EleutherAI/hendrycks_math",
    configurations=_SUBJECTS,
)
MATH500 = Benchmark(
    "math500",
    judge="answers",
    reference=("answer",),
    make_problem=make_problem_of_500,
    hub="HuggingFaceH4/MATH-500",
)
