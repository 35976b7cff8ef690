"""ReClor (arXiv 2002.04326): logical reasoning over a passage; the candidates are the four options.

Best-of-4 over them is the accuracy of the choice. The answers of the test split are not public.
"""

from __future__ import annotations

from codepmp_jax.evaluation.tasks.benchmark import Benchmark, Row
from codepmp_jax.evaluation.tasks.options import make_choice
from codepmp_jax.records.schema import Problem


def make_problem(row: Row, number: int) -> Problem:
    """Columns: context, question, answers (the options), label (the place of the right one), id_string."""
    options = row.texts("answers")
    return make_choice(
        "reclor",
        row.identifier("id_string"),
        row.text("context"),
        row.text("question"),
        options,
        row.index("label", len(options)),
    )


BENCHMARK = Benchmark(
    "reclor",
    judge="choices",
    reference=("options", "answer"),
    make_problem=make_problem,
    hub="tasksource/reclor",
    split="validation",
)
