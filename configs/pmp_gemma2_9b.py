"""PMP pretraining of Gemma 2 9B, as pmp_7b (arXiv 2410.02229).

    python launch/tpu_pod.py --config pmp_gemma2_9b --workdir WORKDIR --data.input PAIRS

The dimensions are gemma-2-9b's; all else is pmp_7b's, whose docstring describes rows and batches. Its tied LM head
becomes a matrix of its own, as in the paper. Texts of 1024 tokens never leave its window of 4096, so that all layers
compile as one. Google lets its weights be downloaded by those who accepted its licence on the hub.
Hardware: any TPU slice that passes `python launch/compile_check.py --config pmp_gemma2_9b --topology NAME`, of at
most 256 chips as it stands; on fewer, raise `accumulation_steps`, and on more, `global_batch_rows`.
"""

import dataclasses

from codepmp_jax.config import ModelConfig, TrainConfig, presets


def get_config() -> TrainConfig:
    """Gemma 2 9B with an LM head of its own, some 1090 pairs a step."""
    base = presets.load_preset("pmp_7b")
    return dataclasses.replace(
        base,
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
        data=dataclasses.replace(base.data, tokenizer="google/gemma-2-9b"),
    )
