"""PMP pretraining of Llama 3.1 8B, in the manner of pmp_7b (arXiv 2410.02229).

    python launch/tpu_pod.py --config pmp_llama31_8b --workdir WORKDIR --data.input PAIRS

The dimensions are Llama-3.1-8B's, whose rotary wavelengths are scaled. Meta lets its weights be downloaded by
those who accepted its licence on the hub.
Hardware: any TPU slice that `launch/compile_check.py --config pmp_llama31_8b --topology NAME` lets pass, of at most 256
chips as it stands; on fewer, raise `accumulation_steps`, and on more, `global_batch_rows`. `mesh.fsdp` chips
share a copy of the parameters, and the others hold further copies.
"""

from codepmp_jax.config import (
    CheckpointConfig,
    DataConfig,
    MeshConfig,
    ModelConfig,
    OptimizerConfig,
    PmpConfig,
    RopeScalingConfig,
    TrainConfig,
)


def get_config() -> TrainConfig:
    """Llama 3.1 8B, which has an LM head of its own, some 1090 pairs a step."""
    return TrainConfig(
        workdir="runs/pmp_llama31_8b",
        model=ModelConfig(
            family="llama",
            vocab_size=128256,
            embed_dim=4096,
            mlp_dim=14336,
            num_layers=32,
            num_heads=32,
            num_kv_heads=8,
            head_dim=128,
            rope_theta=500_000.0,
            rope_scaling=RopeScalingConfig(
                factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_length=8192
            ),
            norm_epsilon=1e-5,
            init_from="meta-llama/Llama-3.1-8B",
        ),
        data=DataConfig(
            tokenizer="meta-llama/Llama-3.1-8B",
            layout="shared",
            max_length=1024,
            row_length=2560,
            num_streams=64,
            num_workers=8,
            verify_shards=False,
        ),
        loss=PmpConfig(rm_coef=1.0, lm_coef=1.0),
        optimizer=OptimizerConfig(
            learning_rate=1e-6, schedule="cosine", warmup_fraction=0.03, weight_decay=0.1
        ),
        mesh=MeshConfig(data=-1, fsdp=16),
        checkpoint=CheckpointConfig(every_steps=500, keep=3),
        global_batch_rows=256,
        accumulation_steps=1,
        num_epochs=1.0,
    )
