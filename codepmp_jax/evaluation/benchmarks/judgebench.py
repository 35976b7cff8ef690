"""JudgeBench: how often the right response has the higher reward, by category and over all pairs.

A reward model's verdict is A>B where A has the strictly higher reward, else B>A; each pair is judged once (ScalerLab/JudgeBench,
utils/judges.py, `--single_game`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codepmp_jax.evaluation.benchmarks.result import Result, Scored

# Beginning of a source -> its category.
_CATEGORIES = {
    "mmlu-pro": "knowledge",
    "livebench-reasoning": "reasoning",
    "livebench-math": "math",
    "livecodebench": "coding",
}


def category(source: str) -> str:
    """The category of a source; one that is none of JudgeBench's is its own."""
    found = (name for start, name in _CATEGORIES.items() if source.startswith(start))
    return next(found, source)


def rule(scored: Sequence[Scored]) -> Result:
    """The accuracy of each category and of all pairs."""
    wins: dict[str, list[bool]] = {}
    for one in scored:
        says_first = bool(one.rewards[0] > one.rewards[1])
        wins.setdefault(category(one.problem.subset), []).append(says_first == one.correct[0])
    rows = [(name, len(found), [float(np.mean(found))]) for name, found in sorted(wins.items())]
    everything = float(np.mean([win for found in wins.values() for win in found]))
    return Result(("accuracy",), [*rows, ("all", len(scored), [everything])])
