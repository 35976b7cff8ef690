import json

import pytest

from codepmp_jax.errors import UserError
from codepmp_jax.evaluation.accuracy import accuracy_report, accuracy_table
from codepmp_jax.records import PreferencePair, Score


def pair(pair_id, subset=""):
    return PreferencePair(pair_id, "prompt", "chosen", "rejected", subset=subset)


def scores(pair_id, chosen, rejected, lengths=(5, 5)):
    return [Score(pair_id, 0, chosen, lengths[0]), Score(pair_id, 1, rejected, lengths[1])]


PAIRS = [pair("a", "easy"), pair("b", "easy"), pair("c", "hard"), pair("d", "hard")]
SCORES = [
    *scores("a", 2.0, 1.0, (9, 5)),
    *scores("b", 2.0, -1.0, (5, 9)),
    *scores("c", 1.0, 1.0, (7, 7)),
    *scores("d", 0.0, 1.0, (9, 5)),
]


def test_accuracy_ties_lengths_and_margins_by_hand():
    report = accuracy_report(PAIRS, SCORES)
    assert report["num_pairs"] == 4
    assert report["accuracy"] == pytest.approx(2.5 / 4)
    assert report["num_ties"] == 1
    assert report["length_baseline"] == pytest.approx(2.5 / 4)
    assert report["mean_margin"] == pytest.approx(3 / 4)
    assert report["accuracy_interval"][0] < report["accuracy"] < report["accuracy_interval"][1]
    assert list(report["subsets"]) == ["easy", "hard"]
    assert report["subsets"]["easy"]["accuracy"] == 1
    assert report["subsets"]["hard"]["accuracy"] == pytest.approx(0.25)
    assert report["subsets"]["hard"]["length_baseline"] == pytest.approx(0.75)
    assert json.loads(json.dumps(report)) == report


def test_scores_are_found_by_id_in_any_order():
    assert accuracy_report(PAIRS, SCORES[::-1]) == accuracy_report(PAIRS, SCORES)


def test_one_subset_is_no_table_of_subsets():
    assert "subsets" not in accuracy_report(PAIRS[:2], SCORES)


def test_pairs_without_a_subset_are_listed_beside_those_with_one():
    report = accuracy_report([pair("a"), pair("b", "easy")], SCORES)
    assert set(report["subsets"]) == {"unnamed", "easy"}


def test_missing_score_names_the_pair():
    with pytest.raises(UserError, match="d: text 1 has no score"):
        accuracy_report(PAIRS, SCORES[:-1])


def test_no_pairs_are_refused():
    with pytest.raises(UserError, match="must be at least one"):
        accuracy_report([], SCORES)


def test_table_has_a_line_for_each_subset_and_all():
    lines = accuracy_table(accuracy_report(PAIRS, SCORES)).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["easy", "hard", "all"]
    assert lines[-1].split()[1:3] == ["4", "62.5%"]
    assert len({len(line) for line in lines}) == 1
