"""One optimizer step: the objective's loss of a global batch, gradients, update. Jitted and donated."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float

from codepmp_jax.config import TrainConfig
from codepmp_jax.data.batch import Batch
from codepmp_jax.data.layouts import SOURCE, Layout
from codepmp_jax.data.tokenized_item import Unit
from codepmp_jax.devices.sharding import batch_sharding, constrain
from codepmp_jax.models.attention import Segments
from codepmp_jax.models.preference import Params, PreferenceModel, abstract_params, with_changed
from codepmp_jax.training import objectives
from codepmp_jax.training import optimizer as optimizers
from codepmp_jax.training.objectives.objective import Objective, Outputs, Weights
from codepmp_jax.training.state import TrainState, in_dtype, trained

Metrics = dict[str, Array]
Sums = dict[Unit, Metrics]
"""Sums by what they are over."""


class Evaluated(NamedTuple):
    """What an evaluation needs of a batch."""

    sums: Sums
    """Of each metric, the sum over the batch's items or labels."""
    rewards: Float[Array, "B M 2"] | None
    """Of chosen and rejected, replicated to all devices; anything where there is no pair. None where the objective
    trains none."""


class WeightedBatch(NamedTuple):
    """A batch, or a part of one, with the weights that its items have in the global batch."""

    batch: Batch
    weights: Weights


def hidden_states(model: PreferenceModel, batch: Batch, layout: Layout) -> Float[Array, "B W D"]:
    """The hidden state of every token of the rows."""
    num_rows = batch.tokens.shape[0]
    tokens, positions, ids, branches = (
        constrain(array.reshape(-1, layout.sequence_length), "batch", "length")
        for array in (batch.tokens, batch.positions, batch.segments, batch.branches)
    )
    segments = Segments(ids, branches if layout.has_branches else None)
    hidden = model(tokens, positions, segments, layout.config.max_length)
    return constrain(hidden.reshape(num_rows, -1, hidden.shape[-1]), "batch", "length", None)


def compute_outputs(model: PreferenceModel, batch: Batch, objective: Objective) -> Outputs:
    """What the objective's terms are computed from."""
    hidden = hidden_states(model, batch, objective.layout())
    return Outputs(model, hidden, batch, objective.lm_chunk_tokens)


def loss_and_metrics(
    model: PreferenceModel, part: WeightedBatch, objective: Objective
) -> tuple[Float[Array, ""], Metrics]:
    """The part's addends to the global batch's loss, metrics and source_wins."""
    outputs = compute_outputs(model, part.batch, objective)
    terms = objective.terms(outputs, part.weights)
    loss = sum(
        (term.coefficient * term.total for term in terms if term.coefficient is not None),
        jnp.float32(0),
    )
    metrics = {term.name: term.total for term in terms} | {"loss": loss}
    return loss, metrics | source_wins(outputs, objective)


def source_wins(outputs: Outputs, objective: Objective) -> Metrics:
    """Of each source of a mixture, `accuracy/NAME`: how many of its pairs have the higher reward on chosen, ties half.

    Not yet divided by the number of its pairs, which is known where they are read (Window.rows)."""
    sources, rewards = objective.config.data.sources, objective.pair_rewards(outputs)
    if not sources or rewards is None:
        return {}
    chosen, rejected = rewards
    wins = ((chosen > rejected) + 0.5 * (chosen == rejected)) * outputs.batch.item_mask
    number = outputs.batch.companions[SOURCE]
    return {
        f"accuracy/{source.name}": jnp.sum(wins * (number == i)) for i, source in enumerate(sources)
    }


def _parts(whole: WeightedBatch, number: int) -> WeightedBatch:
    """The batch as `number` parts on a leading dim; each device keeps the rows it has."""

    def split(array: Array) -> Array:
        parts = array.reshape(array.shape[0] // number, number, *array.shape[1:]).swapaxes(0, 1)
        return constrain(parts, None, "batch")

    return jax.tree.map(split, whole)


def gradients(params: Params, batch: Batch, config: TrainConfig) -> tuple[Params, Metrics]:
    """Gradients of the trained parameters, summed over accumulation_steps parts in float32, and metrics of the
    global batch."""
    with _precision(config):
        return _gradients(params, batch, config)


def _precision(config: TrainConfig) -> contextlib.AbstractContextManager[Any]:
    """Within it float32 is computed in float32, if it is the compute dtype: by default TPUs, and GPUs in part, multiply
    it in fewer bits."""
    if config.model.compute_dtype == "float32":
        return jax.default_matmul_precision("highest")
    return contextlib.nullcontext()


def _gradients(params: Params, batch: Batch, config: TrainConfig) -> tuple[Params, Metrics]:
    graph, _, axes = abstract_params(config.model, config.lora)
    objective = objectives.build(config)

    def addend(changed: Params, part: WeightedBatch) -> tuple[Array, Metrics]:
        model = nnx.merge(graph, with_changed(matrices, changed))
        return loss_and_metrics(model, part, objective)

    def grad(part: WeightedBatch) -> tuple[Params, Metrics]:
        grads, metrics = jax.grad(addend, has_aux=True)(trained(matrices, config), part)
        # Pinned to the parameters' shards, gradients are reduced into these, not onto every device.
        return jax.tree.map(
            lambda leaf, names: constrain(leaf, *names).astype(jnp.float32),
            grads,
            trained(axes, config),
        ), metrics

    # Matrices are gathered in the compute dtype, and their gradients reduced in that of the matrices that the model is
    # given.
    is_wide = config.optimizer.reduce_dtype == "float32"
    matrices = params if is_wide else in_dtype(params, config.model.compute_dtype)
    whole = WeightedBatch(batch, objective.weights(batch))
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
    before = trained(state.params, config)
    updates, opt_state = optimizer.update(grads, state.opt_state, before)
    changed = cast(Params, optax.apply_updates(before, updates))
    params = with_changed(state.params, changed)
    metrics["grad_norm"] = optax.tree.norm(grads)
    metrics["learning_rate"] = jnp.asarray(
        optimizers.schedule(config.optimizer, num_steps)(state.step), jnp.float32
    )
    after = TrainState(state.step + 1, params, opt_state)
    if config.on_bad_step == "skip":
        is_good = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])
        after = jax.tree.map(lambda new, old: jnp.where(is_good, new, old), after, state)
    return after, metrics


def evaluate_batch(params: Params, batch: Batch, config: TrainConfig) -> Evaluated:
    """The sums of the objective's metrics over the batch's items and labels, and the rewards of its pairs."""
    graph, _, _ = abstract_params(config.model, config.lora)
    model = nnx.merge(graph, in_dtype(params, config.model.compute_dtype))
    masks = Weights(batch.item_mask.astype(jnp.float32), batch.label_mask.astype(jnp.float32))
    objective = objectives.build(config)
    sums: Sums = {}
    with _precision(config):
        outputs = compute_outputs(model, batch, objective)
        for term in objective.terms(outputs, masks):
            sums.setdefault(term.unit, {})[term.name] = term.total
        rewards = objective.pair_rewards(outputs)
    if rewards is None:
        return Evaluated(sums, None)
    return Evaluated(sums, constrain(jnp.stack(rewards, axis=-1), None, None, None))


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
        objectives.build(config).layout().empty(1, pad_id=0),
    )
