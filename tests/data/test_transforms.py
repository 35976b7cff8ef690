"""Length policies, label windows and what both texts begin with."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codepmp_jax.config import DataConfig
from codepmp_jax.data.label_window import label_start
from codepmp_jax.data.layouts import layout_of
from codepmp_jax.data.pairs import fit_pair
from codepmp_jax.data.tokenized_pair import TokenizedPair, common_length
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.text.tokenization import EncodedText

RECORD = PreferencePair("id", "prompt", "chosen", "rejected", margin=0.5)
DROP = DataConfig(max_length=6)
TRUNCATE = dataclasses.replace(DROP, length_policy="truncate")


def encoded(tokens, start, num_response_tokens=None) -> EncodedText:
    return EncodedText(np.array(tokens, np.int32), start, num_response_tokens)


def fit(chosen, rejected, config) -> TokenizedPair:
    pair = fit_pair(RECORD, chosen, rejected, layout_of(config))
    assert isinstance(pair, TokenizedPair)
    return pair


def test_texts_that_fit_are_whole_under_both_policies():
    for config in (DROP, TRUNCATE):
        pair = fit(encoded([1, 2, 3, 4, 5, 6], 4), encoded([1, 2, 7], 2), config)
        assert pair.chosen.tolist() == [1, 2, 3, 4, 5, 6]
        assert pair.rejected.tolist() == [1, 2, 7]
        assert (pair.label_starts[0], pair.num_labels(), pair.common) == (4, 2, 2)
        assert (pair.pair_id, pair.margin) == ("id", 0.5)


def test_long_texts_are_dropped_or_cut_on_the_right():
    long, short = encoded([1, 2, 3, 4, 5, 6, 7, 8], 4), encoded([1, 2], 1)
    assert fit_pair(RECORD, long, short, layout_of(DROP)) == "too_long"
    assert fit_pair(RECORD, short, long, layout_of(DROP)) == "too_long"
    pair = fit(long, short, TRUNCATE)
    assert pair.chosen.tolist() == [1, 2, 3, 4, 5, 6]
    assert pair.label_starts[0] == 4
    assert fit(encoded([1] * 8, 7), short, TRUNCATE).num_labels() == 0


def test_pairs_that_fit_no_row_are_dropped_or_cut_to_half_a_row():
    chosen, rejected = encoded([1, 2, 3, 4, 5, 6], 2), encoded([1, 2, 3, 9, 9], 2)
    for layout, row_length, fits in (
        ("packed", 11, True),
        ("packed", 10, False),
        ("shared", 8, True),
        ("shared", 7, False),
    ):
        config = dataclasses.replace(DROP, layout=layout, row_length=row_length)
        truncate = dataclasses.replace(config, length_policy="truncate")
        whole = fit_pair(RECORD, chosen, rejected, layout_of(config))
        cut = fit_pair(RECORD, chosen, rejected, layout_of(truncate))
        if fits:
            assert isinstance(whole, TokenizedPair)
            assert isinstance(cut, TokenizedPair)
            assert len(whole.chosen) == len(cut.chosen) == 6
            continue
        assert whole == "too_long"
        if row_length == 7:
            assert cut == "identical"
            continue
        assert isinstance(cut, TokenizedPair)
        assert cut.chosen.tolist() == [1, 2, 3, 4, 5]
        assert cut.rejected.tolist() == [1, 2, 3, 9, 9]


def test_pairs_without_a_difference_or_a_token_are_dropped():
    long, short = encoded([1, 2, 3, 4, 5, 6, 7], 2), encoded([1, 2, 3, 4, 5, 6], 2)
    assert fit_pair(RECORD, short, short, layout_of(DROP)) == "identical"
    assert fit_pair(RECORD, long, short, layout_of(TRUNCATE)) == "identical"
    assert fit_pair(RECORD, encoded([], 0), short, layout_of(DROP)) == "empty"
    assert fit_pair(RECORD, short, encoded([], 0), layout_of(TRUNCATE)) == "empty"


@pytest.mark.parametrize("name", ["padded", "packed", "shared"])
def test_pairs_without_a_difference_are_kept_where_they_are_to(name):
    config = dataclasses.replace(TRUNCATE, layout=name, identical_policy="keep")
    layout = layout_of(config)
    long, short = encoded([1, 2, 3, 4, 5, 6, 7], 2), encoded([1, 2, 3, 4, 5, 6], 2)
    pair = fit(long, short, config)
    assert pair.common == len(pair.chosen) == len(pair.rejected) == 6
    row = layout.fill([pair], 0)
    chosen, rejected = row.ends[0, 0]
    assert row.tokens[0, chosen] == row.tokens[0, rejected] == 6
    assert row.positions[0, chosen] == row.positions[0, rejected] == 5
    assert row.labels[row.label_mask].tolist() == [3, 4, 5, 6]


def test_labels_of_a_cut_text_skip_the_gaps():
    text = dataclasses.replace(
        encoded(range(10, 18), 2), gaps=np.array([[3, 4], [5, 7], [7, 8]], np.int32)
    )
    for config, places in (
        (TRUNCATE, [2, 4]),
        (dataclasses.replace(TRUNCATE, max_length=20), [2, 4]),
        (dataclasses.replace(TRUNCATE, max_length=4), [2]),
    ):
        ((_, _, labels),) = fit(text, encoded([50], 0), config).labelled(("chosen",))
        assert labels.tolist() == places
    paper = dataclasses.replace(TRUNCATE, response_window="paper")
    whole = dataclasses.replace(text, num_response_tokens=5)
    ((_, _, labels),) = fit(whole, encoded([50], 0, 1), paper).labelled(("chosen",))
    assert labels.tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("length", "num_response_tokens", "start"),
    [
        (5, 2, 3),  # whole: the last two tokens
        (8, 3, 3),  # two tokens cut: three from the right reach two into the prompt of five
        (8, 9, 1),  # more than the text, whose first token has none before it
        (5, 0, 5),
    ],
)
def test_papers_window_counts_from_the_right_of_the_cut_text(length, num_response_tokens, start):
    config = dataclasses.replace(TRUNCATE, response_window="paper")
    text = encoded(range(length), length - 1, num_response_tokens)
    assert fit(text, encoded([50], 0, 1), config).label_starts[0] == start


def test_labels_begin_behind_the_first_token():
    assert label_start(encoded([1, 2], 0), 2, DROP) == 1
    assert label_start(encoded([1], 0), 1, DROP) == 1
    assert label_start(encoded([1, 2, 3], 2), 1, DROP) == 1


@given(st.lists(st.integers(0, 1), max_size=6), st.lists(st.integers(0, 1), max_size=6))
def test_common_length_is_that_of_a_search(a, b):
    alike = [n for n in range(min(len(a), len(b)) + 1) if a[:n] == b[:n]]
    assert common_length(np.array(a, np.int32), np.array(b, np.int32)) == max(alike)
