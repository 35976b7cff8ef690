"""Two objectives that the package does not have, each added as a config and a class: a value a token from a head of its
own, and a 4-way critic of whole texts."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DataConfig, MeshConfig, PmpConfig, TrainConfig, presets
from codepmp_jax.config.objective import ObjectiveConfig
from codepmp_jax.data.batch import Batch, concatenate
from codepmp_jax.data.packing import new_state, pack
from codepmp_jax.data.tokenized_item import SIDES, Companion, with_companions
from codepmp_jax.data.tokenized_pair import TokenizedPair
from codepmp_jax.devices.sharding import make_mesh
from codepmp_jax.models.preference import init_params
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.training import loop, objectives
from codepmp_jax.training.objectives.objective import (
    Objective,
    Outputs,
    Term,
    Weights,
    mean_weights,
)
from codepmp_jax.training.step import evaluate_batch, gradients
from tests.training.reference import random_pairs, tiny_config
from tests.training.runs import rows

RECORD = PreferencePair("", "", "", "")


def array_of(name: str, record: PreferencePair, pair: TokenizedPair) -> np.ndarray:
    """What a cache would hold: numbers that the pair's tokens determine."""
    seed = int(pair.chosen.sum()) * 1000 + int(pair.rejected.sum())
    rng = np.random.default_rng(seed)
    return {
        "returns": lambda: rng.normal(size=pair.num_labels(SIDES)),
        "outcomes": lambda: rng.integers(0, 4, 2),
    }[name]()


@dataclasses.dataclass(frozen=True)
class ValueConfig(ObjectiveConfig):
    objective: Literal["value"] = "value"
    coefficient: float = 0.5

    @property
    def trains_rewards(self) -> bool:
        return False


class Value(Objective):
    heads = {"value": 1}  # noqa: RUF012
    label_sides = SIDES
    companions = (Companion("returns", "labels", functools.partial(array_of, "returns")),)
    uses_lm_head = False

    def terms(self, outputs: Outputs, weights: Weights):
        values = outputs.model.head("value", outputs.before_labels())[..., 0]
        errors = jnp.square(values - outputs.batch.companions["returns"])
        loss = self.config.loss
        assert isinstance(loss, ValueConfig)
        total = jnp.sum(weights.labels * errors)
        return [Term("value_loss", "labels", total, loss.coefficient)]


@dataclasses.dataclass(frozen=True)
class CriticConfig(ObjectiveConfig):
    objective: Literal["critic"] = "critic"


class Critic(Objective):
    heads = {"critic": 4}  # noqa: RUF012
    companions = (
        Companion(
            "outcomes", "pairs", functools.partial(array_of, "outcomes"), shape=(2,), dtype="int32"
        ),
    )
    uses_lm_head = False

    def terms(self, outputs: Outputs, weights: Weights):
        batch = outputs.batch
        num_rows, num_pairs, _ = batch.ends.shape
        at_end = jnp.take_along_axis(
            outputs.hidden, batch.ends.reshape(num_rows, -1)[..., None], axis=1
        )
        logits = outputs.model.head("critic", at_end).reshape(num_rows, num_pairs, 2, 4)
        log_probs = jax.nn.log_softmax(logits)
        outcomes = batch.companions["outcomes"][..., None]
        losses = -jnp.take_along_axis(log_probs, outcomes, axis=-1)[..., 0].mean(axis=-1)
        return [Term("critic_loss", "pairs", jnp.sum(weights.items * losses), 1.0)]


TOYS = {ValueConfig: Value, CriticConfig: Critic}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for kind, objective in TOYS.items():
        monkeypatch.setitem(objectives.OBJECTIVES, kind, objective)


def config_of(loss: Any, layout: Any = "padded", **changes) -> TrainConfig:
    """Rows of 48 (padded) or 64 tokens, of pairs of at most 24 tokens a text, with the objective's heads."""
    row_length = None if layout == "padded" else 64
    data = DataConfig(max_length=24, layout=layout, row_length=row_length)
    return objectives.with_heads(tiny_config(data=data, loss=loss, **changes))


def batch_of(pairs: list[TokenizedPair], config: TrainConfig) -> Batch:
    layout = objectives.build(config).layout()
    pairs = [with_companions(pair, RECORD, layout.companions) for pair in pairs]
    found = [row.row for row in pack(([pair] for pair in pairs), layout, 0, new_state())]
    found.append(layout.empty(config.global_batch_rows - len(found), 0))
    return jax.tree.map(jnp.asarray, concatenate(found))


def params_of(config: TrainConfig):
    """With heads that are not zero, so that they have gradients to pass on."""
    params = init_params(config.model, 0)
    for name in params.get("heads", {}):
        kernel = params["heads"][name]["kernel"]
        params["heads"][name]["kernel"] = jax.random.normal(jax.random.key(1), kernel.shape)
    return params


LOSSES = pytest.mark.parametrize("loss", [ValueConfig(), CriticConfig()], ids=str)


@LOSSES
def test_layouts_parts_and_meshes_change_nothing(loss):
    pairs = random_pairs(0)
    expected = None
    for layout, parts, mesh in (
        ("padded", 1, MeshConfig(data=1, fsdp=1)),
        ("padded", 4, MeshConfig(data=1, fsdp=1)),
        ("packed", 2, MeshConfig(data=1, fsdp=1)),
        ("shared", 1, MeshConfig(data=2, fsdp=4)),
    ):
        config = config_of(loss, layout, accumulation_steps=parts, mesh=mesh)
        step = jax.jit(lambda params, batch, config=config: gradients(params, batch, config))
        with jax.set_mesh(
            make_mesh((mesh.data, mesh.fsdp, 1), jax.devices()[: mesh.data * mesh.fsdp])
        ):
            found = step(params_of(config), batch_of(pairs, config))
        expected = expected or found
        assert found[1]["loss"] > 0
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            scale = max(1.0, float(np.max(np.abs(b))))
            np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * scale, err_msg=layout)


def evaluated(params: Any, pairs: list[TokenizedPair], config: TrainConfig) -> Any:
    """The sums of an evaluation."""
    evaluate = jax.jit(lambda params, batch: evaluate_batch(params, batch, config).sums)
    return evaluate(params, batch_of(pairs, config))


def test_an_evaluation_sums_over_the_terms_unit():
    """With a value head of 0, over the squared returns of all labels."""
    config, pairs = config_of(ValueConfig(), "shared"), random_pairs(2)
    sums = evaluated(init_params(config.model, 0), pairs, config)
    expected = sum(np.square(array_of("returns", RECORD, pair)).sum() for pair in pairs)
    assert float(sums["labels"]["value_loss"]) == pytest.approx(expected, rel=1e-5)


def test_a_uniform_critic_costs_ln_4():
    config = config_of(CriticConfig())
    step = jax.jit(lambda params, batch: gradients(params, batch, config)[1])
    metrics = step(init_params(config.model, 0), batch_of(random_pairs(3), config))
    assert float(metrics["critic_loss"]) == pytest.approx(math.log(4), rel=1e-6)


def test_filler_items_weigh_nothing():
    mask = jnp.array([[True, False], [True, False]])
    np.testing.assert_allclose(mean_weights(mask), [[0.5, 0], [0.5, 0]])
    np.testing.assert_allclose(mean_weights(jnp.zeros((1, 2), bool)), [[0, 0]])


def test_the_objective_is_chosen_by_the_type_of_loss():
    """Flags and saved configs are those of the chosen objective; without a name they are of PMP."""
    config = presets.parse(
        TrainConfig, "", ["--loss.coefficient", "0.3"], default=TrainConfig(loss=ValueConfig())
    )
    assert config.loss == ValueConfig(coefficient=0.3)
    saved = presets.to_json(config)
    assert presets.from_json(TrainConfig, saved, "saved") == config
    del saved["loss"]["objective"]
    with pytest.raises(UserError, match=r"saved: loss\.coefficient = 0\.3"):
        presets.from_json(TrainConfig, saved, "saved")
    del saved["loss"]["coefficient"]
    assert presets.from_json(TrainConfig, saved, "saved").loss == PmpConfig()
    saved["loss"]["objective"] = "dpp"
    with pytest.raises(
        UserError, match=r"saved: loss = .*: objective must be one of .*value, critic"
    ):
        presets.from_json(TrainConfig, saved, "saved")


@pytest.mark.usefixtures("compiled_once")
def test_a_run_with_a_head_of_its_own_trains_evaluates_and_resumes(finished, tmp_path, monkeypatch):
    """From a run whose model lacks the head; the loader makes and packs the companions."""
    checkpoint = dataclasses.replace(finished.checkpoint, best_metric="eval_value_loss")
    whole = dataclasses.replace(
        finished,
        workdir=str(tmp_path / "whole"),
        loss=ValueConfig(),
        num_steps=4,
        checkpoint=checkpoint,
    )
    last = loop.train(whole)
    assert math.isfinite(last["eval_value_loss"])
    assert not last.keys() & {"pair_loss", "accuracy", "eval_lm_loss"}
    halves = dataclasses.replace(whole, workdir=str(tmp_path / "halves"))

    class Killed(Exception):
        pass

    def killed(run, *arguments, save=loop.Run.save):
        save(run, *arguments)
        raise Killed

    monkeypatch.setattr(loop.Run, "save", killed)
    with pytest.raises(Killed):
        loop.train(halves)
    monkeypatch.undo()
    for kind, objective in TOYS.items():
        monkeypatch.setitem(objectives.OBJECTIVES, kind, objective)
    loop.train(halves)
    assert rows(halves) == rows(whole)
