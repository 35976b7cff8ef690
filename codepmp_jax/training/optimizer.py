"""AdamW, clipping and the learning-rate schedules."""

from __future__ import annotations

import functools
import math

import jax
import optax

from codepmp_jax.config import OptimizerConfig
from codepmp_jax.models.preference import Params


def schedule(config: OptimizerConfig, num_steps: int) -> optax.Schedule:
    """Learning rate by the number of steps already taken.

    Warmup: linear from 0 over ceil(warmup_fraction * num_steps) steps. `cosine` then falls to 0 at
    num_steps (transformers' get_cosine_schedule_with_warmup); `wsd` stays and falls to 0 in the same
    shape over the last ceil(decay_fraction * num_steps) steps (arXiv 2404.06395).
    """
    peak = config.learning_rate
    warmup = math.ceil(config.warmup_fraction * num_steps)
    decay = num_steps - warmup
    if config.schedule == "wsd":
        decay = min(decay, math.ceil(config.decay_fraction * num_steps))
    phases = [
        optax.linear_schedule(0.0, peak, max(warmup, 1)),
        optax.constant_schedule(peak),
        optax.cosine_decay_schedule(peak, max(decay, 1)),
    ]
    return optax.join_schedules(phases, [warmup, num_steps - decay])


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
