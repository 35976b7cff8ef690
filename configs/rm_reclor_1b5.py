"""RM finetuning of Qwen2-1.5B on ReClor (arXiv 2410.02229).

    codepmp train --config rm_reclor_1b5 --model.init-from runs/pmp_1b5
    codepmp train --config rm_reclor_1b5 --init base --workdir runs/rm_reclor_1b5_base

Pairs: runs/rm_data/reclor, the right option against a wrong one. Starts from a run of `pmp_1b5`, or a folder
converted from one, and keeps its score head; `--init base` starts from Qwen/Qwen2-1.5B with a new one. All is
as in rm_reclor_7b but the learning rate, which is three times as high: the authors' code has none for 1.5B.
Hardware: 8, 16 or 32 chips that `codepmp compile-check --config rm_reclor_1b5 --topology NAME` lets pass,
e.g. v5e:2x4; 4 with `--mesh.fsdp 4`.
"""

from codepmp_jax.config import TrainConfig
from codepmp_jax.config.finetuning import finetuning


def get_config() -> TrainConfig:
    """Qwen2-1.5B, 32 pairs a step."""
    return finetuning("pmp_1b5", "reclor", learning_rate=9e-6, warmup_fraction=0.25)
