"""DPO of a tiny language model on the quickstart's pairs.

    codepmp train --config lm_tiny --data.input runs/quickstart/pairs
    codepmp logprobs --config dpo_tiny --model runs/lm_tiny --output runs/dpo_tiny_reference
    codepmp train --config dpo_tiny

Hardware: 2 CPU cores.
"""

import dataclasses

from codepmp_jax.config import DpoConfig, OptimizerConfig, TrainConfig, presets


def get_config() -> TrainConfig:
    """lm_tiny's model on shared rows, 120 steps."""
    base = presets.load_preset("pmp_tiny")
    return dataclasses.replace(
        base,
        workdir="runs/dpo_tiny",
        model=dataclasses.replace(base.model, init_from="runs/lm_tiny"),
        data=dataclasses.replace(
            base.data,
            input="runs/quickstart/pairs",
            layout="shared",
            row_length=448,
            append_eos=True,
        ),
        loss=DpoConfig(reference="runs/dpo_tiny_reference"),
        optimizer=OptimizerConfig(
            learning_rate=3e-5, warmup_fraction=0.1, weight_decay=0.0, clip_norm=10.0
        ),
        checkpoint=dataclasses.replace(base.checkpoint, best_metric="eval_rewards/accuracies"),
        num_steps=120,
        eval_every_steps=40,
    )
