"""The length baseline."""

import pytest

from codepmp_jax.records import PreferencePair
from codepmp_jax.synthesis.lengths import length_report, tally_lengths


def pair(chosen: str, rejected: str, subset: str = "") -> PreferencePair:
    return PreferencePair("id", "p", chosen, rejected, subset=subset)


def test_longer_wins_with_ties_as_halves():
    pairs = [
        pair("abcd", "ab", "rate 0.10"),
        pair("ab", "abcd", "rate 0.10"),
        pair("ab", "cd", "rate 1.00"),
        pair("abc", "ab"),
    ]
    report = length_report([tally_lengths(pairs[:1]), tally_lengths(pairs[1:])])
    assert report["all"]["pairs"] == 4
    assert report["all"]["characters"] == {
        "longer_wins": 2.5 / 4,
        "ties": 0.25,
        "mean_chosen": 11 / 4,
        "mean_rejected": 10 / 4,
    }
    assert report["rate 0.10"]["characters"]["longer_wins"] == 0.5
    assert report["rate 1.00"]["characters"]["ties"] == 1.0
    assert set(report) == {"all", "rate 0.10", "rate 1.00"}


def test_tokens_are_counted_by_the_embedded_tokenizer():
    report = length_report([tally_lengths([pair("return self", "12345678901")])])
    assert report["all"]["characters"]["ties"] == 1.0
    assert report["all"]["tokens"]["mean_rejected"] == 11
    assert report["all"]["tokens"]["mean_chosen"] == pytest.approx(2, abs=1)
    assert report["all"]["tokens"]["longer_wins"] == 0.0


def test_no_pairs_no_report():
    assert length_report([]) == {}
