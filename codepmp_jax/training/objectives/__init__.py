"""What a run trains for: one module an objective, made from its settings at TrainConfig.loss.

Enters: losses and metrics of hidden states and a batch; step, run and aot know no objective by name.
"""

import dataclasses

from codepmp_jax.config import (
    DpoConfig,
    LmConfig,
    MrpoConfig,
    PmpConfig,
    TokenRewardConfig,
    TrainConfig,
    WeightedDpoConfig,
)
from codepmp_jax.config.objective import ObjectiveConfig
from codepmp_jax.models.flops import train_flops
from codepmp_jax.training.objectives.dpo import Dpo
from codepmp_jax.training.objectives.lm import Lm
from codepmp_jax.training.objectives.mrpo import Mrpo
from codepmp_jax.training.objectives.objective import Objective
from codepmp_jax.training.objectives.pmp import Pmp
from codepmp_jax.training.objectives.token_reward import TokenReward
from codepmp_jax.training.objectives.weighted_dpo import WeightedDpo

OBJECTIVES: dict[type[ObjectiveConfig], type[Objective]] = {
    PmpConfig: Pmp,
    LmConfig: Lm,
    DpoConfig: Dpo,
    MrpoConfig: Mrpo,
    WeightedDpoConfig: WeightedDpo,
    TokenRewardConfig: TokenReward,
}


def build(config: TrainConfig) -> Objective:
    """The objective that config.loss sets."""
    return OBJECTIVES[type(config.loss)](config)


def with_heads(config: TrainConfig) -> TrainConfig:
    """The config whose model has the heads that its objective needs, beside those it has."""
    heads = dict(config.model.heads) | dict(build(config).heads)
    model = dataclasses.replace(config.model, heads=tuple(heads.items()))
    return dataclasses.replace(config, model=model)


def useful_flops(
    config: TrainConfig,
    *,
    tokens: int | float,
    keys: int | float,
    labels: int | float,
    items: int | float,
) -> float:
    """Useful FLOPs of a training step (train_flops); labels count where the objective computes their logits, and items
    where they are pairs."""
    objective = build(config)
    labels = labels if objective.uses_lm_head else 0
    pairs = items if objective.kind.unit == "pairs" else 0
    return train_flops(
        config.model, tokens=tokens, keys=keys, labels=labels, pairs=pairs, lora=config.lora
    )
