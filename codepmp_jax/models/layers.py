"""Building blocks with parameters. Every parameter names its logical axes for `codepmp_jax.devices.sharding`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from codepmp_jax.devices.sharding import constrain, partition_spec


def param(
    rngs: nnx.Rngs, shape: tuple[int, ...], axes: tuple[str | None, ...], std: float
) -> nnx.Param:
    """A float32 parameter drawn from N(0, std^2), with its logical axes."""
    return nnx.Param(std * jax.random.normal(rngs.params(), shape, jnp.float32), axes=axes)


def soft_cap(x: Float[Array, "*B"], cap: float | None) -> Float[Array, "*B"]:
    """cap * tanh(x / cap) (arXiv 2408.00118, section 2); x itself without a cap."""
    return x if cap is None else cap * jnp.tanh(x / cap)


@jax.custom_vjp
def materialize(x: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """x; it and its gradient are computed once each, and written to memory.

    What XLA fuses into a matmul's input, a TPU computes again for every tile of the output; and a matmul is slower if
    the reductions of a norm's backward pass are fused behind it.
    """
    return jax.lax.optimization_barrier(x)


materialize.defvjp(
    lambda x: (materialize(x), None),
    lambda _, gradient: (jax.lax.optimization_barrier(gradient),),
)


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


def product(equation: str, x: Array, matrix: ArrayLike) -> Array:
    """The einsum `equation` of x and a matrix (NumPy's, where parameters lie in the host's memory), in x's dtype.

    The matrix's gradient is computed, and so summed over devices, in the matrix's own dtype, which may be wider.
    """
    matrix = jnp.asarray(matrix)
    if matrix.dtype == x.dtype:
        return jnp.einsum(equation, x, matrix)
    return _mixed_product(equation, x, matrix)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _mixed_product(equation: str, x: Array, matrix: Array) -> Array:
    return jnp.einsum(equation, x, matrix.astype(x.dtype))


def _mixed_forward(equation: str, x: Array, matrix: Array) -> tuple[Array, tuple[Array, Array]]:
    return _mixed_product(equation, x, matrix), (x, matrix)


def _mixed_backward(
    equation: str, saved: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    x, matrix = saved
    inputs, output = equation.split("->")
    of_x, of_matrix = inputs.split(",")
    dx = jnp.einsum(f"{output},{of_matrix}->{of_x}", gradient, matrix.astype(x.dtype))
    dmatrix = jnp.einsum(
        f"{of_x},{output}->{of_matrix}", x, gradient, preferred_element_type=matrix.dtype
    )
    return dx, dmatrix


_mixed_product.defvjp(_mixed_forward, _mixed_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def int8_product(equation: str, x: Array, matrix: Array) -> Float[Array, "*B K"]:
    """As `product`, where x's kept dims come before the matrix's one, from int8 numbers that are summed in int32.

    Each row of x and each column of the matrix is rounded to multiples of a 127th of its largest magnitude. The gradients
    are those of `product`, as if nothing were rounded (arXiv 2105.03536, section 3; AQT's default for training).
    """
    inputs, output = equation.split("->")
    (rows, row_scales), (columns, column_scales) = (
        _round_to_int8(array, tuple(i for i, axis in enumerate(axes) if axis not in output))
        for array, axes in zip((x, matrix), inputs.split(","), strict=True)
    )
    sums = jnp.einsum(equation, rows, columns, preferred_element_type=jnp.int32)
    return (sums.astype(jnp.float32) * (row_scales[..., None] * column_scales)).astype(x.dtype)


def _round_to_int8(x: Array, contracted: tuple[int, ...]) -> tuple[Array, Float[Array, "..."]]:
    """(int8 numbers, the scale of those that share a place outside the contracted dims)."""
    x = x.astype(jnp.float32)
    largest = jnp.max(jnp.abs(x), axis=contracted, keepdims=True)
    scale = jnp.where(largest > 0, largest, 1.0) / 127
    return jnp.round(x / scale).astype(jnp.int8), jnp.squeeze(scale, contracted)


def _int8_forward(equation: str, x: Array, matrix: Array) -> tuple[Array, tuple[Array, Array]]:
    return int8_product(equation, x, matrix), (x, matrix)


int8_product.defvjp(_int8_forward, _mixed_backward)


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

    def __call__(self, project: Callable[[ArrayLike], Float[Array, "T K"]]) -> Array:
        """What is added, (T, K) in the inputs' dtype, where the kernel's output dims are one. `project` gives the
        product of the T inputs and a matrix."""
        b = self.b[...]
        return product("TR,RK->TK", project(self.a[...]), b.reshape(len(b), -1)) * self.scale


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
        int8: bool = False,
    ):
        """A kernel of `shape`, whose first dim is contracted with x's last one, by `int8_product` where `int8` is set."""
        self.kernel = param(rngs, shape, axes, std)
        self.multiply: Callable[..., Any] = int8_product if int8 else product
        self.bias = nnx.Param(jnp.zeros(shape[1:], jnp.float32), axes=axes[1:]) if bias else None
        self.lora: Adapter | None = None

    def __call__(self, x: Array) -> Array:
        """The projection, in x's dtype."""
        rows = self._rows("TD,DK->TK", x.reshape(-1, x.shape[-1]), x.shape[-1:])
        y = rows.reshape(*x.shape[:-1], *self.kernel.shape[1:])
        return y if self.bias is None else (y + self.bias[...]).astype(x.dtype)

    def onto_heads(self, x: Float[Array, "B L D"]) -> Float[Array, "H B L E"]:
        """The projection by a kernel (D, H, E), heads first."""
        rows = self._rows("TD,DK->TK", x.reshape(-1, x.shape[-1]), x.shape[-1:])
        heads = rows.reshape(-1, *self.kernel.shape[1:]).transpose(1, 0, 2)
        if self.bias is not None:
            heads = (heads + self.bias[...][:, None]).astype(x.dtype)
        return heads.reshape(len(heads), *x.shape[:-1], -1)

    def of_heads(self, x: Float[Array, "H B L E"]) -> Float[Array, "B L D"]:
        """The projection of heads that come first, by a kernel (H * E, D)."""
        num_heads, *rows_and_length, head_dim = x.shape
        assert self.bias is None
        inputs = x.reshape(num_heads, -1, head_dim)
        rows = self._rows("HTE,HED->TD", inputs, (num_heads, head_dim))
        return rows.reshape(*rows_and_length, -1)

    def _rows(
        self, equation: str, inputs: Array, contracted: tuple[int, ...]
    ) -> Float[Array, "T K"]:
        """The einsum `equation` of the inputs and the kernel, whose first dim is split into the `contracted` ones and whose
        others are one, and what the adapter adds."""

        def project(multiply: Callable[..., Any], matrix: ArrayLike) -> Array:
            return multiply(equation, inputs, jnp.reshape(matrix, (*contracted, -1)))

        rows = project(self.multiply, self.kernel[...])
        if self.lora is None:
            return rows
        return rows + self.lora(functools.partial(project, product))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def lookup(
    num_rows: int, dtype: str, table: Float[Array, "V D"], tokens: Int[Array, "B L"]
) -> Float[Array, "B L D"]:
    """table[tokens] in `dtype`, for a table of num_rows rows sharded as `vocab_rows`.

    A device sums the gradient in float32 for any dtype: a row sums over all occurrences of its token, which loses too
    much in bfloat16. Over devices it is reduced into the table's shards in the table's dtype, as other gradients are:
    left to itself, XLA sums the whole table in float32 on every device.
    """
    # Cast before it is gathered.
    return constrain(constrain(table.astype(dtype), "vocab_rows", None), "vocab", None)[tokens]


def _lookup_forward(
    num_rows: int, dtype: str, table: Array, tokens: Array
) -> tuple[Array, tuple[Array, Array]]:
    return lookup(num_rows, dtype, table, tokens), (tokens, jnp.zeros(0, table.dtype))


def _lookup_backward(
    num_rows: int, dtype: str, saved: tuple[Array, Array], gradient: Array
) -> tuple[Array, None]:
    tokens, like_table = saved

    def add(rows: int, tokens: Array, gradient: Array) -> Array:
        total = jnp.zeros((rows, gradient.shape[-1]), jnp.float32)
        total = total.at[tokens].add(gradient.astype(jnp.float32), mode="drop")
        return total.astype(like_table.dtype)

    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return add(num_rows, tokens, gradient), None
    rows = num_rows // mesh.shape["tensor"]

    def local(tokens: Array, gradient: Array) -> Array:
        places = tokens - jax.lax.axis_index("tensor") * rows
        # A negative place would count from the end.
        total = add(rows, jnp.where(places < 0, rows, places), gradient)
        total = jax.lax.psum_scatter(total, "fsdp", scatter_dimension=0, tiled=True)
        return jax.lax.psum(total, "data")

    summed = jax.shard_map(
        local,
        in_specs=(partition_spec(("batch", "length")), partition_spec(("batch", "length", None))),
        out_specs=partition_spec(("vocab_rows", None)),
        check_vma=False,
    )
    return summed(tokens, gradient), None


lookup.defvjp(_lookup_forward, _lookup_backward)
