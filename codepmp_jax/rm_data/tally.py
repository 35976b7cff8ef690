"""What the report counts."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import operator
from typing import Any

from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.rm_data.entries import plain
from codepmp_jax.rm_data.pairing import Dropped, no_drops
from codepmp_jax.text.decontamination import Match

# Matches that are shown of each benchmark.
_EXAMPLES = 5
# Part of the longer reply within which nearly equal ones differ.
_NEARLY = 0.1


@dataclasses.dataclass
class Replies:
    """Lengths of the replies of pairs, in characters, and how many pairs are nearly equal."""

    pairs: int = 0
    chosen: int = 0
    rejected: int = 0
    longer: float = 0.0
    """Pairs whose chosen reply is the longer one; equal lengths count half."""
    nearly_equal: int = 0
    """Pairs that differ within a tenth of the longer reply: what stands before and behind it is the same."""

    def add(self, chosen: str, rejected: str) -> None:
        """Counts one pair."""
        lengths = len(chosen), len(rejected)
        self.pairs += 1
        self.chosen += lengths[0]
        self.rejected += lengths[1]
        self.longer += 0.5 if lengths[0] == lengths[1] else float(lengths[0] > lengths[1])
        self.nearly_equal += _differing(chosen, rejected) <= _NEARLY * max(lengths)

    def to_json(self) -> dict[str, Any]:
        """Means, the accuracy of the rule that the longer reply is the better one, and the share of nearly equal pairs."""
        return {
            "pairs": self.pairs,
            "chosen_characters": round(self.chosen / max(1, self.pairs), 1),
            "rejected_characters": round(self.rejected / max(1, self.pairs), 1),
            "longer_is_chosen": round(self.longer / max(1, self.pairs), 4),
            "nearly_equal": round(self.nearly_equal / max(1, self.pairs), 4),
        }


def _differing(one: str, other: str) -> int:
    """Characters of the longer of two texts without what both begin and end with."""
    begin = _num_equal(one, other)
    rest, other_rest = one[begin:][::-1], other[begin:][::-1]
    return max(len(rest), len(other_rest)) - _num_equal(rest, other_rest)


def _num_equal(one: str, other: str) -> int:
    """Characters that two texts both begin with."""
    return sum(1 for _ in itertools.takewhile(bool, map(operator.eq, one, other)))


class Split:
    """What a split holds."""

    def __init__(self) -> None:
        self.problems = 0
        self.all = Replies()
        self.subsets: dict[str, Replies] = collections.defaultdict(Replies)

    def add(self, pair: PreferencePair) -> None:
        """Counts a pair that is written."""
        replies = [plain(text, pair.is_conversation) for text in (pair.chosen, pair.rejected)]
        self.all.add(*replies)
        if pair.subset:
            self.subsets[pair.subset].add(*replies)

    def to_json(self) -> dict[str, Any]:
        """The counts."""
        subsets = {name: self.subsets[name].to_json() for name in sorted(self.subsets)}
        return {"problems": self.problems, **self.all.to_json(), "subsets": subsets}


class Tally:
    """Counts of one run."""

    def __init__(self) -> None:
        self.rows = 0
        self.answers = 0
        self.malformed: collections.Counter[str] = collections.Counter()
        self.columns_not_read: collections.Counter[str] = collections.Counter()
        self.remarks: collections.Counter[str] = collections.Counter()
        self.dropped: Dropped = no_drops()
        self.contamination: dict[str, collections.Counter[str]] = collections.defaultdict(
            collections.Counter
        )
        self.examples: dict[str, list[dict[str, str]]] = collections.defaultdict(list)
        self.splits: dict[str, Split] = {}

    def add_match(self, match: Match, kind: str, text: str) -> None:
        """Counts a problem or answer (the kind) that holds a benchmark's item."""
        self.contamination[match.benchmark][kind] += 1
        if len(self.examples[match.benchmark]) < _EXAMPLES:
            example = {"item": match.item_id, "shared": match.ngram, kind: text[:500]}
            self.examples[match.benchmark].append(example)

    def to_json(self) -> dict[str, Any]:
        """The counts by name."""
        return {
            "rows": self.rows,
            "answers": self.answers,
            "malformed": dict(self.malformed.most_common()),
            "columns_not_read": dict(self.columns_not_read.most_common()),
            "remarks": dict(self.remarks.most_common()),
            "dropped": {
                name: dict(sorted(counts.items()))
                for name, counts in self.dropped._asdict().items()
            },
            "contamination": {
                name: {**counts, "examples": self.examples[name]}
                for name, counts in sorted(self.contamination.items())
            },
            "splits": {name: split.to_json() for name, split in self.splits.items()},
        }
