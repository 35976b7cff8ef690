"""exp_smollm2 on a GPU: whole library functions, more pairs, all three seeds.

    export XLA_PYTHON_CLIENT_PREALLOCATE=false
    codepmp experiment --config exp_smollm2_gpu --output FOLDER --parallel 4

The same commands in bfloat16, with longer rows and more of them. Hardware: one GPU of 80 GiB or more. Expected cost: not
measured; finetuning reads 84 000 pairs.
"""

import dataclasses

from codepmp_jax.config import ExperimentConfig, presets

PRETRAINING = "--model.compute-dtype bfloat16 --data.max-length 256 --data.row-length 2048"
# What the CPU size says -> what this one does.
CHANGES = {
    "--max-description-chars 120": "--max-description-chars 200",
    "--max-chars 240": "--max-chars 500",
    "--max-chars 140": "--max-chars 300",
    "sampling.max-tokens 80": "sampling.max-tokens 160",
    "transformers.batch-rows 64": "transformers.batch-rows 512",
    "--data.max-pairs 800": PRETRAINING,
    "--data.max-pairs 400": PRETRAINING,
    "codepmp train --config rm_smollm2": (
        "codepmp train --config rm_smollm2 --model.compute-dtype bfloat16"
    ),
    "codepmp evaluate score": "codepmp evaluate score --scorer.dtype bfloat16",
}


def get_config() -> ExperimentConfig:
    """3 tasks x 3 seeds x 6 initialisations x 5 sizes."""
    base = presets.load_preset("exp_smollm2")

    def changed(text: str) -> str:
        for old, new in CHANGES.items():
            text = text.replace(old, new)
        return text

    return dataclasses.replace(
        base,
        output="runs/exp_smollm2_gpu",
        axes=tuple(
            "pairs=25,50,100,200,400" if axis.startswith("pairs=") else axis for axis in base.axes
        ),
        texts=tuple(map(changed, base.texts)),
        commands=tuple(map(changed, base.commands)),
    )
