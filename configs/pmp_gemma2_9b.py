"""PMP pretraining of Gemma 2 9B, in the manner of pmp_7b (arXiv 2410.02229).

    python launch/tpu_pod.py --config pmp_gemma2_9b --workdir WORKDIR --data.input PAIRS

The dimensions are gemma-2-9b's. Its tied LM head becomes a matrix of its own, as in the paper. Texts of 1024
tokens never leave its window of 4096, so that all layers compile as one. Google lets its weights be downloaded
by those who accepted its licence on the hub.
Hardware: any TPU slice that `launch/compile_check.py --config pmp_gemma2_9b --topology NAME` lets pass, of at most 256
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
    TrainConfig,
)


def get_config() -> TrainConfig:
    """Gemma 2 9B with an LM head of its own, some 1090 pairs a step."""
    return TrainConfig(
        workdir="runs/pmp_gemma2_9b",
        model=ModelConfig(
            family="gemma2",
            vocab_size=256000,
            embed_dim=3584,
            mlp_dim=14336,
            num_layers=42,
            num_heads=16,
            num_kv_heads=8,
            head_dim=256,
            rope_theta=10_000.0,
            sliding_window=4096,
            attention_soft_cap=50.0,
            logit_soft_cap=30.0,
            init_from="google/gemma-2-9b",
        ),
        data=DataConfig(
            tokenizer="google/gemma-2-9b",
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
