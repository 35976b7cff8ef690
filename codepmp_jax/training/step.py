"""One optimizer step: pair loss and LM loss of a global batch, gradients, update. Jitted and donated."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float

from codepmp_jax.config import TrainConfig
from codepmp_jax.data.batch import Batch
from codepmp_jax.models.preference import Params, PreferenceModel, abstract_params
from codepmp_jax.sharding import constrain
from codepmp_jax.training import optimizer as optimizers
from codepmp_jax.training.losses import (
    centering_losses,
    lm_labels,
    lm_loss,
    pair_losses,
    pair_weights,
    token_weights,
)
from codepmp_jax.training.state import TrainState

Metrics = dict[str, Array]


class WeightedBatch(NamedTuple):
    """A batch, or a part of one, with the weights that its losses have in the global batch."""

    batch: Batch
    pairs: Float[Array, " N"]
    tokens: Float[Array, "N L"]


def weigh(batch: Batch, config: TrainConfig) -> WeightedBatch:
    """The global batch with its weights; the LM loss is over the chosen rows."""
    labels = lm_labels(batch.response_mask[:, 0], batch.token_mask[:, 0], batch.pair_mask)
    return WeightedBatch(batch, pair_weights(batch.pair_mask), token_weights(labels, config.loss))


def compute_params(params: Params, config: TrainConfig) -> Params:
    """Kernels and biases in the compute dtype, so that they are gathered and their gradients reduced in it.

    Norm scales and the score head stay float32; and so does the embedding, in whose gradient the
    occurrences of a token add up, too many for bfloat16.
    """

    def lower(path: tuple, leaf: Array) -> Array:
        names = [key.key for key in path]
        keep = names[-1] in ("scale", "embedding") or names[0] == "score"
        return leaf if keep else leaf.astype(config.model.compute_dtype)

    return jax.tree_util.tree_map_with_path(lower, params)


def loss_and_metrics(
    model: PreferenceModel, part: WeightedBatch, config: TrainConfig
) -> tuple[Float[Array, ""], Metrics]:
    """The part's addends to the global batch's loss and metrics."""
    batch = part.batch
    num_pairs, _, length = batch.tokens.shape
    rows, row_mask = (
        constrain(array.reshape(2 * num_pairs, length), "batch", "length")
        for array in (batch.tokens, batch.token_mask)
    )
    hidden = model(rows, row_mask)
    chosen, rejected = model.rewards(hidden, row_mask).reshape(num_pairs, 2).T
    pair_loss = jnp.sum(part.pairs * pair_losses(chosen, rejected, batch.margin))
    centering = jnp.sum(part.pairs * centering_losses(chosen, rejected))
    loss = config.loss.rm_coef * pair_loss + config.loss.centering_coef * centering
    lm = jnp.float32(0)
    if config.loss.lm_coef > 0:
        lm = lm_loss(
            hidden.reshape(num_pairs, 2, length, -1)[:, 0],
            model.lm_kernel().astype(hidden.dtype),
            batch.tokens[:, 0],
            part.tokens,
            config.loss.lm_chunk,
        )
        loss += config.loss.lm_coef * lm
    correct = (chosen > rejected) + 0.5 * (chosen == rejected)
    return loss, {
        "loss": loss,
        "pair_loss": pair_loss,
        "lm_loss": lm,
        "accuracy": jnp.sum(part.pairs * correct),
        "margin": jnp.sum(part.pairs * (chosen - rejected)),
        "reward_chosen": jnp.sum(part.pairs * chosen),
        "reward_rejected": jnp.sum(part.pairs * rejected),
    }


def _parts(whole: WeightedBatch, number: int) -> WeightedBatch:
    """The batch as `number` parts on a leading dim; each device keeps the pairs it has."""

    def split(array: Array) -> Array:
        parts = array.reshape(array.shape[0] // number, number, *array.shape[1:]).swapaxes(0, 1)
        return constrain(parts, None, "batch")

    return jax.tree.map(split, whole)


def gradients(params: Params, batch: Batch, config: TrainConfig) -> tuple[Params, Metrics]:
    """Gradients, summed over accumulation_steps parts in float32, and metrics of the global batch."""
    graph, _, axes = abstract_params(config.model)

    def addend(params: Params, part: WeightedBatch) -> tuple[Array, Metrics]:
        return loss_and_metrics(nnx.merge(graph, params), part, config)

    def grad(part: WeightedBatch) -> tuple[Params, Metrics]:
        grads, metrics = jax.grad(addend, has_aux=True)(low, part)
        # Pinned to the parameters' shards, gradients are reduced into these, not onto every device.
        return jax.tree.map(
            lambda leaf, names: constrain(leaf, *names).astype(jnp.float32), grads, axes
        ), metrics

    low = compute_params(params, config)
    whole = weigh(batch, config)
    if config.accumulation_steps == 1:
        return grad(whole)
    parts = _parts(whole, config.accumulation_steps)

    def add(total: tuple, part: WeightedBatch) -> tuple[tuple, None]:
        return jax.tree.map(jnp.add, total, grad(part)), None

    zeros = jax.tree.map(
        lambda shape: jnp.zeros(shape.shape, shape.dtype),
        jax.eval_shape(grad, jax.tree.map(lambda leaf: leaf[0], parts)),
    )
    return jax.lax.scan(add, zeros, parts)[0]


def train_step(
    state: TrainState,
    batch: Batch,
    config: TrainConfig,
    num_steps: int,
) -> tuple[TrainState, Metrics]:
    """The state after one more of num_steps steps, and the step's metrics (float32 scalars).

    `grad_norm` is the norm before clipping.
    """
    optimizer = optimizers.build(config.optimizer, num_steps)
    grads, metrics = gradients(state.params, batch, config)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = cast(Params, optax.apply_updates(state.params, updates))
    metrics["grad_norm"] = optax.tree.norm(grads)
    metrics["learning_rate"] = jnp.asarray(
        optimizers.schedule(config.optimizer, num_steps)(state.step), jnp.float32
    )
    return TrainState(state.step + 1, params, opt_state), metrics


def eval_step(params: Params, batch: Batch, config: TrainConfig) -> Metrics:
    """Sums over a batch's pairs and LM labels, of which there are `num_pairs` and `num_labels`."""
    graph, _, _ = abstract_params(config.model)
    model = nnx.merge(graph, compute_params(params, config))
    labels = lm_labels(batch.response_mask[:, 0], batch.token_mask[:, 0], batch.pair_mask)
    sums = WeightedBatch(batch, batch.pair_mask.astype(jnp.float32), labels.astype(jnp.float32))
    _, metrics = loss_and_metrics(model, sums, config)
    del metrics["loss"]
    return metrics | {"num_pairs": batch.pair_mask.sum(), "num_labels": labels.sum()}


TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def jit_train_step(config: TrainConfig, num_steps: int, shardings: TrainState) -> TrainStep:
    """train_step, jitted; the old state's memory is given to the new one."""
    return jax.jit(
        lambda state, batch: train_step(state, batch, config, num_steps),
        donate_argnums=0,
        out_shardings=(shardings, None),
    )
