"""Building blocks with parameters. Every parameter names its logical axes for `codepmp_jax.devices.sharding`."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int


def param(
    rngs: nnx.Rngs, shape: tuple[int, ...], axes: tuple[str | None, ...], std: float
) -> nnx.Param:
    """A float32 parameter drawn from N(0, std^2), with its logical axes."""
    return nnx.Param(std * jax.random.normal(rngs.params(), shape, jnp.float32), axes=axes)


def soft_cap(x: Float[Array, "*B"], cap: float | None) -> Float[Array, "*B"]:
    """cap * tanh(x / cap) (arXiv 2408.00118, section 2); x itself without a cap."""
    return x if cap is None else cap * jnp.tanh(x / cap)


class RMSNorm(nnx.Module):
    """x / rms(x) * (offset + scale), computed in float32 (arXiv 1910.07467)."""

    def __init__(self, dim: int, epsilon: float, offset: float = 0.0):
        self.scale = nnx.Param(jnp.full((dim,), 1.0 - offset, jnp.float32), axes=(None,))
        self.epsilon = epsilon
        self.offset = offset

    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        """Normalises the last dim; the result has x's dtype."""
        y = x.astype(jnp.float32)
        y = y * jax.lax.rsqrt(jnp.mean(y * y, axis=-1, keepdims=True) + self.epsilon)
        scale = self.scale[...]
        return (y * (scale + self.offset if self.offset else scale)).astype(x.dtype)


class Adapter(nnx.Module):
    """(x @ a) @ b * scale: what LoRA adds to a projection (arXiv 2106.09685, section 4.1).

    As in peft, a is drawn from U(-1/sqrt(D), 1/sqrt(D)), kaiming_uniform with a = sqrt(5), and b is 0, so that the
    adapter adds 0 before the first step.
    """

    def __init__(
        self,
        rngs: nnx.Rngs,
        shape: tuple[int, ...],
        axes: tuple[str | None, ...],
        rank: int,
        scale: float,
    ):
        """`shape` and `axes` are those of the projection's kernel."""
        bound = shape[0] ** -0.5
        draw = jax.random.uniform(
            rngs.params(), (shape[0], rank), jnp.float32, minval=-bound, maxval=bound
        )
        self.a = nnx.Param(draw, axes=(axes[0], None))
        self.b = nnx.Param(jnp.zeros((rank, *shape[1:]), jnp.float32), axes=(None, *axes[1:]))
        self.scale = scale

    def __call__(self, x: Float[Array, "T D"]) -> Float[Array, "T K"]:
        """What is added, in x's dtype; the kernel's output dims are one."""
        a, b = self.a[...].astype(x.dtype), self.b[...].astype(x.dtype)
        return (x @ a) @ b.reshape(len(b), -1) * self.scale


class Projection(nnx.Module):
    """x @ kernel over the kernel's first dim, plus an adapter and a bias, if there are."""

    def __init__(
        self,
        rngs: nnx.Rngs,
        shape: tuple[int, ...],
        axes: tuple[str | None, ...],
        *,
        std: float,
        bias: bool = False,
    ):
        """A kernel of `shape`, whose first dim is contracted with x's last one."""
        self.kernel = param(rngs, shape, axes, std)
        self.bias = nnx.Param(jnp.zeros(shape[1:], jnp.float32), axes=axes[1:]) if bias else None
        self.lora: Adapter | None = None

    def __call__(self, x: Array) -> Array:
        """The projection, in x's dtype."""
        kernel = self.kernel[...].astype(x.dtype)
        inputs = x.reshape(-1, kernel.shape[0])
        rows = inputs @ kernel.reshape(kernel.shape[0], -1)
        if self.lora is not None:
            rows = rows + self.lora(inputs)
        y = rows.reshape(*x.shape[:-1], *kernel.shape[1:])
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def lookup(
    num_rows: int, table: Float[Array, "V D"], tokens: Int[Array, "*B"]
) -> Float[Array, "*B D"]:
    """table[tokens], for a table of num_rows rows.

    The gradient is summed in float32 for any dtype: a row sums over all occurrences of its token, which loses too
    much in bfloat16.
    """
    return table[tokens]


def _lookup_forward(num_rows: int, table: Array, tokens: Array) -> tuple[Array, Array]:
    return table[tokens], tokens


def _lookup_backward(num_rows: int, tokens: Array, gradient: Array) -> tuple[Array, None]:
    total = jnp.zeros((num_rows, gradient.shape[-1]), jnp.float32)
    return total.at[tokens].add(gradient.astype(jnp.float32)).astype(gradient.dtype), None


lookup.defvjp(_lookup_forward, _lookup_backward)
