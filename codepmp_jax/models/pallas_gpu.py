"""Attention on GPU: the fused kernels that come with JAX's Pallas."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.experimental import pallas as pl
from jax.experimental.pallas.ops.gpu.attention import BlockSizes, mha
from jaxtyping import Array, Float

from codepmp_jax.models.segments import Options, Segments, attend_by_branch, pad_rows

DEFAULT_BLOCK = 128


def attend_pallas_gpu(
    query: Float[Array, "B L H E"],
    key: Float[Array, "B L K E"],
    value: Float[Array, "B L K E"],
    segments: Segments,
    options: Options,
) -> Float[Array, "B L H E"]:
    """As codepmp_jax.models.attention.attend.

    Blocks are powers of two and at least 16; rows are padded to a multiple of the block. With branches it calls the
    kernel twice. It supports neither windows nor soft caps; codepmp_jax.devices.chips.resolve raises for them.
    """
    assert options.window is None
    assert options.soft_cap is None
    length = query.shape[1]
    block = min(options.block or DEFAULT_BLOCK, length)
    block = max(16, pl.next_power_of_2(block + 1) // 2)
    # The ratio of the library's defaults: the backward kernel keeps more in registers.
    backward_block = max(16, block // 4)
    # mha's arguments after query, key, value and segments, which its forward and backward pass take by position.
    settings = (
        options.scale,
        True,  # causal
        BlockSizes(
            block_q=block,
            block_k=block,
            block_q_dkv=backward_block,
            block_kv_dkv=backward_block,
            block_q_dq=backward_block,
            block_kv_dq=backward_block,
        ),
        "triton",  # backward_pass_impl
        None,  # num_warps
        2,  # num_stages
        None,  # grid
        options.interpret,
        False,  # debug
        False,  # return_residuals
    )
    repeats = query.shape[2] // key.shape[2]

    def call(query: Array, key: Array, value: Array, segments: Segments) -> Array:
        return _attend(query, key, value, segments.ids, settings)

    query, key, value, segments = pad_rows((query, key, value, segments), block)
    key, value = jnp.repeat(key, repeats, axis=2), jnp.repeat(value, repeats, axis=2)
    return attend_by_branch(call, query, key, value, segments)[:, :length]


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _attend(query: Array, key: Array, value: Array, ids: Array, settings: tuple) -> Array:
    return mha(query, key, value, ids, *settings)


def _forward(query: Array, key: Array, value: Array, ids: Array, settings: tuple):
    """The forward pass of `mha`, whose residuals get names, so that a remat policy can save them."""
    assert mha.fwd is not None
    _, (*inputs, output, log_sums) = mha.fwd(query, key, value, ids, *settings)
    output, log_sums = (checkpoint_name(x, "attention") for x in (output, log_sums))
    return output, (*inputs, output, log_sums)


def _backward(settings: tuple, residuals: Any, gradient: Array):
    assert mha.bwd is not None
    return mha.bwd(*settings, residuals, gradient)


_attend.defvjp(_forward, _backward)
