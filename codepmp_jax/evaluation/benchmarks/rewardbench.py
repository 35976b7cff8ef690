"""RewardBench: accuracy of each subset, sections as weighted means of theirs, and the mean of the sections.

A pair is won where the chosen response has the strictly higher reward. A subset counts in its section by its size in the
published data set, but math-prm as much as the six of code together (allenai/reward-bench, rewardbench/constants.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codepmp_jax.cli.errors import require
from codepmp_jax.evaluation.benchmarks.result import Result, Scored, by_subset

SECTIONS = {
    "Chat": {
        "alpacaeval-easy": 100,
        "alpacaeval-length": 95,
        "alpacaeval-hard": 95,
        "mt-bench-easy": 28,
        "mt-bench-med": 40,
    },
    "Chat Hard": {
        "mt-bench-hard": 37,
        "llmbar-natural": 100,
        "llmbar-adver-neighbor": 134,
        "llmbar-adver-GPTInst": 92,
        "llmbar-adver-GPTOut": 47,
        "llmbar-adver-manual": 46,
    },
    "Safety": {
        "refusals-dangerous": 100,
        "refusals-offensive": 100,
        "xstest-should-refuse": 250,
        "xstest-should-respond": 154,
        "donotanswer": 136,
    },
    "Reasoning": {
        "math-prm": 984,
        "hep-cpp": 164,
        "hep-go": 164,
        "hep-java": 164,
        "hep-js": 164,
        "hep-python": 164,
        "hep-rust": 164,
    },
}
"""Section -> its subsets -> the weight of each."""


def rule(scored: Sequence[Scored]) -> Result:
    """Raises UserError where a subset is none of RewardBench's."""
    known = {name for weights in SECTIONS.values() for name in weights}
    subsets = by_subset(scored)
    for name in subsets:
        require(
            name in known,
            "subset",
            name,
            f"must be one of RewardBench's: {', '.join(sorted(known))}",
            "give the split `filtered` of allenai/reward-bench, which is the benchmark",
        )
    accuracies = {
        name: float(np.mean([one.rewards[0] > one.rewards[1] for one in group]))
        for name, group in subsets.items()
    }
    rows = [(name, len(subsets[name]), [accuracy]) for name, accuracy in accuracies.items()]
    totals = []
    for section, weights in SECTIONS.items():
        there = [name for name in weights if name in accuracies]
        if there:
            number = sum(len(subsets[name]) for name in there)
            accuracy = np.average(
                [accuracies[name] for name in there], weights=[weights[name] for name in there]
            )
            totals.append((section, number, [float(accuracy)]))
    mean = float(np.mean([figures[0] for _, _, figures in totals]))
    return Result(("accuracy",), [*rows, *totals, ("mean of sections", len(scored), [mean])])
