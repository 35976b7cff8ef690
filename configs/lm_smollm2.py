"""pmp_smollm2's control: language modelling of the chosen code alone, in the same batches.

    codepmp train --config lm_smollm2 --data.input PAIRS

Steps, rows and labels are those of pmp_smollm2; only the pair loss is left out. So it sees the same tokens, and
what PMP adds to it is due to the preferences. Hardware: as pmp_smollm2.
"""

import dataclasses

from codepmp_jax.config import PmpConfig, TrainConfig, presets


def get_config() -> TrainConfig:
    """pmp_smollm2 without the pair loss."""
    return dataclasses.replace(
        presets.load_preset("pmp_smollm2"),
        workdir="runs/lm_smollm2",
        loss=PmpConfig(rm_coef=0.0, lm_coef=1.0),
    )
