"""The parameters' building blocks. Every parameter names its logical axes for `codepmp_jax.sharding`."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int


def param(
    rngs: nnx.Rngs, shape: tuple[int, ...], axes: tuple[str | None, ...], std: float
) -> nnx.Param:
    """A float32 parameter drawn from N(0, std^2), with its logical axes."""
    return nnx.Param(std * jax.random.normal(rngs.params(), shape, jnp.float32), axes=axes)


class RMSNorm(nnx.Module):
    """x / rms(x) * scale, computed in float32 (arXiv 1910.07467)."""

    def __init__(self, dim: int, epsilon: float):
        self.scale = nnx.Param(jnp.ones((dim,), jnp.float32), axes=(None,))
        self.epsilon = epsilon

    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        """Normalises the last dim; the result has x's dtype."""
        y = x.astype(jnp.float32)
        y = y * jax.lax.rsqrt(jnp.mean(y * y, axis=-1, keepdims=True) + self.epsilon)
        return (y * self.scale[...]).astype(x.dtype)


class Projection(nnx.Module):
    """x contracted with a kernel over the kernel's leading dims, plus an optional bias."""

    def __init__(
        self,
        rngs: nnx.Rngs,
        shape: tuple[int, ...],
        axes: tuple[str | None, ...],
        *,
        std: float,
        contract: int = 1,
        bias: bool = False,
    ):
        """A kernel of `shape`, whose first `contract` dims are contracted with x's last ones."""
        self.kernel = param(rngs, shape, axes, std)
        self.bias = (
            nnx.Param(jnp.zeros(shape[contract:], jnp.float32), axes=axes[contract:])
            if bias
            else None
        )
        self.contract = contract

    def __call__(self, x: Array) -> Array:
        """The projection, in x's dtype."""
        kernel = self.kernel[...].astype(x.dtype)
        inputs, outputs = kernel.shape[: self.contract], kernel.shape[self.contract :]
        rows = x.reshape(-1, math.prod(inputs)) @ kernel.reshape(math.prod(inputs), -1)
        y = rows.reshape(*x.shape[: -self.contract], *outputs)
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)


def rotate(
    x: Float[Array, "B L H E"], positions: Int[Array, "B L"], theta: float
) -> Float[Array, "B L H E"]:
    """Rotary position embedding (arXiv 2104.09864) in Hugging Face's layout: halves, not pairs."""
    half = x.shape[-1] // 2
    frequencies = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = positions[..., None].astype(jnp.float32) * frequencies
    sin, cos = jnp.sin(angles)[:, :, None], jnp.cos(angles)[:, :, None]
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x.dtype)
