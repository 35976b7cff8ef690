"""RM finetuning of the quickstart's PMP model on a small preference set, lm_coef 0 (arXiv 2410.02229).

    python launch/tpu_pod.py --config rm_tiny --model.init-from runs/quickstart/hf --data.input PAIRS

The score head of the PMP model is kept. Hardware: 2 CPU cores.
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
    """The paper's finetuning settings (cosine, no weight decay, batch 32) at pmp_tiny's length."""
    return TrainConfig(
        workdir="runs/rm_tiny",
        model=ModelConfig(init_from="runs/quickstart/hf", compute_dtype="float32", remat="none"),
        data=DataConfig(max_length=224),
        loss=PmpConfig(rm_coef=1.0, lm_coef=0.0),
        optimizer=OptimizerConfig(learning_rate=3e-4, warmup_fraction=0.03, weight_decay=0.0),
        checkpoint=CheckpointConfig(every_steps=100, keep=2),
        global_batch_rows=32,
        num_epochs=1.0,
        log_every_steps=10,
        eval_every_steps=100,
        eval_pairs=256,
    )
