"""Pairs of tokens with the log-probs of a model, in a folder as `codepmp logprobs` writes it."""

from __future__ import annotations

import functools
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from codepmp_jax.config import ModelConfig, TrainConfig
from codepmp_jax.data.batch import Batch, concatenate
from codepmp_jax.data.packing import new_state, pack
from codepmp_jax.data.tokenized_item import SIDES, with_companions
from codepmp_jax.data.tokenized_pair import TokenizedPair
from codepmp_jax.models.preference import abstract_params, init_params, one_text_rows
from codepmp_jax.records.log_probs import PairLogProbs, open_log_probs, write_part
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.training import objectives


def record_of(pair: TokenizedPair) -> PreferencePair:
    """A record of which the pair could be: the texts are its tokens."""
    chosen, rejected = (" ".join(map(str, text)) for text in pair.texts)
    return PreferencePair(pair.pair_id, "", chosen, rejected)


@functools.cache
def _drawn(model: ModelConfig, seed: int) -> Any:
    return jax.device_get(jax.jit(lambda: init_params(model, seed))())


def params_of(config: TrainConfig, seed: int = 0) -> Any:
    """Random parameters."""
    return _drawn(config.model, seed)


@functools.cache
def _all_log_probs(model: ModelConfig):
    graph, _, _ = abstract_params(model)

    def compute(params: Any, tokens: jax.Array, lengths: jax.Array) -> jax.Array:
        network = nnx.merge(graph, params)
        mask = jnp.arange(tokens.shape[1]) < lengths[:, None]
        return jax.nn.log_softmax(network.logits(network(tokens, *one_text_rows(mask))))

    return jax.jit(compute)


def of_model(
    config: TrainConfig, params: Any, pairs: Sequence[TokenizedPair]
) -> list[PairLogProbs]:
    """The pairs' log-probs, with each text in a row of its own."""
    texts = [text for pair in pairs for text in pair.texts]
    tokens = np.zeros((len(texts), config.data.max_length), np.int32)
    for row, text in zip(tokens, texts, strict=True):
        row[: len(text)] = text
    lengths = np.array(list(map(len, texts)))
    rows = iter(np.asarray(_all_log_probs(config.model)(params, tokens, lengths)))
    found = []
    for pair in pairs:
        sides = []
        for _, text, at in pair.labelled(SIDES):
            row = next(rows)
            sides.append(np.array([row[t - 1, text[t]] for t in at], np.float32))
        found.append(
            PairLogProbs(
                np.array([len(side) for side in sides], np.int32),
                np.array([side.sum() for side in sides], np.float32),
                np.concatenate(sides),
            )
        )
    return found


def of_sums(pair: TokenizedPair, sums: Sequence[float]) -> PairLogProbs:
    """Log-probs with these sums, the same for each token of a response."""
    lengths = [len(at) for _, _, at in pair.labelled(SIDES)]
    tokens = [np.full(n, s / n, np.float32) for n, s in zip(lengths, sums, strict=True)]
    return PairLogProbs(
        np.array(lengths, np.int32), np.array(sums, np.float32), np.concatenate(tokens)
    )


def write_folder(
    folder: pathlib.Path, pairs: Sequence[TokenizedPair], found: Sequence[PairLogProbs]
) -> str:
    """A folder of the log-probs of these pairs; what they are of is left open."""
    folder.mkdir()
    write_part(folder / "train.safetensors", [record_of(pair) for pair in pairs], found)
    manifest = {
        "record": "LogProbs",
        "of": {},
        "splits": {"train": [{"name": "train.safetensors"}]},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    open_log_probs.cache_clear()
    return str(folder)


def batch_of(pairs: Sequence[TokenizedPair], config: TrainConfig) -> Batch:
    """The pairs, with the objective's companions, as a batch of global_batch_rows rows."""
    layout = objectives.build(config).layout()
    pairs = [with_companions(pair, record_of(pair), layout.companions) for pair in pairs]
    rows = [row.row for row in pack(([pair] for pair in pairs), layout, 0, new_state())]
    rows.append(layout.empty(config.global_batch_rows - len(rows), 0))
    return jax.tree.map(jnp.asarray, concatenate(rows))
