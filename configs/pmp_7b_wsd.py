"""PMP pretraining of Qwen2-7B with warmup, stable phase and decay (arXiv 2410.02229).

    codepmp train --config pmp_7b_wsd --workdir WORKDIR --data.input PAIRS
    codepmp train --decay-from WORKDIR@1000 --workdir BRANCH

As pmp_7b, but the learning rate stays at its peak after the warmup and falls in the last 10 % of the steps.
The checkpoints of steps 1000, 1189, 1414, ... (times 2^(1/4)) are kept for good, 91 GB each. A decay branch
from each, which takes 1/9 of its steps, is the run with fewer pairs. Hardware: as pmp_7b.
"""

import dataclasses

from codepmp_jax.config import TrainConfig, presets


def get_config() -> TrainConfig:
    """pmp_7b with the schedule wsd."""
    base = presets.load_preset("pmp_7b")
    return dataclasses.replace(
        base,
        workdir="runs/pmp_7b_wsd",
        optimizer=dataclasses.replace(base.optimizer, schedule="wsd", decay_fraction=0.1),
        checkpoint=dataclasses.replace(base.checkpoint, keep_spaced_from=1000),
    )
