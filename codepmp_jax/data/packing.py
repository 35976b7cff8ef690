"""From tokenized pairs to rows: which pairs share a row."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from codepmp_jax.data.batch import Batch
from codepmp_jax.data.drops import DROP_REASONS, Dropped
from codepmp_jax.data.layouts import Layout
from codepmp_jax.data.tokenized_pair import TokenizedPair
from codepmp_jax.text.tokenization import REMARKS

COUNTS = (
    "pairs",
    *DROP_REASONS,
    *REMARKS,
    "tokens",
    "padded_tokens",
    "useful_tokens",
    "useful_keys",
    "labels",
)
"""Counts of a stream, since the start of the run: pairs in rows; pairs dropped, by reason; pairs in rows with
a remark; tokens in rows, without and with padding; tokens, and keys over all queries, that are left when what both texts of a pair
begin with is computed once, in whatever layout; labels."""


@dataclasses.dataclass(frozen=True, eq=False)
class PackedRow:
    """A row, and the state of its stream after it."""

    row: Batch
    """Of one row."""
    pair_ids: list[str]
    records: list[int]
    """Numbers of the pairs' records in the stream."""
    refused: list[Dropped]
    """Pairs refused since the row before."""
    state: dict[str, Any]
    """next_record: how many records the stream has read; waiting: which of them are in no row yet; and
    the counts. JSON-able."""


def source_counts(sources: Iterable[str]) -> list[str]:
    """Counts that a stream of a mixture has too: of each source, pairs in rows and pairs dropped."""
    return [f"{what}/{source}" for source in sources for what in ("pairs", "dropped")]


def new_state(sources: Iterable[str] = ()) -> dict[str, Any]:
    """The state of a stream that has read nothing, of a mixture of these sources or of one data set."""
    counts = (*COUNTS, *source_counts(sources))
    return {"next_record": 0, "waiting": []} | dict.fromkeys(counts, 0)


def counts_of(state: Mapping[str, Any]) -> dict[str, int]:
    """The counts in a stream's state."""
    others = [name for name in state if name not in (*COUNTS, "next_record", "waiting")]
    return {name: state[name] for name in (*COUNTS, *others)}


def pack(
    pairs: Iterator[TokenizedPair | Dropped],
    layout: Layout,
    pad_id: int,
    state: dict[str, Any],
) -> Iterator[PackedRow]:
    """Rows of a stream from `state` on, each from a window of waiting pairs, the oldest with it.

    `pairs` are those of the records that wait, and then of the records from `next_record` on.
    """
    next_record = state["next_record"]
    counts = counts_of(state)
    waiting: list[tuple[int, TokenizedPair]] = []
    refused: list[Dropped] = []

    def take(record: int, pair: TokenizedPair | Dropped) -> None:
        if isinstance(pair, TokenizedPair):
            waiting.append((record, pair))
            return
        counts[pair.reason] += 1
        if pair.source:
            counts[f"dropped/{pair.source}"] += 1
        if pair.reason == "refused":
            refused.append(pair)

    for record in state["waiting"]:
        take(record, next(pairs))
    while True:
        while len(waiting) < layout.window and (pair := next(pairs, None)) is not None:
            take(next_record, pair)
            next_record += 1
        if not waiting:
            return
        chosen = set(fullest_row([pair for _, pair in waiting], layout))
        in_row = [pair for i, (_, pair) in enumerate(waiting) if i in chosen]
        records = [record for i, (record, _) in enumerate(waiting) if i in chosen]
        waiting = [entry for i, entry in enumerate(waiting) if i not in chosen]
        _count(counts, in_row, layout)
        yield PackedRow(
            layout.fill(in_row, pad_id),
            [pair.pair_id for pair in in_row],
            records,
            refused,
            {"next_record": next_record, "waiting": [record for record, _ in waiting]} | counts,
        )
        refused = []


def fullest_row(pairs: Sequence[TokenizedPair], layout: Layout) -> list[int]:
    """Which of the waiting `pairs`, by age, make the next row: the oldest, and those that leave least empty.

    Where several sets do, the one whose youngest are older. A set with too many labels or pairs is searched
    for again without its youngest. Each search is a subset sum over sets of reachable sums, as bits.
    """
    tokens = [layout.num_tokens(pair) for pair in pairs]
    within = (1 << (layout.row_tokens - tokens[0] + 1)) - 1
    candidates = list(range(1, len(pairs)))
    while True:
        # Bit n of reachable[k]: some of the first k candidates have n tokens together.
        reachable = [1]
        for i in candidates:
            reachable.append(reachable[-1] | reachable[-1] << tokens[i] & within)
        left = reachable[-1].bit_length() - 1
        chosen = []
        for i, without in zip(reversed(candidates), reversed(reachable[:-1]), strict=True):
            if not without >> left & 1:
                chosen.append(i)
                left -= tokens[i]
        chosen = [0, *reversed(chosen)]
        if layout.fits([pairs[i] for i in chosen]):
            return chosen
        candidates.remove(chosen[-1])


def _count(counts: dict[str, int], pairs: Sequence[TokenizedPair], layout: Layout) -> None:
    """Adds a row."""
    counts["padded_tokens"] += layout.row_tokens
    for pair in pairs:
        common = pair.common
        rests = len(pair.chosen) - common, len(pair.rejected) - common
        counts["pairs"] += 1
        if pair.source:
            counts[f"pairs/{pair.source}"] += 1
        counts["tokens"] += layout.num_tokens(pair)
        counts["useful_tokens"] += common + sum(rests)
        counts["useful_keys"] += common * (common + 1) // 2
        counts["useful_keys"] += sum(common * n + n * (n + 1) // 2 for n in rests)
        counts["labels"] += layout.num_labels(pair)
        for remark in pair.remarks:
            counts[remark] += 1
