"""Rotary position embeddings (arXiv 2104.09864)."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from codepmp_jax.config import ModelConfig
from codepmp_jax.devices.sharding import constrain


class Rotation(NamedTuple):
    """Sine and cosine of every token's angles, of which a head has half as many as dims."""

    sin: Float[Array, "B L half"]
    cos: Float[Array, "B L half"]


def frequencies(config: ModelConfig) -> Float[Array, " half"]:
    """Radians a position, of each pair of a head's dims, scaled as Llama 3.1 does where config says so."""
    half = config.head_dim // 2
    plain = config.rope_theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    scaling = config.rope_scaling
    if scaling.factor == 1:
        return plain
    # How often a wavelength fits the original length, from 0 at the low factor to 1 at the high one.
    fits = scaling.original_length * plain / (2 * np.pi)
    kept = (fits - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    kept = jnp.clip(kept, 0, 1)
    return plain * (kept + (1 - kept) / scaling.factor)


def rotation(positions: Int[Array, "B L"], config: ModelConfig) -> Rotation:
    """How far to turn the heads of tokens at these positions of their texts; float32."""
    angles = positions[..., None].astype(jnp.float32) * frequencies(config)
    sin, cos = (constrain(f(angles), "batch", "length", None) for f in (jnp.sin, jnp.cos))
    return Rotation(sin, cos)


def rotate(x: Float[Array, "B L H E"], rotation: Rotation) -> Float[Array, "B L H E"]:
    """x, turned in float32, in Hugging Face's layout: halves of a head, not pairs."""
    sin, cos = rotation.sin[:, :, None], rotation.cos[:, :, None]
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x.dtype)
