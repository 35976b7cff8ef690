"""RM finetuning of Qwen2-7B on ReClor (arXiv 2410.02229).

    codepmp train --config rm_reclor_7b --model.init-from runs/pmp_7b
    codepmp train --config rm_reclor_7b --init base --workdir runs/rm_reclor_7b_base

Pairs: runs/rm_data/reclor, the right option against a wrong one. Starts from a run of `pmp_7b`, or a folder
converted from one, and keeps its score head; `--init base` starts from Qwen/Qwen2-7B with a new one. Learning
rate, warmup, one epoch, 32 pairs a step, no weight decay, cosine and the length of 1024 are the paper's.
Hardware: 16 or 32 chips that `codepmp compile-check --config rm_reclor_7b --topology NAME` lets pass, e.g.
v5e:4x4.
"""

from codepmp_jax.config import TrainConfig
from codepmp_jax.config.finetuning import finetuning


def get_config() -> TrainConfig:
    """Qwen2-7B, 32 pairs a step."""
    return finetuning("pmp_7b", "reclor", learning_rate=3e-6, warmup_fraction=0.25)
