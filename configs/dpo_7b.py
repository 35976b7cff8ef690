"""DPO of Qwen2-7B-Instruct (arXiv 2305.18290).

    codepmp logprobs --config dpo_7b --model Qwen/Qwen2-7B-Instruct --input PAIRS --output runs/dpo_7b_reference
    codepmp train --config dpo_7b --data.input PAIRS

Learning rate, warmup, clipping and about 64 pairs a step are the DPO authors', who used RMSprop; the length is TRL's. The
reference is the model that the policy starts from. Hardware: 16 chips that `codepmp compile-check --config dpo_7b
--topology NAME` lets pass, e.g. v5p:2x2x4.
"""

from codepmp_jax.config import DpoConfig, TrainConfig
from codepmp_jax.config.policies import policy


def get_config() -> TrainConfig:
    """Qwen2-7B-Instruct, sigmoid loss, beta 0.1."""
    loss = DpoConfig(reference="runs/dpo_7b_reference")
    return policy("dpo_7b", loss, "runs/pairs", "Qwen/Qwen2-7B-Instruct")
