"""The figures of held-out pairs against brute force."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codepmp_jax.training import figures
from codepmp_jax.training.figures import OTHERS, ItemFacts, compute, describe, group_names
from tests.training.reference import random_pairs


def ranks(values: list[float]) -> list[float]:
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
        for value in values
    ]


def pearson(a: list[float], b: list[float]) -> float:
    means = sum(a) / len(a), sum(b) / len(b)
    pairs = [(x - means[0], y - means[1]) for x, y in zip(a, b, strict=True)]
    return sum(x * y for x, y in pairs) / math.sqrt(
        sum(x * x for x, _ in pairs) * sum(y * y for _, y in pairs)
    )


def win(gap: float) -> float:
    return 1.0 if gap > 0 else 0.5 if gap == 0 else 0.0


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


pairs_with_rewards = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.integers(1, 5),
        st.integers(1, 5),
        st.sampled_from([-2.0, -0.5, 0.0, 0.5, 3.0]),
        st.sampled_from([-2.0, -0.5, 0.0, 0.5, 3.0]),
    ),
    min_size=1,
    max_size=30,
)


@settings(deadline=None, max_examples=100)
@given(pairs_with_rewards)
def test_figures_are_those_of_brute_force(rows):
    facts = ItemFacts([row[0] for row in rows], np.array([row[1:3] for row in rows]))
    found = compute(facts, np.array([row[3:] for row in rows], np.float32))
    assert sorted(found) == sorted(facts.names)
    assert facts.group_sizes == {
        name: sum(row[0] == name for row in rows) for name in sorted({row[0] for row in rows})
    }
    for name in facts.group_sizes:
        gaps = [row[3] - row[4] for row in rows if row[0] == name]
        assert found[f"accuracy/{name}"] == pytest.approx(mean([win(gap) for gap in gaps]))
        assert found[f"margin/{name}"] == pytest.approx(mean(gaps))
    assert found["length_baseline"] == pytest.approx(mean([win(row[1] - row[2]) for row in rows]))
    differ = [row for row in rows if row[1] != row[2]]
    preferred = [win((row[3] - row[4]) * (row[1] - row[2])) for row in differ]
    assert found["longer_preferred"] == (pytest.approx(mean(preferred)) if differ else None)
    lengths = [float(length) for row in rows for length in row[1:3]]
    rewards = [reward for row in rows for reward in row[3:]]
    if len(set(lengths)) == 1 or len(set(rewards)) == 1:
        assert found["length_spearman"] is None
        assert found["length_pearson"] is None
    else:
        assert found["length_pearson"] == pytest.approx(pearson(lengths, rewards), abs=1e-9)
        ranked = pearson(ranks(lengths), ranks(rewards))
        assert found["length_spearman"] == pytest.approx(ranked, abs=1e-9)
    assert describe(facts, found).startswith("accuracy by group")


def test_calibration_is_that_of_a_known_model():
    """Where outcomes are drawn with probability sigmoid(gap / 3), the best temperature is 3."""
    rng = np.random.default_rng(0)
    gaps = rng.normal(0, 6, 20_000)
    is_right = rng.random(len(gaps)) < 1 / (1 + np.exp(-np.abs(gaps) / 3))
    signed = np.where(is_right, np.abs(gaps), -np.abs(gaps))
    facts = ItemFacts([], np.ones((len(gaps), 2), int))
    found = compute(facts, np.stack([signed, 0 * signed], axis=1))
    assert found["best_temperature"] == pytest.approx(3, rel=0.05)
    assert (found["expected_calibration_error"] or 0) > 0.1
    scaled = compute(facts, np.stack([signed, 0 * signed], axis=1) / 3)
    assert scaled["expected_calibration_error"] == pytest.approx(0, abs=0.01)
    assert "accuracy by group" not in describe(facts, found)


def test_what_is_not_defined_is_none_and_shown_so():
    facts = ItemFacts([], np.array([[3, 3]]))
    found = compute(facts, np.zeros((1, 2), np.float32))
    undefined = {"best_temperature", "length_pearson", "length_spearman", "longer_preferred"}
    assert {name for name, value in found.items() if value is None} == undefined
    assert "Spearman -" in describe(facts, found)


def test_groups_are_the_largest_subsets():
    assert group_names([]) == []
    assert group_names(["a", "a"]) == []
    assert group_names(["a", "", "a"]) == ["a", "unnamed", "a"]
    names = [f"s{i:02}" for i in range(30) for _ in range(40 - i)]
    found = group_names(names)
    assert len(set(found)) == figures.MAX_GROUPS + 1
    assert found.count(OTHERS) == sum(40 - i for i in range(figures.MAX_GROUPS, 30))
    assert all(group in (name, OTHERS) for group, name in zip(found, names, strict=True))
    facts = ItemFacts(found, np.ones((len(found), 2), int))
    line = describe(facts, compute(facts, np.zeros((len(found), 2))))
    assert "the lowest of 21" in line
    assert line.count(" of ") < 10


def test_lengths_are_those_of_responses():
    pairs = random_pairs(0)
    lengths = figures.response_lengths(pairs, 2)
    assert lengths.shape == (len(pairs), 2)
    assert lengths[:, 0].tolist() == [pair.num_labels(("chosen",)) for pair in pairs]
