"""MRPO of Qwen2-7B-Instruct with two references (arXiv 2405.16388).

    codepmp logprobs --config mrpo_7b --model Qwen/Qwen2-7B-Instruct --input PAIRS --output runs/mrpo_7b_reference1
    codepmp logprobs --config mrpo_7b --model OTHER --data.tokenizer OTHER --input PAIRS \\
        --output runs/mrpo_7b_reference2
    codepmp train --config mrpo_7b --data.input PAIRS

beta and trust region are the released run's, which trained Llama-2-7B-chat with LoRA of rank 8 at 1e-5; the rest is
dpo_7b's. Hardware: as dpo_7b.
"""

from codepmp_jax.config import MrpoConfig, TrainConfig
from codepmp_jax.config.policies import policy


def get_config() -> TrainConfig:
    """Qwen2-7B-Instruct, sigmoid loss, trust region 0.1."""
    loss = MrpoConfig(references=("runs/mrpo_7b_reference1", "runs/mrpo_7b_reference2"))
    return policy("mrpo_7b", loss, "runs/pairs", "Qwen/Qwen2-7B-Instruct")
