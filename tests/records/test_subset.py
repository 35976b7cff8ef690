"""Subsets of the train split: nested, seeded, and what a run trains on."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codepmp_jax.cli.errors import UserError
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.records.shards import ShardedDataset, write_manifest, write_split
from codepmp_jax.records.subset import Subset

NUM_PAIRS = 40


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> ShardedDataset:
    folder = tmp_path_factory.mktemp("pairs")
    pairs = [PreferencePair(f"p{i}", "prompt", f"good {i}", f"bad {i}") for i in range(NUM_PAIRS)]
    splits = {"train": write_split(folder, "train", pairs, 3)}
    write_manifest(folder, PreferencePair, splits, {})
    return ShardedDataset(folder, PreferencePair, "train")


def ids(pairs) -> list[str]:
    return [pair.pair_id for pair in pairs]


@given(st.integers(1, NUM_PAIRS), st.integers(1, NUM_PAIRS), st.integers(0, 2**32 - 1))
def test_a_smaller_subset_is_part_of_a_larger_one_of_the_same_seed(dataset, one, other, seed):
    small, large = (ids(Subset(dataset, size, seed)) for size in sorted((one, other)))
    assert set(small) <= set(large)
    assert len({*large}) == len(large) == max(one, other)
    # In the order of the records.
    assert large == [name for name in ids(dataset) if name in large]


def test_other_seeds_choose_other_pairs(dataset):
    chosen = {tuple(ids(Subset(dataset, 10, seed))) for seed in range(20)}
    assert len(chosen) == 20
    seen = [sum(name in subset for subset in chosen) for name in ids(dataset)]
    assert max(seen) < 15


def test_all_pairs_are_the_data_set(dataset):
    assert ids(Subset(dataset, NUM_PAIRS, 3)) == ids(dataset)


def test_a_subset_goes_to_workers(dataset):
    subset = Subset(dataset, 10, 3)
    assert ids(pickle.loads(pickle.dumps(subset))) == ids(subset)
    with pytest.raises(IndexError):
        subset[10]


def test_more_than_there_are_is_refused(dataset):
    with pytest.raises(UserError, match=r"data\.max_pairs = 41: must not exceed the 40 pairs"):
        Subset(dataset, NUM_PAIRS + 1, 0)
