"""Task -> its benchmark."""

from __future__ import annotations

from codepmp_jax.cli.errors import require
from codepmp_jax.evaluation.tasks import (
    gsm8k,
    hendrycks_math,
    humaneval,
    logiqa2,
    mbpp,
    puzzles,
    reclor,
)
from codepmp_jax.evaluation.tasks.benchmark import Benchmark

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.task: benchmark
    for benchmark in (
        *(gsm8k.BENCHMARK, hendrycks_math.MATH, hendrycks_math.MATH500),
        *(reclor.BENCHMARK, logiqa2.BENCHMARK),
        *(humaneval.BENCHMARK, mbpp.BENCHMARK, puzzles.BENCHMARK),
    )
}


def find_benchmark(task: str, where: str) -> Benchmark:
    """The benchmark of a task. Raises UserError naming `where` where there is none of that name."""
    require(
        task in BENCHMARKS,
        f"{where}: task",
        task,
        f"must be one of {', '.join(BENCHMARKS)}",
        "name the benchmark that the problem is of",
    )
    return BENCHMARKS[task]
