"""Best-of-N from scores: how often the highest-scored of N candidates is a correct one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from codepmp_jax.errors import require
from codepmp_jax.evaluation.estimators import best_of_n, bootstrap_interval, pass_at_n
from codepmp_jax.evaluation.scores import by_item
from codepmp_jax.evaluation.tables import format_table
from codepmp_jax.records import Problem, Score


def best_of_n_report(problems: Sequence[Problem], scores: Sequence[Score]) -> dict[str, Any]:
    """Best-of-N of `scores` over `problems`, as JSON values; `rows` holds N = 1, 2, 4, ...

    Of N candidates drawn from a problem's M, averaged over problems (intervals: 95 % bootstrap over
    problems):

    - `best_of_n`: the highest-scored one is correct;
    - `oracle`: a correct one is among them; `random`: a random one is correct;
    - `selection_accuracy`: best_of_n / oracle, the highest-scored one is correct given that a correct
      one is among them. With one correct candidate a problem it is the rate at which that one beats
      N - 1 wrong ones; `selection_random` is the rate of a random pick.

    Raises UserError where a candidate has no score or no judgement.
    """
    require(len(problems) > 0, "problems", 0, "must be at least one", "give a file with candidates")
    found = by_item(scores)
    judged = []
    for problem in problems:
        correct = [candidate.is_correct for candidate in problem.candidates]
        require(
            None not in correct and len(correct) > 0,
            f"problem {problem.problem_id}: is_correct of the candidates",
            correct,
            "must be true or false for at least one candidate, and for every one",
            "judge the candidates first",
        )
        rewards = [found(problem.problem_id, index).reward for index in range(len(correct))]
        judged.append((np.array(rewards), np.array(correct, bool)))
    num_candidates = min(len(correct) for _, correct in judged)
    random = np.array([correct.mean() for _, correct in judged])
    require(
        bool(random.any()),
        "problems",
        len(problems),
        "must hold a correct candidate somewhere",
        "Best-of-N of wrong candidates is 0 for every model",
    )
    rows = []
    for n in (2**power for power in range(num_candidates.bit_length())):
        best = np.array([best_of_n(rewards, correct, n) for rewards, correct in judged])
        oracle = np.array([pass_at_n(correct, n) for _, correct in judged])
        rows.append(
            {
                "n": n,
                "best_of_n": float(best.mean()),
                "best_of_n_interval": list(bootstrap_interval(best)),
                "oracle": float(oracle.mean()),
                "random": float(random.mean()),
                "selection_accuracy": float(best.sum() / oracle.sum()),
                "selection_accuracy_interval": list(bootstrap_interval(best, oracle)),
                "selection_random": float(random.sum() / oracle.sum()),
            }
        )
    return {"num_problems": len(problems), "num_candidates": num_candidates, "rows": rows}


def best_of_n_table(report: dict[str, Any]) -> str:
    """The report as a table: a line an N."""
    return format_table(
        ("N", "selection accuracy", "95 % interval", "random pick", "best of N", "oracle"),
        [
            (
                str(row["n"]),
                f"{row['selection_accuracy']:.1%}",
                "{:.1%} - {:.1%}".format(*row["selection_accuracy_interval"]),
                f"{row['selection_random']:.1%}",
                f"{row['best_of_n']:.1%}",
                f"{row['oracle']:.1%}",
            )
            for row in report["rows"]
        ],
    )
