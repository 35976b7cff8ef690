"""What the report counts."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.rm_data.entries import plain
from codepmp_jax.rm_data.pairing import Dropped, no_drops
from codepmp_jax.text.decontamination import Match

# Matches that are shown of each benchmark.
_EXAMPLES = 5


@dataclasses.dataclass
class Lengths:
    """Lengths of pairs, in characters of the replies."""

    pairs: int = 0
    chosen: int = 0
    rejected: int = 0
    longer: float = 0.0
    """Pairs whose chosen reply is the longer one; equal lengths count half."""

    def add(self, chosen: int, rejected: int) -> None:
        """Counts one pair."""
        self.pairs += 1
        self.chosen += chosen
        self.rejected += rejected
        self.longer += 0.5 if chosen == rejected else float(chosen > rejected)

    def to_json(self) -> dict[str, Any]:
        """Means, and the accuracy of the rule that the longer reply is the better one."""
        return {
            "pairs": self.pairs,
            "chosen_characters": round(self.chosen / max(1, self.pairs), 1),
            "rejected_characters": round(self.rejected / max(1, self.pairs), 1),
            "longer_is_chosen": round(self.longer / max(1, self.pairs), 4),
        }


class Split:
    """What a split holds."""

    def __init__(self) -> None:
        self.problems = 0
        self.all = Lengths()
        self.subsets: dict[str, Lengths] = collections.defaultdict(Lengths)

    def add(self, pair: PreferencePair) -> None:
        """Counts a pair that is written."""
        lengths = [len(plain(text, pair.is_conversation)) for text in (pair.chosen, pair.rejected)]
        self.all.add(*lengths)
        if pair.subset:
            self.subsets[pair.subset].add(*lengths)

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
