"""Whether the length of a response gives the better one away."""

from __future__ import annotations

import collections
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from codepmp_jax.records import PreferencePair
from codepmp_jax.tokenization import Tokenizer

# A tally counts by (subset, unit, quantity): pairs, and per unit the pairs whose chosen response is
# the longer one or as long, and both sides' lengths summed up. In JSON the three join to one key.
Tally = collections.Counter[str]
UNITS = ("characters", "tokens")
ALL = "all"


def tally_lengths(pairs: Sequence[PreferencePair]) -> Tally:
    """Lengths of pairs, in characters and in tokens of the embedded tokenizer."""
    tally: Tally = collections.Counter()
    counts = _count_tokens([text for pair in pairs for text in (pair.chosen, pair.rejected)])
    for index, pair in enumerate(pairs):
        lengths = {
            "characters": (len(pair.chosen), len(pair.rejected)),
            "tokens": (counts[2 * index], counts[2 * index + 1]),
        }
        for group in {ALL, pair.subset} - {""}:
            tally[f"{group}|pairs"] += 1
            for unit, (chosen, rejected) in lengths.items():
                tally[f"{group}|{unit}|longer"] += chosen > rejected
                tally[f"{group}|{unit}|ties"] += chosen == rejected
                tally[f"{group}|{unit}|chosen"] += chosen
                tally[f"{group}|{unit}|rejected"] += rejected
    return tally


def length_report(tallies: Iterable[Mapping[str, int]]) -> dict[str, Any]:
    """By subset and in all: pairs, and per unit the accuracy that "the longer one wins" reaches (ties
    count half), the share of ties and the mean lengths."""
    total: Tally = collections.Counter()
    for tally in tallies:
        total.update(tally)
    report: dict[str, Any] = {}
    for group in sorted(key.removesuffix("|pairs") for key in total if key.endswith("|pairs")):
        num_pairs = total[f"{group}|pairs"]
        report[group] = {"pairs": num_pairs}
        for unit in UNITS:
            longer, ties, chosen, rejected = (
                total[f"{group}|{unit}|{quantity}"] / num_pairs
                for quantity in ("longer", "ties", "chosen", "rejected")
            )
            report[group][unit] = {
                "longer_wins": round(longer + ties / 2, 4),
                "ties": round(ties, 4),
                "mean_chosen": round(chosen, 2),
                "mean_rejected": round(rejected, 2),
            }
    return report


@functools.cache
def _embedded() -> Tokenizer:
    return Tokenizer.load("embedded")


def _count_tokens(texts: list[str]) -> list[int]:
    """Tokens of each text, without special tokens."""
    encodings = _embedded().backend.encode_batch(texts, add_special_tokens=False)
    return [len(encoding.ids) for encoding in encodings]
