"""From tokenized items to rows: which items share a row."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from codepmp_jax.data.batch import Batch
from codepmp_jax.data.drops import DROP_REASONS, Dropped
from codepmp_jax.data.item_kind import Part
from codepmp_jax.data.layouts import Capacity, Layout
from codepmp_jax.data.tokenized_item import ItemUnit, TokenizedItem
from codepmp_jax.text.tokenization import REMARKS

LIMITED = tuple(f"rows_short_of_{what}" for what in get_args(Capacity))


def count_names(unit: ItemUnit) -> tuple[str, ...]:
    """Counts of a stream, since the start of the run: items in rows; records, or texts of them, dropped, by reason;
    items in rows with a remark; tokens in rows, without and with padding; tokens, and keys over all queries, that are
    left when what both texts of a pair begin with is computed once, in whatever layout; labels; rows that would have
    been fuller with more places for labels, or for items."""
    return (
        unit,
        *DROP_REASONS,
        *REMARKS,
        "tokens",
        "padded_tokens",
        "useful_tokens",
        "useful_keys",
        "labels",
        *LIMITED,
    )


COUNTS = count_names("pairs")


@dataclasses.dataclass(frozen=True, eq=False)
class PackedRow:
    """A row, and the state of its stream after it."""

    row: Batch
    """Of one row."""
    record_ids: list[str]
    """Of the records of its items."""
    places: list[list[int]]
    """Of its items, each as [record, number of the part], as in `state`."""
    refused: list[Dropped]
    """Records refused since the row before."""
    state: dict[str, Any]
    """next_record: how many records the stream has read; waiting: which of their parts are in no row yet, each as
    [record, number of the part]; and the counts. JSON-able."""


def source_counts(unit: ItemUnit, sources: Iterable[str]) -> list[str]:
    """Counts that a stream of a mixture has too: of each source, records packed or dropped whole; items in rows;
    records, or texts of them, dropped."""
    return [f"{what}/{source}" for source in sources for what in ("records", unit, "dropped")]


def new_state(unit: ItemUnit = "pairs", sources: Iterable[str] = ()) -> dict[str, Any]:
    """The state of a stream that has read nothing, of a mixture of these sources or of one data set."""
    counts = (*count_names(unit), *source_counts(unit, sources))
    return {"next_record": 0, "waiting": []} | dict.fromkeys(counts, 0)


def counts_of(state: Mapping[str, Any]) -> dict[str, int]:
    """The counts in a stream's state."""
    return {name: n for name, n in state.items() if name not in ("next_record", "waiting")}


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
    counts = counts_of(state)
    waiting: list[tuple[int, int, TokenizedItem]] = []
    refused: list[Dropped] = []

    def take(record: int, number: int, part: Part) -> None:
        if isinstance(part, TokenizedItem):
            waiting.append((record, number, part))
            return
        counts[part.reason] += 1
        if part.source:
            counts[f"dropped/{part.source}"] += 1
        if part.reason == "refused":
            refused.append(part)

    def finish(record: int, source: str) -> None:
        """Counts a record of a mixture if no part of it waits."""
        if source and all(one != record for one, *_ in waiting):
            counts[f"records/{source}"] += 1

    for record in waiting_records(state):
        parts = next(records)
        for one, number in state["waiting"]:
            # Settings that changed on resume may leave fewer parts.
            if one == record and number < len(parts):
                take(record, number, parts[number])
        finish(record, parts[0].source)
    while True:
        while (
            needs_more([item for *_, item in waiting], layout)
            and (parts := next(records, None)) is not None
        ):
            for number, part in enumerate(parts):
                take(next_record, number, part)
            finish(next_record, parts[0].source)
            next_record += 1
        if not waiting:
            return
        fullest, lacking = fullest_row([item for *_, item in waiting], layout)
        if lacking is not None:
            counts[f"rows_short_of_{lacking}"] += 1
        chosen = set(fullest)
        in_row = [entry for i, entry in enumerate(waiting) if i in chosen]
        items = [item for *_, item in in_row]
        waiting = [entry for i, entry in enumerate(waiting) if i not in chosen]
        _count(counts, items, layout)
        for record, source in dict.fromkeys((record, item.source) for record, _, item in in_row):
            finish(record, source)
        yield PackedRow(
            layout.fill(items, pad_id),
            [item.record_id for item in items],
            _places(in_row),
            refused,
            {"next_record": next_record, "waiting": _places(waiting)} | counts,
        )
        refused = []


def _places(entries: Iterable[tuple[int, int, TokenizedItem]]) -> list[list[int]]:
    return [[record, number] for record, number, _ in entries]


def needs_more(waiting: Sequence[TokenizedItem], layout: Layout) -> bool:
    """Whether more items should wait than do: fewer than layout.window, or less than a row of them."""
    return len(waiting) < layout.window or (
        layout.window > 1 and sum(map(layout.num_tokens, waiting)) < layout.row_tokens
    )


def fullest_row(
    items: Sequence[TokenizedItem], layout: Layout
) -> tuple[list[int], Capacity | None]:
    """Which of the waiting `items`, by age, make the next row: the oldest, and those that leave least empty; and what
    the row had too few places of to be fuller, if so.

    Where several sets do, the one whose youngest are older. A set with too many labels or items is searched
    for again without its youngest. Each search is a subset sum over sets of reachable sums, as bits.
    """
    tokens = [layout.num_tokens(item) for item in items]
    within = (1 << (layout.row_tokens - tokens[0] + 1)) - 1
    candidates = list(range(1, len(items)))
    first: tuple[int, Capacity | None] | None = None
    while True:
        # Bit n of reachable[k]: some of the first k candidates have n tokens together.
        reachable = [1]
        for i in candidates:
            reachable.append(reachable[-1] | reachable[-1] << tokens[i] & within)
        most = left = reachable[-1].bit_length() - 1
        chosen = []
        for i, without in zip(reversed(candidates), reversed(reachable[:-1]), strict=True):
            if not without >> left & 1:
                chosen.append(i)
                left -= tokens[i]
        chosen = [0, *reversed(chosen)]
        lacking = layout.lacking([items[i] for i in chosen])
        first = first or (most, lacking)
        if lacking is None:
            return chosen, first[1] if first[0] > most else None
        candidates.remove(chosen[-1])


def describe_limits(counts: Mapping[str, int], layout: Layout, least: float = 0.97) -> str:
    """What leaves rows less than `least` full, if places for labels or items do, with the remedy; else nothing."""
    fill = counts["tokens"] / max(1, counts["padded_tokens"])
    num_rows = counts["padded_tokens"] // layout.row_tokens
    short = {what: counts[f"rows_short_of_{what}"] for what in get_args(Capacity)}
    if fill >= least or not any(short.values()):
        return ""
    said = ", ".join(f"{number} lack places for {what}" for what, number in short.items() if number)
    text = f"rows are {fill:.1%} full: of {num_rows} rows, {said}"
    if not short["labels"]:
        return text
    # As many as full rows of these items have, and a little for rows that have more than others.
    needed = 1.05 * counts["labels"] / counts["tokens"] * layout.row_tokens / layout.label_texts
    needed = min(-(-int(needed) // 128) * 128, layout.row_tokens)
    return f"{text}. Remedy: data.row_labels {needed}, which costs the LM head as many logits"


def _count(counts: dict[str, int], items: Sequence[TokenizedItem], layout: Layout) -> None:
    """Adds a row."""
    counts["padded_tokens"] += layout.row_tokens
    for item in items:
        common = item.common
        rests = [len(text) - common for text in item.texts]
        counts[layout.kind.unit] += 1
        if item.source:
            counts[f"{layout.kind.unit}/{item.source}"] += 1
        counts["tokens"] += layout.num_tokens(item)
        counts["useful_tokens"] += common + sum(rests)
        counts["useful_keys"] += common * (common + 1) // 2
        counts["useful_keys"] += sum(common * n + n * (n + 1) // 2 for n in rests)
        counts["labels"] += layout.num_labels(item)
        for remark in item.remarks:
            counts[remark] += 1
