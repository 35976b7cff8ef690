"""Token rewards of the quickstart's model from the edits between the programs of its pairs.

    codepmp train --config token_reward_tiny

Hardware: 2 CPU cores.
"""

import dataclasses

from codepmp_jax.config import OptimizerConfig, TokenRewardConfig, TrainConfig, presets


def get_config() -> TrainConfig:
    """pmp_tiny's model on shared rows, 120 steps."""
    base = presets.load_preset("pmp_tiny")
    return dataclasses.replace(
        base,
        workdir="runs/token_reward_tiny",
        model=dataclasses.replace(base.model, init_from="runs/quickstart/train"),
        data=dataclasses.replace(
            base.data, input="runs/quickstart/pairs", layout="shared", row_length=448
        ),
        loss=TokenRewardConfig(),
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_fraction=0.1, weight_decay=0.0),
        num_steps=120,
        eval_every_steps=40,
    )
