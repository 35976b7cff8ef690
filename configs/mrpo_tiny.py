"""MRPO of a tiny language model on the quickstart's pairs, with the reward model pretrained by the quickstart as second reference.

    codepmp logprobs --config dpo_tiny --model runs/lm_tiny --output runs/dpo_tiny_reference
    codepmp logprobs --config dpo_tiny --model runs/quickstart/train --output runs/mrpo_tiny_reference
    codepmp train --config mrpo_tiny

Hardware: 2 CPU cores.
"""

import dataclasses

from codepmp_jax.config import MrpoConfig, TrainConfig, presets


def get_config() -> TrainConfig:
    """dpo_tiny with two references."""
    base = presets.load_preset("dpo_tiny")
    loss = MrpoConfig(references=("runs/dpo_tiny_reference", "runs/mrpo_tiny_reference"))
    return dataclasses.replace(base, workdir="runs/mrpo_tiny", loss=loss)
