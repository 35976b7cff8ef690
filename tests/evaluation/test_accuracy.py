import json

import numpy as np
import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.evaluation.accuracy import accuracy_report, accuracy_table, figure_rows
from codepmp_jax.records.schema import PreferencePair, Score


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
    assert report["mean_reward_gap"] == pytest.approx(3 / 4)
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


def random_pairs(num_pairs=200, margins=(0.0,)):
    """Pairs, and scores of random rewards and lengths."""
    generator = np.random.default_rng(0)
    pairs = [
        PreferencePair(str(i), "p", "c", "r", margin=margins[i % len(margins)])
        for i in range(num_pairs)
    ]
    sides = []
    for pair_ in pairs:
        chosen, rejected = generator.normal(size=2).tolist()
        sides += scores(pair_.pair_id, chosen, rejected, generator.integers(1, 300, 2).tolist())
    return pairs, sides


def weighted_mean(buckets, figure):
    """A figure of all pairs, from that of the buckets."""
    sizes = [row["num_pairs"] for row in buckets.values()]
    return np.average([row[figure] for row in buckets.values()], weights=sizes)


@pytest.mark.parametrize("grouping", ["margin", "reward_gap", "length_difference"])
def test_buckets_hold_every_pair_once(grouping):
    report = accuracy_report(*random_pairs(margins=(0.5, 1.0, 2.0)))
    buckets = report["buckets"][grouping]
    assert sum(row["num_pairs"] for row in buckets.values()) == 200
    for figure in ("accuracy", "length_baseline", "mean_reward_gap"):
        assert weighted_mean(buckets, figure) == pytest.approx(report[figure])


def test_margins_are_buckets_of_their_values_where_they_are_few_else_quarters():
    few = accuracy_report(*random_pairs(margins=(0.5, 1.0, 2.0)))["buckets"]["margin"]
    assert {name: row["num_pairs"] for name, row in few.items()} == {"0.5": 67, "1": 67, "2": 66}
    many = accuracy_report(*random_pairs(margins=tuple(map(float, range(1, 101)))))["buckets"][
        "margin"
    ]
    assert {name: row["num_pairs"] for name, row in many.items()} == {
        "1 to 25": 50,
        "26 to 50": 50,
        "51 to 75": 50,
        "76 to 100": 50,
    }


def test_pairs_without_margins_have_no_buckets_of_them():
    assert set(accuracy_report(*random_pairs())["buckets"]) == {"reward_gap", "length_difference"}


def test_gap_buckets_are_of_its_size():
    gaps = [-4.0, 3.0, -2.0, 1.0]
    pairs = [pair(str(i)) for i in range(4)]
    sides = [score for i, gap in enumerate(gaps) for score in scores(str(i), gap, 0.0)]
    buckets = accuracy_report(pairs, sides)["buckets"]["reward_gap"]
    assert {name: row["accuracy"] for name, row in buckets.items()} == {
        "1": 1,
        "2": 0,
        "3": 1,
        "4": 0,
    }


def test_equal_gaps_are_one_bucket():
    sides = [score for i in range(4) for score in scores(str(i), 0.5, 0.0)]
    buckets = accuracy_report([pair(str(i)) for i in range(4)], sides)["buckets"]["reward_gap"]
    assert {name: row["num_pairs"] for name, row in buckets.items()} == {"0.5": 4}


def test_length_buckets_by_hand():
    differences = {
        -100: "shorter by 100 or more",
        -99: "shorter by 10 to 99",
        -1: "shorter by 1 to 9",
    }
    differences |= {0: "equal", 9: "longer by 1 to 9", 10: "longer by 10 to 99"}
    differences |= {5000: "longer by 100 or more"}
    pairs = [pair(str(i)) for i in range(len(differences))]
    sides = [
        score
        for i, difference in enumerate(differences)
        for score in scores(str(i), 1.0, 0.0, (200 + difference, 200))
    ]
    buckets = accuracy_report(pairs, sides)["buckets"]["length_difference"]
    assert list(buckets) == list(differences.values())
    assert {row["num_pairs"] for row in buckets.values()} == {1}


def test_without_tokens_lengths_are_in_characters():
    said = PreferencePair("a", "p", "four", "sevenly")
    messages = [json.dumps([{"role": "assistant", "content": text}]) for text in ("longer", "no")]
    talked = PreferencePair("b", "[]", *messages, is_conversation=True)
    sides = [
        Score(item, index, 0.0, None if item == "b" else 5) for item in "ab" for index in (0, 1)
    ]
    report = accuracy_report([said, talked], sides)
    assert report["length_unit"] == "characters"
    assert set(report["buckets"]["length_difference"]) == {"shorter by 1 to 9", "longer by 1 to 9"}
    assert accuracy_report(PAIRS, SCORES)["length_unit"] == "tokens"


def test_scores_of_other_texts_are_counted():
    assert accuracy_report(PAIRS, SCORES)["num_unused_scores"] == 0
    assert accuracy_report(PAIRS[:3], SCORES)["num_unused_scores"] == 2


def test_the_table_of_figures_has_every_group():
    report = accuracy_report(PAIRS, SCORES)
    rows = list(figure_rows(report))
    assert [row[:3] for row in rows[:3]] == [
        ("all", "all", 4),
        ("subset", "easy", 2),
        ("subset", "hard", 2),
    ]
    assert {row[0] for row in rows} == {"all", "subset", "reward_gap", "length_difference"}
    assert len({len(row) for row in rows}) == 1
