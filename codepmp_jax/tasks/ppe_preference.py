"""PPE's human preferences (arXiv 2410.14872): battles of Chatbot Arena with the winner that people chose.

The columns are those that the card of lmarena-ai/PPE-Human-Preference-V1 lists.
"""

from __future__ import annotations

from typing import Any

from codepmp_jax.records.schema import Problem
from codepmp_jax.tasks.common.row import Row
from codepmp_jax.tasks.common.task import Passages, Task
from codepmp_jax.tasks.judges.given import GivenJudge, given_problem

_WINNERS = {"model_a": (True, False), "model_b": (False, True)}


def make_problem(row: Row, number: int) -> Problem:
    """Columns: question_id, prompt, response_1, response_2, winner, language. Of a tie, both are correct."""
    winner = row.text("winner")
    if winner not in _WINNERS and not winner.startswith("tie"):
        raise ValueError(f"winner is neither model_a, model_b nor a tie but {winner!r}")
    return given_problem(
        "ppe_preference",
        row.identifier("question_id"),
        row.text("prompt"),
        (row.written("response_1"), row.written("response_2")),
        _WINNERS.get(winner, (True, True)),
        row.text("language"),
    )


def _passages(row: dict[str, Any]) -> list[str]:
    return [row["prompt"], row["response_1"], row["response_2"]]


TASK = Task(
    template="{prompt}",
    judge=GivenJudge(),
    make_problem=make_problem,
    passages=(
        Passages(
            "PPE",
            columns=("prompt", "response_1", "response_2", "winner"),
            id="question_id",
            texts=_passages,
        ),
    ),
    hub="lmarena-ai/PPE-Human-Preference-V1",
    repeats_ids=True,
)
