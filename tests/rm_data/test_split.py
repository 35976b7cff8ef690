"""The split by problem: paraphrases on one side, shares that are asked for, no order that matters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codepmp_jax.config import ParaphrasesConfig
from codepmp_jax.rm_data.split import Clusters, cluster_facts, clusters_with, hold_out

PROBLEM = (
    "{name} buys {n} boxes of pencils at the market, and every box holds {m} pencils. On the way home {name} "
    "gives a third of them to a friend who collects old things. How many pencils does {name} still have?"
)


def roots(texts, **settings):
    clusters = Clusters(ParaphrasesConfig(**settings))
    for text in texts:
        clusters.add(text)
    return clusters.roots().tolist()


def test_the_same_problem_with_other_names_and_numbers_is_a_paraphrase():
    texts = [
        PROBLEM.format(name="Anna", n=3, m=12),
        "A train leaves at noon and drives for two hours at 80 km/h. How far does it get?",
        PROBLEM.format(name="Omar", n=7, m=24),
        PROBLEM.format(name="Anna", n=3, m=12).upper(),
        "How many pencils does a box at the market hold?",
    ]
    assert roots(texts) == [0, 1, 0, 0, 4]
    assert roots(texts, near=False) == [*range(5)]


def test_paraphrases_of_paraphrases_are_one_cluster_whichever_comes_last():
    """The two ends share less than the threshold, and the middle one joins them."""
    words = [f"w{i}" for i in range(60)]
    first, middle, last = (" ".join(words[start : start + 44]) for start in (0, 8, 16))
    assert roots([first, last], threshold=0.5) == [0, 1]
    assert roots([first, last, middle], threshold=0.5) == [0, 0, 0]
    assert roots([middle, last, first], threshold=0.5) == [0, 0, 0]


cluster_lists = st.lists(st.integers(0, 8), min_size=1, max_size=40).map(
    lambda numbers: np.array([numbers.index(number) for number in numbers])
)


@given(cluster_lists, st.floats(0, 1))
def test_no_cluster_is_on_both_sides_and_the_share_is_kept(found, fraction):
    heldout = hold_out(found, fraction)
    for root in set(found.tolist()):
        assert len(set(heldout[found == root].tolist())) == 1
    assert heldout.sum() <= max(round(fraction * len(found)), fraction > 0)
    # What is left over is smaller than any cluster of train.
    sizes = np.bincount(found)[np.unique(found[~heldout])]
    room = max(round(fraction * len(found)), int(fraction > 0)) - heldout.sum()
    assert (sizes > room).all()


@pytest.mark.parametrize(("fraction", "number"), [(0.0, 0), (0.001, 1), (0.25, 25), (1.0, 100)])
def test_shares_of_single_problems_are_exact(fraction, number):
    assert hold_out(np.arange(100), fraction).sum() == number


def test_a_large_cluster_goes_to_train():
    found = np.array([0] * 9 + [9])
    assert hold_out(found, 0.5).tolist() == [False] * 9 + [True]
    assert not hold_out(np.zeros(10, int), 0.5).any()


def test_no_template_fills_the_held_out_side_while_others_do():
    found = np.array([0] * 15 + [*range(15, 200)])
    for fraction in (0.1, 0.5):
        heldout = hold_out(found, fraction)
        assert heldout.sum() == 200 * fraction
        assert not heldout[0]
    found = np.repeat(np.arange(0, 60, 3), 3)
    assert hold_out(found, 0.3).sum() == 18


def test_clusters_with_a_marked_problem():
    found = np.array([0, 1, 0, 3])
    marked = np.array([False, False, True, False])
    assert clusters_with(found, marked).tolist() == [True, False, True, False]


def test_facts():
    assert cluster_facts(np.array([0, 1, 0, 3])) == {
        "problems": 4,
        "clusters": 3,
        "problems_with_paraphrases": 2,
        "largest_cluster": 2,
    }
