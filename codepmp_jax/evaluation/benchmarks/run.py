"""Scores of a benchmark's responses -> its table, by its own rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from codepmp_jax.cli.errors import require
from codepmp_jax.config import BenchmarkConfig, presets
from codepmp_jax.evaluation.benchmarks import judgebench, ppe, rewardbench, rewardbench2, rm_bench
from codepmp_jax.evaluation.benchmarks.result import Result, Scored
from codepmp_jax.evaluation.items import read_candidates
from codepmp_jax.evaluation.reports import folders
from codepmp_jax.evaluation.reports.tables import format_table
from codepmp_jax.evaluation.scores import by_item, without_refused
from codepmp_jax.records.schema import Problem, Score
from codepmp_jax.records.scores import read_scores

RULES: Mapping[str, Callable[[Sequence[Scored]], Result]] = {
    "rewardbench": rewardbench.rule,
    "rewardbench2": rewardbench2.rule,
    "rm_bench": rm_bench.rule,
    "judgebench": judgebench.rule,
    "ppe_preference": ppe.preference_rule,
    "ppe_gpqa": ppe.correctness_rule,
    "ppe_ifeval": ppe.correctness_rule,
    "ppe_math": ppe.correctness_rule,
    "ppe_mbpp_plus": ppe.correctness_rule,
    "ppe_mmlu_pro": ppe.correctness_rule,
}
"""Task -> its rule."""


def apply_rule(problems: Sequence[Problem], scores: Sequence[Score]) -> Result:
    """The benchmark's table. Raises UserError where the problems are of none, or one lacks a score."""
    tasks = sorted({problem.task for problem in problems})
    require(
        len(tasks) == 1 and tasks[0] in RULES,
        "task of the problems",
        ", ".join(tasks),
        f"must be one of {', '.join(RULES)}",
        "give the file that `evaluate problems --task TASK` wrote; other tasks are for best-of-n",
    )
    found = by_item(scores)
    scored = [
        Scored(
            problem,
            np.array(
                [found(problem.problem_id, i).reward for i in range(len(problem.candidates))],
                np.float64,
            ),
        )
        for problem in problems
    ]
    return RULES[tasks[0]](scored)


def format_result(task: str, result: Result) -> str:
    """The table as plain text."""
    return format_table(
        (task, "number", *result.figures),
        [
            (group, str(number), *(f"{100 * figure:.1f}" for figure in figures))
            for group, number, figures in result.rows
        ],
    )


def run(config: BenchmarkConfig) -> None:
    """Writes report.json and benchmark.csv; prints the table."""
    problems, num_refused = without_refused(read_candidates(config.candidates), config.scores)
    result = apply_rule(problems, read_scores(config.scores))
    task = problems[0].task
    report: dict[str, Any] = {
        "kind": "benchmark",
        "benchmark": task,
        "model": folders.model_of(config.scores, config.output),
        "score": result.score,
        "num_problems": len(problems),
        "num_refused": num_refused,
        "groups": {
            group: {"number": number, **dict(zip(result.figures, figures, strict=True))}
            for group, number, figures in result.rows
        },
        "config": presets.to_json(config),
    }
    table = (
        ("group", "number", *result.figures),
        ((group, number, *figures) for group, number, figures in result.rows),
    )
    folders.write_folder(config.output, report, {"benchmark.csv": table}, {})
    print(format_result(task, result))
    if num_refused:
        print(
            f"{num_refused} problems are left out, as scoring left them out: not the benchmark as published."
        )
    print(f"{task} {100 * result.score:.1f}: {config.output}")
