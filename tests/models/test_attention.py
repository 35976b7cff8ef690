"""Every implementation of attention against the materialised one, and that one against a loop over queries."""

import dataclasses
import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import topologies
from jax.extend.core import ClosedJaxpr, Jaxpr
from jax.sharding import AxisType, Mesh, NamedSharding

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import ModelConfig
from codepmp_jax.devices.sharding import MESH_AXES, make_mesh, partition_spec
from codepmp_jax.models import flash
from codepmp_jax.models.attention import attend
from codepmp_jax.models.segments import (
    Options,
    Segments,
    needed_blocks,
    seen_blocks,
    spans,
    visible,
)
from codepmp_jax.models.splash import CausalMask, TokenMask, WindowMask

# Tokens of a row, query heads, kv heads, head dim. Not a multiple of any block below.
LENGTH, HEADS, KV_HEADS, HEAD_DIM = 200, 4, 2, 16
SIZES = (HEADS, KV_HEADS, HEAD_DIM)

XLA = ModelConfig(attention="xla")
BLOCKED = ModelConfig(attention="blocked", attention_block=32)
SPLASH = ModelConfig(attention="splash", attention_block=128)
FLASH = ModelConfig(attention="flash", attention_block=128)
PALLAS_GPU = ModelConfig(attention="pallas_gpu", attention_block=32)

# Tokens of shared prefix, chosen's own and rejected's own, pair by pair and row by row: several pairs with
# padding after them, one-token branches, no prefix, branches without tokens, a full row, a row of padding.
ROWS = (
    ((20, 33, 41), (50, 1, 1), (0, 13, 20)),
    ((0, 1, 1), (1, 60, 70), (5, 0, 9), (7, 8, 0), (3, 20, 15)),
    ((40, 90, 70),),
    (),
)


def segments_of(rows: tuple, length: int) -> Segments:
    """Rows of pairs, each given as its tokens of prefix, of chosen and of rejected."""
    ids, branches = (
        np.zeros((len(rows), length), np.int32),
        np.zeros((len(rows), length), np.int8),
    )
    for row, pairs in enumerate(rows):
        place = 0
        for segment, counts in enumerate(pairs, start=1):
            for branch, count in enumerate(counts):
                ids[row, place : place + count] = segment
                branches[row, place : place + count] = branch
                place += count
    return Segments(jnp.asarray(ids), jnp.asarray(branches))


def shared_rows() -> Segments:
    return segments_of(ROWS, LENGTH)


def plain_rows() -> Segments:
    """Packed rows, and a padded text on either side."""
    ids = np.array(shared_rows().ids)
    ids[2], ids[3] = np.arange(LENGTH) < 70, np.arange(LENGTH) >= 70
    return Segments(jnp.asarray(ids))


LAYOUTS = pytest.mark.parametrize(
    "segments", [plain_rows(), shared_rows()], ids=["plain", "shared"]
)

# Within a branch and a block of keys, and over both.
WINDOWS = (5, 37)


def capped(config: ModelConfig) -> ModelConfig:
    """With another scale of the scores, and a cap that bends most of them."""
    return dataclasses.replace(config, family="gemma2", attention_soft_cap=1.5, query_scale=7)


def inputs(
    segments: Segments, sizes: tuple[int, int, int] = SIZES
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Query, key and value; large at padding."""
    rows, length = segments.ids.shape
    num_heads, num_kv_heads, head_dim = sizes
    scale = jnp.where(segments.ids > 0, 1.0, 1e4)[..., None, None]
    keys = jax.random.split(jax.random.key(0), 3)
    query, key, value = (
        scale * jax.random.normal(random, (rows, length, heads, head_dim))
        for random, heads in zip(keys, (num_heads, num_kv_heads, num_kv_heads), strict=True)
    )
    return query, key, value


def run(
    config: ModelConfig,
    segments: Segments,
    max_text: int | None = None,
    window: int | None = None,
    arrays: tuple[jax.Array, ...] | None = None,
) -> list[np.ndarray]:
    """Attention's output and its gradients of query, key and value, from random gradients at real tokens."""
    arrays = inputs(segments) if arrays is None else arrays
    gradient = jax.random.normal(jax.random.key(1), arrays[0].shape)
    gradient = jnp.where((segments.ids > 0)[..., None, None], gradient, 0.0)

    @jax.jit
    def outputs(segments: Segments, gradient: jax.Array, *arrays: jax.Array):
        attention = functools.partial(
            attend, segments=segments, config=config, max_text=max_text, window=window
        )
        output, pullback = jax.vjp(attention, *arrays)
        return output, *pullback(gradient.astype(output.dtype))

    return [np.asarray(x) for x in outputs(segments, gradient, *arrays)]


def assert_equal(results: list[np.ndarray], expected: list[np.ndarray], segments: Segments) -> None:
    """Equal at real tokens, to 1e-5 of the largest; finite everywhere."""
    real = np.asarray(segments.ids) > 0
    for result, wanted in zip(results, expected, strict=True):
        assert np.all(np.isfinite(result))
        scale = np.max(np.abs(wanted[real]))
        np.testing.assert_allclose(result[real] / scale, wanted[real] / scale, rtol=0, atol=1e-5)


@LAYOUTS
@pytest.mark.parametrize(
    ("config", "window"),
    [(XLA, None), (capped(XLA), None), *((capped(XLA), window) for window in WINDOWS)],
    ids=["plain", "capped", *map(str, WINDOWS)],
)
def test_xla_equals_a_loop_over_queries(
    config: ModelConfig, window: int | None, segments: Segments
) -> None:
    query, key, value = (np.asarray(x, np.float64) for x in inputs(segments))
    output = np.asarray(attend(*inputs(segments), segments, config, window=window))
    ids = np.asarray(segments.ids)
    branches = np.zeros_like(ids) if segments.branches is None else np.asarray(segments.branches)
    cap = config.attention_soft_cap
    for row, place in zip(*np.nonzero(ids), strict=True):
        # The query's text up to itself, of which it sees the end.
        keys = [
            k
            for k in range(place + 1)
            if ids[row, k] == ids[row, place] and branches[row, k] in (0, branches[row, place])
        ][-(window or LENGTH) :]
        for head in range(HEADS):
            kv_head = head // (HEADS // KV_HEADS)
            scores = key[row, keys, kv_head] @ query[row, place, head]
            scores = scores / np.sqrt(config.query_scale or HEAD_DIM)
            scores = scores if cap is None else cap * np.tanh(scores / cap)
            weights = np.exp(scores - scores.max())
            wanted = weights @ value[row, keys, kv_head] / weights.sum()
            np.testing.assert_allclose(output[row, place, head], wanted, rtol=0, atol=1e-5)


@LAYOUTS
@pytest.mark.parametrize(
    ("config", "max_text"),
    [(BLOCKED, None), (SPLASH, None), (SPLASH, 5000), (FLASH, None), (PALLAS_GPU, None)],
    ids=["blocked", "splash", "splash_long_texts", "flash", "pallas_gpu"],
)
def test_implementations_equal_xla(
    config: ModelConfig, max_text: int | None, segments: Segments
) -> None:
    assert_equal(run(config, segments, max_text), run(XLA, segments), segments)


@pytest.mark.parametrize("config", [XLA, SPLASH, FLASH], ids=lambda config: config.attention)
def test_heads_first_is_the_same_turned_around(config: ModelConfig) -> None:
    segments, there, back = shared_rows(), (2, 0, 1, 3), (1, 2, 0, 3)
    query, key, value = inputs(segments)
    expected = attend(query, key, value, segments, config, window=37)
    query, key, value = (x.transpose(there) for x in (query, key, value))
    found = attend(query, key, value, segments, config, window=37, heads_first=True)
    found = found.transpose(back)
    assert_equal([np.asarray(found)], [np.asarray(expected)], segments)


@LAYOUTS
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("config", [BLOCKED, SPLASH, FLASH], ids=lambda config: config.attention)
def test_windows_and_soft_caps_equal_xla(
    config: ModelConfig, window: int | None, segments: Segments
) -> None:
    expected = run(capped(XLA), segments, window=window)
    assert_equal(run(capped(config), segments, window=window), expected, segments)


@pytest.mark.parametrize(
    "sizes",
    [(2, 2, 64), (7, 1, 128), (16, 1, 8)],
    ids=["heads alone", "odd group", "group in two steps"],
)
def test_flash_takes_heads_of_all_kinds(sizes: tuple[int, int, int]) -> None:
    """In blocks whose numbers of queries and of keys differ."""
    segments = segments_of(((*ROWS[1], (40, 30, 30)),), 300)
    arrays = inputs(segments, sizes)
    expected = run(capped(XLA), segments, window=90, arrays=arrays)
    config = dataclasses.replace(capped(FLASH), attention_block=256)
    assert_equal(run(config, segments, window=90, arrays=arrays), expected, segments)


def test_flash_in_bfloat16_is_that_of_float32() -> None:
    """To the rounding of its inputs, weights and results."""
    segments = shared_rows()
    arrays = tuple(x.astype(jnp.bfloat16) for x in inputs(segments))
    results = run(FLASH, segments, arrays=arrays)
    exact = run(XLA, segments, arrays=tuple(x.astype(jnp.float32) for x in arrays))
    real = np.asarray(segments.ids) > 0
    for result, wanted in zip(results, exact, strict=True):
        assert result.dtype == jnp.bfloat16
        error = np.abs(result[real].astype(np.float32) - wanted[real])
        assert error.max() < 0.01 * np.abs(wanted[real]).max()


def test_pairs_of_a_row_do_not_touch_one_another_in_flash() -> None:
    """Bit for bit, in outputs and gradients."""
    segments = shared_rows()
    changed = (segments.ids == 2)[..., None, None]
    others = np.asarray((segments.ids > 0) & (segments.ids != 2))
    before = inputs(segments)
    after = tuple(jnp.where(changed, 100 - 3 * x, x) for x in before)
    for x, y in zip(*(run(FLASH, segments, arrays=a) for a in (before, after)), strict=True):
        np.testing.assert_array_equal(x[others], y[others])
        assert np.any(x[~others] != y[~others])


def test_rows_too_long_for_the_fast_memory_are_left_to_splash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fits(length: int, block: int, group: int = 7, head_dim: int = 128) -> bool:
        options = Options(scale=1.0, block=block)
        return flash.fits(flash.shape_of(1, length, group, 1, head_dim, options))

    assert fits(5120, 256)
    assert not fits(8192, 256)
    assert fits(2560, 256, group=8, head_dim=256)
    segments = shared_rows()
    monkeypatch.setattr(flash, "_MAX_BYTES", 0)
    monkeypatch.setattr(flash, "attend_splash", lambda query, *_: jnp.zeros_like(query))
    assert not np.any(run(FLASH, segments)[0])


@pytest.mark.parametrize("window", [None, 1, 2, 3, 5])
def test_spans_equal_visible(window: int | None) -> None:
    """Of every two pairs of up to two tokens a part, with padding around them; and the blocks are those with such keys."""
    pairs = list(itertools.product(range(3), repeat=3))
    rows = tuple(itertools.product(pairs, repeat=2))
    shared = jax.tree.map(lambda x: jnp.roll(x, 1, axis=1), segments_of(rows, 16))
    for segments in (shared, Segments(shared.ids)):
        real = np.asarray(segments.ids > 0)[:, :, None]
        start, length, hidden_start, hidden_length = (
            np.asarray(x)[:, :, None] for x in spans(segments, window)
        )
        keys = np.arange(16)
        seen = (keys >= start) & (keys < start + length)
        seen &= ~((keys >= hidden_start) & (keys < hidden_start + hidden_length))
        np.testing.assert_array_equal(seen & real, np.asarray(visible(segments, window)) & real)
        # Padding sees itself and nothing else.
        np.testing.assert_array_equal(seen & ~real, np.eye(16, dtype=bool) & ~real)
        blocks = seen.reshape(-1, 4, 4, 8, 2).any(axis=(2, 4))
        np.testing.assert_array_equal(seen_blocks(spans(segments, window), 4, 2), blocks)


def test_shared_rows_equal_the_two_texts() -> None:
    segments = shared_rows()
    query, key, value = (np.asarray(x) for x in inputs(segments))
    output = np.asarray(attend(*inputs(segments), segments, XLA))
    ids, branches = (np.asarray(x) for x in segments)
    texts = [
        (row, np.flatnonzero((ids[row] == segment) & (branches[row] != hidden)))
        for row, pairs in enumerate(ROWS)
        for segment in range(1, len(pairs) + 1)
        for hidden in (1, 2)
    ]
    alone = [np.zeros((len(texts), *x.shape[1:]), np.float32) for x in (query, key, value)]
    lengths = np.array([len(places) for _, places in texts])
    for text, (row, places) in enumerate(texts):
        for array, source in zip(alone, (query, key, value), strict=True):
            array[text, : len(places)] = source[row, places]
    one_text = Segments(jnp.asarray(np.arange(LENGTH) < lengths[:, None], jnp.int32))
    query, key, value = (jnp.asarray(x) for x in alone)
    apart = attend(query, key, value, one_text, XLA)
    for text, (row, places) in enumerate(texts):
        np.testing.assert_allclose(
            output[row, places], apart[text, : len(places)], rtol=0, atol=1e-5
        )


@pytest.mark.parametrize(
    "config", [XLA, BLOCKED, SPLASH, FLASH, PALLAS_GPU], ids=lambda config: config.attention
)
def test_eight_devices_equal_one(config: ModelConfig) -> None:
    segments = shared_rows()
    with jax.set_mesh(make_mesh((2, 2, 2))):
        results = run(config, segments)
    assert_equal(results, run(XLA, segments), segments)


@pytest.mark.parametrize("config", [BLOCKED, SPLASH, FLASH], ids=lambda config: config.attention)
def test_eight_devices_equal_one_with_windows(config: ModelConfig) -> None:
    segments = shared_rows()
    with jax.set_mesh(make_mesh((2, 2, 2))):
        results = run(capped(config), segments, window=37)
    assert_equal(results, run(capped(XLA), segments, window=37), segments)


@pytest.mark.parametrize("window", [1, 9, 40])
@pytest.mark.parametrize("block", [4, 8])
def test_needed_blocks_of_a_window(block: int, window: int) -> None:
    """Without branches exactly those with a visible key; with them no such block is missed."""
    shared = segments_of((((8, 64, 40),), ((1, 20, 24), (0, 1, 1), (30, 5, 40))), 128)
    in_blocks = (2, 128 // block, block, 128 // block, block)
    for segments in (Segments(jnp.ones((2, 128), jnp.int32)), shared):
        seen = visible(segments, window) & (segments.ids > 0)[:, :, None]
        seen = np.asarray(jnp.any(seen.reshape(in_blocks), axis=(2, 4)))
        needed = np.asarray(needed_blocks(segments, block, window))
        assert np.all(needed | ~seen)
        if segments.branches is None:
            np.testing.assert_array_equal(needed, seen)
        else:
            assert needed.sum() < needed_blocks(segments, block).sum()


@pytest.mark.parametrize("block", [1, 8, 64])
def test_needed_blocks_are_those_with_a_visible_key(block: int) -> None:
    packed = segments_of(
        tuple(((a, 0, 0), (b, 0, 0), (30, 0, 0)) for a, b in ((9, 70), (64, 2))), 128
    )
    in_blocks = (2, 128 // block, block, 128 // block, block)

    def blocks_seen(segments: Segments) -> np.ndarray:
        real = segments.ids > 0
        seen = visible(segments) & real[:, :, None]
        return np.asarray(jnp.any(seen.reshape(in_blocks), axis=(2, 4))) | np.eye(
            128 // block, dtype=bool
        )

    plain = Segments(packed.ids)
    np.testing.assert_array_equal(needed_blocks(plain, block), blocks_seen(plain))
    shared = segments_of((((8, 64, 40),), ((1, 20, 24), (0, 1, 1))), 128)
    needed = np.asarray(needed_blocks(shared, block))
    assert np.all(needed | ~blocks_seen(shared))
    assert block == 64 or needed.sum() < needed_blocks(Segments(shared.ids), block).sum()


@pytest.mark.parametrize("block", [128, 2048])
def test_token_mask_fits_texts_of_1024(block: int) -> None:
    """Equals `visible` in the blocks that kernels compute, rows lying end to end, up to the longest texts."""
    length = 2200
    segments = segments_of(
        (
            ((100, 20, 10), (0, 1024, 1024)),
            ((1, 1023, 1023), (50, 1, 53)),
            ((1023, 1, 1), (500, 524, 0), (0, 3, 9)),
        ),
        length,
    )
    mask = TokenMask.of_texts(1024, block)
    assert mask is not None
    codes, ids = mask.encode(segments)
    for row in range(3):
        allowed = mask(codes[row, :, None], row * length + jnp.arange(length)[None, :])
        allowed = allowed & (ids[row, :, None] == ids[row, None, :])
        blocks = jnp.arange(length) // block
        computed = (blocks[:, None] >= blocks[None, :]) & (segments.ids[row] > 0)[:, None]
        np.testing.assert_array_equal(allowed & computed, visible(segments)[row] & computed)


def test_token_mask_is_refused_where_bits_do_not_suffice() -> None:
    assert TokenMask.of_texts(1025, 128) is None
    assert TokenMask.of_texts(1024, 4096) is None


@pytest.mark.parametrize("window", [1, 700])
def test_window_mask_equals_visible(window: int) -> None:
    """In the blocks that kernels compute for one branch, rows lying end to end, up to the longest texts."""
    length, block = 2200, 128
    segments = segments_of(
        (
            ((100, 20, 10), (0, 1024, 1024)),
            ((1, 1023, 1023), (50, 1, 53)),
            ((1023, 1, 1), (500, 524, 300), (0, 3, 9)),
        ),
        length,
    )
    assert segments.branches is not None
    mask = WindowMask.of_texts(1024, block, window)
    codes, _ = mask.encode(segments)
    blocks = jnp.arange(length) // block
    for row in range(3):
        ids, branches = segments.ids[row], segments.branches[row]
        allowed = mask(codes[row, :, None], row * length + jnp.arange(length)[None, :])
        allowed = allowed & (ids[:, None] == ids[None, :])
        # Between branches there is nothing, as a call sees one of them; and what is shared sees itself.
        own = (branches[None, :] == 0) | (branches[:, None] == branches[None, :])
        computed = (blocks[:, None] >= blocks[None, :]) & (ids > 0)[:, None] & own
        np.testing.assert_array_equal(allowed & computed, visible(segments, window)[row] & computed)


def test_windows_in_texts_too_long_for_32_bits_are_refused() -> None:
    assert WindowMask.of_texts(32768, 512, 4096) == WindowMask(4096, 17, 15)
    with pytest.raises(UserError, match=r"data\.max_length = 32769: must be at most 32768"):
        WindowMask.of_texts(32769, 512, 4096)


def test_the_causal_mask_keeps_to_its_window() -> None:
    places = jnp.arange(9)
    distances = places[:, None] - places[None, :]
    seen = CausalMask(4)(places[:, None], places[None, :])
    np.testing.assert_array_equal(seen, (distances >= 0) & (distances < 4))


def count_equations(jaxpr: Jaxpr, primitive: str) -> int:
    count = 0
    for equation in jaxpr.eqns:
        count += equation.primitive.name == primitive
        for value in equation.params.values():
            for part in value if isinstance(value, tuple) else (value,):
                inner = part.jaxpr if isinstance(part, ClosedJaxpr) else part
                count += count_equations(inner, primitive) if isinstance(inner, Jaxpr) else 0
    return count


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize(
    ("config", "primitive"),
    [(BLOCKED, "while"), (FLASH, "pallas_call"), (PALLAS_GPU, "pallas_call")],
    ids=["blocked", "flash", "pallas_gpu"],
)
def test_saved_attention_is_not_computed_again(
    config: ModelConfig, primitive: str, devices: int
) -> None:
    segments = plain_rows()
    arrays = inputs(segments)

    def loss(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
        # Something before attention, so that its inputs are computed again.
        return jnp.sum(attend(jnp.sin(query), jnp.sin(key), jnp.sin(value), segments, config))

    def kernels(policy: Callable) -> int:
        gradients = jax.grad(jax.checkpoint(loss, policy=policy), argnums=(0, 1, 2))
        return count_equations(jax.make_jaxpr(jax.jit(gradients))(*arrays).jaxpr, primitive)

    policies = jax.checkpoint_policies
    mesh = make_mesh((2, 2, 2)) if devices == 8 else make_mesh((1, 1, 1), jax.devices()[:1])
    with jax.set_mesh(mesh):
        saved = kernels(policies.save_only_these_names("attention"))
        assert saved == kernels(policies.everything_saveable)
        assert saved == kernels(policies.nothing_saveable) - 1


@pytest.mark.parametrize(
    ("segments", "config", "window", "kernels"),
    [
        (plain_rows(), SPLASH, None, 3),
        (shared_rows(), SPLASH, None, 3),
        (shared_rows(), capped(SPLASH), 70, 6),
        (plain_rows(), FLASH, None, 2),
        (shared_rows(), capped(FLASH), 70, 2),
    ],
    ids=["splash_plain", "splash_shared", "splash_window", "flash_plain", "flash_window"],
)
def test_kernels_compile_for_tpu(
    segments: Segments,
    config: ModelConfig,
    window: int | None,
    kernels: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "localhost")
    monkeypatch.setenv("TPU_ACCELERATOR_TYPE", "v5e-4")
    monkeypatch.setenv("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    topology = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2")
    devices = np.array(topology.devices).reshape(2, 1, 2)
    mesh = Mesh(devices, MESH_AXES, axis_types=(AxisType.Auto,) * 3)

    def abstract(shape: tuple[int, ...], dtype: jnp.dtype, *axes: str) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(
            shape, dtype, sharding=NamedSharding(mesh, partition_spec(axes))
        )

    arrays = [
        abstract((4, LENGTH, heads, 128), jnp.bfloat16, "batch", "length", axis, "head_dim")
        for heads, axis in ((HEADS, "heads"), (KV_HEADS, "kv_heads"), (KV_HEADS, "kv_heads"))
    ]
    rows = jax.tree.map(lambda x: abstract(x.shape, x.dtype, "batch", "length"), segments)

    @functools.partial(
        jax.checkpoint, policy=jax.checkpoint_policies.save_only_these_names("attention")
    )
    def loss(query: jax.Array, key: jax.Array, value: jax.Array, segments: Segments) -> jax.Array:
        arrays = jnp.sin(query), jnp.sin(key), jnp.sin(value)
        output = attend(*arrays, segments, config, window=window)
        return jnp.sum(output.astype(jnp.float32))

    with jax.set_mesh(mesh):
        gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2))).trace(*arrays, rows)
        compiled = gradients.lower(lowering_platforms=("tpu",)).compile()
    # Forward, and backward, of splash for queries and for keys: what is saved is not computed again.
    text = compiled.as_text()
    assert text is not None
    assert text.count('custom_call_target="tpu_custom_call"') == kernels


@LAYOUTS
def test_pallas_gpu_lowers_for_cuda(segments: Segments, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codepmp_jax.models.attention.is_interpreted", lambda: False)

    def loss(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
        return jnp.sum(attend(query, key, value, segments, PALLAS_GPU))

    # From jax 0.12 on, the kernels are lowered for a device that is there or named.
    device = jax.sharding.AbstractDevice("NVIDIA H100 80GB HBM3", num_cores=132, platform="gpu")
    mesh = jax.sharding.AbstractMesh((), (), abstract_device=device)
    with jax.sharding.use_abstract_mesh(mesh):
        gradients = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).trace(*inputs(segments))
        text = gradients.lower(lowering_platforms=("cuda",)).as_text()
    assert "triton" in text
