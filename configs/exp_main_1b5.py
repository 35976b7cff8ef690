"""Reward models from Qwen2-1.5B with and without PMP on four sets of preferences: the paper's main table.

    codepmp experiment --config exp_main_1b5 --output FOLDER --runs gs://BUCKET/exp \
        --inputs base=Qwen/Qwen2-1.5B pmp=gs://BUCKET/pmp_1b5 mathshepherd=gs://BUCKET/mathshepherd \
        reclor=gs://BUCKET/reclor logiqa2=gs://BUCKET/logiqa2 codeultrafeedback=gs://BUCKET/codeultrafeedback

All else is exp_main_7b's. Hardware: 24 cells of rm_mathshepherd_1b5 and so on, each on any slice that holds pmp_1b5.
Expected cost, computed and not measured: about 360 000 pairs, 2e18 useful FLOPs, 3 chip hours at 40 % of the peak of
v5p.
"""

import dataclasses

from codepmp_jax.config import ExperimentConfig, presets


def get_config() -> ExperimentConfig:
    """4 tasks x 2 initialisations x 3 seeds."""
    base = presets.load_preset("exp_main_7b")
    return dataclasses.replace(
        base,
        output="runs/exp_main_1b5",
        inputs=("base=Qwen/Qwen2-1.5B", "pmp=runs/pmp_1b5", *base.inputs[2:]),
        commands=tuple(command.replace("_7b", "_1b5") for command in base.commands),
    )
