"""A step of every family on a mesh, as on a TPU, against one device with the plainest computation."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from codepmp_jax.config import DataConfig
from codepmp_jax.config.model import RopeScalingConfig
from codepmp_jax.devices.sharding import batch_sharding, make_mesh, param_shardings
from codepmp_jax.models.preference import abstract_params, init_params
from codepmp_jax.training.step import gradients
from tests.training.reference import batch_of, random_pairs, tiny_config

# Data, fsdp, tensor. Only where tensor is 1 does each device compute the LM loss of its own rows.
MESHES = {"qwen2": (2, 2, 2), "llama": (1, 8, 1), "qwen3": (2, 4, 1), "mistral": (1, 4, 2)}
FAMILIES: dict[str, dict[str, Any]] = {
    "qwen2": {},
    "llama": {"rope_scaling": RopeScalingConfig(factor=4.0, original_length=16)},
    "qwen3": {"tie_embeddings": True},
    "mistral": {"sliding_window": 9},
    "gemma2": {
        "tie_embeddings": True,
        "sliding_window": 9,
        "attention_soft_cap": 5.0,
        "logit_soft_cap": 5.0,
        "query_scale": 7,
    },
}
AS_ON_A_TPU = {
    "attention": "flash",
    "remat": "save_gate_attention",
    "mlp_hidden": "materialized",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_shared_rows_on_eight_devices_equal_one(family):
    """Gradients of every tensor and the metrics, with the kernels of a TPU, heads first, against XLA's attention."""

    def run(mesh: jax.sharding.Mesh, **model: Any) -> tuple:
        changes = {"family": family, **FAMILIES[family], **model}
        config = tiny_config(
            data=DataConfig(max_length=24, layout="shared", row_length=64),
            # Two rows a device in chunks of 16 labels.
            loss__lm_chunk_tokens=32,
            loss__centering_coef=0.1,
            **{f"model__{name}": value for name, value in changes.items()},
        )
        _, _, axes = abstract_params(config.model)
        params = jax.device_put(init_params(config.model, 0), param_shardings(axes, mesh))
        batch = jax.device_put(batch_of(random_pairs(8), config), batch_sharding(mesh))
        with jax.set_mesh(mesh):
            step = jax.jit(lambda params, batch: gradients(params, batch, config))
            return jax.device_get(step(params, batch))

    expected = run(make_mesh((1, 1, 1), jax.devices()[:1]), attention="xla", remat="none")
    found = run(make_mesh(MESHES.get(family, (2, 4, 1))), **AS_ON_A_TPU)
    for (path, ours), theirs in zip(
        jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True
    ):
        scale = max(float(np.max(np.abs(theirs))), 1e-3)
        np.testing.assert_allclose(
            ours / scale, theirs / scale, rtol=0, atol=1e-5, err_msg=jax.tree_util.keystr(path)
        )
