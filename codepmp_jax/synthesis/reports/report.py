"""What a set of pairs is like, and whether the length of a response gives the better one away.

Every shard has a tally, a counter that is written beside it; tallies are summed up into the report.
"""

from __future__ import annotations

import collections
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from codepmp_jax.config import DedupConfig
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.synthesis.writers.replies import OWN_WORD
from codepmp_jax.text.near_duplicates import NearDuplicates, signature, similarity
from codepmp_jax.text.tokenization import Tokenizer

# Keys are parts joined by a bar, free text last:
#   pairs|SUBSET
#   UNIT|QUANTITY|SUBSET                         longer, ties: pairs; chosen, rejected: lengths summed up
#   histogram|UNIT|SIDE|BIN                      texts
#   language|NAME, license|NAME                  pairs
#   finish|PASS|REASON                           texts; REASON is `stop`, `length`, or with the server's own word, which
#                                                is none of these, `stop (eos)`
Tally = collections.Counter[str]
ALL = "all"
UNITS = ("characters", "tokens")
SIDES = ("chosen", "rejected")
_PASSES = ("describe", "chosen", "rejected")
# Characters of a sample's text that are shown.
_SHOWN = 4000
# Bins of a length histogram to a doubling.
_BINS_PER_OCTAVE = 4


def tally(pairs: Sequence[PreferencePair]) -> Tally:
    """Counts of pairs. Lengths are in characters and in tokens of the embedded tokenizer.

    Of the lineage `language`, `license` and the `finish_reason` under the name of each pass are counted,
    where they are.
    """
    total: Tally = collections.Counter()
    counts = _count_tokens([text for pair in pairs for text in (pair.chosen, pair.rejected)])
    for index, pair in enumerate(pairs):
        lengths = {
            "characters": (len(pair.chosen), len(pair.rejected)),
            "tokens": (counts[2 * index], counts[2 * index + 1]),
        }
        for unit, (chosen, rejected) in lengths.items():
            for side, length in zip(SIDES, (chosen, rejected), strict=True):
                total[f"histogram|{unit}|{side}|{_bin(length)}"] += 1
            for subset in {ALL, pair.subset} - {""}:
                total[f"{unit}|longer|{subset}"] += chosen > rejected
                total[f"{unit}|ties|{subset}"] += chosen == rejected
                total[f"{unit}|chosen|{subset}"] += chosen
                total[f"{unit}|rejected|{subset}"] += rejected
        for subset in {ALL, pair.subset} - {""}:
            total[f"pairs|{subset}"] += 1
        for fact in ("language", "license"):
            if fact in pair.lineage:
                total[f"{fact}|{pair.lineage[fact]}"] += 1
        for name in _PASSES:
            reason = _finish_reason(pair.lineage.get(name))
            if reason:
                total[f"finish|{name}|{reason}"] += 1
    return total


def make_report(
    splits: Mapping[str, Iterable[Mapping[str, Any]]],
    throughput: Iterable[Mapping[str, Any]] = (),
    near_duplicate_rates: Mapping[str, float] | None = None,
    samples: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The report: `samples`, for each split its figures, then `throughput` and `near_duplicate_rates`.

    `splits`: split -> the entries of its shards, of which `tally` and `dropped` (counts by reason) are
    taken. `throughput`: rows of pass, worker, texts, tokens and seconds; rows of the same worker and pass
    are summed up. `near_duplicate_rates`: shares by the name of what was compared, e.g. `train chosen`.
    `samples` are those of `sample_of`.
    """
    report: dict[str, Any] = {"samples": list(samples)}
    for split, entries in splits.items():
        entries = list(entries)
        total = _sum(entry["tally"] for entry in entries)
        report[split] = {
            "pairs": total[f"pairs|{ALL}"],
            "dropped": dict(sorted(_sum(entry["dropped"] for entry in entries).items())),
            "lengths": _lengths(total),
            "length_histograms": {unit: _histogram(total, unit) for unit in UNITS},
            "languages": _by_count(_under(total, "language")),
            "licenses": _by_count(_under(total, "license")),
            "finish_reasons": {
                name: _by_count(reasons)
                for name in _PASSES
                if (reasons := _under(total, f"finish|{name}"))
            },
        }
    report["throughput"] = _throughput(throughput)
    report["near_duplicate_rates"] = dict(near_duplicate_rates or {})
    return report


def sample_of(pairs: Iterable[PreferencePair], count: int = 8) -> list[dict[str, Any]]:
    """`count` random pairs, always the same ones of the same pairs, with what their lineage says of them."""
    chosen = sorted(pairs, key=lambda pair: pair.pair_id)[:count]
    return [
        {
            **{name: _beginning(getattr(pair, name)) for name in ("prompt", *SIDES)},
            "subset": pair.subset,
            **{
                name: pair.lineage[name]
                for name in ("language", "repository", "path", "license")
                if name in pair.lineage
            },
            "writers": {name: pair.lineage[name] for name in _PASSES if name in pair.lineage},
        }
        for pair in chosen
    ]


def near_duplicate_rates(pairs: Sequence[PreferencePair]) -> dict[str, float]:
    """Shares of pairs whose chosen, or rejected, response nearly repeats that of a pair before it; and
    whose two responses nearly repeat each other. Near is a Jaccard similarity of 0.7.

    Raises UserError where the library for it is not installed.
    """
    config = DedupConfig()
    seen = {side: NearDuplicates(config) for side in SIDES}
    repeated: collections.Counter[str] = collections.Counter()
    for pair in pairs:
        signatures = [signature(text, config) for text in (pair.chosen, pair.rejected)]
        for side, own in zip(SIDES, signatures, strict=True):
            repeated[side] += seen[side].add(own) is not None
        repeated["chosen and rejected"] += similarity(*signatures) >= config.threshold
    return {name: round(count / len(pairs), 4) for name, count in repeated.items()}


# --- counting -------------------------------------------------------------------------------------


@functools.cache
def _embedded() -> Tokenizer:
    return Tokenizer.load("embedded")


def _count_tokens(texts: list[str]) -> list[int]:
    """Tokens of each text, without special tokens."""
    encodings = _embedded().backend.encode_batch(texts, add_special_tokens=False)
    return [len(encoding.ids) for encoding in encodings]


def _bin(length: int) -> int:
    return math.floor(_BINS_PER_OCTAVE * math.log2(max(length, 1)))


def _finish_reason(facts: Any) -> str:
    if not isinstance(facts, dict):
        return ""
    reason, word = facts.get("finish_reason", ""), facts.get(OWN_WORD)
    return f"{reason} ({word})" if word else reason


def _beginning(text: str) -> str:
    rest = len(text) - _SHOWN
    return text if rest <= 0 else f"{text[:_SHOWN]}\n... and {rest:,} more characters"


# --- summing up -----------------------------------------------------------------------------------


def _sum(tallies: Iterable[Mapping[str, int]]) -> Tally:
    total: Tally = collections.Counter()
    for part in tallies:
        total.update(part)
    return total


def _under(total: Tally, prefix: str) -> dict[str, int]:
    """The counts whose key begins with `prefix|`, by the rest of the key."""
    start = f"{prefix}|"
    return {key.removeprefix(start): n for key, n in total.items() if key.startswith(start)}


def _by_count(counts: dict[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _lengths(total: Tally) -> dict[str, Any]:
    """By subset and in all: pairs, and per unit the accuracy that "the longer one wins" reaches (ties
    count half), the share of ties and the mean lengths."""
    report: dict[str, Any] = {}
    for subset, num_pairs in sorted(_under(total, "pairs").items()):
        report[subset] = {"pairs": num_pairs}
        for unit in UNITS:
            longer, ties, chosen, rejected = (
                total[f"{unit}|{quantity}|{subset}"] / num_pairs
                for quantity in ("longer", "ties", *SIDES)
            )
            report[subset][unit] = {
                "longer_wins": round(longer + ties / 2, 4),
                "ties": round(ties, 4),
                "mean_chosen": round(chosen, 2),
                "mean_rejected": round(rejected, 2),
            }
    return report


def _histogram(total: Tally, unit: str) -> dict[str, list[Any]]:
    """Texts in bins [edges[i], edges[i + 1]), from length 1 to the last bin that holds one."""
    sides = {
        side: {int(place): n for place, n in _under(total, f"histogram|{unit}|{side}").items()}
        for side in SIDES
    }
    num_bins = max((place + 1 for counts in sides.values() for place in counts), default=0)
    edges = [round(2 ** (place / _BINS_PER_OCTAVE), 2) for place in range(num_bins + 1)]
    return {
        "edges": edges,
        **{
            side: [counts.get(place, 0) for place in range(num_bins)]
            for side, counts in sides.items()
        },
    }


def _throughput(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for each pass and worker, with rates per second (None where no time passed)."""
    totals: dict[tuple[str, str], collections.Counter[str]] = {}
    for row in rows:
        worker = totals.setdefault((row["pass"], row["worker"]), collections.Counter())
        worker.update({name: row[name] for name in ("texts", "tokens", "seconds")})
    order = {name: place for place, name in enumerate(_PASSES)}
    return [
        {
            "pass": name,
            "worker": worker,
            "texts": total["texts"],
            "tokens": total["tokens"],
            "seconds": round(total["seconds"], 3),
            "texts_per_second": _rate(total["texts"], total["seconds"]),
            "tokens_per_second": _rate(total["tokens"], total["seconds"]),
        }
        for (name, worker), total in sorted(
            totals.items(), key=lambda item: (order.get(item[0][0], len(order)), item[0])
        )
    ]


def _rate(count: int, seconds: float) -> float | None:
    return round(count / seconds, 2) if seconds > 0 else None
