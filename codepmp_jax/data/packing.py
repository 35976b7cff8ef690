"""From tokenized items to rows: which items share a row."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from codepmp_jax.data.batch import Batch
from codepmp_jax.data.drops import DROP_REASONS, Dropped
from codepmp_jax.data.item_kind import Part
from codepmp_jax.data.layouts import Layout
from codepmp_jax.data.tokenized_item import ItemUnit, TokenizedItem
from codepmp_jax.text.tokenization import REMARKS


def count_names(unit: ItemUnit) -> tuple[str, ...]:
    """Counts of a stream, since the start of the run: items in rows; records, or texts of them, dropped, by reason;
    items in rows with a remark; tokens in rows, without and with padding; tokens, and keys over all queries, that are
    left when what both texts of a pair begin with is computed once, in whatever layout; labels."""
    return (
        unit,
        *DROP_REASONS,
        *REMARKS,
        "tokens",
        "padded_tokens",
        "useful_tokens",
        "useful_keys",
        "labels",
    )


COUNTS = count_names("pairs")


@dataclasses.dataclass(frozen=True, eq=False)
class PackedRow:
    """A row, and the state of its stream after it."""

    row: Batch
    """Of one row."""
    record_ids: list[str]
    """Of the records of its items."""
    refused: list[Dropped]
    """Records refused since the row before."""
    state: dict[str, Any]
    """next_record: how many records the stream has read; waiting: which of their parts are in no row yet, each as
    [record, number of the part]; and the counts. JSON-able."""


def new_state(unit: ItemUnit = "pairs") -> dict[str, Any]:
    """The state of a stream that has read nothing."""
    return {"next_record": 0, "waiting": []} | dict.fromkeys(count_names(unit), 0)


def waiting_records(state: dict[str, Any]) -> list[int]:
    """The records with parts that wait, in the order of the parts."""
    return list(dict.fromkeys(record for record, _ in state["waiting"]))


def pack(
    records: Iterator[Sequence[Part]],
    layout: Layout,
    pad_id: int,
    state: dict[str, Any],
) -> Iterator[PackedRow]:
    """Rows of a stream from `state` on, each from a window of waiting items, the oldest with it.

    `records` are the parts of each record of waiting_records, and then of the records from `next_record` on.
    """
    next_record = state["next_record"]
    counts = {name: state[name] for name in count_names(layout.kind.unit)}
    waiting: list[tuple[int, int, TokenizedItem]] = []
    refused: list[Dropped] = []
    for record in waiting_records(state):
        parts = next(records)
        for one, number in state["waiting"]:
            if one == record:
                item = parts[number]
                assert isinstance(item, TokenizedItem)
                waiting.append((record, number, item))
    while True:
        while len(waiting) < layout.window and (parts := next(records, None)) is not None:
            for number, part in enumerate(parts):
                if isinstance(part, TokenizedItem):
                    waiting.append((next_record, number, part))
                    continue
                counts[part.reason] += 1
                if part.reason == "refused":
                    refused.append(part)
            next_record += 1
        if not waiting:
            return
        chosen = set(fullest_row([item for *_, item in waiting], layout))
        in_row = [item for i, (*_, item) in enumerate(waiting) if i in chosen]
        waiting = [entry for i, entry in enumerate(waiting) if i not in chosen]
        _count(counts, in_row, layout)
        places = [[record, number] for record, number, _ in waiting]
        yield PackedRow(
            layout.fill(in_row, pad_id),
            [item.record_id for item in in_row],
            refused,
            {"next_record": next_record, "waiting": places} | counts,
        )
        refused = []


def fullest_row(items: Sequence[TokenizedItem], layout: Layout) -> list[int]:
    """Which of the waiting `items`, by age, make the next row: the oldest, and those that leave least empty.

    Where several sets do, the one whose youngest are older. A set with too many labels or items is searched
    for again without its youngest. Each search is a subset sum over sets of reachable sums, as bits.
    """
    tokens = [layout.num_tokens(item) for item in items]
    within = (1 << (layout.row_tokens - tokens[0] + 1)) - 1
    candidates = list(range(1, len(items)))
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
        if layout.fits([items[i] for i in chosen]):
            return chosen
        candidates.remove(chosen[-1])


def _count(counts: dict[str, int], items: Sequence[TokenizedItem], layout: Layout) -> None:
    """Adds a row."""
    counts["padded_tokens"] += layout.row_tokens
    for item in items:
        common = item.common
        rests = [len(text) - common for text in item.texts]
        counts[layout.kind.unit] += 1
        counts["tokens"] += layout.num_tokens(item)
        counts["useful_tokens"] += common + sum(rests)
        counts["useful_keys"] += common * (common + 1) // 2
        counts["useful_keys"] += sum(common * n + n * (n + 1) // 2 for n in rests)
        counts["labels"] += layout.num_labels(item)
        for remark in item.remarks:
            counts[remark] += 1
