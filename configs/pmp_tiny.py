"""PMP pretraining of a tiny model on the pairs of the n-gram writer: the quickstart's run.

    python launch/tpu_pod.py --config pmp_tiny --workdir runs/pmp_tiny --data.input runs/pairs

Hardware: 2 CPU cores.
"""

from codepmp_jax.config import (
    CheckpointConfig,
    DataConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
)


def get_config() -> TrainConfig:
    """A Qwen2 of about 2 M parameters in float32."""
    return TrainConfig(
        workdir="runs/pmp_tiny",
        model=ModelConfig(
            vocab_size=4096,
            embed_dim=128,
            mlp_dim=384,
            num_layers=4,
            num_heads=4,
            num_kv_heads=2,
            head_dim=32,
            tie_embeddings=False,
            compute_dtype="float32",
            remat="none",
        ),
        data=DataConfig(max_length=256),
        loss=LossConfig(lm_chunk=256),
        optimizer=OptimizerConfig(learning_rate=2e-3, warmup_fraction=0.05),
        checkpoint=CheckpointConfig(every_steps=200, keep=2),
        global_batch_pairs=16,
        num_steps=600,
        log_every_steps=20,
        eval_every_steps=200,
        eval_pairs=256,
    )
