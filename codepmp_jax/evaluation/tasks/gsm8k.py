"""GSM8K (arXiv 2110.14168): grade school word problems whose answer is a whole number."""

from __future__ import annotations

from codepmp_jax.evaluation.tasks.benchmark import Benchmark, Row
from codepmp_jax.records.schema import Problem


def make_problem(row: Row, number: int) -> Problem:
    """Columns: question, and answer: the worked solution that ends with `#### 42`."""
    question = row.text("question")
    _, mark, answer = row.text("answer").rpartition("####")
    answer = answer.strip().replace(",", "")
    if not mark or not answer.lstrip("-").replace(".", "", 1).isdecimal():
        raise ValueError("answer does not end with #### and a number")
    return Problem(f"gsm8k/{number}", question, task="gsm8k", reference={"answer": answer})


BENCHMARK = Benchmark(
    "gsm8k",
    judge="answers",
    reference=("answer",),
    make_problem=make_problem,
    hub="openai/gsm8k",
    configurations=("main",),
)
