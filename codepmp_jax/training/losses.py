"""The pair loss and the LM loss."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from codepmp_jax.models.layers import soft_cap


def micro_batch_weights(label_mask: Bool[Array, "B C"], num_pairs: int) -> Float[Array, "B C"]:
    """The weight of each LM label of padded rows, a pair each; 0 where there is none.

    The authors' mean over groups of `num_pairs` consecutive pairs of each group's own token mean (arXiv
    2410.02229, as released); a group without a label counts as a mean of 0.
    """
    groups = label_mask.sum(axis=-1).astype(jnp.float32).reshape(-1, num_pairs)
    weights = 1 / (groups.shape[0] * jnp.maximum(groups.sum(axis=-1, keepdims=True), 1))
    return label_mask * jnp.broadcast_to(weights, groups.shape).reshape(-1, 1)


def pair_losses(
    chosen: Float[Array, "*N"], rejected: Float[Array, "*N"], margin: Float[Array, "*N"]
) -> Float[Array, "*N"]:
    """-log sigmoid(r_chosen - r_rejected - margin): Bradley-Terry (arXiv 2410.02229, equation 1)."""
    return jax.nn.softplus(-(chosen - rejected - margin))


def centering_losses(
    chosen: Float[Array, "*N"], rejected: Float[Array, "*N"]
) -> Float[Array, "*N"]:
    """(r_chosen + r_rejected)^2, which keeps rewards near 0 (arXiv 2312.09244, section 4)."""
    return jnp.square(chosen + rejected)


def token_nll(
    hidden: Float[Array, "B C D"],
    kernel: Float[Array, "D V"],
    labels: Int[Array, "B C"],
    cap: float | None = None,
) -> Float[Array, "B C"]:
    """-log p(label) after every hidden state, in float32, from logits that exist all at once; `cap` is their soft
    cap."""
    logits = jnp.einsum("BCD,DV->BCV", hidden, kernel, preferred_element_type=jnp.float32)
    logits = soft_cap(logits, cap)
    gold = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - gold


def lm_loss(
    hidden: Float[Array, "B C D"],
    kernel: Float[Array, "D V"],
    labels: Int[Array, "B C"],
    weights: Float[Array, "B C"],
    chunk: int,
    cap: float | None = None,
) -> Float[Array, ""]:
    """Weighted sum of the labels' losses; hidden[b, c] predicts labels[b, c]. `cap` is the logits' soft cap.

    The logits exist for `chunk` labels of a row at a time, in the backward pass too. The kernel is used in the dtype of
    `hidden`, and its gradient summed over the chunks in its own: in bfloat16 that would lose up to 1 %.
    """

    @jax.checkpoint
    def add(total: Array, part: tuple[Array, ...]) -> tuple[Array, None]:
        hidden, labels, weights = part
        losses = token_nll(hidden, kernel.astype(hidden.dtype), labels, cap)
        return total + jnp.sum(losses * weights), None

    return jax.lax.scan(add, jnp.float32(0), _chunks(chunk, hidden, labels, weights))[0]


def label_log_probs(
    hidden: Float[Array, "B C D"],
    kernel: Float[Array, "D V"],
    labels: Int[Array, "B C"],
    chunk: int,
    cap: float | None = None,
) -> Float[Array, "B C"]:
    """log p of each label, in float32, with the logits of lm_loss and its way with the kernel."""

    @jax.checkpoint
    def one(_: None, part: tuple[Array, ...]) -> tuple[None, Array]:
        hidden, labels = part
        return None, -token_nll(hidden, kernel.astype(hidden.dtype), labels, cap)

    _, parts = jax.lax.scan(one, None, _chunks(chunk, hidden, labels))
    return jnp.moveaxis(parts, 0, 1).reshape(labels.shape[0], -1)[:, : labels.shape[1]]


def _chunks(chunk: int, *arrays: Array) -> tuple[Array, ...]:
    """The arrays (B, C, ...) as (chunks, B, chunk, ...), filled up with zeros."""
    num_chunks = math.ceil(arrays[0].shape[1] / chunk)

    def split(array: Array) -> Array:
        padding = [(0, 0), (0, num_chunks * chunk - array.shape[1])] + [(0, 0)] * (array.ndim - 2)
        parts = jnp.pad(array, padding).reshape(array.shape[0], num_chunks, chunk, *array.shape[2:])
        return jnp.moveaxis(parts, 1, 0)

    return tuple(map(split, arrays))
