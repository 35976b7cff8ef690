"""Rotary position embeddings (arXiv 2104.09864)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from codepmp_jax.config import ModelConfig
from codepmp_jax.devices.sharding import constrain


class Rotation(NamedTuple):
    """Sine and cosine of every token's angles, one for each pair of a head's dims."""

    sin: Float[Array, "B L half"]
    cos: Float[Array, "B L half"]


def frequencies(config: ModelConfig) -> Float[Array, " half"]:
    """Radians per position of each pair of a head's dims, scaled as in Llama 3.1 if the config says so."""
    half = config.head_dim // 2
    plain = config.rope_theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    scaling = config.rope_scaling
    if scaling.factor == 1:
        return plain
    # Periods of each wavelength in the original length; from the low factor to the high one, 0 to 1 of the plain
    # frequency is kept.
    periods = scaling.original_length * plain / (2 * np.pi)
    kept = (periods - scaling.low_freq_factor) / (
        scaling.high_freq_factor - scaling.low_freq_factor
    )
    kept = jnp.clip(kept, 0, 1)
    return plain * (kept + (1 - kept) / scaling.factor)


def rotation(positions: Int[Array, "B L"], config: ModelConfig) -> Rotation:
    """The rotation of tokens at these positions of their texts, in float32."""
    angles = positions[..., None].astype(jnp.float32) * frequencies(config)
    sin, cos = (constrain(f(angles), "batch", "length", None) for f in (jnp.sin, jnp.cos))
    return Rotation(sin, cos)


def rotate(x: Float[Array, "B L H E"], rotation: Rotation) -> Float[Array, "B L H E"]:
    """x, rotated in float32. Dim i is paired with dim i + E/2, as at Hugging Face, not with its neighbour."""
    sin, cos = rotation.sin[:, :, None], rotation.cos[:, :, None]
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x.dtype)


def rotate_heads_first(
    x: Float[Array, "H B L E"], rotation: Rotation, scale: float = 1.0
) -> Float[Array, "H B L E"]:
    """`rotate` of arrays whose heads come first, times `scale`, rounded once.

    A matmul with a signed permutation, which is exact, takes the halves to each other's places: slices of half a head
    are half of a TPU's lanes, for which XLA would turn whole arrays around.
    """
    sin, cos = (jnp.concatenate([part, part], axis=-1) * scale for part in rotation)
    half = x.shape[-1] // 2
    # x @ turn = (-second half, first half).
    turn = np.kron([[0, 1], [-1, 0]], np.eye(half)).astype(x.dtype)
    turned = jax.lax.dot_general(
        x,
        jnp.asarray(turn),
        (((3,), (0,)), ((), ())),
        # Of bfloat16 one pass is exact.
        precision="highest" if x.dtype == jnp.float32 else None,
        preferred_element_type=jnp.float32,
    )
    return (x.astype(jnp.float32) * cos + turned * sin).astype(x.dtype)
