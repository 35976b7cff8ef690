"""Rows hold what each pair has, whatever the layout: labels of both sides, and companions of pairs and labels."""

import numpy as np
import pytest
from hypothesis import given, settings

from codepmp_jax.data.layouts import LAYOUTS, layout_of
from codepmp_jax.data.packing import new_state, pack
from codepmp_jax.data.tokenized_item import SIDES, Companion, with_companions
from codepmp_jax.records.schema import PreferencePair
from tests.data.test_packing import PAD, config_of, pair_lists

RECORD = PreferencePair("", "", "", "")
COMPANIONS = (
    Companion("sums", "pairs", lambda _, pair: [pair.chosen.sum(), pair.rejected.sum()], (2,)),
    Companion(
        "tokens",
        "labels",
        lambda _, pair: np.concatenate([text[at] for _, text, at in pair.labelled(SIDES)]),
        dtype="int32",
    ),
)


@pytest.mark.parametrize("name", LAYOUTS)
def test_labels_and_companions_of_both_sides_can_be_read_back(name):
    layout = layout_of(config_of(name, packing_window=4), SIDES, COMPANIONS)

    @settings(deadline=None, max_examples=60)
    @given(pair_lists())
    def check(pairs):
        pairs = [with_companions(pair, RECORD, COMPANIONS) for pair in pairs]
        by_id = {pair.pair_id: pair for pair in pairs}
        rows = list(pack(([pair] for pair in pairs), layout, PAD, new_state()))
        assert sorted(by_id) == sorted(name for row in rows for name in row.record_ids)
        for packed in rows:
            row, mask = packed.row, packed.row.label_mask[0]
            assert np.array_equal(row.companions["tokens"], row.labels)
            for m, pair_id in enumerate(packed.record_ids):
                pair = by_id[pair_id]
                sums = [pair.chosen.sum(), pair.rejected.sum()]
                assert row.companions["sums"][0, m].tolist() == sums
                for side, text, at in pair.labelled(SIDES):
                    gaps = [i for first, stop in pair.gaps[side] for i in range(first, stop)]
                    responses = range(pair.label_starts[side], len(text))
                    assert at.tolist() == [i for i in responses if i not in gaps]
                    mine = np.flatnonzero(mask & (row.label_texts[0] == 2 * m + side))
                    assert row.labels[0, mine].tolist() == text[at].tolist()
                    before = row.label_places[0, mine]
                    assert row.tokens[0, before].tolist() == text[at - 1].tolist()
                    assert row.positions[0, before].tolist() == (at - 1).tolist()
                    assert (row.segments[0, before] == layout.segments(m)[side]).all()
                    assert set(row.branches[0, before]) <= {0, side + 1}

    check()
