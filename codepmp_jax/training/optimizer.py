"""AdamW, clipping and the learning-rate schedules."""

from __future__ import annotations

import bisect
import functools
import math

import jax
import optax

from codepmp_jax.cli.errors import require
from codepmp_jax.config import OptimizerConfig
from codepmp_jax.models.preference import Params


def phases(config: OptimizerConfig, num_steps: int) -> tuple[int, int]:
    """(steps of the warmup, steps of the decay) of a run of num_steps.

    Fractions are of num_steps, rounded up. `cosine` decays from the warmup on.
    """
    warmup, decay = config.warmup_steps, config.decay_steps
    if warmup is None:
        warmup = math.ceil(config.warmup_fraction * num_steps)
    if decay is None:
        decay = math.ceil(config.decay_fraction * num_steps)
    rest = num_steps - warmup
    return warmup, rest if config.schedule == "cosine" else min(rest, decay)


def require_room(config: OptimizerConfig, num_steps: int) -> None:
    """Raises UserError where optimizer.warmup_steps or optimizer.decay_steps do not fit into num_steps."""
    warmup, _ = phases(config, num_steps)
    require(
        config.warmup_steps is None or warmup <= num_steps,
        "optimizer.warmup_steps",
        config.warmup_steps,
        f"must be at most the {num_steps} steps of the run",
        "lower it, or give more num_steps",
    )
    require(
        config.decay_steps is None or warmup + config.decay_steps <= num_steps,
        "optimizer.decay_steps",
        config.decay_steps,
        f"must leave room for the warmup ({warmup} steps) in the {num_steps} steps of the run",
        "lower it, or give more num_steps",
    )


def branch_decay(config: OptimizerConfig, step: int) -> int:
    """Number of steps for which a WSD run decays whose decay begins after `step`; 0 where none does.

    decay_steps, or those of the shortest run of T steps with T - ceil(decay_fraction * T) = step. Such a T exists:
    for whole T the left side is floor((1 - decay_fraction) * T), which grows by 0 or 1 from each T to the next.
    """
    fraction = config.decay_fraction
    if config.decay_steps is not None:
        return config.decay_steps
    if fraction == 1:
        return 0

    def stable(total: int) -> int:
        return total - math.ceil(fraction * total)

    longest = math.ceil(2 * (step + 1) / (1 - fraction))
    total = bisect.bisect_left(range(longest), step, key=stable)
    return total - step if stable(total) == step else 0


def schedule(config: OptimizerConfig, num_steps: int) -> optax.Schedule:
    """Learning rate by the number of steps already taken, in the phases of `phases`.

    Warmup: linear from 0. `cosine` then falls to 0 at num_steps (transformers' get_cosine_schedule_with_warmup);
    `wsd` stays and falls to 0 in the same shape (arXiv 2404.06395).
    """
    peak = config.learning_rate
    warmup, decay = phases(config, num_steps)
    rates = [
        optax.linear_schedule(0.0, peak, max(warmup, 1)),
        optax.constant_schedule(peak),
        optax.cosine_decay_schedule(peak, max(decay, 1)),
    ]
    return optax.join_schedules(rates, [warmup, num_steps - decay])


_NOT_DECAYED = {"matrices": ("bias", "scale"), "all_but_biases": ("bias",)}


def weight_decay_mask(kind: str, params: Params) -> Params:
    """True for the parameters that optimizer.weight_decay_mask `kind` decays, also where layers are stacked."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: path[-1].key not in _NOT_DECAYED[kind], params
    )


def build(config: OptimizerConfig, num_steps: int) -> optax.GradientTransformation:
    """Clip by global norm, then AdamW (arXiv 1711.05101) with decoupled weight decay."""
    kind = config.weight_decay_mask
    mask = None if kind == "all" else functools.partial(weight_decay_mask, kind)
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(
            schedule(config, num_steps),
            b1=config.beta1,
            b2=config.beta2,
            eps=config.epsilon,
            weight_decay=config.weight_decay,
            mu_dtype=config.first_moment_dtype,
            mask=mask,
        ),
    )
