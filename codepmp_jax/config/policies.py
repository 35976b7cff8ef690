"""DPO as its authors and TRL run it, for the presets (arXiv 2305.18290)."""

from __future__ import annotations

import dataclasses

from codepmp_jax.config import presets
from codepmp_jax.config.checkpoint import CheckpointConfig
from codepmp_jax.config.data import DataConfig
from codepmp_jax.config.objective import ObjectiveConfig
from codepmp_jax.config.training import OptimizerConfig, TrainConfig


def policy(name: str, loss: ObjectiveConfig, pairs: str, init_from: str) -> TrainConfig:
    """A policy of 7B parameters, from the model `init_from`, on the pairs of the folder `pairs`.

    The DPO authors' learning rate, warmup, clipping and 64 pairs a step (about: 16 shared rows hold some 68 pairs of 358
    tokens a text), AdamW, one epoch, texts of at most 1024 tokens that end in EOS.
    """
    base: TrainConfig = presets.load_preset("pmp_7b")
    return dataclasses.replace(
        base,
        workdir=f"runs/{name}",
        model=dataclasses.replace(base.model, init_from=init_from),
        data=DataConfig(
            input=pairs,
            tokenizer=init_from,
            layout="shared",
            max_length=1024,
            row_length=2560,
            append_eos=True,
            num_streams=16,
            num_workers=8,
        ),
        loss=loss,
        optimizer=OptimizerConfig(
            learning_rate=5e-7,
            schedule="cosine",
            warmup_steps=150,
            weight_decay=0.0,
            clip_norm=10.0,
        ),
        checkpoint=CheckpointConfig(every_steps=200, keep=2, best_metric="eval_rewards/accuracies"),
        global_batch_rows=16,
        num_epochs=1.0,
        eval_every_steps=100,
    )
