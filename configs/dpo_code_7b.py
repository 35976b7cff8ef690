"""Code DPO: Qwen2.5-Coder-7B-Instruct on programs that pass and programs that fail (arXiv 2410.18585).

    codepmp logprobs --config dpo_code_7b --model Qwen/Qwen2.5-Coder-7B-Instruct --input runs/rm_data/code \\
        --output runs/dpo_code_7b_reference
    codepmp train --config dpo_code_7b

The pairs are `codepmp rm-data --source candidates` of the policy's own judged candidates. The objective is the paper's; the
SFT term of coefficient 1 is ours, for near-identical pairs with which plain DPO often lowers pass@1 (2503.02783). Hardware:
as dpo_7b.
"""

from codepmp_jax.config import DpoConfig, TrainConfig
from codepmp_jax.config.policies import policy


def get_config() -> TrainConfig:
    """Qwen2.5-Coder-7B-Instruct, sigmoid loss with an SFT term."""
    loss = DpoConfig(reference="runs/dpo_code_7b_reference", sft_coef=1.0)
    return policy("dpo_code_7b", loss, "runs/rm_data/code", "Qwen/Qwen2.5-Coder-7B-Instruct")
