"""Rows: every text can be read back, rows are as full as brute force makes them, and states go on."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codepmp_jax.config import DataConfig
from codepmp_jax.data.drops import Dropped
from codepmp_jax.data.layouts import layout_of
from codepmp_jax.data.packing import (
    describe_limits,
    fullest_row,
    needs_more,
    new_state,
    pack,
    waiting_records,
)
from codepmp_jax.data.tokenized_pair import TokenizedPair, common_length

PAD = 3
LAYOUTS = ("padded", "packed", "shared")


def config_of(layout, **settings) -> DataConfig:
    """Texts of at most 40 tokens; packed rows hold up to 4 pairs and 64 labels."""
    row_length = None if layout == "padded" else 128
    return DataConfig(layout=layout, max_length=40, row_length=row_length, **settings)


def pair_of(name, chosen, rejected, label_start) -> TokenizedPair:
    chosen, rejected = np.array(chosen, np.int32), np.array(rejected, np.int32)
    start = max(1, label_start)
    starts = min(start, len(chosen)), min(start, len(rejected))
    return TokenizedPair(name, 0.5, chosen, rejected, starts, common_length(chosen, rejected))


def rows_of(pairs, config):
    return list(pack(([pair] for pair in pairs), layout_of(config), PAD, new_state()))


def read_row(row, config):
    """(chosen, rejected, labels as {index in chosen: token}, margin) of each pair: slowly, by what the
    fields of Batch say, of one row without its leading dim."""
    pairs = []
    for m in range(layout_of(config).row_items):
        if not row.item_mask[m]:
            assert row.ends[m].tolist() == [0, 0]
            assert row.margin[m] == 0
            continue
        places = []
        for side in (0, 1):
            if config.layout == "padded":
                half = range(side * config.max_length, (side + 1) * config.max_length)
                places.append([p for p in half if row.segments[p] == 1])
            elif config.layout == "packed":
                segment = 2 * m + side + 1
                places.append([p for p in range(row.tokens.size) if row.segments[p] == segment])
            else:
                places.append(
                    [
                        p
                        for p in range(row.tokens.size)
                        if row.segments[p] == m + 1 and row.branches[p] in (0, side + 1)
                    ]
                )
            assert [row.positions[p] for p in places[side]] == list(range(len(places[side])))
            assert row.ends[m, side] == places[side][-1]
        labels = {
            places[0].index(place) + 1: int(label)
            for place, label in zip(
                row.label_places[row.label_mask], row.labels[row.label_mask], strict=True
            )
            if place in places[0]
        }
        texts = [[int(row.tokens[p]) for p in side] for side in places]
        pairs.append((*texts, labels, row.margin[m]))
    assert sum(len(labels) for _, _, labels, _ in pairs) == row.label_mask.sum()
    padding = row.segments == 0
    assert (row.tokens[padding] == PAD).all()
    assert not row.positions[padding].any()
    assert not row.branches[padding].any()
    assert not row.label_places[~row.label_mask].any()
    return pairs


def useful(pairs) -> tuple[int, int]:
    """Tokens, and keys over all queries, where what the texts of a pair begin with is computed once."""
    tokens = keys = 0
    for pair in pairs:
        texts = {tuple(text[: n + 1]) for text in (pair.chosen, pair.rejected) for n in range(99)}
        tokens += len(texts)
        keys += sum(len(text) for text in texts)
    return tokens, keys


@st.composite
def pair_lists(draw):
    """Pairs of at most 40 tokens a text, of few different tokens, pad among them; all of them differ."""
    pairs = []
    for i in range(draw(st.integers(1, 12))):
        lengths = draw(st.tuples(*[st.sampled_from([0, 1, 2, 5, 13, 19])] * 3))
        tokens = draw(st.lists(st.integers(1, 4), min_size=sum(lengths), max_size=sum(lengths)))
        prompt, rest = tokens[: lengths[0]], tokens[lengths[0] :]
        chosen, rejected = prompt + rest[: lengths[1]], prompt + rest[lengths[1] :]
        if not chosen or not rejected or chosen == rejected:
            # One text begins the other.
            chosen, rejected = [*prompt, 1], [*prompt, 1, 2]
            if i % 2:
                chosen, rejected = rejected, chosen
        pair = pair_of(str(i), chosen, rejected, len(prompt))
        gaps = [
            np.array([sorted(draw(st.tuples(*[st.integers(0, len(text))] * 2)))], np.int32)
            for text in (chosen, rejected)
        ]
        pairs.append(dataclasses.replace(pair, gaps=tuple(gaps)))
    return pairs


@pytest.mark.parametrize(
    ("layout", "side"), [("padded", "left"), *((layout, "right") for layout in LAYOUTS)]
)
def test_texts_can_be_read_back(layout, side):
    config = config_of(layout, padding_side=side, packing_window=4)

    @settings(deadline=None, max_examples=60)
    @given(pair_lists())
    def check(pairs):
        by_id = {pair.pair_id: pair for pair in pairs}
        rows = rows_of(pairs, config)
        assert sorted(by_id) == sorted(name for row in rows for name in row.record_ids)
        for packed in rows:
            row = jax.tree.map(lambda array: array[0], packed.row)
            found = read_row(row, config)
            assert len(found) == len(packed.record_ids)
            for name, (chosen, rejected, labels, margin) in zip(
                packed.record_ids, found, strict=True
            ):
                pair = by_id[name]
                assert chosen == pair.chosen.tolist()
                assert rejected == pair.rejected.tolist()
                ((first, stop),), start = pair.gaps[0], pair.label_starts[0]
                at = [i for i in range(start, len(chosen)) if not first <= i < stop]
                assert labels == {i: chosen[i] for i in at}
                assert margin == pair.margin
        counts = rows[-1].state if rows else new_state()
        assert counts["pairs"] == len(pairs)
        assert counts["tokens"] == sum((row.row.segments > 0).sum() for row in rows)
        assert counts["padded_tokens"] == sum(row.row.tokens.size for row in rows)
        assert counts["labels"] == sum(row.row.label_mask.sum() for row in rows)
        assert (counts["useful_tokens"], counts["useful_keys"]) == useful(pairs)
        if layout == "shared":
            assert counts["tokens"] == counts["useful_tokens"]

    check()


@pytest.mark.parametrize(
    ("side", "tokens"),
    [
        ("right", [7, 8, 9, PAD, 5, PAD, PAD, PAD]),
        ("left", [PAD, 7, 8, 9, PAD, PAD, PAD, 5]),
    ],
)
def test_padding_is_on_the_side_that_is_set(side, tokens):
    (row,) = rows_of([pair_of("a", [7, 8, 9], [5], 1)], DataConfig(max_length=4, padding_side=side))
    assert row.row.tokens.tolist() == [tokens]


def test_shared_row_is_as_drawn():
    config = DataConfig(layout="shared", max_length=6, row_length=64)
    # The second text of b begins the first one: it ends in the common part.
    pairs = [pair_of("a", [7, 8, 1, 2], [7, 8, 5], 2), pair_of("b", [4, 6], [4], 1)]
    (packed,) = rows_of(pairs, config)
    row, padding = packed.row, [0] * 57
    assert row.tokens[0, :7].tolist() == [7, 8, 1, 2, 5, 4, 6]
    assert row.positions.tolist() == [[0, 1, 2, 3, 2, 0, 1, *padding]]
    assert row.segments.tolist() == [[1, 1, 1, 1, 1, 2, 2, *padding]]
    assert row.branches.tolist() == [[0, 0, 1, 1, 2, 0, 1, *padding]]
    assert row.ends[:, :2].tolist() == [[[3, 4], [6, 5]]]
    assert row.label_places[row.label_mask].tolist() == [1, 2, 5]
    assert row.labels[row.label_mask].tolist() == [1, 2, 6]


@pytest.mark.parametrize("layout", ["packed", "shared"])
def test_rows_can_be_full(layout):
    config = DataConfig(layout=layout, max_length=40, row_length=64)
    full = pair_of("a", [1] * 40, [2] * 24, 0)
    halves = [pair_of(name, [1] * 20, [2] * 12, 0) for name in "bc"]
    rows = rows_of([full, *halves], config)
    assert [row.record_ids for row in rows] == [["a"], ["b", "c"]]
    assert all((row.row.segments > 0).all() for row in rows)
    assert rows[-1].state["tokens"] == rows[-1].state["padded_tokens"] == 128


def fullest_of_brute_force(pairs, config):
    """Of all sets with the first pair that fit, the fullest; of those, the one with the oldest pairs."""
    layout = layout_of(config)
    candidates = range(1, len(pairs))
    while True:
        sets = itertools.chain.from_iterable(
            itertools.combinations(candidates, n) for n in range(len(candidates) + 1)
        )
        sizes = {
            (0, *chosen): sum(layout.num_tokens(pairs[i]) for i in (0, *chosen)) for chosen in sets
        }
        sizes = {chosen: size for chosen, size in sizes.items() if size <= layout.row_tokens}
        fullest = max(sizes, key=lambda chosen: (sizes[chosen], -sum(2**i for i in chosen)))
        num_labels = sum(pairs[i].num_labels() for i in fullest)
        if num_labels <= layout.row_labels and len(fullest) <= layout.row_items:
            return list(fullest)
        candidates = [i for i in candidates if i != fullest[-1]]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_are_the_fullest_of_the_pairs_that_wait(layout):
    config = config_of(layout, packing_window=4)

    @settings(deadline=None, max_examples=60)
    @given(pair_lists())
    def check(pairs):
        waiting, coming = [], list(pairs)
        for row in rows_of(pairs, config):
            while coming and needs_more(waiting, layout_of(config)):
                waiting.append(coming.pop(0))
            chosen = fullest_of_brute_force(waiting, config)
            assert fullest_row(waiting, layout_of(config))[0] == chosen
            assert row.record_ids == [waiting[i].pair_id for i in chosen]
            waiting = [pair for i, pair in enumerate(waiting) if i not in chosen]
            assert [pairs[n] for n, _ in row.state["waiting"]] == waiting
            assert row.state["next_record"] == len(pairs) - len(coming)
        assert not waiting
        assert not coming

    check()


def test_labels_and_places_for_pairs_bound_a_row():
    config = config_of("packed", packing_window=9)
    labelled = [pair_of(str(i), [1] * 40, [2], 1) for i in range(3)]
    assert [row.record_ids for row in rows_of(labelled, config)] == [["0"], ["1"], ["2"]]
    assert rows_of(labelled, config)[-1].state["rows_short_of_labels"] == 2
    tiny = [pair_of(str(i), [1], [2], 1) for i in range(18)]
    assert rows_of(tiny, dataclasses.replace(config, packing_window=2))[0].record_ids == [
        str(i) for i in range(16)
    ]
    assert [len(row.record_ids) for row in rows_of(tiny, config)] == [16, 2]
    assert rows_of(tiny, config)[-1].state["rows_short_of_items"] == 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_stream_goes_on_where_a_row_left_it(layout):
    config = config_of(layout, packing_window=4)
    random = np.random.default_rng(0)
    pairs = [
        pair_of(str(i), [1] * random.integers(1, 40), [2] * random.integers(1, 40), 0)
        for i in range(39)
    ]
    drops = [Dropped(reason, "d", "no") for reason in ("too_long", "refused")]
    entries = [[*drops, pair][i % 3] for i, pair in enumerate(pairs)]
    whole = rows_of(entries, config)
    assert any(row.state["waiting"] for row in whole) == (layout != "padded")
    for n, row in enumerate(whole):
        state = row.state
        waiting = [entries[i] for i in waiting_records(state)]
        left = waiting + entries[state["next_record"] :]
        rest = list(pack(([pair] for pair in left), layout_of(config), PAD, state))
        assert [part.state for part in rest] == [part.state for part in whole[n + 1 :]]
        for a, b in zip(rest, whole[n + 1 :], strict=True):
            assert a.record_ids == b.record_ids
            jax.tree.map(np.testing.assert_array_equal, a.row, b.row)
    counts = whole[-1].state
    assert (counts["too_long"], counts["refused"], counts["pairs"]) == (13, 13, 13)
    # Each refused pair comes with the first row made after it, once.
    for row, before in zip(whole, [new_state(), *(row.state for row in whole)], strict=False):
        assert row.refused == [drops[1]] * (row.state["refused"] - before["refused"])


def test_parts_that_wait_may_be_dropped_or_missing_after_a_change_of_settings():
    """A resumed stream goes on with what its records give by the new settings, and counts what they drop."""
    layout = layout_of(DataConfig(layout="packed", max_length=8, packing_window=3))
    pairs = [pair_of(str(i), [1, 2], [1, 3], 1) for i in range(3)]
    state = new_state() | {"next_record": 3, "waiting": [[0, 0], [1, 0], [2, 1]]}
    parts = [[pairs[0]], [Dropped("too_long", "1")], [pairs[2]]]
    (row,) = pack(iter(parts), layout, PAD, state)
    assert row.record_ids == ["0"]
    assert (row.state["pairs"], row.state["too_long"], row.state["waiting"]) == (1, 1, [])


def realistic_pairs(count):
    """Lengths as of the paper's data: lognormal prompts and responses, texts of at most 1024 tokens."""
    random = np.random.default_rng(1)
    for i in range(count):
        prompt = int(np.clip(random.lognormal(np.log(85), 0.7), 10, 600))
        responses = np.clip(random.lognormal(np.log(205), 0.65, 2), 1, 1024 - prompt).astype(int)
        chosen, rejected = ([1] * prompt + [2 + i] * n for i, n in enumerate(responses))
        yield pair_of(str(i), chosen, rejected, prompt)


@pytest.mark.parametrize("layout", ["packed", "shared"])
def test_little_is_left_empty(layout):
    rows = itertools.islice(
        pack(
            ([pair] for pair in realistic_pairs(1500)),
            layout_of(DataConfig(layout=layout)),
            PAD,
            new_state(),
        ),
        300,
    )
    counts = list(rows)[-1].state
    assert counts["tokens"] / counts["padded_tokens"] >= 0.985


def pairs_alike(share, count=300):
    """Pairs as of an edit: `share` of a response's tokens are the other's, in one piece at its beginning."""
    for pair in realistic_pairs(count):
        prompt = pair.common
        kept = prompt + int(share * (len(pair.chosen) - prompt))
        own = len(pair.chosen) - kept
        rejected = [*pair.chosen[:kept], *[1] * max(own, 1)]
        yield pair_of(pair.pair_id, pair.chosen, rejected, prompt)


def very_short_pairs(count=4000):
    """Pairs of 9 to 30 tokens in a shared row."""
    random = np.random.default_rng(2)
    for i in range(count):
        prompt, *own = map(int, random.integers(3, 11, 3))
        chosen, rejected = ([1] * prompt + [side] * n for side, n in zip((2, 3), own, strict=True))
        yield pair_of(str(i), chosen, rejected, prompt)


@pytest.mark.parametrize(
    "pairs",
    [*(lambda share=share: pairs_alike(share) for share in (0.5, 0.8, 0.95)), very_short_pairs],
    ids=["50%", "80%", "95%", "short"],
)
def test_rows_of_pairs_that_share_much_are_full_with_the_places_that_the_log_proposes(pairs):
    """But for the last rows, which too few pairs are left for."""

    def counts(config):
        rows = rows_of(pairs(), config)
        return rows[-10].state

    config = DataConfig(layout="shared", row_length=2560)
    said = describe_limits(counts(config), layout_of(config))
    if said:
        assert "lack places for labels. Remedy: data.row_labels" in said
        proposed = int(said.split("data.row_labels ")[1].split(",")[0])
        assert proposed > layout_of(config).row_labels
        config = dataclasses.replace(config, row_labels=proposed)
    found = counts(config)
    assert found["tokens"] / found["padded_tokens"] >= 0.97
    assert not describe_limits(found, layout_of(config))
