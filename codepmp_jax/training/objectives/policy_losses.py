"""Losses of a pair by the log-probs of policy and reference: DPO and its family, by TRL's names."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from codepmp_jax.config.policy import PolicyConfig


def policy_losses(
    config: PolicyConfig,
    policy: Float[Array, "*N 2"],
    reference: Float[Array, "*N 2"],
    lengths: Float[Array, "*N 2"],
) -> Float[Array, "*N"]:
    """The loss config.loss_type of each pair.

    `policy` and `reference` are log p of chosen and rejected, summed over their tokens, of which there are `lengths`;
    the reference is 0 where the loss has none. Sources: DPO (arXiv 2305.18290, equation 7), cDPO (note by E. Mitchell),
    SLiC (2305.10425), IPO (2310.12036, equation 17), robust DPO (2403.00409), APO (2408.06266, equations 7 and 8),
    SimPO (2405.14734), ORPO (2403.07691, without its SFT term).
    """
    beta, smoothing = config.beta, config.label_smoothing
    ratios = policy - reference
    if config.normalizes_length:
        ratios = ratios / lengths
    chosen, rejected = ratios[..., 0], ratios[..., 1]
    margin = chosen - rejected

    def smoothed(logits: Array) -> Array:
        return (1 - smoothing) * jax.nn.softplus(-logits) + smoothing * jax.nn.softplus(logits)

    match config.loss_type:
        case "sigmoid" | "sigmoid_norm":
            return smoothed(beta * margin)
        case "robust":
            logits = beta * margin
            kept, flipped = jax.nn.softplus(-logits), jax.nn.softplus(logits)
            return ((1 - smoothing) * kept - smoothing * flipped) / (1 - 2 * smoothing)
        case "hinge":
            return jax.nn.relu(1 - beta * margin)
        case "ipo":
            return jnp.square(margin - 1 / (2 * beta))
        case "apo_zero":
            return jax.nn.sigmoid(-beta * chosen) + jax.nn.sigmoid(beta * rejected)
        case "apo_down":
            return jax.nn.sigmoid(beta * chosen) + jax.nn.sigmoid(-beta * margin)
        case "simpo":
            return smoothed(beta * margin - config.simpo_gamma)
        case "orpo":
            log_odds = margin - (_log1mexp(chosen) - _log1mexp(rejected))
            return beta * jax.nn.softplus(-log_odds)


def _log1mexp(x: Float[Array, "*N"]) -> Float[Array, "*N"]:
    """log(1 - exp(x)) of x < 0, exact near 0 and far from it; x so near 0 that it would be infinite is held off."""
    x = jnp.minimum(x, -1e-7)
    near = x > -math.log(2)
    # Each branch only sees numbers at which its gradient is finite.
    return jnp.where(
        near,
        jnp.log(-jnp.expm1(jnp.where(near, x, -1.0))),
        jnp.log1p(-jnp.exp(jnp.where(near, -1.0, x))),
    )
