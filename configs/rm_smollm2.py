"""RM finetuning of SmolLM2-135M, lm_coef 0 (arXiv 2410.02229), from pmp_smollm2, its controls or the base model.

    codepmp train --config rm_smollm2 --model.init-from runs/pmp_smollm2 --data.input PAIRS

Many small steps: some six pairs of 170 tokens in each. The score head of a PMP run is kept; what was not trained for
rewards gets a new one. Hardware: as pmp_smollm2.
"""

import dataclasses

from codepmp_jax.config import CheckpointConfig, OptimizerConfig, PmpConfig, TrainConfig, presets


def get_config() -> TrainConfig:
    """Two epochs, cosine, no weight decay; texts of up to 224 tokens."""
    base = presets.load_preset("pmp_smollm2")
    return dataclasses.replace(
        base,
        workdir="runs/rm_smollm2",
        data=dataclasses.replace(base.data, max_length=224),
        loss=PmpConfig(rm_coef=1.0, lm_coef=0.0),
        optimizer=OptimizerConfig(learning_rate=5e-5, warmup_fraction=0.1, weight_decay=0.0),
        checkpoint=CheckpointConfig(every_steps=50, keep=1),
        num_epochs=2.0,
        eval_pairs=0,
    )
