"""From tokenized pairs to rows: which pairs share a row, and where in it their tokens lie."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from codepmp_jax.config import DataConfig
from codepmp_jax.data.batch import Batch, empty_batch
from codepmp_jax.data.transforms import DROP_REASONS, DropReason, TokenizedPair

COUNTS = (
    *("pairs", *DROP_REASONS, "tokens", "padded_tokens"),
    *("useful_tokens", "useful_keys", "labels"),
)
"""Counts of a stream, since the start of the run: pairs in rows; pairs dropped, by reason; tokens in rows,
without and with padding; tokens, and keys over all queries, that are left when what both texts of a pair
begin with is computed once, in whatever layout; LM labels."""


@dataclasses.dataclass(frozen=True, eq=False)
class PackedRow:
    """A row, and where its stream stands behind it."""

    row: Batch
    """Of one row."""
    pair_ids: list[str]
    state: dict[str, Any]
    """next_record: how many records the stream has read; waiting: which of them are in no row yet; and
    the counts. JSON-able."""


def new_state() -> dict[str, Any]:
    """The state of a stream that has read nothing."""
    return {"next_record": 0, "waiting": []} | dict.fromkeys(COUNTS, 0)


def pack(
    pairs: Iterator[TokenizedPair | DropReason],
    config: DataConfig,
    pad_id: int,
    state: dict[str, Any],
) -> Iterator[PackedRow]:
    """Rows of a stream that goes on at `state`, each from a window of waiting pairs, the oldest with it.

    `pairs` are those of the records that wait, and then of the records from `next_record` on.
    """
    window = 1 if config.layout == "padded" else config.packing_window
    next_record = state["next_record"]
    counts = {name: state[name] for name in COUNTS}
    waiting: list[tuple[int, TokenizedPair]] = []

    def take(record: int, pair: TokenizedPair | DropReason) -> None:
        if isinstance(pair, str):
            counts[pair] += 1
        else:
            waiting.append((record, pair))

    for record in state["waiting"]:
        take(record, next(pairs))
    while True:
        while len(waiting) < window and (pair := next(pairs, None)) is not None:
            take(next_record, pair)
            next_record += 1
        if not waiting:
            return
        chosen = set(fullest_row([pair for _, pair in waiting], config))
        in_row = [pair for i, (_, pair) in enumerate(waiting) if i in chosen]
        waiting = [entry for i, entry in enumerate(waiting) if i not in chosen]
        _count(counts, in_row, config)
        yield PackedRow(
            fill_row(in_row, config, pad_id),
            [pair.pair_id for pair in in_row],
            {"next_record": next_record, "waiting": [record for record, _ in waiting]} | counts,
        )


def fullest_row(pairs: Sequence[TokenizedPair], config: DataConfig) -> list[int]:
    """Which of the waiting `pairs`, by age, make the next row: the oldest, and those that leave least empty.

    Where several sets do, the one whose youngest are older. A set with too many labels or pairs is searched
    for again without its youngest. Each search is a subset sum over sets of reachable sums, as bits.
    """
    tokens = [pair.num_tokens(config.layout) for pair in pairs]
    within = (1 << (config.row_tokens - tokens[0] + 1)) - 1
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
        num_labels = sum(pairs[i].num_labels for i in chosen)
        if num_labels <= config.row_labels and len(chosen) <= config.row_pairs:
            return chosen
        candidates.remove(chosen[-1])


def fill_row(pairs: Sequence[TokenizedPair], config: DataConfig, pad_id: int) -> Batch:
    """The row of `pairs`, which fit, in the layout that is set (see Batch)."""
    batch = empty_batch(1, config, pad_id)
    row = Batch(*(array[0] for array in batch))
    positions = np.arange(config.row_tokens, dtype=np.int32)
    free = num_labels = 0
    for i, pair in enumerate(pairs):
        skip = pair.common if config.layout == "shared" else 0
        texts = pair.chosen, pair.rejected[skip:]
        places, segments = (free, free + len(pair.chosen)), (i + 1, i + 1)
        if config.layout == "packed":
            segments = (2 * i + 1, 2 * i + 2)
        elif config.layout == "padded":
            left = config.padding_side == "left"
            gaps = [config.max_length - len(text) if left else 0 for text in texts]
            places = (gaps[0], config.max_length + gaps[1])
        for text, place, first, segment in zip(texts, places, (0, skip), segments, strict=True):
            span = slice(place, place + len(text))
            row.tokens[span] = text
            row.positions[span] = positions[first : first + len(text)]
            row.segments[span] = segment
        chosen_end, free = places[0] + len(texts[0]), places[1] + len(texts[1])
        if config.layout == "shared":
            row.branches[places[0] + skip : chosen_end] = 1
            row.branches[chosen_end:free] = 2
        # A rejected text that chosen begins with ends in the common part.
        row.ends[i] = chosen_end - 1, (free if len(texts[1]) else places[0] + skip) - 1
        row.margin[i] = pair.margin
        row.pair_mask[i] = True
        labels = slice(num_labels, num_labels + pair.num_labels)
        row.label_places[labels] = np.arange(places[0] + pair.label_start, chosen_end) - 1
        row.labels[labels] = pair.chosen[pair.label_start :]
        row.label_mask[labels] = True
        num_labels = labels.stop
    return batch


def _count(counts: dict[str, int], pairs: Sequence[TokenizedPair], config: DataConfig) -> None:
    """Adds a row."""
    counts["padded_tokens"] += config.row_tokens
    for pair in pairs:
        common = pair.common
        rests = len(pair.chosen) - common, len(pair.rejected) - common
        counts["pairs"] += 1
        counts["tokens"] += pair.num_tokens(config.layout)
        counts["useful_tokens"] += common + sum(rests)
        counts["useful_keys"] += common * (common + 1) // 2
        counts["useful_keys"] += sum(common * n + n * (n + 1) // 2 for n in rests)
        counts["labels"] += pair.num_labels
