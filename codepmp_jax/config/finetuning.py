"""The paper's RM finetuning, for the presets of each task (arXiv 2410.02229)."""

from __future__ import annotations

import dataclasses

from codepmp_jax.config import presets
from codepmp_jax.config.checkpoint import CheckpointConfig
from codepmp_jax.config.data import DataConfig
from codepmp_jax.config.pmp import PmpConfig
from codepmp_jax.config.training import OptimizerConfig, TrainConfig


def finetuning(pmp: str, task: str, learning_rate: float, warmup_fraction: float) -> TrainConfig:
    """RM finetuning of the model of the preset `pmp` on the pairs of runs/rm_data/TASK.

    One epoch, 32 padded pairs a step, cosine, no weight decay, texts of at most 1024 tokens, the pair loss alone. It
    starts from the run runs/PMP and keeps its score head; `--init base` starts from the base model of `pmp`. The
    tokenizer is that of what it starts from.
    """
    base: TrainConfig = presets.load_preset(pmp)
    return dataclasses.replace(
        base,
        workdir=f"runs/rm_{task}_{pmp.removeprefix('pmp_')}",
        init="pmp",
        model=dataclasses.replace(base.model, init_from=f"runs/{pmp}", base=base.model.init_from),
        data=DataConfig(
            input=f"runs/rm_data/{task}",
            template="Instruction:{prompt}\n\nResponse:{response}",
            max_length=1024,
            num_streams=8,
        ),
        loss=PmpConfig(rm_coef=1.0, lm_coef=0.0),
        optimizer=OptimizerConfig(
            learning_rate=learning_rate,
            schedule="cosine",
            warmup_fraction=warmup_fraction,
            weight_decay=0.0,
        ),
        checkpoint=CheckpointConfig(every_steps=500, keep=1),
        global_batch_rows=32,
        num_epochs=1.0,
        eval_every_steps=100,
    )
