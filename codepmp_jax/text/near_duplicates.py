"""Near-duplicates of texts before them: MinHash signatures (rensa) and locality-sensitive hashing.

As in BigCode's near-deduplication of The Stack (arXiv 2211.15533) and of StarCoder's data (arXiv
2305.06161), texts are sets of n-grams of words and identifiers, and two are near-duplicates where the
estimated Jaccard similarity of their sets is at least a threshold.

rensa computes the signatures. The index is ours, since the libraries' indexes take several kilobytes a
text where this one takes half of one (benchmarks/results/near_duplicates.md).
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt16, UInt32

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DedupConfig

_WORD = re.compile(r"\w+")
_SEED = 1
# Texts of one bucket, 3 to 5 on average. One that finds its bucket full, be it because many texts share a
# header, is found by its other bands.
_BUCKET = 8
# Two texts at the threshold meet in some band with at least this probability.
_MIN_RECALL = 0.95


def signature(text: str, config: DedupConfig) -> bytes:
    """MinHash signature of a text: 2 bytes a permutation, the same in every process and run.

    Estimates keep their precision with 16 bits a hash (b-bit minwise hashing, arXiv 0910.3349). A text
    of fewer words than an n-gram is one n-gram. Raises UserError where rensa is not installed.
    """
    try:
        from rensa import RMinHash  # pyright: ignore[reportAttributeAccessIssue]
    except ImportError as error:
        raise UserError(
            "near-duplicates: the package rensa is not installed. Remedy: install the extra `corpus`, or "
            "do without them: --no-dedup.near (corpus), --report-pairs 0 (synthesis), --paraphrases.no-near (rm-data)."
        ) from error
    words = _WORD.findall(text) or [text.strip()]
    n = min(config.ngram, len(words))
    hashes = RMinHash(config.num_permutations, _SEED)
    hashes.update(list(map(" ".join, zip(*(words[i:] for i in range(n)), strict=False))))
    return np.array(hashes.digest(), np.uint32).astype(np.uint16).tobytes()


def similarity(one: bytes, other: bytes) -> float:
    """Estimated Jaccard similarity of the texts of two signatures."""
    return float(np.mean(np.frombuffer(one, np.uint16) == np.frombuffer(other, np.uint16)))


def rows_per_band(threshold: float, num_permutations: int) -> int:
    """Hashes that two texts must share in a band to be compared: as many as still find the threshold."""

    def recall(rows: int) -> float:
        return 1 - (1 - threshold**rows) ** (num_permutations // rows)

    found = [rows for rows in range(1, num_permutations + 1) if recall(rows) >= _MIN_RECALL]
    return max(found, default=1)


class _Place(NamedTuple):
    """Where a text belongs in the index, and which kept texts are near it."""

    own: UInt16[np.ndarray, " permutations"]
    buckets: Int64[np.ndarray, " bands"]
    held: UInt32[np.ndarray, "bands bucket"]
    near: Int64[np.ndarray, " near"]
    similarity: Float64[np.ndarray, " near"]


class NearDuplicates:
    """The texts kept so far, by their signatures; the answer depends only on the order of the calls.

    Memory is 2 bytes a permutation and 6 to 13 bytes a band for each kept text: at the defaults (128
    permutations, 25 bands) 0.4 to 0.65 KB, so 0.5 GB for a million texts. Time for a text does not grow
    with their number.
    """

    def __init__(self, config: DedupConfig):
        self._threshold = config.threshold
        rows = rows_per_band(config.threshold, config.num_permutations)
        bands = config.num_permutations // rows
        # Permutations of each band, (bands, rows).
        self._columns = np.arange(bands * rows).reshape(bands, rows)
        self._factors = np.random.default_rng(_SEED).integers(1, 2**64, rows, np.uint64) | 1
        self._signatures = np.empty((1024, config.num_permutations), np.uint16)
        self._size = 0
        # A hash table a band, (bands, buckets, _BUCKET): 1 + the indices of texts, then zeros.
        self._table = np.zeros((bands, 256, _BUCKET), np.uint32)

    def __len__(self) -> int:
        """Number of texts kept."""
        return self._size

    @property
    def nbytes(self) -> int:
        """Memory of the index, in bytes."""
        return self._signatures.nbytes + self._table.nbytes

    def add(self, signature: bytes) -> int | None:
        """Index of the kept text that is most like this one, if it is near enough; else None, and it is kept.

        The first text kept has index 0, the next one 1, and so on.
        """
        place = self._place(signature)
        if place.near.size:
            return int(place.near[np.argmax(place.similarity)])
        self._keep(place)
        return None

    def link(self, signature: bytes) -> list[int]:
        """Indices of the kept texts that are near enough to this one, in order; it is kept in any case.

        Of a text that has many near-duplicates not all need be found, but some are.
        """
        place = self._place(signature)
        self._keep(place)
        return place.near.tolist()

    def _place(self, signature: bytes) -> _Place:
        own = np.frombuffer(signature, np.uint16)
        assert own.shape == self._signatures.shape[1:], "signature of another config"
        values = own[self._columns]
        buckets = self._buckets(values, self._table.shape[1])
        held = self._table[np.arange(len(values)), buckets]
        candidates = self._candidates(values, held)
        equal = (self._signatures[candidates] == own).mean(axis=1)
        near = equal >= self._threshold
        return _Place(own, buckets, held, candidates[near], equal[near])

    def _keep(self, place: _Place) -> None:
        if self._size == len(self._signatures):
            # In place where the allocator can, so without a second copy of all signatures.
            grown = self._size + self._size // 8
            self._signatures.resize((grown, self._signatures.shape[1]), refcheck=False)
        self._signatures[self._size] = place.own
        self._size += 1
        bands = np.arange(len(place.buckets))
        used = np.count_nonzero(place.held, axis=1)
        room = used < _BUCKET
        self._table[bands[room], place.buckets[room], used[room]] = self._size
        if self._size > self._table.shape[1] * _BUCKET * 5 // 8:
            self._widen()

    def _candidates(
        self, values: UInt16[np.ndarray, "bands rows"], held: UInt32[np.ndarray, "bands bucket"]
    ) -> Int64[np.ndarray, " candidates"]:
        """Texts of the buckets that have a band's values, in order."""
        texts = held.astype(np.int64) - 1
        alike = self._signatures[texts, self._columns[:, :1]] == values[:, :1]
        bands, places = np.nonzero(alike & (held > 0))
        texts = texts[bands, places]
        whole = self._signatures[texts[:, None], self._columns[bands]] == values[bands]
        return np.array(sorted(set(texts[whole.all(axis=1)].tolist())), np.int64)

    def _buckets(
        self, values: UInt16[np.ndarray, "... rows"], number: int
    ) -> Int64[np.ndarray, "..."]:
        """Bucket of each band's values in a table of `number` buckets, a power of two."""
        keys = (values.astype(np.uint64) * self._factors).sum(-1)
        return (keys >> np.uint64(65 - number.bit_length())).astype(np.int64)

    def _widen(self) -> None:
        """Doubles the buckets, a band at a time."""
        bands, number, _ = self._table.shape
        number *= 2
        self._table = np.zeros((bands, number, _BUCKET), np.uint32)
        for band, columns in enumerate(self._columns):
            buckets = self._buckets(self._signatures[: self._size, columns], number)
            texts = np.argsort(buckets, kind="stable")
            buckets = buckets[texts]
            places = np.arange(self._size) - np.searchsorted(buckets, buckets)
            room = places < _BUCKET
            self._table[band, buckets[room], places[room]] = texts[room] + 1
