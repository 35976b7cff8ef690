"""PMP pretraining of Qwen2-1.5B (arXiv 2410.02229).

    python launch/tpu_pod.py --config pmp_1b5 --workdir WORKDIR --data.input PAIRS

The dimensions are Qwen2-1.5B's. Its tied LM head becomes a matrix of its own, as in the paper.
Rows hold several pairs, their prompt once: 256 rows are some 1090 pairs of 358 tokens a text, against the
paper's 1024. Hardware: any TPU slice that `launch/compile_check.py --config pmp_1b5 --topology NAME` lets
pass, of at most 256 chips as it stands; on fewer, raise `accumulation_steps`, and on more, `global_batch_rows`.
`mesh.fsdp` chips share a copy of the parameters, and the others hold further copies.
"""

from codepmp_jax.config import (
    CheckpointConfig,
    DataConfig,
    MeshConfig,
    ModelConfig,
    OptimizerConfig,
    PmpConfig,
    TrainConfig,
)


def get_config() -> TrainConfig:
    """Qwen2-1.5B with an LM head of its own, some 1090 pairs a step."""
    return TrainConfig(
        workdir="runs/pmp_1b5",
        model=ModelConfig(
            vocab_size=151936,
            embed_dim=1536,
            mlp_dim=8960,
            num_layers=28,
            num_heads=12,
            num_kv_heads=2,
            head_dim=128,
            init_from="Qwen/Qwen2-1.5B",
        ),
        data=DataConfig(
            tokenizer="Qwen/Qwen2-1.5B",
            layout="shared",
            max_length=1024,
            row_length=2560,
            num_streams=64,
            num_workers=8,
            verify_shards=False,
        ),
        loss=PmpConfig(rm_coef=1.0, lm_coef=1.0),
        optimizer=OptimizerConfig(learning_rate=3e-6, warmup_fraction=0.03, weight_decay=0.1),
        mesh=MeshConfig(data=-1, fsdp=8),
        checkpoint=CheckpointConfig(every_steps=500, keep=3),
        global_batch_rows=256,
        accumulation_steps=1,
        num_epochs=1.0,
    )
