"""Length policies, label windows and padding."""

import dataclasses

import numpy as np
import pytest

from codepmp_jax.config import DataConfig
from codepmp_jax.data.transforms import Row, TokenizedPair, fit_pair, fit_row, make_batch
from codepmp_jax.tokenization import EncodedText

DROP = DataConfig(max_length=6)
TRUNCATE = dataclasses.replace(DROP, length_policy="truncate")
PAPER = dataclasses.replace(TRUNCATE, response_window="paper")


def encoded(tokens, start, num_response_tokens=None) -> EncodedText:
    return EncodedText(np.array(tokens, np.int32), start, num_response_tokens)


def test_rows_that_fit_are_whole_under_both_policies():
    for config in (DROP, TRUNCATE):
        row = fit_row(encoded([1, 2, 3, 4, 5, 6], 4), config)
        assert row is not None
        assert (row.tokens.tolist(), row.label_start) == ([1, 2, 3, 4, 5, 6], 4)


def test_long_rows_are_dropped_or_cut_on_the_right():
    text = encoded([1, 2, 3, 4, 5, 6, 7, 8], 4)
    assert fit_row(text, DROP) is None
    row = fit_row(text, TRUNCATE)
    assert row is not None
    assert (row.tokens.tolist(), row.label_start) == ([1, 2, 3, 4, 5, 6], 4)
    all_prompt = fit_row(encoded([1] * 8, 7), TRUNCATE)
    assert all_prompt is not None
    assert all_prompt.label_start == 6


@pytest.mark.parametrize(
    ("length", "num_response_tokens", "label_start"),
    [
        (5, 2, 3),  # fits: the last two tokens
        (8, 3, 3),  # two tokens cut: three from the right reach two into the prompt of five
        (8, 9, 0),  # more than the row
        (5, 0, 5),
    ],
)
def test_papers_window_counts_from_the_right_of_the_cut_row(
    length, num_response_tokens, label_start
):
    text = encoded(range(length), length - 1, num_response_tokens)
    row = fit_row(text, PAPER)
    assert row is not None
    assert row.label_start == label_start


def test_pairs_are_dropped_by_reason():
    long, short = encoded([1, 2, 3, 4, 5, 6, 7], 2), encoded([1, 2, 3, 4, 5, 6], 2)
    assert fit_pair(long, short, DROP) == "too_long"
    assert fit_pair(short, long, DROP) == "too_long"
    assert fit_pair(short, short, DROP) == "identical"
    assert fit_pair(long, short, TRUNCATE) == "identical"
    kept = fit_pair(short, encoded([1, 2], 2), DROP)
    assert not isinstance(kept, str)
    assert [row.tokens.tolist() for row in kept] == [[1, 2, 3, 4, 5, 6], [1, 2]]


@pytest.mark.parametrize("side", ["right", "left"])
def test_batch_pads_on_the_side_that_is_set_and_fills_up(side):
    config = DataConfig(max_length=4, padding_side=side)
    rows = Row(np.array([7, 8, 9], np.int32), 1), Row(np.array([5], np.int32), 1)
    batch = make_batch([TokenizedPair("a", 0.5, *rows)], 2, config, pad_id=3)
    right = side == "right"
    assert batch.tokens[0].tolist() == (
        [[7, 8, 9, 3], [5, 3, 3, 3]] if right else [[3, 7, 8, 9], [3, 3, 3, 5]]
    )
    assert batch.token_mask[0].tolist() == (
        [[True, True, True, False], [True, False, False, False]]
        if right
        else [[False, True, True, True], [False, False, False, True]]
    )
    assert batch.response_mask[0].tolist() == (
        [[False, True, True, False], [False] * 4]
        if right
        else [[False, False, True, True], [False] * 4]
    )
    assert batch.margin.tolist() == [0.5, 0]
    assert batch.pair_mask.tolist() == [True, False]
    assert (batch.tokens[1] == 3).all()
    assert not batch.token_mask[1].any()
    assert not batch.response_mask[1].any()
