"""Causal self-attention behind one function, `attend`."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float

from codepmp_jax.config import ModelConfig
from codepmp_jax.devices.sharding import constrain, partition_spec
from codepmp_jax.families import FAMILIES
from codepmp_jax.models import flash
from codepmp_jax.models.blocked import attend_blocked
from codepmp_jax.models.layers import Projection, RMSNorm, soft_cap
from codepmp_jax.models.rotary import Rotation, rotate, rotate_heads_first
from codepmp_jax.models.segments import Options, Segments, is_interpreted, visible
from codepmp_jax.models.splash import attend_splash


def attend_xla(
    query: Float[Array, "B L H E"],
    key: Float[Array, "B L K E"],
    value: Float[Array, "B L K E"],
    segments: Segments,
    options: Options,
) -> Float[Array, "B L H E"]:
    """As `attend`, with all scores of a row in memory at once: the reference for the other implementations."""
    mask = visible(segments, options.window)[:, None]
    if options.soft_cap is None:
        output = jax.nn.dot_product_attention(
            query, key, value, mask=mask, scale=options.scale, implementation="xla"
        )
    else:
        output = _attend_capped(query, key, value, mask, options)
    return checkpoint_name(output, "attention")


def _attend_capped(
    query: Float[Array, "B L H E"],
    key: Float[Array, "B L K E"],
    value: Float[Array, "B L K E"],
    mask: Bool[Array, "B 1 L L"],
    options: Options,
) -> Float[Array, "B L H E"]:
    """As jax.nn.dot_product_attention, which has no soft cap."""
    groups = query.reshape(*query.shape[:2], key.shape[2], -1, query.shape[-1])
    scores = jnp.einsum("BLKGE,BTKE->BKGLT", groups, key, preferred_element_type=jnp.float32)
    scores = soft_cap(scores * options.scale, options.soft_cap)
    scores = jnp.where(mask[:, None], scores, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(scores).astype(value.dtype)
    return jnp.einsum("BKGLT,BTKE->BLKGE", weights, value).reshape(query.shape)


def attend_pallas_gpu(
    query: Float[Array, "B L H E"],
    key: Float[Array, "B L K E"],
    value: Float[Array, "B L K E"],
    segments: Segments,
    options: Options,
) -> Float[Array, "B L H E"]:
    """As `attend`, by JAX's Pallas kernels for GPUs."""
    # JAX 0.12 warns when they are imported, on TPUs too.
    from codepmp_jax.models import pallas_gpu

    return pallas_gpu.attend_pallas_gpu(query, key, value, segments, options)


IMPLEMENTATIONS: dict[str, Callable[[Array, Array, Array, Segments, Options], Array]] = {
    "auto": attend_xla,  # devices.chips.resolve replaces auto; without it, what runs on every chip
    "xla": attend_xla,
    "blocked": attend_blocked,
    "splash": attend_splash,
    "flash": flash.attend_flash,
    "pallas_gpu": attend_pallas_gpu,
}


# Those whose arrays are (heads, B, L, E), as their kernels want them; those of the others are (B, L, heads, E). With what
# their kernels want queries to be multiplied with, beside the scale of the scores.
HEADS_FIRST = {"splash": 1.0, "flash": flash.BASE_2}


def attend(
    query: Float[Array, "_ _ _ E"],
    key: Float[Array, "_ _ _ E"],
    value: Float[Array, "_ _ _ E"],
    segments: Segments,
    config: ModelConfig,
    max_text: int | None = None,
    window: int | None = None,
    *,
    heads_first: bool = False,
    scale: float | None = None,
) -> Float[Array, "_ _ _ E"]:
    """Grouped-query attention (arXiv 2305.13245) over the keys that `segments` lets a query see, scaled by `scale`,
    by default 1/sqrt(config.query_scale or E), and capped by config.attention_soft_cap; softmax in float32.

    Arrays are (B, L, heads, E), or with `heads_first` (heads, B, L, E); in the order that the implementation does not
    want them they are turned around.

    `config.attention` names the implementation; its blocks of scores have `config.attention_block` queries
    and keys. `max_text` is the number of tokens of the longest text, by default L; with it, splash may need
    one pass less. With `window`, a query sees only the last `window` tokens of its text up to itself. The output
    at padding is finite and differs between implementations. On a mesh each device computes its own rows and
    heads. What the backward pass needs besides the inputs is named `attention` for remat policies.
    """
    wants_heads_first = config.attention in HEADS_FIRST
    if heads_first != wants_heads_first:
        there, back = ((1, 2, 0, 3), (2, 0, 1, 3))[:: 1 if heads_first else -1]
        turned = attend(
            query.transpose(there),
            key.transpose(there),
            value.transpose(there),
            segments,
            config,
            max_text,
            window,
            heads_first=wants_heads_first,
            scale=scale,
        )
        return turned.transpose(back)
    implementation = IMPLEMENTATIONS[config.attention]
    options = Options(
        scale=(config.query_scale or query.shape[-1]) ** -0.5 if scale is None else scale,
        soft_cap=config.attention_soft_cap,
        window=window,
        block=config.attention_block,
        max_text=max_text,
        interpret=is_interpreted(),
    )

    def local(query: Array, key: Array, value: Array, segments: Segments) -> Array:
        return implementation(query, key, value, segments, options)

    if implementation is attend_xla or jax.sharding.get_abstract_mesh().empty:
        return local(query, key, value, segments)
    queries, keys = (partition_spec(_axes(name, heads_first)) for name in ("heads", "kv_heads"))
    # Loops whose number of steps is computed do not declare what varies over the mesh.
    sharded = jax.shard_map(
        local,
        in_specs=(queries, keys, keys, partition_spec(("batch", "length"))),
        out_specs=queries,
        check_vma=False,
    )
    return sharded(query, key, value, segments)


def _axes(heads: str, heads_first: bool) -> tuple[str, str, str, str]:
    """The logical axes of queries, keys or values."""
    if heads_first:
        return heads, "batch", "length", "head_dim"
    return "batch", "length", heads, "head_dim"


class Attention(nnx.Module):
    """Query, key and value projections, norms of query and key if the family has them, rotary positions,
    attention, output projection."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        dim, head_dim = config.embed_dim, config.head_dim
        family = FAMILIES[config.family]
        projection = functools.partial(
            Projection, rngs, std=config.init_std, int8=config.int8_forward
        )

        def heads(number: int, axis: str) -> Projection:
            axes = ("embed", axis, "head_dim")
            return projection((dim, number, head_dim), axes, bias=family.qkv_bias)

        self.query = heads(config.num_heads, "heads")
        self.key = heads(config.num_kv_heads, "kv_heads")
        self.value = heads(config.num_kv_heads, "kv_heads")
        self.output = projection((config.num_heads * head_dim, dim), ("heads_rows", None))
        self.query_norm = RMSNorm(head_dim, config.norm_epsilon) if family.qk_norm else None
        self.key_norm = RMSNorm(head_dim, config.norm_epsilon) if family.qk_norm else None
        self.config = config

    def __call__(
        self,
        x: Float[Array, "B L D"],
        rotation: Rotation,
        segments: Segments,
        max_text: int | None = None,
        window: int | None = None,
    ) -> Float[Array, "B L D"]:
        """The attention block's addition to the residual stream. Its query, key and value are named `qkv` for
        remat policies."""
        config, projections = self.config, (self.query, self.key, self.value)
        heads_first = config.attention in HEADS_FIRST
        query, key, value = (p.onto_heads(x) if heads_first else p(x) for p in projections)
        if self.query_norm is not None and self.key_norm is not None:
            query, key = self.query_norm(query), self.key_norm(key)
        scale = None
        if heads_first:
            factor = HEADS_FIRST[config.attention]
            query = rotate_heads_first(
                query, rotation, (config.query_scale or config.head_dim) ** -0.5 * factor
            )
            key, scale = rotate_heads_first(key, rotation), 1 / factor
        else:
            query, key = rotate(query, rotation), rotate(key, rotation)
        query = constrain(query, *_axes("heads", heads_first))
        key, value = (constrain(y, *_axes("kv_heads", heads_first)) for y in (key, value))
        query, key, value = (checkpoint_name(y, "qkv") for y in (query, key, value))
        arrays = query, key, value, segments
        output = attend(*arrays, config, max_text, window, heads_first=heads_first, scale=scale)
        if heads_first:
            return self.output.of_heads(output)
        return self.output(output.reshape(*x.shape[:-1], -1))
