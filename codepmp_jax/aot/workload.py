"""What a row of the batch holds when pairs have realistic lengths."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from codepmp_jax.config import DataConfig
from codepmp_jax.data.batch import concatenate
from codepmp_jax.data.layouts import Layout
from codepmp_jax.data.packing import new_state, pack
from codepmp_jax.data.tokenized_pair import TokenizedPair
from codepmp_jax.models.segments import Segments, needed_blocks, pad_rows
from codepmp_jax.models.splash import LANES
from codepmp_jax.text.lengths import draw_lengths

# Pairs that the means are over.
NUM_PAIRS = 2048


@dataclasses.dataclass(frozen=True)
class Workload:
    """Means of a row, as in train_flops: what both texts begin with counts once."""

    pairs: float
    tokens: float
    keys: float
    labels: float
    fill: float
    """Share of the row's tokens that are not padding."""
    scores_per_query: float
    """That attention computes, in whole blocks."""


def synthetic_pairs(config: DataConfig, num_pairs: int = NUM_PAIRS) -> Iterator[TokenizedPair]:
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


def measure(layout: Layout, block: int) -> Workload:
    """The workload of rows that the real packer makes; attention has blocks of up to `block` tokens.

    `layout` has no companions.
    """
    length = layout.sequence_length
    # As attend_splash does.
    block = min(block, length)
    block += -block % LANES
    rows = list(pack(synthetic_pairs(layout.config), layout, 0, new_state()))
    counts = rows[-1].state
    batch = concatenate([row.row for row in rows])
    ids, branches = (
        pad_rows(jnp.asarray(array.reshape(-1, length)), block)
        for array in (batch.segments, batch.branches)
    )
    segments = Segments(ids, branches if layout.has_branches else None)
    blocks = needed_blocks(segments, block)
    return Workload(
        pairs=counts["pairs"] / len(rows),
        tokens=counts["useful_tokens"] / len(rows),
        keys=counts["useful_keys"] / len(rows),
        labels=counts["labels"] / len(rows),
        fill=counts["tokens"] / counts["padded_tokens"],
        scores_per_query=float(jax.device_get(blocks.sum())) * block**2 / ids.size,
    )
