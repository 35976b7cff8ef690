"""Objectives on single responses with numbers, as CodeRL's and DQO's are, need a kind of items and a class: here one of
responses with an outcome each and a return for every token."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from codepmp_jax.config import DataConfig, MeshConfig, TrainConfig
from codepmp_jax.config.objective import ObjectiveConfig
from codepmp_jax.data.batch import Batch, concatenate
from codepmp_jax.data.drops import Dropped
from codepmp_jax.data.item_kind import ItemKind, Part
from codepmp_jax.data.label_window import label_gaps, label_start
from codepmp_jax.data.layouts import Layout
from codepmp_jax.data.packing import new_state, pack
from codepmp_jax.data.tokenized_item import Companion, TokenizedText, with_companions
from codepmp_jax.data.transforms import tokenize
from codepmp_jax.devices.sharding import make_mesh
from codepmp_jax.models.preference import abstract_params, init_params, one_text_rows
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.text.tokenization import EncodedText, Text, Tokenizer
from codepmp_jax.training import loop, objectives
from codepmp_jax.training.losses import token_nll
from codepmp_jax.training.objectives.objective import Objective, Outputs, Term, Weights
from codepmp_jax.training.step import evaluate_batch, gradients
from tests.training.reference import tiny_config
from tests.training.runs import rows

NUM_OUTCOMES = 4


@dataclasses.dataclass(frozen=True)
class Responses(ItemKind):
    """The prompt and chosen response of a pair stand for a judged response; margin and subset for its numbers."""

    unit = "responses"
    noun = "response"
    num_texts = 1
    record_types = (PreferencePair,)

    def record_id(self, record: PreferencePair) -> str:
        return record.pair_id

    def may_be_refused(self, record: PreferencePair) -> bool:
        return record.is_conversation

    def write(
        self, record: PreferencePair, tokenizer: Tokenizer, config: DataConfig
    ) -> Sequence[Text]:
        return [tokenizer.format(record.prompt, record.chosen, config.template)]

    def fit(
        self, record: PreferencePair, texts: Sequence[EncodedText], layout: Layout
    ) -> list[Part]:
        (text,) = texts
        config = layout.config
        if len(text.tokens) > config.max_length:
            return [Dropped("too_long", record.pair_id)]
        length = len(text.tokens)
        response = TokenizedText(
            record.pair_id,
            text.tokens,
            (label_start(text, length, config),),
            gaps=(label_gaps(text, length, config),),
        )
        return [with_companions(response, record, layout.companions)]


def returns_of(record: PreferencePair, item: TokenizedText) -> np.ndarray:
    """The reward at the last token, discounted backwards."""
    return record.margin * 0.5 ** np.arange(item.num_labels())[::-1]


def outcome_of(record: PreferencePair, item: TokenizedText) -> int:
    del item
    return int(record.margin) % NUM_OUTCOMES


@dataclasses.dataclass(frozen=True)
class ReturnConfig(ObjectiveConfig):
    objective: Literal["return"] = "return"

    @property
    def trains_rewards(self) -> bool:
        return False

    @property
    def summary(self) -> str:
        return "returns"


class Return(Objective):
    heads = {"value": 1, "critic": NUM_OUTCOMES}  # noqa: RUF012
    kind = Responses()
    companions = (
        Companion("returns", "labels", returns_of),
        Companion("outcome", "responses", outcome_of, dtype="int32"),
    )

    def terms(self, outputs: Outputs, weights: Weights):
        batch = outputs.batch
        before = outputs.before_labels()
        nll = token_nll(before, outputs.lm_kernel(), batch.labels)
        values = outputs.model.head("value", before)[..., 0]
        returns = batch.companions["returns"]
        ends = jnp.take_along_axis(outputs.hidden, batch.ends, axis=1)
        log_probs = jax.nn.log_softmax(outputs.model.head("critic", ends))
        critic = -jnp.take_along_axis(log_probs, batch.companions["outcome"][..., None], axis=-1)
        nlls = outputs.sum_by_text(nll)[..., 0]
        return [
            Term("actor_loss", "labels", jnp.sum(weights.labels * returns * nll), 1.0),
            Term(
                "value_loss", "labels", jnp.sum(weights.labels * jnp.square(values - returns)), 0.5
            ),
            Term("critic_loss", "responses", jnp.sum(weights.items * critic[..., 0]), 1.0),
            Term("nll", "responses", jnp.sum(weights.items * nlls)),
        ]


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(objectives.OBJECTIVES, ReturnConfig, Return)


RECORDS = [
    PreferencePair(str(i), f"do {i}", "x = " + "1 + " * (i % 4) + "2", "", margin=float(i - 3))
    for i in range(9)
]


def config_of(layout: Any = "padded", **changes) -> TrainConfig:
    row_length = None if layout == "padded" else 64
    data = DataConfig(
        max_length=32, layout=layout, row_length=row_length, template="{prompt}\n{response}"
    )
    return objectives.with_heads(
        tiny_config(
            data=data,
            loss=ReturnConfig(),
            model__vocab_size=4096,
            global_batch_rows=16,
            **changes,
        )
    )


def batch_of(config: TrainConfig) -> Batch:
    layout = objectives.build(config).layout()
    parts = tokenize(RECORDS, Tokenizer.load("embedded"), layout)
    found = [row.row for row in pack(iter(parts), layout, 0, new_state("responses"))]
    found.append(layout.empty(16 - len(found), 0))
    return jax.tree.map(jnp.asarray, concatenate(found))


def params_of(config: TrainConfig):
    params = init_params(config.model, 0)
    for name in params["heads"]:
        kernel = params["heads"][name]["kernel"]
        params["heads"][name]["kernel"] = jax.random.normal(jax.random.key(1), kernel.shape)
    return params


def test_each_number_belongs_to_its_response_and_token():
    """Against a forward pass of each response alone."""
    config = config_of("packed")
    params = params_of(config)
    graph, _, _ = abstract_params(config.model)
    model = nnx.merge(graph, params)
    tokenizer = Tokenizer.load("embedded")
    expected = dict.fromkeys(("actor_loss", "value_loss", "critic_loss", "nll"), 0.0)
    for record in RECORDS:
        text = tokenizer.format(record.prompt, record.chosen, config.data.template)
        (encoded,) = tokenizer.encode([text])
        tokens = jnp.asarray(encoded.tokens)[None]
        hidden = model(tokens, *one_text_rows(jnp.ones_like(tokens, bool)))
        log_probs = jax.nn.log_softmax(model.logits(hidden))[0]
        labels = range(encoded.response_start, tokens.shape[1])
        for back, t in enumerate(reversed(labels)):
            value = record.margin * 0.5**back
            nll = -float(log_probs[t - 1, encoded.tokens[t]])
            expected["actor_loss"] += value * nll
            expected["nll"] += nll
            expected["value_loss"] += (float(model.head("value", hidden)[0, t - 1, 0]) - value) ** 2
        critic = jax.nn.log_softmax(model.head("critic", hidden)[0, -1])
        expected["critic_loss"] -= float(critic[int(record.margin) % NUM_OUTCOMES])
    for layout in ("packed", "padded"):
        config = config_of(layout)
        sums = evaluate_batch(params, batch_of(config), config).sums
        assert sums.keys() == {"labels", "responses"}
        found = {name: float(value) for unit in sums.values() for name, value in unit.items()}
        assert found == pytest.approx(expected, rel=2e-4)


def test_rows_parts_and_meshes_change_nothing():
    expected = None
    for layout, parts, mesh in (
        ("padded", 1, MeshConfig(data=1, fsdp=1)),
        ("packed", 2, MeshConfig(data=1, fsdp=1)),
        ("packed", 1, MeshConfig(data=2, fsdp=4)),
    ):
        config = config_of(layout, accumulation_steps=parts, mesh=mesh)
        with jax.set_mesh(
            make_mesh((mesh.data, mesh.fsdp, 1), jax.devices()[: mesh.data * mesh.fsdp])
        ):
            found = jax.jit(lambda params, batch, config=config: gradients(params, batch, config))(
                params_of(config), batch_of(config)
            )
        expected = expected or found
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            scale = max(1.0, float(np.max(np.abs(b))))
            np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * scale, err_msg=layout)


def test_a_run_counts_and_evaluates_responses(pairs, tmp_path):
    config = config_of(
        "packed", workdir=str(tmp_path), num_steps=2, eval_pairs=11, log_every_steps=1
    )
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, input=pairs))
    last = loop.train(config)
    assert math.isfinite(last["eval_critic_loss"])
    assert last["heldout_responses"] == 11
    assert last["data_responses"] > 0
    assert not any("pairs" in name for name in rows(config)[-1])
