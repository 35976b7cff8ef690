"""What is computed in bfloat16, and what in float32 nonetheless."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr

from codepmp_jax.config import DataConfig, TrainConfig
from codepmp_jax.devices.sharding import batch_sharding, make_mesh, param_shardings
from codepmp_jax.models.layers import lookup, product
from codepmp_jax.models.preference import abstract_params, init_params
from codepmp_jax.training.losses import lm_loss
from codepmp_jax.training.step import gradients
from tests.training.reference import batch_of, random_pairs, tiny_config

SIZES = ((1, 1, 1), (2, 2, 2))


def config_of(dtype: str, **changes: Any) -> TrainConfig:
    """A step with every coefficient, whose LM head sees 8 labels a row at a time."""
    return tiny_config(
        data=DataConfig(max_length=64, layout="shared"),
        loss__lm_chunk_tokens=64,
        loss__rm_coef=0.7,
        loss__lm_coef=0.9,
        loss__centering_coef=0.1,
        model__compute_dtype=dtype,
        **changes,
    )


def run(config: TrainConfig, sizes: tuple[int, int, int] = (1, 1, 1)) -> tuple[Any, Any]:
    """Gradients and metrics on that mesh."""
    mesh = make_mesh(sizes, jax.devices()[: np.prod(sizes)])
    _, _, axes = abstract_params(config.model)
    params = jax.device_put(init_params(config.model, 0), param_shardings(axes, mesh))
    pairs = random_pairs(7, num_pairs=10, length=64)
    batch = jax.device_put(batch_of(pairs, config), batch_sharding(mesh))
    with jax.set_mesh(mesh):
        return jax.device_get(
            jax.jit(lambda params, batch: gradients(params, batch, config))(params, batch)
        )


def errors(found: Any, expected: Any) -> dict[str, float]:
    """Norm of the difference over the norm, by tensor."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): float(
            np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
        )
        for (path, ours), theirs in zip(
            jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True
        )
    }


@pytest.fixture(scope="module")
def exact():
    return run(config_of("float32"))


@pytest.mark.parametrize(
    ("reduce_dtype", "sizes"), [("compute", (1, 1, 1)), ("float32", (2, 4, 1))]
)
def test_bfloat16_is_close_to_float32_in_every_tensor(exact, reduce_dtype, sizes):
    found = run(config_of("bfloat16", optimizer__reduce_dtype=reduce_dtype), sizes)
    of_tensors, of_metrics = (errors(*parts) for parts in zip(found, exact, strict=True))
    assert max(of_tensors.values()) < 0.035, of_tensors
    assert of_metrics["loss"] < 0.004, of_metrics
    assert of_metrics["lm_loss"] < 0.001, of_metrics


def test_int8_is_the_same_on_many_devices_and_close_to_float32(exact):
    """Each projection is rounded to 1 % or so, in the forward pass alone; what is rounded up here and down there, where
    devices sum in another order, shows in the gradients."""
    one, many = (run(config_of("float32", model__int8_forward=True), sizes) for sizes in SIZES)
    for found, closeness in ((many, 0.01), (exact, 0.15)):
        of_tensors, of_metrics = (errors(*parts) for parts in zip(one, found, strict=True))
        assert max(of_tensors.values()) < closeness, of_tensors
        assert of_metrics["loss"] < closeness / 20, of_metrics
    assert max(errors(one[0], exact[0]).values()) > 0.01


@pytest.mark.parametrize("kind", ["product", "lookup"])
def test_gradients_are_summed_over_devices_in_the_dtype_of_the_matrix(kind):
    """In float32 as exactly as in one sum; in bfloat16 each device's part of it is rounded."""
    rng = np.random.default_rng(0)
    x, cotangent = (jnp.asarray(rng.standard_normal((8, 64, 32)), jnp.bfloat16) for _ in range(2))
    tokens = jnp.asarray(rng.integers(0, 32, (8, 64)), jnp.int32)

    def loss(matrix, x, tokens, cotangent):
        y: Any = lookup(32, "bfloat16", matrix, tokens)
        if kind == "product":
            y = product("BLD,DK->BLK", x, matrix)
        return jnp.sum(y.astype(jnp.float32) * cotangent.astype(jnp.float32))

    of_tokens = np.eye(32)[tokens]
    inputs = np.asarray(x, np.float64) if kind == "product" else of_tokens
    wanted = np.einsum("BLD,BLK->DK", inputs, np.asarray(cotangent, np.float64))
    mesh = make_mesh((2, 4, 1))
    arrays = jax.device_put((x, tokens, cotangent), batch_sharding(mesh))
    with jax.set_mesh(mesh):
        for dtype, least, most in (("float32", 0.0, 1e-6), ("bfloat16", 1e-4, 1e-2)):
            found = jax.jit(jax.grad(loss))(jnp.ones((32, 32), dtype), *arrays)
            assert found.dtype == dtype
            error = np.linalg.norm(np.asarray(found, np.float64) - wanted) / np.linalg.norm(wanted)
            assert least <= error < most, (dtype, error)


def test_many_chunks_of_labels_cost_no_precision():
    rng = np.random.default_rng(0)
    hidden = jnp.asarray(rng.standard_normal((2, 160, 16)), jnp.bfloat16)
    kernel = jnp.asarray(rng.standard_normal((16, 50)), jnp.bfloat16).astype(jnp.float32)
    labels = jnp.asarray(rng.integers(0, 50, (2, 160)), jnp.int32)
    weights = jnp.full((2, 160), 1 / 320)

    def gradient(hidden, chunk):
        return jax.grad(lm_loss, argnums=1)(hidden, kernel, labels, weights, chunk)

    wanted = gradient(hidden.astype(jnp.float32), 160)
    for chunk in (160, 2):
        found = gradient(hidden, chunk)
        assert found.dtype == jnp.float32
        error = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
        assert error < 0.003


def dots(jaxpr: Jaxpr) -> list[tuple[set[str], Any]]:
    """(dtypes of the operands, precision) of every matmul."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            dtypes = {str(getattr(operand.aval, "dtype", "")) for operand in equation.invars}
            found.append((dtypes, equation.params["precision"]))
        for value in equation.params.values():
            for part in value if isinstance(value, tuple) else (value,):
                inner = part.jaxpr if isinstance(part, ClosedJaxpr) else part
                found += dots(inner) if isinstance(inner, Jaxpr) else []
    return found


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_float32_is_multiplied_in_float32(dtype):
    """All of it where it is the compute dtype, else rewards; a TPU would round it to bfloat16."""
    config = config_of(dtype)
    params, batch = init_params(config.model, 0), batch_of(random_pairs(0), config)
    step = jax.make_jaxpr(lambda params, batch: gradients(params, batch, config))(params, batch)
    highest = (jax.lax.Precision.HIGHEST,) * 2
    found = dots(step.jaxpr)
    of_float32 = [precision for dtypes, precision in found if dtypes == {"float32"}]
    assert of_float32
    assert all(precision == highest for precision in of_float32)
    assert (len(of_float32) == len(found)) == (dtype == "float32")
