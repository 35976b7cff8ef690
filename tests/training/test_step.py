from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codepmp_jax.config import DataConfig, MeshConfig
from codepmp_jax.data.tokenized_pair import TokenizedPair, common_length
from codepmp_jax.devices.sharding import batch_sharding, check_mesh, make_mesh
from codepmp_jax.models.preference import init_params
from codepmp_jax.training import optimizer as optimizers
from codepmp_jax.training.objectives.objective import label_chunk
from codepmp_jax.training.state import abstract_state, init_state
from codepmp_jax.training.step import evaluate_batch, gradients, jit_train_step
from tests.training.reference import batch_of, random_pairs, tiny_config


def run(config, num_devices: int, num_steps: int = 4):
    """(metrics of each step, final parameters) on the first num_devices devices."""
    mesh = make_mesh(
        check_mesh(config.mesh, config.model, num_devices), jax.devices()[:num_devices]
    )
    optimizer = optimizers.build(config.optimizer, num_steps)
    state = init_state(config, optimizer, mesh)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(config, optimizer, mesh))
    step = jit_train_step(config, num_steps, shardings)
    rows = []
    with jax.set_mesh(mesh):
        for seed in range(num_steps):
            batch = jax.device_put(batch_of(random_pairs(seed), config), batch_sharding(mesh))
            state, metrics = step(state, batch)
            rows.append(jax.device_get(metrics))
    assert int(state.step) == num_steps
    return rows, jax.device_get(state.params)


def jit_gradients(config):
    return jax.jit(lambda params, batch: gradients(params, batch, config))


def assert_same_run(ours, theirs, rtol):
    for mine, other in zip(ours[0], theirs[0], strict=True):
        assert mine.keys() == other.keys()
        for name in mine:
            # A mean of rewards of either sign nearly cancels: its error is that of the rewards, of about 0.1.
            atol = 0.1 * rtol if name.startswith("reward_") else 1e-6
            np.testing.assert_allclose(mine[name], other[name], rtol=rtol, atol=atol, err_msg=name)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=2e-5), ours[1], theirs[1]
    )


def layout_config(layout: Any, **changes):
    """Rows of 48 (padded) or 64 tokens, 8 of them, with room for 8 pairs of at most 24 tokens a text."""
    row_length = None if layout == "padded" else 64
    data = DataConfig(max_length=24, layout=layout, row_length=row_length)
    return tiny_config(data=data, **changes)


@pytest.fixture(scope="module")
def one_device():
    return run(tiny_config(), 1)


@pytest.mark.parametrize(
    ("layout", "attention", "mesh"),
    [
        ("padded", "xla", MeshConfig(fsdp=4, tensor=2)),
        ("packed", "xla", MeshConfig(data=2, fsdp=2, tensor=2)),
        ("packed", "blocked", MeshConfig(data=8, fsdp=1)),
        ("shared", "xla", MeshConfig(data=1, fsdp=8)),
        ("shared", "blocked", MeshConfig(data=2, fsdp=2, tensor=2)),
    ],
    ids=str,
)
def test_eight_devices_in_any_layout_equal_one_with_padded_rows(
    one_device, layout, attention, mesh
):
    config = layout_config(layout, mesh=mesh, model__attention=attention, model__attention_block=16)
    assert_same_run(run(config, 8), one_device, rtol=1e-4)


def test_sharded_parameters_lie_on_all_devices():
    config = tiny_config(mesh=MeshConfig(fsdp=4, tensor=2))
    mesh = make_mesh(check_mesh(config.mesh, config.model, 8))
    state = init_state(config, optimizers.build(config.optimizer, 1), mesh)
    layers = state.params["decoder"]["layers"]
    for kernel, shard in (
        (layers["mlp"]["gate"]["kernel"], (2, 32 // 4, 48 // 2)),
        (layers["mlp"]["down"]["kernel"], (2, 48 // 8, 32)),
        (layers["attention"]["output"]["kernel"], (2, 32 // 8, 32)),
        (state.params["decoder"]["embedding"], (96 // 8, 32)),
    ):
        assert kernel.addressable_shards[0].data.shape == shard
        moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.shape == kernel.shape]
        assert kernel.sharding in {leaf.sharding for leaf in moments}


@pytest.mark.parametrize(
    ("layout", "reduction", "numbers"),
    [
        ("padded", "token_mean", (4, 8)),
        ("padded", "micro_batch_mean", (4,)),
        ("packed", "token_mean", (8,)),
        ("shared", "token_mean", (4,)),
    ],
)
def test_accumulation_changes_nothing(layout, reduction, numbers):
    config = layout_config(layout, loss__lm_reduction=reduction)
    params, batch = init_params(config.model, 0), batch_of(random_pairs(5), config)
    whole, whole_metrics = jit_gradients(config)(params, batch)
    for steps in numbers:
        parts = layout_config(layout, loss__lm_reduction=reduction, accumulation_steps=steps)
        grads, metrics = jit_gradients(parts)(params, batch)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), grads, whole
        )
        for name, value in whole_metrics.items():
            np.testing.assert_allclose(metrics[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_accumulated_run_equals_whole_run_on_a_mesh(one_device):
    config = tiny_config(mesh=MeshConfig(data=1, fsdp=2), accumulation_steps=4)
    assert_same_run(run(config, 2), one_device, rtol=1e-4)


@pytest.mark.parametrize("layout", ["padded", "packed", "shared"])
def test_first_pair_loss_of_a_zero_score_head_is_ln_2(layout):
    config = layout_config(layout, model__score_init_std=0.0)
    batch = batch_of(random_pairs(0), config)
    batch = batch._replace(margin=jnp.zeros_like(batch.margin))
    evaluate = jax.jit(lambda params, batch: evaluate_batch(params, batch, config).sums["pairs"])
    sums = evaluate(init_params(config.model, 0), batch)
    assert float(sums["pair_loss"]) == pytest.approx(8 * math.log(2), rel=1e-6)
    assert float(sums["accuracy"]) == 4


EOS = 5


@st.composite
def pairs_of_every_kind(draw) -> list[TokenizedPair]:
    """Prompts may be empty and responses one token, texts may be full, hold EOS, and begin one another."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pairs: list[TokenizedPair] = []
    for number in range(draw(st.integers(1, 8))):
        prompt = draw(st.sampled_from([0, 1, 7, 23]))
        tokens = [
            rng.integers(1, 96, prompt + draw(st.sampled_from([1, 2, 24 - prompt])))[:24]
            for _ in range(2)
        ]
        for text in tokens:
            text[:prompt] = tokens[0][:prompt]
            text[rng.random(len(text)) < 0.2] = EOS
        if draw(st.booleans()):
            shorter = min(map(len, tokens))
            tokens[1][:shorter] = tokens[0][:shorter]
        chosen, rejected = (text.astype(np.int32) for text in tokens)
        common = common_length(chosen, rejected)
        if common < max(len(chosen), len(rejected)):
            start = max(1, prompt)
            starts = min(start, len(chosen)), min(start, len(rejected))
            pairs.append(TokenizedPair(str(number), 0.1, chosen, rejected, starts, common))
    return pairs


_ALL_LAYOUTS = {
    (layout, attention): layout_config(
        layout, model__attention=attention, model__attention_block=16, model__remat="none"
    )
    for layout, attention in (
        ("padded", "xla"),
        *((layout, name) for layout in ("packed", "shared") for name in ("xla", "blocked")),
    )
}
_ALL_GRADIENTS = {key: jit_gradients(config) for key, config in _ALL_LAYOUTS.items()}


@settings(max_examples=25, deadline=None)
@given(pairs_of_every_kind())
def test_layouts_have_the_same_losses_and_gradients(pairs):
    if not pairs:
        return
    params = init_params(tiny_config().model, 0)
    expected = None
    for key, config in _ALL_LAYOUTS.items():
        grads, metrics = _ALL_GRADIENTS[key](params, batch_of(pairs, config))
        # Rewards that are equal in exact arithmetic, of repeated tokens, may fall to either side.
        del metrics["accuracy"]
        found = grads, metrics
        expected = expected or found
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            scale = max(1.0, float(np.max(np.abs(b))))
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * scale, err_msg=str(key))


@functools.cache
def gradients_with(attention: Any, **settings: Any) -> Any:
    """Of one batch."""
    config = tiny_config(model__attention=attention, model__attention_block=8, **settings)
    batch = batch_of(random_pairs(3), config)
    return jit_gradients(config)(init_params(config.model, 0), batch)[0]


@pytest.mark.parametrize(
    "remat",
    [
        "none",
        "save_attention",
        "save_qkv_attention",
        "save_mlp_attention",
        "dots_with_no_batch_dims",
        "offload_qkv_attention",
    ],
)
@pytest.mark.parametrize("attention", ["xla", "blocked"])
def test_remat_changes_nothing(remat, attention):
    expected, found = gradients_with(attention), gradients_with(attention, model__remat=remat)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, expected
    )


def test_empty_rows_change_nothing():
    config = tiny_config()
    params = init_params(config.model, 0)
    batch = batch_of(random_pairs(4), config)
    filled = batch_of(random_pairs(4), tiny_config(global_batch_rows=16))
    expected = evaluate_batch(params, batch, config).sums
    found = evaluate_batch(params, filled, config).sums
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected
    )


def test_the_lm_loss_ignores_rejected_texts():
    config = tiny_config()
    params = init_params(config.model, 0)
    batch = batch_of(random_pairs(6), config)
    other = batch._replace(tokens=batch.tokens.at[:, 24:].set((batch.tokens[:, 24:] + 1) % 96))
    ours, others = (evaluate_batch(params, each, config).sums for each in (batch, other))
    lm_losses = [float(sums["labels"]["lm_loss"]) for sums in (ours, others)]
    pair_losses = [float(sums["pairs"]["pair_loss"]) for sums in (ours, others)]
    assert lm_losses[0] == pytest.approx(lm_losses[1], rel=1e-6)
    assert pair_losses[0] != pytest.approx(pair_losses[1], rel=1e-3)


def test_bfloat16_is_close_to_float32():
    batch = batch_of(random_pairs(7), tiny_config())
    params = init_params(tiny_config().model, 0)
    exact = evaluate_batch(params, batch, tiny_config()).sums
    rough = evaluate_batch(params, batch, tiny_config(model__compute_dtype="bfloat16")).sums
    losses = [float(sums["labels"]["lm_loss"]) for sums in (rough, exact)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_bfloat16_gradients_survive_a_token_that_repeats():
    """A token's occurrences add up in its embedding's gradient: in bfloat16 most would be lost."""
    data = DataConfig(max_length=64)
    config = tiny_config(data=data, global_batch_rows=32)
    params = init_params(config.model, 0)
    batch = batch_of(random_pairs(7, num_pairs=32, length=64), config)
    often = np.random.default_rng(0).random(batch.tokens.shape) < 0.7
    batch = batch._replace(tokens=jnp.where(often, 5, batch.tokens))
    exact, _ = jit_gradients(config)(params, batch)
    low = tiny_config(data=data, global_batch_rows=32, model__compute_dtype="bfloat16")
    rough, _ = jit_gradients(low)(params, batch)
    errors = jax.tree.map(
        lambda a, b: float(np.linalg.norm(a - b) / np.linalg.norm(a)), exact, rough
    )
    # Scores hardly change with the keys' bias, whose gradient nearly cancels.
    bias = errors["decoder"]["layers"]["attention"]["key"].pop("bias")
    assert bias < 0.06, bias
    assert max(jax.tree.leaves(errors)) < 0.03, errors
    assert {leaf.dtype for leaf in jax.tree.leaves(rough)} == {jnp.dtype("float32")}


def test_logits_of_a_chunk_are_of_one_device():
    """lm_chunk_tokens counts a device's tokens: 8 rows on 8 devices are one row on each."""
    assert label_chunk(num_rows=8, row_labels=32, chunk_tokens=56) == 7
    with jax.set_mesh(make_mesh((2, 4, 1))):
        assert label_chunk(num_rows=8, row_labels=32, chunk_tokens=56) == 32


def test_a_skipped_step_leaves_the_state_and_a_good_one_is_as_ever():
    config = tiny_config(on_bad_step="skip")
    mesh = make_mesh((1, 1, 1), jax.devices()[:1])
    optimizer = optimizers.build(config.optimizer, 4)
    before = init_state(config, optimizer, mesh)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(config, optimizer, mesh))
    kept = jax.device_get(before)
    step = jit_train_step(config, 4, shardings)
    good = batch_of(random_pairs(0), config)
    with jax.set_mesh(mesh):
        after, metrics = step(before, good._replace(margin=good.margin.at[0].set(jnp.inf)))
        assert not np.isfinite(metrics["loss"])
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(after), kept)
        skipping, _ = step(after, good)
        stopping, _ = jit_train_step(tiny_config(), 4, shardings)(
            init_state(config, optimizer, mesh), good
        )
    jax.tree.map(np.testing.assert_allclose, jax.device_get(skipping), jax.device_get(stopping))
