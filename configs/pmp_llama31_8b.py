"""PMP pretraining of Llama 3.1 8B, as pmp_7b (arXiv 2410.02229).

    python launch/tpu_pod.py --config pmp_llama31_8b --workdir WORKDIR --data.input PAIRS

The dimensions are Llama-3.1-8B's, whose rotary wavelengths are scaled; all else is pmp_7b's, whose docstring
describes rows and batches. Meta lets its weights be downloaded by those who accepted its licence on the hub.
Hardware: any TPU slice that passes `python launch/compile_check.py --config pmp_llama31_8b --topology NAME`, of at
most 256 chips as it stands; on fewer, raise `accumulation_steps`, and on more, `global_batch_rows`.
"""

import dataclasses

from codepmp_jax.config import ModelConfig, RopeScalingConfig, TrainConfig, presets


def get_config() -> TrainConfig:
    """Llama 3.1 8B, which has an LM head of its own, some 1090 pairs a step."""
    base = presets.load_preset("pmp_7b")
    return dataclasses.replace(
        base,
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
        data=dataclasses.replace(base.data, tokenizer="meta-llama/Llama-3.1-8B"),
    )
