"""One optimizer step: pair loss and LM loss of a global batch, gradients, update. Jitted and donated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float

from codepmp_jax.config import TrainConfig
from codepmp_jax.data.batch import Batch, empty_batch
from codepmp_jax.devices.sharding import axis_devices, batch_sharding, constrain
from codepmp_jax.models.attention import Segments
from codepmp_jax.models.preference import Params, PreferenceModel, abstract_params
from codepmp_jax.training import optimizer as optimizers
from codepmp_jax.training.losses import (
    centering_losses,
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
    pairs: Float[Array, "B M"]
    tokens: Float[Array, "B C"]


def weigh(batch: Batch, config: TrainConfig) -> WeightedBatch:
    """The global batch with its weights."""
    return WeightedBatch(
        batch, pair_weights(batch.pair_mask), token_weights(batch.label_mask, config.loss)
    )


def compute_params(params: Params, config: TrainConfig) -> Params:
    """Matrices and biases in the compute dtype, so that they are gathered and their gradients reduced in it.

    Norm scales and the score head, which are small, stay float32.
    """

    def lower(path: tuple, leaf: Array) -> Array:
        names = [key.key for key in path]
        keep = names[-1] == "scale" or names[0] == "score"
        return leaf if keep else leaf.astype(config.model.compute_dtype)

    return jax.tree_util.tree_map_with_path(lower, params)


def hidden_states(
    model: PreferenceModel, batch: Batch, config: TrainConfig
) -> Float[Array, "B W D"]:
    """The hidden state of every token of the rows."""
    num_rows = batch.tokens.shape[0]
    length = config.data.sequence_length
    tokens, positions, ids, branches = (
        constrain(array.reshape(-1, length), "batch", "length")
        for array in (batch.tokens, batch.positions, batch.segments, batch.branches)
    )
    segments = Segments(ids, branches if config.data.layout == "shared" else None)
    hidden = model(tokens, positions, segments, config.data.max_length)
    return constrain(hidden.reshape(num_rows, -1, hidden.shape[-1]), "batch", "length", None)


def label_chunk(config: TrainConfig, num_rows: int) -> int:
    """Labels of each of num_rows rows whose logits exist at a time: loss.lm_chunk_tokens a device."""
    rows = max(1, num_rows // axis_devices("batch"))
    return max(1, min(config.data.row_labels, config.loss.lm_chunk_tokens // rows))


def loss_and_metrics(
    model: PreferenceModel, part: WeightedBatch, config: TrainConfig
) -> tuple[Float[Array, ""], Metrics]:
    """The part's addends to the global batch's loss and metrics."""
    batch = part.batch
    num_rows, num_pairs, _ = batch.ends.shape
    hidden = hidden_states(model, batch, config)
    rewards = model.rewards(hidden, batch.ends.reshape(num_rows, -1))
    chosen, rejected = jnp.moveaxis(rewards.reshape(num_rows, num_pairs, 2), -1, 0)
    pair_loss = jnp.sum(part.pairs * pair_losses(chosen, rejected, batch.margin))
    centering = jnp.sum(part.pairs * centering_losses(chosen, rejected))
    loss = config.loss.rm_coef * pair_loss + config.loss.centering_coef * centering
    lm = jnp.float32(0)
    if config.loss.lm_coef > 0:
        with jax.named_scope("lm_loss"):
            before = jnp.take_along_axis(hidden, batch.label_places[..., None], axis=1)
            kernel = constrain(model.lm_kernel().astype(hidden.dtype), None, "vocab")
            chunk = label_chunk(config, num_rows)
            cap = config.model.logit_soft_cap
            lm = lm_loss(before, kernel, batch.labels, part.tokens, chunk, cap)
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
    """The batch as `number` parts on a leading dim; each device keeps the rows it has."""

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
        grads, metrics = jax.grad(addend, has_aux=True)(in_compute_dtype, part)
        # Pinned to the parameters' shards, gradients are reduced into these, not onto every device.
        return jax.tree.map(
            lambda leaf, names: constrain(leaf, *names).astype(jnp.float32), grads, axes
        ), metrics

    in_compute_dtype = compute_params(params, config)
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

    `grad_norm` is the norm before clipping. With on_bad_step `skip`, a step whose loss or gradients are not
    finite leaves the state as it was.
    """
    optimizer = optimizers.build(config.optimizer, num_steps)
    grads, metrics = gradients(state.params, batch, config)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = cast(Params, optax.apply_updates(state.params, updates))
    metrics["grad_norm"] = optax.tree.norm(grads)
    metrics["learning_rate"] = jnp.asarray(
        optimizers.schedule(config.optimizer, num_steps)(state.step), jnp.float32
    )
    after = TrainState(state.step + 1, params, opt_state)
    if config.on_bad_step == "skip":
        is_good = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])
        after = jax.tree.map(lambda new, old: jnp.where(is_good, new, old), after, state)
    return after, metrics


def eval_step(params: Params, batch: Batch, config: TrainConfig) -> Metrics:
    """Sums over a batch's pairs and LM labels, of which there are `num_pairs` and `num_labels`."""
    graph, _, _ = abstract_params(config.model)
    model = nnx.merge(graph, compute_params(params, config))
    sums = WeightedBatch(
        batch, batch.pair_mask.astype(jnp.float32), batch.label_mask.astype(jnp.float32)
    )
    _, metrics = loss_and_metrics(model, sums, config)
    del metrics["loss"]
    return metrics | {"num_pairs": batch.pair_mask.sum(), "num_labels": batch.label_mask.sum()}


TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def jit_train_step(
    config: TrainConfig,
    num_steps: int,
    shardings: TrainState,
    compiler_options: Mapping[str, str] | None = None,
) -> TrainStep:
    """train_step, jitted; the old state's memory is given to the new one."""
    return jax.jit(
        lambda state, batch: train_step(state, batch, config, num_steps),
        donate_argnums=0,
        out_shardings=(shardings, None),
        compiler_options=dict(compiler_options or {}),
    )


def abstract_batch(config: TrainConfig, mesh: Mesh) -> Batch:
    """Shapes, dtypes and shardings of a global batch."""
    sharding = batch_sharding(mesh)
    return jax.tree.map(
        lambda row: jax.ShapeDtypeStruct(
            (config.global_batch_rows, *row.shape[1:]), row.dtype, sharding=sharding
        ),
        empty_batch(1, config.data, pad_id=0),
    )
