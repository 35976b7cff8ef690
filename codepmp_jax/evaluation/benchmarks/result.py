"""What a rule computes, and what it computes it from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from codepmp_jax.records.schema import Problem


@dataclasses.dataclass(frozen=True)
class Scored:
    """A problem with the rewards of its candidates."""

    problem: Problem
    rewards: Float[np.ndarray, " M"]

    @property
    def correct(self) -> np.ndarray:
        """Whether each candidate is correct, bool [M]."""
        return np.array([bool(candidate.is_correct) for candidate in self.problem.candidates])


@dataclasses.dataclass(frozen=True)
class Result:
    """The table of a benchmark."""

    figures: tuple[str, ...]
    """Names of the columns, the one that is compared between models first."""
    rows: list[tuple[str, int, list[float]]]
    """Group, number of its problems (or pairs), its figures; the last row is the benchmark's own total."""

    @property
    def score(self) -> float:
        """The figure by which models are ranked."""
        return self.rows[-1][2][0]


def by_subset(scored: Sequence[Scored]) -> dict[str, list[Scored]]:
    """The problems of each subset, subsets by name."""
    found: dict[str, list[Scored]] = {}
    for one in sorted(scored, key=lambda one: one.problem.subset):
        found.setdefault(one.problem.subset, []).append(one)
    return found
