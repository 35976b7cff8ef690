"""PMP pretraining of Qwen2-7B, the paper's main run (arXiv 2410.02229).

    python launch/tpu_pod.py --config pmp_7b --workdir WORKDIR --data.input PAIRS

The dimensions are Qwen2-7B's; length, learning rate, schedule and coefficients are the paper's. Where
the authors' code differs from what one would choose, these flags follow it: `--data.layout padded
--global-batch-rows 1024 --data.length-policy truncate --data.identical-policy keep
--data.response-window paper --loss.lm-reduction micro_batch_mean --optimizer.weight-decay-mask all`.
Rows hold several pairs, their prompt once: 256 rows are some 1090 pairs of 358 tokens a text, against the
paper's 1024. Hardware: any TPU slice that `launch/compile_check.py --config pmp_7b --topology NAME` lets
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
    """Qwen2-7B with an LM head of its own, some 1090 pairs a step."""
    return TrainConfig(
        workdir="runs/pmp_7b",
        model=ModelConfig(
            vocab_size=152064,
            embed_dim=3584,
            mlp_dim=18944,
            num_layers=28,
            num_heads=28,
            num_kv_heads=4,
            head_dim=128,
            init_from="Qwen/Qwen2-7B",
        ),
        data=DataConfig(
            tokenizer="Qwen/Qwen2-7B",
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
