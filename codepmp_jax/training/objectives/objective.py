"""The seam between the training step and what it trains for."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from codepmp_jax.config import DataConfig, TrainConfig
from codepmp_jax.data.batch import Batch
from codepmp_jax.data.item_kind import ItemKind
from codepmp_jax.data.layouts import Layout, layout_of
from codepmp_jax.data.pairs import PAIRS
from codepmp_jax.data.tokenized_item import Companion, Side, Unit
from codepmp_jax.devices.sharding import axis_devices, constrain
from codepmp_jax.models.preference import PreferenceModel
from codepmp_jax.training.losses import label_log_probs, lm_loss

# Rows of bfloat16 that a TPU holds together.
_TILE = 16


class Weights(NamedTuple):
    """What an item or label counts in the means over the global batch; 0 where there is none.

    They are taken from the whole global batch, so that its parts can be computed one after the other or on
    different devices, and their terms and gradients simply add up.
    """

    items: Float[Array, "B M"]
    labels: Float[Array, "B C"]


@dataclasses.dataclass(frozen=True, eq=False)
class Outputs:
    """What the model computed for a batch, or for a part of one."""

    model: PreferenceModel
    """Its matrices in the compute dtype."""
    hidden: Float[Array, "B W D"]
    """After the final norm; at padding, anything finite."""
    batch: Batch
    chunk_tokens: int
    """Tokens a device whose logits exist at a time, for `log_probs`."""

    def rewards(self) -> tuple[Float[Array, "B M"], Float[Array, "B M"]]:
        """Rewards of a pair's chosen and rejected, in float32."""
        num_rows = len(self.batch.ends)
        rewards = self.model.rewards(self.hidden, self.batch.ends.reshape(num_rows, -1))
        chosen, rejected = jnp.moveaxis(rewards.reshape(self.batch.ends.shape), -1, 0)
        return chosen, rejected

    def token_rewards(self) -> Float[Array, "B C"]:
        """The score head on each label, in float32; anything where there is no label."""
        return self.model.rewards(self.hidden, label_places(self.batch))

    def before_labels(self) -> Float[Array, "B C D"]:
        """The hidden states that predict the labels."""
        return jnp.take_along_axis(self.hidden, self.batch.label_places[..., None], axis=1)

    def lm_kernel(self) -> Float[Array, "D V"]:
        """The matrix from hidden states to logits, in their dtype, sharded over the vocabulary."""
        return constrain(self.model.lm_kernel().astype(self.hidden.dtype), None, "vocab")

    def lm_loss(self, weights: Float[Array, "B C"], chunk_tokens: int) -> Float[Array, ""]:
        """Weighted sum over the labels of -log p(label), in float32; the logits of chunk_tokens tokens a device exist at
        a time."""
        num_rows, row_labels = self.batch.labels.shape
        chunk = label_chunk(num_rows, row_labels, chunk_tokens)
        kernel = self.model.lm_kernel()
        arrays = (self.batch.label_places, self.batch.labels, weights)

        def local(hidden: Array, kernel: Array, *arrays: Array) -> Array:
            places, labels, weights = arrays
            before = jnp.take_along_axis(hidden, places[..., None], axis=1)
            return lm_loss(before, kernel, labels, weights, chunk, self.model.logit_soft_cap)

        with jax.named_scope("lm_loss"):
            # Devices that share the vocabulary need one another's logits, which is left to XLA.
            mesh = jax.sharding.get_abstract_mesh()
            if mesh.empty or mesh.shape["tensor"] > 1:
                whole = constrain(kernel, None, "vocab").astype(jnp.float32)
                return local(self.hidden, whole, *arrays)
            return jnp.sum(_by_device(local, self.model.kernel_dim)(self.hidden, kernel, *arrays))

    @functools.cached_property
    def log_probs(self) -> Float[Array, "B C"]:
        """log p of each label, in float32, with the logits of `lm_loss`; anything where there is no label."""
        num_rows, row_labels = self.batch.labels.shape
        chunk = label_chunk(num_rows, row_labels, self.chunk_tokens)
        with jax.named_scope("log_probs"):
            return label_log_probs(
                self.before_labels(),
                self.lm_kernel().astype(jnp.float32),
                self.batch.labels,
                chunk,
                self.model.logit_soft_cap,
            )

    def least_by_text(self, values: Float[Array, "B C"]) -> Float[Array, "B M S"]:
        """Least of the labels of each text of the items; 0 where it has none."""
        num_rows, num_items, num_texts = self.batch.ends.shape
        least = jnp.full((num_rows, num_items * num_texts), jnp.inf, values.dtype)
        rows = jnp.arange(num_rows)[:, None]
        least = least.at[rows, self.batch.label_texts].min(
            jnp.where(self.batch.label_mask, values, jnp.inf)
        )
        least = jnp.where(jnp.isfinite(least), least, 0)
        return least.reshape(num_rows, num_items, num_texts)

    def sum_by_text(self, values: Float[Array, "B C"]) -> Float[Array, "B M S"]:
        """As the function."""
        return sum_by_text(self.batch, values)


class Term(NamedTuple):
    """An addend of the loss, or a metric: a weighted sum over the items or the labels of a batch."""

    name: str
    unit: Unit
    """What the sum is over. An evaluation divides by their number."""
    total: Float[Array, ""]
    """The sum; with the objective's weights, the part's share of the global batch's mean."""
    coefficient: float | None = None
    """Factor in the loss; None is a metric only."""


class Objective:
    """What a run trains for: base of the objectives, with what most of them need."""

    heads: Mapping[str, int] = MappingProxyType({})
    """Heads needed beside the LM head and the score head: size by name (ModelConfig.heads)."""
    kind: ItemKind = PAIRS
    """What the rows are packed from, and of which records."""
    label_sides: tuple[Side, ...] = ("chosen",)
    """Texts of a pair whose response tokens are labels."""
    companions: tuple[Companion, ...] = ()
    """Arrays needed with each item or label."""
    uses_lm_head: bool = True
    """Whether the step computes logits of the labels; counts in useful FLOPs."""
    uses_score_head: bool = True
    """Whether the loss depends on rewards."""
    lm_chunk_tokens: int = 1024
    """Tokens a device whose logits exist at a time, for Outputs.log_probs."""

    def __init__(self, config: TrainConfig):
        """Of the config, an objective reads `loss` and the data's and the model's settings."""
        self.config = config

    def open_data(
        self, data: DataConfig, shards: Sequence[str], tokenizer: Mapping[str, str]
    ) -> Any:
        """Checks what the objective reads beside the records, whose shards and tokenizer parts have these sha256: what it
        is, as JSON, which hosts compare. Raises UserError where it is missing or of other records."""
        del data, shards, tokenizer
        return None

    def layout(self) -> Layout:
        """The rows that the objective is computed on."""
        return layout_of(self.config.data, self.label_sides, self.companions, self.kind)

    @property
    def unused_heads(self) -> frozenset[str]:
        """Heads of the model on which the loss does not depend. Training leaves them as they are."""
        others = {name for name, _ in self.config.model.heads} - self.heads.keys()
        used = {"lm_head": self.uses_lm_head, "score": self.uses_score_head}
        return frozenset(others | {name for name, is_used in used.items() if not is_used})

    def weights(self, batch: Batch) -> Weights:
        """The weights in a global batch: plain means over its items and over its labels."""
        return Weights(mean_weights(batch.item_mask), mean_weights(batch.label_mask))

    def terms(self, outputs: Outputs, weights: Weights) -> Sequence[Term]:
        """Addends of the loss and metrics of a batch, or of a part of it; always the same names and units."""
        raise NotImplementedError

    def figures(self, means: Mapping[str, float]) -> dict[str, float]:
        """Further figures of an evaluation, from the means of its metrics."""
        del means
        return {}

    def pair_rewards(
        self, outputs: Outputs
    ) -> tuple[Float[Array, "B M"], Float[Array, "B M"]] | None:
        """Rewards of chosen and rejected as the objective trains them, in float32: an evaluation has figures of them
        (training/figures.py). None, the default, where it trains none."""
        del outputs
        return None


def sum_by_text(batch: Batch, values: Float[Array, "B C"]) -> Float[Array, "B M S"]:
    """Sums over the labels of each text of the items."""
    num_rows, num_items, num_texts = batch.ends.shape
    sums = jnp.zeros((num_rows, num_items * num_texts), values.dtype)
    rows = jnp.arange(num_rows)[:, None]
    sums = sums.at[rows, batch.label_texts].add(jnp.where(batch.label_mask, values, 0))
    return sums.reshape(num_rows, num_items, num_texts)


def label_places(batch: Batch) -> Int[Array, "B C"]:
    """Places of the labels themselves, in the row: the one behind label_places, but for rejected's first own token in the
    layout `shared`, which stands behind the whole of chosen."""
    behind = batch.label_places + 1
    num_rows = len(behind)
    item, text = batch.label_texts // 2, batch.label_texts % 2
    ends = jnp.take_along_axis(batch.ends[..., 0].reshape(num_rows, -1), item, axis=1)
    last = batch.branches.shape[1] - 1
    branch = jnp.take_along_axis(batch.branches, jnp.minimum(behind, last), axis=1)
    return jnp.minimum(jnp.where((text == 1) & (branch == 1), ends + 1, behind), last)


def mean_weights(mask: Bool[Array, "*B"]) -> Float[Array, "*B"]:
    """1 / (number of items) for each item of the mask, 0 elsewhere."""
    weights = mask.astype(jnp.float32)
    return weights / jnp.maximum(weights.sum(), 1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _gather(kernel: Array, dim: int, dtype: jnp.dtype) -> Array:
    """Within a shard_map, the whole of a kernel that fsdp shards along `dim`; it is gathered in `dtype`, and its
    gradient reduced in the kernel's own."""
    whole = jax.lax.all_gather(kernel.astype(dtype), "fsdp", axis=dim, tiled=True)
    # In float32 the gradient is summed; forward XLA cancels this cast with the one where the kernel is used.
    return whole.astype(jnp.float32)


def _gather_forward(kernel: Array, dim: int, dtype: jnp.dtype) -> tuple[Array, Array]:
    return _gather(kernel, dim, dtype), jnp.zeros(0, kernel.dtype)


def _gather_backward(dim: int, dtype: jnp.dtype, like: Array, gradient: Array) -> tuple[Array]:
    gradient = gradient.astype(like.dtype)
    return (jax.lax.psum_scatter(gradient, "fsdp", scatter_dimension=dim, tiled=True),)


_gather.defvjp(_gather_forward, _gather_backward)


def _by_device(local: Callable[..., Array], sharded_dim: int) -> Callable[..., Array]:
    """`local`(hidden, kernel, ...) of every device's own rows, a number each.

    So the kernel, whose dim sharded_dim fsdp shards, is gathered once, and its gradient, summed over the device's
    chunks of labels, is reduced into the shards once: left to itself, XLA sums it whole on every device, chunk by chunk.
    """

    def gathered(hidden: Array, kernel: Array, *arrays: Array) -> Array:
        return local(hidden, _gather(kernel, sharded_dim, hidden.dtype), *arrays)[None]

    rows = PartitionSpec(("data", "fsdp"))
    kernel = PartitionSpec(*[None] * sharded_dim, "fsdp")
    in_specs = rows, kernel, rows, rows, rows
    return jax.shard_map(gathered, in_specs=in_specs, out_specs=rows, check_vma=False)


def label_chunk(num_rows: int, row_labels: int, chunk_tokens: int) -> int:
    """Labels of each of num_rows rows whose logits exist at a time: as few chunks as chunk_tokens a device allow, equal
    but for what rounds them to tiles."""
    rows = max(1, num_rows // axis_devices("batch"))
    most = max(1, min(row_labels, chunk_tokens // rows))
    chunk = math.ceil(row_labels / math.ceil(row_labels / most))
    return min(most, chunk + -chunk % _TILE)
