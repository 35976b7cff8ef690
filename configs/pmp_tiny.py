"""PMP pretraining of a tiny model on the pairs of the n-gram writer: the quickstart's run.

    python launch/tpu_pod.py --config pmp_tiny --workdir runs/pmp_tiny --data.input runs/pairs

Hardware: 2 CPU cores.
"""

from codepmp_jax.config import (
    CheckpointConfig,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
)


def get_config() -> TrainConfig:
    """A Qwen2 of 1.6 M parameters in float32."""
    return TrainConfig(
        workdir="runs/pmp_tiny",
        model=ModelConfig(
            vocab_size=4096,
            embed_dim=128,
            mlp_dim=384,
            num_layers=3,
            num_heads=2,
            num_kv_heads=1,
            head_dim=64,
            tie_embeddings=False,
            compute_dtype="float32",
            remat="none",
        ),
        data=DataConfig(max_length=224),
        optimizer=OptimizerConfig(learning_rate=3e-3, warmup_fraction=0.05),
        checkpoint=CheckpointConfig(every_steps=80, keep=2),
        global_batch_rows=16,
        num_steps=240,
        log_every_steps=10,
        eval_every_steps=80,
        eval_pairs=256,
    )
