"""The pair loss and the LM loss, as weighted sums.

Every term is a sum over pairs or tokens of weight times loss, and the weights come from the whole
global batch (`pair_weights`, `token_weights`). So the parts of a batch can be computed one after the
other or on different devices, and their losses and gradients simply add up.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from codepmp_jax.config import LossConfig


def pair_weights(pair_mask: Bool[Array, " N"]) -> Float[Array, " N"]:
    """1 / (number of pairs) for each pair, 0 for fillers."""
    mask = pair_mask.astype(jnp.float32)
    return mask / jnp.maximum(mask.sum(), 1)


def lm_labels(
    response_mask: Bool[Array, "N L"], token_mask: Bool[Array, "N L"], pair_mask: Bool[Array, " N"]
) -> Bool[Array, "N L"]:
    """The tokens that the LM loss is over: of the response, of a real pair, with a token before them."""
    has_previous = jnp.pad(token_mask[:, :-1], ((0, 0), (1, 0)))
    return response_mask & has_previous & pair_mask[:, None]


def token_weights(labels: Bool[Array, "N L"], config: LossConfig) -> Float[Array, "N L"]:
    """The weight of each token of a pair's chosen row; 0 where it is no label.

    `token_mean`: 1 / (label tokens of the global batch). `micro_batch_mean`: the authors' mean over
    groups of lm_micro_batch_pairs consecutive pairs of each group's own token mean (arXiv 2410.02229,
    as released); a group without a label counts as a mean of 0.
    """
    counts = labels.sum(axis=-1).astype(jnp.float32)
    if config.lm_reduction == "token_mean":
        return labels / jnp.maximum(counts.sum(), 1)
    groups = counts.reshape(-1, config.lm_micro_batch_pairs)
    weights = 1 / (groups.shape[0] * jnp.maximum(groups.sum(axis=-1, keepdims=True), 1))
    return labels * jnp.broadcast_to(weights, groups.shape).reshape(-1, 1)


def pair_losses(
    chosen: Float[Array, " N"], rejected: Float[Array, " N"], margin: Float[Array, " N"]
) -> Float[Array, " N"]:
    """-log sigmoid(r_chosen - r_rejected - margin): Bradley-Terry (arXiv 2410.02229, equation 1)."""
    return jax.nn.softplus(-(chosen - rejected - margin))


def centering_losses(
    chosen: Float[Array, " N"], rejected: Float[Array, " N"]
) -> Float[Array, " N"]:
    """(r_chosen + r_rejected)^2, which keeps rewards near 0 (arXiv 2312.09244, section 4)."""
    return jnp.square(chosen + rejected)


def token_nll(
    hidden: Float[Array, "N L D"], kernel: Float[Array, "D V"], targets: Int[Array, "N L"]
) -> Float[Array, "N L"]:
    """-log p(target) of every position, in float32, from logits that exist all at once."""
    logits = jnp.einsum("NLD,DV->NLV", hidden, kernel, preferred_element_type=jnp.float32)
    gold = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - gold


def lm_loss(
    hidden: Float[Array, "N L D"],
    kernel: Float[Array, "D V"],
    tokens: Int[Array, "N L"],
    weights: Float[Array, "N L"],
    chunk: int,
) -> Float[Array, ""]:
    """Weighted sum of the tokens' losses, where position t predicts token t + 1.

    The logits exist for `chunk` positions of a row at a time, in the backward pass too.
    """
    num_chunks = math.ceil(hidden.shape[1] / chunk)
    targets = jnp.roll(tokens, -1, axis=-1)
    # No token follows the last position, and none predicts the first token.
    weights = jnp.roll(weights, -1, axis=-1).at[:, -1].set(0)

    def chunks(array: Array) -> Array:
        padding = [(0, 0), (0, num_chunks * chunk - array.shape[1])] + [(0, 0)] * (array.ndim - 2)
        split = jnp.pad(array, padding).reshape(array.shape[0], num_chunks, chunk, *array.shape[2:])
        return jnp.moveaxis(split, 1, 0)

    @jax.checkpoint
    def add(total: Array, part: tuple[Array, Array, Array]) -> tuple[Array, None]:
        hidden, targets, weights = part
        return total + jnp.sum(token_nll(hidden, kernel, targets) * weights), None

    parts = (chunks(hidden), chunks(targets), chunks(weights))
    return jax.lax.scan(add, jnp.float32(0), parts)[0]
