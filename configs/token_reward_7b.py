"""Token rewards of Qwen2.5-Coder-7B from the edits between the programs of a pair (arXiv 2406.02756).

    codepmp train --config token_reward_7b --data.input PAIRS

For pairs whose rejected text is a rewrite of chosen, as those of `codepmp synthesize` with rewrites or mutants. Numbers are
RM finetuning's; the paper's are of another model. Hardware: as dpo_7b.
"""

import dataclasses

from codepmp_jax.config import CheckpointConfig, OptimizerConfig, TokenRewardConfig, TrainConfig
from codepmp_jax.config.policies import policy


def get_config() -> TrainConfig:
    """Qwen2.5-Coder-7B-Instruct, logistic loss of edited tokens."""
    base = policy(
        "token_reward_7b", TokenRewardConfig(), "runs/pairs", "Qwen/Qwen2.5-Coder-7B-Instruct"
    )
    return dataclasses.replace(
        base,
        data=dataclasses.replace(base.data, append_eos=False),
        optimizer=OptimizerConfig(learning_rate=1e-6, warmup_fraction=0.03, weight_decay=0.0),
        checkpoint=CheckpointConfig(every_steps=200, keep=2),
    )
