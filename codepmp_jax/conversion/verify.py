"""Does the converted folder compute in PyTorch what the run computes in JAX?"""

from __future__ import annotations

import dataclasses
import pathlib

import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
from transformers.utils import logging as transformers_logging

from codepmp_jax.config import TrainConfig
from codepmp_jax.conversion.load import Tensors
from codepmp_jax.errors import UserError
from codepmp_jax.models.preference import (
    Params,
    abstract_params,
    last_token,
    one_text_rows,
)
from codepmp_jax.tokenization import Text, Tokenizer

SCORE_HEAD = "score.weight"

SAMPLES = (
    "Instruction:Add two numbers.\n\nResponse:def add(a, b):\n    return a + b\n",
    "x",
    "Instruction:Réponds en français, s'il te plaît. 日本語も。\n\nResponse:print('ok')\n" * 3,
    "class Stack:\n    def __init__(self):\n        self.items = []\n" * 5,
)

# Largest error over largest value; float32 sums in another order differ by less.
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}


@dataclasses.dataclass(frozen=True)
class Verification:
    """Relative errors: max |JAX - PyTorch| / max |JAX|, over all samples."""

    rewards: float | None
    """None for a causal LM, which has no score head."""
    logits: float

    def __str__(self) -> str:
        rewards = "" if self.rewards is None else f"{self.rewards:.1e} (rewards), "
        return f"{rewards}{self.logits:.1e} (logits)"


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """max |ours - theirs| / max |ours|; the absolute error where ours is all zeros."""
    scale = float(np.max(np.abs(ours))) or 1.0
    return float(np.max(np.abs(ours - theirs))) / scale


def verify(folder: pathlib.Path, config: TrainConfig, params: Params, dtype: str) -> Verification:
    """Compares rewards, where there are any, and logits of a Hugging Face folder with those of the
    parameters, in float32.

    All samples are one padded batch, as users score them. Raises UserError where they differ by more
    than TOLERANCE of `dtype`, in which the folder was written.
    """
    reference = dataclasses.replace(config.model, compute_dtype="float32", attention="xla")
    graph, _, _ = abstract_params(reference)
    model = nnx.merge(graph, params)
    tokenizer = Tokenizer.load(str(folder))
    rows = [
        encoded.tokens[: config.data.max_length]
        for encoded in tokenizer.encode([Text(sample, 0) for sample in SAMPLES])
    ]
    tokens = np.full((len(rows), max(map(len, rows))), tokenizer.pad_id, np.int32)
    mask = np.arange(tokens.shape[1]) < np.array([[len(row)] for row in rows])
    tokens[mask] = np.concatenate(rows)
    hidden = model(jnp.asarray(tokens), *one_text_rows(jnp.asarray(mask)))
    rewards = model.rewards(hidden, last_token(jnp.asarray(mask))[:, None])[:, 0]
    logits = model.logits(hidden)
    # Each of the two models reports the other one's head as unexpected.
    transformers_logging.set_verbosity_error()
    batch = {
        "input_ids": torch.from_numpy(tokens.astype(np.int64)),
        "attention_mask": torch.from_numpy(mask.astype(np.int64)),
    }
    with torch.inference_mode():
        their_rewards = None
        if SCORE_HEAD in Tensors(folder):
            scorer = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
            their_rewards = scorer(**batch).logits[:, 0].numpy()
        writer = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        their_logits = writer(**batch).logits.numpy()
    errors = Verification(
        None if their_rewards is None else relative_error(np.asarray(rewards), their_rewards),
        relative_error(np.asarray(logits)[mask], their_logits[mask]),
    )
    if not all(e is None or e <= TOLERANCE[dtype] for e in (errors.rewards, errors.logits)):
        raise UserError(
            f"{folder}: differs from its run: relative error {errors}, more than "
            f"{TOLERANCE[dtype]:.0e}. Remedy: convert again; if it stays, report it."
        )
    return errors
