"""Training runs with random parameters, as conversion finds them."""

from __future__ import annotations

import numpy as np

from codepmp_jax.checkpoint.checkpointer import Checkpointer
from codepmp_jax.config import CheckpointConfig, TrainConfig, presets
from codepmp_jax.text.tokenization import Tokenizer
from tests.training.test_parity import random_params

STEP = 3


def write_run(config: TrainConfig, tokenizer: Tokenizer | None = None) -> dict:
    """Writes a run with one checkpoint, of step STEP; its parameters."""
    params = random_params(config)
    checkpointer = Checkpointer(config.workdir, CheckpointConfig())
    checkpointer.save(STEP, params, {"count": np.zeros(())}, [{}], presets.to_json(config))
    checkpointer.close()
    (tokenizer or Tokenizer.load("embedded")).save(f"{config.workdir}/tokenizer")
    return params
