"""Language modelling of plain code documents by a tiny model: pmp_tiny's control without pairs, and a base for it.

    python launch/tpu_pod.py --config lm_tiny --workdir runs/lm_tiny --data.input runs/quickstart/corpus

The documents are those of `codepmp corpus`; `--data.input runs/quickstart/pairs` trains on the texts of pairs instead.
`--config pmp_tiny --model.init-from runs/lm_tiny` starts preference model pretraining from it. Hardware: 2 CPU cores.
"""

import dataclasses

from codepmp_jax.config import DataConfig, LmConfig, TrainConfig, presets


def get_config() -> TrainConfig:
    """pmp_tiny's model, steps and tokens a step, on packed documents."""
    base = presets.load_preset("pmp_tiny")
    return dataclasses.replace(
        base,
        workdir="runs/lm_tiny",
        data=DataConfig(
            input="runs/quickstart/corpus",
            layout="packed",
            max_length=224,
            row_length=448,
            length_policy="split",
            append_eos=True,
        ),
        loss=LmConfig(),
        checkpoint=dataclasses.replace(
            base.checkpoint, best_metric="eval_lm_loss", best_is="lowest"
        ),
    )
