"""What a row of the batch holds when pairs or documents have realistic lengths."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from codepmp_jax.config import DataConfig, ModelConfig
from codepmp_jax.data.batch import concatenate
from codepmp_jax.data.documents import Documents
from codepmp_jax.data.item_kind import Part
from codepmp_jax.data.layouts import Layout
from codepmp_jax.data.packing import new_state, pack
from codepmp_jax.data.tokenized_pair import TokenizedPair
from codepmp_jax.models import flash
from codepmp_jax.models.segments import (
    Options,
    Segments,
    needed_blocks,
    pad_rows,
    seen_blocks,
    spans,
)
from codepmp_jax.models.splash import DEFAULT_BLOCK, LANES
from codepmp_jax.records.schema import SourceFile
from codepmp_jax.text.lengths import draw_document_lengths, draw_lengths
from codepmp_jax.text.tokenization import EncodedText

# Pairs or documents that the means are over.
NUM_RECORDS = 2048


@dataclasses.dataclass(frozen=True)
class Workload:
    """Means of a row, as in train_flops: what both texts begin with counts once."""

    items: float
    tokens: float
    keys: float
    labels: float
    fill: float
    """Share of the row's tokens that are not padding."""
    scores_per_query: float
    """That attention computes, in whole blocks."""


def full_rows(length: int, block: int) -> Workload:
    """Rows that one document fills, of which attention computes the blocks of up to `block` tokens up to a query's own."""
    block = min(block, length)
    return Workload(
        items=1.0,
        tokens=float(length),
        keys=length * (length + 1) / 2,
        labels=length - 1.0,
        fill=1.0,
        scores_per_query=(length + block) / 2,
    )


def synthetic_records(layout: Layout) -> Iterator[list[Part]]:
    """What records of drawn lengths give, of the layout's kind."""
    if not isinstance(layout.kind, Documents):
        for pair in synthetic_pairs(layout.config):
            yield [pair]
        return
    document = SourceFile(*[""] * 9, line=1)
    for length in draw_document_lengths(NUM_RECORDS):
        text = EncodedText(np.zeros(length, np.int32), 0)
        yield layout.kind.fit(document, [text], layout)


def synthetic_pairs(config: DataConfig, num_pairs: int = NUM_RECORDS) -> Iterator[TokenizedPair]:
    """Pairs of drawn lengths, whose two texts have the prompt in common and nothing else."""
    for i, (prompt, chosen, rejected) in enumerate(
        zip(*draw_lengths(num_pairs, config.max_length), strict=True)
    ):
        texts = (
            np.concatenate([np.zeros(prompt, np.int32), np.full(response, token, np.int32)])
            for token, response in ((1, chosen), (2, rejected))
        )
        yield TokenizedPair(
            str(i), 0.0, *texts, label_starts=(int(prompt), int(prompt)), common=int(prompt)
        )


def measure(layout: Layout, model: ModelConfig) -> Workload:
    """The workload of rows that the real packer makes, with the attention that `model`, which is resolved, names."""
    # What an objective adds to a record there is none of, and takes no place in a row.
    layout = dataclasses.replace(layout, companions=())
    length = layout.sequence_length
    unit = layout.kind.unit
    rows = list(pack(synthetic_records(layout), layout, 0, new_state(unit)))
    counts = rows[-1].state
    batch = concatenate([row.row for row in rows])
    ids, branches = (
        jnp.asarray(array.reshape(-1, length)) for array in (batch.segments, batch.branches)
    )
    segments = Segments(ids, branches if layout.has_branches else None)
    return Workload(
        items=counts[unit] / len(rows),
        tokens=counts["useful_tokens"] / len(rows),
        keys=counts["useful_keys"] / len(rows),
        labels=counts["labels"] / len(rows),
        fill=counts["tokens"] / counts["padded_tokens"],
        scores_per_query=_scores_per_query(segments, model),
    )


def _scores_per_query(segments: Segments, model: ModelConfig) -> float:
    """Of rows as attention pads them."""
    rows, length = segments.ids.shape
    options = Options(scale=1.0, block=model.attention_block)
    shape = flash.shape_of(
        rows, length, model.num_heads, model.num_kv_heads, model.head_dim, options
    )
    if model.attention == "flash" and flash.fits(shape):
        keys = shape.keys
        blocks = seen_blocks(spans(pad_rows(segments, shape.queries)), shape.queries, keys)
    else:
        # As attend_splash does.
        keys = min(model.attention_block or DEFAULT_BLOCK, length)
        keys += -keys % LANES
        blocks = needed_blocks(pad_rows(segments, keys), keys)
    # Those of all blocks of queries.
    return float(jax.device_get(blocks.sum())) * keys / (rows * blocks.shape[1])
