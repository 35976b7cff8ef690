"""Records that are read once, in their order: those of an evaluation, and those that are only checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32

from codepmp_jax.data.batch import Batch, concatenate
from codepmp_jax.data.drops import Dropped, count_reasons
from codepmp_jax.data.item_kind import Part
from codepmp_jax.data.layouts import Layout
from codepmp_jax.data.loader import GROUP_RECORDS, total_counts
from codepmp_jax.data.packing import new_state, pack
from codepmp_jax.data.tokenized_item import TokenizedItem
from codepmp_jax.data.transforms import tokenize
from codepmp_jax.text.tokenization import Tokenizer


class OnePass(NamedTuple):
    """Some records as batches."""

    batches: list[Batch]
    """This host's rows of them; none where no record is kept."""
    counts: dict[str, int]
    """Of all hosts together: packing.count_names, and `records`."""
    refused: list[Dropped]
    """Those that the chat template or the tokenizer refused."""
    items: dict[tuple[int, int], TokenizedItem]
    """All items, in the order of their records, by the record's number among `records` and the part's number."""
    numbers: list[Int32[np.ndarray, "B M"]]
    """Of each batch, which of the items is at each place of this host's rows; -1 where there is none."""


def one_pass(
    records: Sequence[Any],
    tokenizer: Tokenizer,
    layout: Layout,
    *,
    batch_rows: int,
    process_index: int,
    process_count: int,
) -> OnePass:
    """All `records`, in their order, as batches of the layout.

    Every host tokenizes and packs all of them, as one stream, and takes its part of each batch: hosts agree
    on the number of batches, and the rows do not depend on their number. `batch_rows`, those of the global
    batch, must be divisible by it. The last batch is filled up with rows without items. Raises UserError as the
    loader does.
    """
    assert batch_rows % process_count == 0
    if layout.config.append_eos:
        tokenizer.require_eos(layout.kind.eos_may_be_pad)
    tokenized: list[list[Part]] = [
        parts
        for i in range(0, len(records), GROUP_RECORDS)
        for parts in tokenize(records[i : i + GROUP_RECORDS], tokenizer, layout)
    ]
    start = new_state(layout.kind.unit)
    packed = list(pack(iter(tokenized), layout, tokenizer.pad_id, start))
    rows = [element.row for element in packed]
    rows += [layout.empty(1, tokenizer.pad_id)] * (-len(rows) % batch_rows)
    items = {
        (record, number): part
        for record, parts in enumerate(tokenized)
        for number, part in enumerate(parts)
        if isinstance(part, TokenizedItem)
    }
    number_of = {place: number for number, place in enumerate(items)}
    numbers = np.full((len(rows), layout.row_items), -1, np.int32)
    for row, element in zip(numbers, packed, strict=False):
        row[: len(element.places)] = [number_of[record, part] for record, part in element.places]
    size = batch_rows // process_count
    starts = range(process_index * size, len(rows), batch_rows)
    dropped = [part for parts in tokenized for part in parts if isinstance(part, Dropped)]
    counts = total_counts([packed[-1].state if packed else start])
    # Also of what was dropped behind the last row.
    counts |= count_reasons(dropped)
    counts["records"] = len(records)
    return OnePass(
        [concatenate(rows[start : start + size]) for start in starts],
        counts,
        [one for one in dropped if one.reason == "refused"],
        items,
        [numbers[start : start + size] for start in starts],
    )


def require_accepted(
    records: Sequence[Any],
    tokenizer: Tokenizer,
    layout: Layout,
    process_index: int,
    process_count: int,
) -> None:
    """Tokenizes this host's share of the conversations among `records`; strings are never refused.

    Raises UserError naming the first record that is refused, where data.refused_policy is `stop`.
    """
    group: list[Any] = []
    for i in range(process_index, len(records), process_count):
        group += [record for record in (records[i],) if layout.kind.may_be_refused(record)]
        if len(group) == GROUP_RECORDS:
            tokenize(group, tokenizer, layout)
            group = []
    tokenize(group, tokenizer, layout)
