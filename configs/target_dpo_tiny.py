"""Target-DPO of dpo_tiny's model (arXiv 2503.02783): of rejected, only tokens on changed lines count.

    codepmp logprobs --config dpo_tiny --model runs/lm_tiny --output runs/dpo_tiny_reference
    codepmp train --config target_dpo_tiny

Hardware: 2 CPU cores.
"""

import dataclasses

from codepmp_jax.config import TrainConfig, WeightedDpoConfig, presets


def get_config() -> TrainConfig:
    """dpo_tiny with weights from changed lines, and an SFT term of coefficient 1."""
    base = presets.load_preset("dpo_tiny")
    loss = WeightedDpoConfig(token_weights="target", reference="runs/dpo_tiny_reference")
    return dataclasses.replace(base, workdir="runs/target_dpo_tiny", loss=loss)
