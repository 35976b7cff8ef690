"""Does the converted folder compute in PyTorch what the run computes in JAX?"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
from transformers.utils import logging as transformers_logging

from codepmp_jax.config import ConvertConfig
from codepmp_jax.conversion.export import load_run
from codepmp_jax.errors import UserError
from codepmp_jax.models.preference import abstract_params
from codepmp_jax.tokenization import Text, Tokenizer

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

    rewards: float
    logits: float


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """max |ours - theirs| / max |ours|; the absolute error where ours is all zeros."""
    scale = float(np.max(np.abs(ours))) or 1.0
    return float(np.max(np.abs(ours - theirs))) / scale


def verify(convert: ConvertConfig) -> Verification:
    """Compares rewards and logits of the folder convert.output with those of convert.run, in float32.

    Raises UserError where they differ by more than TOLERANCE of convert.dtype.
    """
    config, _, params = load_run(convert.run, convert.step)
    graph, _, _ = abstract_params(dataclasses.replace(config.model, compute_dtype="float32"))
    model = nnx.merge(graph, params)
    tokenizer = Tokenizer.load(convert.output)
    # Each of the two models reports the other one's head as unexpected.
    transformers_logging.set_verbosity_error()
    scorer = AutoModelForSequenceClassification.from_pretrained(convert.output, dtype=torch.float32)
    writer = AutoModelForCausalLM.from_pretrained(convert.output, dtype=torch.float32)
    ours: list[tuple[np.ndarray, np.ndarray]] = []
    theirs: list[tuple[np.ndarray, np.ndarray]] = []
    for encoded in tokenizer.encode([Text(sample, 0) for sample in SAMPLES]):
        tokens = encoded.tokens[None, : config.data.max_length]
        mask = jnp.ones(tokens.shape, bool)
        hidden = model(jnp.asarray(tokens), mask)
        ours.append((np.asarray(model.rewards(hidden, mask)), np.asarray(model.logits(hidden))))
        with torch.no_grad():
            ids = torch.from_numpy(tokens.astype(np.int64))
            theirs.append((scorer(ids).logits[:, 0].numpy(), writer(ids).logits.numpy()))
    errors = Verification(
        *(
            relative_error(
                np.concatenate([sample[i].ravel() for sample in ours]),
                np.concatenate([sample[i].ravel() for sample in theirs]),
            )
            for i in range(2)
        )
    )
    if max(errors.rewards, errors.logits) > TOLERANCE[convert.dtype]:
        raise UserError(
            f"{convert.output}: differs from {convert.run}: relative error of rewards "
            f"{errors.rewards:.1e}, of logits {errors.logits:.1e}, more than "
            f"{TOLERANCE[convert.dtype]:.0e}. Remedy: convert again; if it stays, report it."
        )
    return errors
