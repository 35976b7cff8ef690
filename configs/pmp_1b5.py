"""PMP pretraining of Qwen2-1.5B (arXiv 2410.02229).

    python launch/tpu_pod.py --config pmp_1b5 --workdir WORKDIR --data.input PAIRS

The dimensions are Qwen2-1.5B's; learning rate and `mesh.fsdp` suit its size, and all else is pmp_7b's, whose
docstring describes rows and batches. Its tied LM head becomes a matrix of its own, as in the paper.
Hardware: any TPU slice that passes `python launch/compile_check.py --config pmp_1b5 --topology NAME`, of at most 256
chips as it stands; on fewer, raise `accumulation_steps`, and on more, `global_batch_rows`.
"""

import dataclasses

from codepmp_jax.config import TrainConfig, presets


def get_config() -> TrainConfig:
    """Qwen2-1.5B with an LM head of its own, some 1090 pairs a step."""
    base = presets.load_preset("pmp_7b")
    return dataclasses.replace(
        base,
        workdir="runs/pmp_1b5",
        model=dataclasses.replace(
            base.model,
            vocab_size=151936,
            embed_dim=1536,
            mlp_dim=8960,
            num_heads=12,
            num_kv_heads=2,
            init_from="Qwen/Qwen2-1.5B",
        ),
        data=dataclasses.replace(base.data, tokenizer="Qwen/Qwen2-1.5B"),
        optimizer=dataclasses.replace(base.optimizer, learning_rate=3e-6),
        mesh=dataclasses.replace(base.mesh, fsdp=8),
    )
