"""LogiQA 2.0 (DOI 10.1109/TASLP.2023.3293046): logical reasoning over a text; the candidates are the options."""

from __future__ import annotations

from codepmp_jax.evaluation.tasks.benchmark import Benchmark, Row
from codepmp_jax.evaluation.tasks.options import make_choice
from codepmp_jax.records.schema import Problem


def make_problem(row: Row, number: int) -> Problem:
    """Columns: text, question, options, answer (the place of the right one), id."""
    options = row.texts("options")
    return make_choice(
        "logiqa2",
        row.identifier("id"),
        row.text("text"),
        row.text("question"),
        options,
        row.index("answer", len(options)),
    )


BENCHMARK = Benchmark(
    "logiqa2",
    judge="choices",
    reference=("options", "answer"),
    make_problem=make_problem,
    url="https://raw.githubusercontent.com/csitfun/LogiQA2.0/main/logiqa/DATA/LOGIQA/test.txt",
)
