"""Rewards by JAX on all devices of a pod, from a training run's checkpoint.

A row of the batch holds a text, padded to one of a few lengths, and there are equally many rows of a length in every
batch, empty ones included. So each length is compiled once, and the program that scores a text does not depend on
the other texts.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Int

from codepmp_jax.checkpoint.checkpointer import Checkpointer
from codepmp_jax.cli.errors import require
from codepmp_jax.config import (
    LoraConfig,
    ModelConfig,
    ScoreConfig,
    ScorerConfig,
    TrainConfig,
    presets,
)
from codepmp_jax.config.lora import NO_LORA
from codepmp_jax.devices import chips, sharding
from codepmp_jax.evaluation.scorers.scorer import Scored
from codepmp_jax.files import storage
from codepmp_jax.models.preference import Params, abstract_params, one_text_rows
from codepmp_jax.text import forms
from codepmp_jax.text.forms import TextForm
from codepmp_jax.text.tokenization import Tokenizer

_SHORTEST = 64


def padded_length(num_tokens: int) -> int:
    """Length of a row for a text: 64, 96, 128, 192, 256, 384, ... by what it holds."""
    length = _SHORTEST
    while length < num_tokens:
        # Powers of two, and the means of two in a row.
        length = length * 3 // 2 if length & (length - 1) == 0 else length * 4 // 3
    return length


def plan_batches(lengths: Sequence[int], num_rows: int, batch_tokens: int) -> Iterator[list[int]]:
    """The texts of each batch: of one padded length, the longest first, so that memory runs out at once or never.

    A batch of that length L has `num_rows` times as many rows as fit `batch_tokens`, but at least one.
    """
    groups: dict[int, list[int]] = collections.defaultdict(list)
    for text, length in enumerate(lengths):
        groups[padded_length(length)].append(text)
    for length in sorted(groups, reverse=True):
        size = num_rows * max(1, batch_tokens // length)
        for start in range(0, len(groups[length]), size):
            yield groups[length][start : start + size]


class JaxScorer:
    """A reward model from a checkpoint, its parameters sharded over the devices of all hosts."""

    def __init__(
        self,
        model: ModelConfig,
        form: TextForm,
        params: Params,
        tokenizer: Tokenizer,
        mesh: jax.sharding.Mesh,
        config: ScorerConfig,
        lora: LoraConfig = NO_LORA,
    ):
        """`model` is the run's with the dtype and attention to compute with."""
        self.tokenizer = tokenizer
        self.form = form
        self.vocab_size = model.vocab_size
        self.num_computed = 0
        self.is_main = jax.process_index() == 0
        self._params = params
        self._mesh = mesh
        self._on_cpu = jax.devices()[0].platform == "cpu"
        self._batch_tokens = config.batch_tokens or (1024 if self._on_cpu else 16384)
        self._num_rows = mesh.shape["data"] * mesh.shape["fsdp"]
        graph, _, _ = abstract_params(model, lora)
        # TPUs multiply float32 as bfloat16 by default.
        self._precision = "highest" if model.compute_dtype == "float32" else None
        replicated = NamedSharding(mesh, PartitionSpec())

        def rewards_at(
            params: Params,
            tokens: Int[Array, "B L"],
            lengths: Int[Array, " B"],
            places: Int[Array, "B M"],
        ) -> Array:
            network = nnx.merge(graph, params)
            mask = jnp.arange(tokens.shape[1]) < lengths[:, None]
            hidden = network(tokens, *one_text_rows(mask))
            return network.rewards(hidden, places)

        def rewards(params: Params, tokens: Int[Array, "B L"], lengths: Int[Array, " B"]) -> Array:
            return rewards_at(params, tokens, lengths, jnp.maximum(lengths - 1, 0)[:, None])[:, 0]

        def of_tokens(
            params: Params, tokens: Int[Array, "B L"], lengths: Int[Array, " B"]
        ) -> Array:
            places = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
            return rewards_at(params, tokens, lengths, places)

        self._rewards = jax.jit(rewards, out_shardings=replicated)
        self._of_tokens = jax.jit(of_tokens, out_shardings=replicated)
        head = jax.jit(lambda x: x, out_shardings=replicated)(params["score"]["kernel"])
        self.facts = {
            "score_head_sha256": hashlib.sha256(np.asarray(head).tobytes()).hexdigest(),
            "dtype": config.dtype,
            "batch_tokens": self._batch_tokens,
        }

    @classmethod
    def load(cls, config: ScoreConfig) -> JaxScorer:
        """The reward model of a run's checkpoint. All hosts must call it.

        Raises UserError where the run has no such checkpoint, or trained no rewards, or its model cannot be
        divided over the mesh.
        """
        checkpointer = Checkpointer(config.model)
        step = checkpointer.latest_step() if config.step is None else config.step
        saved = presets.from_json(TrainConfig, checkpointer.restore_config(step), config.model)
        require(
            saved.loss.trains_rewards,
            f"{config.model}: loss",
            saved.loss.summary,
            "must have a term of the rewards, else the run trained none",
            "give the run of a reward model",
        )
        tokenizer = Tokenizer.load(str(storage.to_path(config.model) / "tokenizer"))
        form = forms.of_settings(
            config.texts, forms.read_run(config.model, saved.data), config.model
        )
        form.require_template(tokenizer)
        model = _for_scoring(saved.model, form.max_length, config.scorer.dtype)
        devices = jax.devices()
        mesh = sharding.make_mesh(
            sharding.check_mesh(config.mesh, model, len(devices), sharding.count_slices(devices))
        )
        _, shapes, axes = abstract_params(model, saved.lora)
        abstract = jax.tree.map(
            lambda shape, layout: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=layout),
            shapes,
            sharding.param_shardings(axes, mesh),
        )
        params = checkpointer.restore_params(abstract, step)
        checkpointer.close()
        scorer = cls(model, form, params, tokenizer, mesh, config.scorer, saved.lora)
        scorer.facts["step"] = step
        return scorer

    def agreed(self, values: np.ndarray) -> np.ndarray:
        """As in Scorer."""
        if jax.process_count() == 1:
            return values
        return np.array(multihost_utils.broadcast_one_to_all(values))

    def rewards(self, rows: Sequence[np.ndarray]) -> Scored:
        """As in Scorer. Accelerators compute a batch while the rewards of the one before are taken.

        CPUs compute one at a time: devices of one machine share its threads, and those of two executions may wait
        for each other in their collectives.
        """
        before: tuple[list[int], Array] | None = None
        for batch in plan_batches(list(map(len, rows)), self._num_rows, self._batch_tokens):
            started = batch, self._start([rows[row] for row in batch], self._rewards)
            if self._on_cpu:
                jax.block_until_ready(started[1])
            if before is not None:
                yield before[0], np.asarray(before[1])[: len(before[0])]
            before = started
        if before is not None:
            yield before[0], np.asarray(before[1])[: len(before[0])]

    def token_rewards(self, rows: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The reward of every token of each row: the score head read there, in float32."""
        found: dict[int, np.ndarray] = {}
        for batch in plan_batches(list(map(len, rows)), self._num_rows, self._batch_tokens):
            values = np.asarray(self._start([rows[row] for row in batch], self._of_tokens))
            found |= {row: values[i, : len(rows[row])] for i, row in enumerate(batch)}
        return [found[row] for row in range(len(rows))]

    def _start(self, texts: Sequence[np.ndarray], compute: Callable[..., Array]) -> Array:
        """Starts a batch of the texts and empty rows; what `compute` gives, without waiting for it."""
        length = padded_length(max(map(len, texts)))
        num_rows = self._num_rows * max(1, self._batch_tokens // length)
        lengths = np.zeros(num_rows, np.int32)
        tokens = np.zeros((num_rows, length), np.int32)
        for row, text in enumerate(texts):
            lengths[row] = len(text)
            tokens[row, : len(text)] = text
        self.num_computed += tokens.size
        layout = sharding.batch_sharding(self._mesh)
        to_devices = functools.partial(jax.make_array_from_callback, sharding=layout)
        with jax.set_mesh(self._mesh), jax.default_matmul_precision(self._precision):
            return compute(
                self._params,
                to_devices(tokens.shape, data_callback=lambda index: tokens[index]),
                to_devices(lengths.shape, data_callback=lambda index: lengths[index]),
            )


def _for_scoring(model: ModelConfig, max_length: int, dtype: str) -> ModelConfig:
    """The run's model with the compute dtype `dtype`, nothing in int8, and this machine's choice of attention.

    Nothing else of how the run was trained matters: not its batch, streams, accumulation, mesh or remat.
    """
    model = dataclasses.replace(
        model,
        compute_dtype=dtype,
        int8_forward=False,
        attention="auto",
        attention_block=None,
        remat="none",
    )
    return chips.resolve(model, max_length, chips.chip_of_device(jax.devices()[0]))
