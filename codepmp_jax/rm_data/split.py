"""The split by problem: a problem and its paraphrases fall on one side.

Problems that are near-duplicates of each other, directly or by way of others, are a cluster. Clusters come in the order
of their first problems, which is random (that of hashes with the seed); a cluster is held out where the held-out side
has room for all of it. Those that alone are more than a tenth of that side come last, the smaller ones first: a side made
of one template would say little. A cluster that is larger than the side goes to train.
"""

from __future__ import annotations

import collections

import numpy as np
from jaxtyping import Bool, Int64

from codepmp_jax.config import ParaphrasesConfig
from codepmp_jax.text.near_duplicates import NearDuplicates, signature


class Clusters:
    """Which problems are paraphrases of one another.

    Memory: what `NearDuplicates` says of itself for each problem, and some 40 bytes.
    """

    def __init__(self, config: ParaphrasesConfig):
        self._config = config
        self._index = NearDuplicates(config) if config.near else None
        self._parents: list[int] = []

    def add(self, text: str) -> None:
        """Adds the next problem."""
        number = len(self._parents)
        self._parents.append(number)
        if self._index is None:
            return
        for other in self._index.link(signature(text.casefold(), self._config)):
            one, root = self._root(number), self._root(other)
            self._parents[max(one, root)] = min(one, root)

    def roots(self) -> Int64[np.ndarray, " problems"]:
        """Of each problem the first one of its cluster."""
        return np.array([self._root(number) for number in range(len(self._parents))], np.int64)

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            # Halves the way for the next one.
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number


def hold_out(
    roots: Int64[np.ndarray, " problems"], fraction: float
) -> Bool[np.ndarray, " problems"]:
    """Which problems are held out: at most `fraction` of them, at least one where it is above 0 and a cluster fits."""
    sizes = collections.Counter(roots.tolist())
    room = round(fraction * len(roots))
    if fraction > 0:
        room = max(room, 1)
    small, large = [], []
    for root in sorted(sizes):
        (small if sizes[root] <= max(1, room // 10) else large).append(root)
    chosen = set()
    for root in [*small, *sorted(large, key=lambda root: sizes[root])]:
        if sizes[root] <= room:
            chosen.add(root)
            room -= sizes[root]
    return np.array([root in chosen for root in roots.tolist()], bool)


def clusters_with(
    roots: Int64[np.ndarray, " problems"], marked: Bool[np.ndarray, " problems"]
) -> Bool[np.ndarray, " problems"]:
    """Which problems are in a cluster with one that is marked."""
    return np.isin(roots, roots[marked])


def cluster_facts(roots: Int64[np.ndarray, " problems"]) -> dict[str, int]:
    """Problems, clusters, problems that have a paraphrase, and the size of the largest cluster."""
    sizes = collections.Counter(roots.tolist())
    return {
        "problems": len(roots),
        "clusters": len(sizes),
        "problems_with_paraphrases": sum(size for size in sizes.values() if size > 1),
        "largest_cluster": max(sizes.values(), default=0),
    }
