"""Pairs that are read once, in their order: those of an evaluation, and those that are only checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from codepmp_jax.data.batch import Batch, concatenate
from codepmp_jax.data.drops import Dropped, count_reasons
from codepmp_jax.data.layouts import Layout
from codepmp_jax.data.loader import GROUP_RECORDS, total_counts
from codepmp_jax.data.packing import new_state, pack
from codepmp_jax.data.tokenized_pair import TokenizedPair
from codepmp_jax.data.transforms import tokenize
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.text.tokenization import Tokenizer


class OnePass(NamedTuple):
    """Some pairs as batches."""

    batches: list[Batch]
    """This host's rows of them; none where no pair is kept."""
    counts: dict[str, int]
    """Of all hosts together: packing.COUNTS, and `records`."""
    refused: list[Dropped]
    """Those that the chat template or the tokenizer refused."""
    tokenized: list[TokenizedPair | Dropped]
    """All pairs, in their order, or why they are dropped."""
    numbers: list[Int32[np.ndarray, "B M"]]
    """Of each batch, which of them is at each place of this host's rows; -1 where there is none."""


def one_pass(
    pairs: Sequence[PreferencePair],
    tokenizer: Tokenizer,
    layout: Layout,
    *,
    batch_rows: int,
    process_index: int,
    process_count: int,
) -> OnePass:
    """All `pairs`, in their order, as batches of the layout.

    Every host tokenizes and packs all pairs, as one stream, and takes its part of each batch: hosts agree
    on the number of batches, and the rows do not depend on their number. `batch_rows`, those of the global
    batch, must be divisible by it. The last batch is filled up with rows without pairs. Raises UserError as the
    loader does.
    """
    assert batch_rows % process_count == 0
    if layout.config.append_eos:
        tokenizer.require_eos()
    tokenized: list[TokenizedPair | Dropped] = [
        pair
        for i in range(0, len(pairs), GROUP_RECORDS)
        for pair in tokenize(pairs[i : i + GROUP_RECORDS], tokenizer, layout)
    ]
    packed = list(pack(iter(tokenized), layout, tokenizer.pad_id, new_state()))
    rows = [element.row for element in packed]
    rows += [layout.empty(1, tokenizer.pad_id)] * (-len(rows) % batch_rows)
    numbers = np.full((len(rows), layout.row_pairs), -1, np.int32)
    for row, element in zip(numbers, packed, strict=False):
        row[: len(element.records)] = element.records
    size = batch_rows // process_count
    starts = range(process_index * size, len(rows), batch_rows)
    dropped = [pair for pair in tokenized if isinstance(pair, Dropped)]
    counts = total_counts([packed[-1].state if packed else new_state()])
    # Also of what was dropped behind the last row.
    counts |= count_reasons(dropped)
    counts["records"] = len(pairs)
    return OnePass(
        [concatenate(rows[start : start + size]) for start in starts],
        counts,
        [pair for pair in dropped if pair.reason == "refused"],
        tokenized,
        [numbers[start : start + size] for start in starts],
    )


def require_accepted(
    pairs: Sequence[PreferencePair],
    tokenizer: Tokenizer,
    layout: Layout,
    process_index: int,
    process_count: int,
) -> None:
    """Tokenizes this host's share of the conversations among `pairs`; strings are never refused.

    Raises UserError naming the first pair that is refused, where data.refused_policy is `stop`.
    """
    group: list[PreferencePair] = []
    for i in range(process_index, len(pairs), process_count):
        group += [pair for pair in (pairs[i],) if pair.is_conversation]
        if len(group) == GROUP_RECORDS:
            tokenize(group, tokenizer, layout)
            group = []
    tokenize(group, tokenizer, layout)
