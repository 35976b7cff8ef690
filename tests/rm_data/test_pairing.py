"""Pairs of a problem's answers: their number, that the better one is chosen, and that no order of rows matters."""

import collections
import itertools
import random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codepmp_jax.config import RmDataConfig
from codepmp_jax.config.rm_data import ByGrade
from codepmp_jax.rm_data import pairing
from codepmp_jax.rm_data.entries import (
    CORRECTNESS,
    PREFERENCE,
    RATING,
    RIGHT,
    WRONG,
    Answer,
    Entry,
)
from codepmp_jax.rm_data.pairing import no_drops, pairs_of

POLICIES = get_args(ByGrade)


def entry(answers, graded_by=CORRECTNESS, row=1, **settings):
    """An entry of (text, grade) each."""
    answers = tuple(Answer(text, grade) for text, grade in answers)
    return Entry("p", answers, graded_by, place=("rows.jsonl", row), **settings)


def config(**settings):
    return RmDataConfig(source="candidates", **settings)


def texts(pairs):
    return [(pair.chosen, pair.rejected) for pair in pairs]


def made(entries, **settings):
    """(the pairs' texts, what was dropped)."""
    dropped = no_drops()
    return texts(pairs_of(entries, config(**settings), dropped)), dropped


distinct = st.lists(st.text("abc ", min_size=1, max_size=12), unique_by=str.strip, max_size=12)


@given(distinct, st.data())
def test_the_number_of_pairs_of_right_and_wrong_answers(answers, data):
    num_right = data.draw(st.integers(0, len(answers)))
    graded = [(text, float(i < num_right)) for i, text in enumerate(answers)]
    n, m = num_right, len(answers) - num_right
    numbers = {str(policy): min(n, m) for policy in POLICIES}
    numbers |= {"all": n * m, "best_worst": min(n, m, 1)}
    for policy, number in numbers.items():
        pairs, dropped = made([entry(graded)], pairing=policy)
        assert len(pairs) == len(set(pairs)) == number
        right = set(answers[:num_right])
        assert all(chosen in right and rejected not in right for chosen, rejected in pairs)
        used = {text for pair in pairs for text in pair}
        if policy != "all":
            assert len(used) == 2 * number
        assert dropped.answers.total() == len(answers) - len(used)
        assert dropped.problems.total() == (number == 0)


graded_rows = st.lists(
    st.lists(st.tuples(st.text("ab", min_size=1, max_size=3), st.integers(0, 3)), max_size=5),
    max_size=5,
)


@given(graded_rows, st.sampled_from(POLICIES), st.integers(0, 2), st.booleans(), st.randoms())
def test_every_pair_is_better_than_worse_in_any_order_of_rows(rows, policy, least, pooled, rng):
    graded_by = RATING
    entries = [
        entry([(text, float(grade)) for text, grade in row], graded_by, i, is_pooled=pooled)
        for i, row in enumerate(rows)
    ]
    settings = {"pairing": policy, "min_margin": float(least)}
    pairs, dropped = made(entries, **settings)
    grades = collections.defaultdict(set)
    for number, row in enumerate(rows):
        for text, grade in row:
            grades[text if pooled else (number, text)].add(grade)
    known = {key: values.pop() for key, values in grades.items() if len(values) == 1}
    for chosen, rejected in pairs:
        keys = [(chosen, rejected)] if pooled else [((i, chosen), (i, rejected)) for i in range(5)]
        margins = [known[a] - known[b] for a, b in keys if a in known and b in known]
        assert any(margin >= max(least, 1) for margin in margins)
        assert (rejected, chosen) not in pairs
    shuffled = list(entries)
    rng.shuffle(shuffled)
    assert made(shuffled, **settings) == (pairs, dropped)
    if policy == "all" and pooled:
        texts_known = list(known)
        assert len(pairs) == sum(
            known[a] - known[b] >= max(least, 1) for a in texts_known for b in texts_known
        )


@given(graded_rows, st.sampled_from(POLICIES), st.integers(1, 4))
def test_a_cap_takes_the_first_pairs(rows, policy, most):
    entries = [entry([(t, float(g > 1)) for t, g in row], row=i) for i, row in enumerate(rows)]
    pairs, before = made(entries, pairing=policy)
    capped, dropped = made(entries, pairing=policy, max_pairs_per_problem=most)
    assert capped == pairs[:most]
    assert dropped.pairs.total() - before.pairs.total() == max(0, len(pairs) - most)


def test_nearest_lengths_meet_first():
    answers = [("a" * 10, 1.0), ("a" * 50, 1.0), ("b" * 11, 0.0), ("b" * 44, 0.0), ("b" * 90, 0.0)]
    pairs, _ = made([entry(answers)], pairing="nearest_length")
    assert [tuple(map(len, pair)) for pair in pairs] == [(10, 11), (50, 44)]


def test_the_fewest_edits_meet_first():
    """Of equal lengths, so that only the characters tell."""
    answers = [("return a+b", 1.0), ("return sum", 1.0), ("return a-b", 0.0), ("return sub", 0.0)]
    pairs, _ = made([entry(answers)], pairing="nearest_edit")
    assert set(pairs) == {("return a+b", "return a-b"), ("return sum", "return sub")}


def distance(one, other):
    """Levenshtein's, by its recurrence."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        last, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            last, row[j] = row[j], min(last + (a != b), row[j] + 1, row[j - 1] + 1)
    return row[-1]


@given(distinct, distinct)
def test_the_first_pair_has_the_fewest_edits(right, wrong):
    right = [text for text in right if text.strip() not in map(str.strip, wrong)]
    answers = [(text, RIGHT) for text in right] + [(text, WRONG) for text in wrong]
    pairs, _ = made([entry(answers)], pairing="nearest_edit", max_pairs_per_problem=1)
    distances = [distance(*pair) for pair in itertools.product(right, wrong)]
    assert [distance(*pair) for pair in pairs] == sorted(distances)[:1]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("most_confident", [("r2", "w1"), ("r1", "w2")]),
        ("least_confident", [("r3", "w3"), ("r1", "w2")]),
    ],
)
def test_the_most_and_the_least_confident_meet_first(policy, expected):
    confidences = {"r1": -2.0, "r2": -1.0, "r3": -5.0, "w1": -0.5, "w2": -3.0, "w3": -9.0}
    answers = tuple(
        Answer(text, RIGHT if text[0] == "r" else WRONG, facts={"confidence": value})
        for text, value in confidences.items()
    )
    one = Entry("p", answers, CORRECTNESS, place=("rows.jsonl", 1))
    pairs, _ = made([one], pairing=policy, confidences="scores.jsonl", max_pairs_per_problem=2)
    assert pairs == expected


def test_programs_that_differ_in_layout_only_are_no_pair():
    answers = (
        Answer("x = 1", RIGHT, syntax="a"),
        Answer("x=1", WRONG, syntax="a"),
        Answer("x = 2", WRONG, syntax="b"),
        Answer("x =", WRONG),
    )
    one = Entry("p", answers, CORRECTNESS, place=("rows.jsonl", 1))
    pairs, dropped = made([one], pairing="all")
    assert set(pairs) == {("x = 1", "x = 2"), ("x = 1", "x =")}
    assert dropped.pairs == {pairing.SAME_PROGRAM: 1}
    alone = Entry("p", answers[:2], CORRECTNESS, place=("rows.jsonl", 1))
    pairs, dropped = made([alone])
    assert (pairs, dropped.problems) == ([], {pairing.NO_PAIR: 1})


def test_random_pairs_depend_on_the_seed_only():
    answers = [(f"right {i}", RIGHT) for i in range(6)] + [(f"wrong {i}", WRONG) for i in range(6)]
    drawn = {seed: frozenset(made([entry(answers)], seed=seed)[0]) for seed in range(20)}
    assert len(set(drawn.values())) > 15
    random.Random(0).shuffle(answers)
    assert frozenset(made([entry(answers)], seed=3)[0]) == drawn[3]


def test_each_wrong_answer_is_as_likely_a_partner():
    counts = collections.Counter(
        made([entry([("r", RIGHT), ("w1", WRONG), ("w2", WRONG), ("w3", WRONG)])], seed=seed)[0][0][
            1
        ]
        for seed in range(300)
    )
    assert all(60 < counts[text] < 140 for text in ("w1", "w2", "w3"))


def test_answers_of_several_rows_are_pooled():
    rows = [
        entry([(text, grade)], row=i) for i, (text, grade) in enumerate([("r", 1.0), ("w", 0.0)])
    ]
    assert made(rows)[0] == [("r", "w")]
    assert (
        made([entry([("r", 1.0)], is_pooled=False), entry([("w", 0.0)], is_pooled=False)])[0] == []
    )


def test_an_answer_that_is_repeated_or_has_two_grades():
    rows = [entry([("r", 1.0), ("w", 0.0)]), entry([("r ", 1.0), ("x", 1.0)], row=2)]
    pairs, dropped = made([*rows, entry([("x", 0.0)], row=3)])
    assert pairs == [("r", "w")]
    assert dropped.answers == {pairing.REPEATED: 1, pairing.TWO_GRADES: 2}


@pytest.mark.parametrize(
    ("answers", "graded_by", "reason"),
    [
        ([], CORRECTNESS, pairing.NO_ANSWER),
        ([("a", 1.0), ("b", 1.0)], CORRECTNESS, pairing.NO_WRONG),
        ([("a", 0.0)], CORRECTNESS, pairing.NO_RIGHT),
        ([("a", 4.0), ("b", 4.0)], RATING, pairing.NO_DIFFERENCE),
        ([("a", 4.0), ("b", 3.5)], RATING, pairing.NO_DIFFERENCE),
    ],
)
def test_why_a_problem_has_no_pair(answers, graded_by, reason):
    pairs, dropped = made([entry(answers, graded_by)], min_margin=1.0)
    assert (pairs, dropped.problems) == ([], {reason: 1})


@pytest.mark.parametrize(
    ("answers", "graded_by", "reason"),
    [
        ([("a", 1.0), (" a", 0.0)], PREFERENCE, pairing.SAME_TEXT),
        ([("a", 3.0), ("b", 3.0)], RATING, pairing.ALIKE),
        ([("a", 3.0), ("b", 4.0)], RATING, pairing.OTHER_WAY),
        ([("a", 3.0), ("b", 2.0)], RATING, pairing.SMALL_MARGIN),
        ([("a", 3.0), ("b", 1.5)], RATING, None),
        ([("a", 1.0), ("b", 0.0)], PREFERENCE, None),
    ],
)
def test_rows_that_are_pairs(answers, graded_by, reason):
    rows = [entry(answers, graded_by, is_pair=True, is_pooled=False)]
    for policy in POLICIES:
        pairs, dropped = made(rows, min_margin=1.5, pairing=policy)
        if reason is None:
            assert pairs == [(answers[0][0], answers[1][0])]
        else:
            assert pairs == []
            assert dropped.pairs == {reason: 1}
            assert dropped.problems == {pairing.NO_PAIR: 1}


def test_pairs_that_contradict_each_other_go_and_equal_ones_stand_once():
    rows = [
        entry([(a, 1.0), (b, 0.0)], PREFERENCE, i, is_pair=True, is_pooled=False)
        for i, (a, b) in enumerate([("a", "b"), ("b", "a "), ("a", "c"), ("a", "c")])
    ]
    pairs, dropped = made(rows)
    assert pairs == [("a", "c")]
    assert dropped.pairs == {pairing.CONTRADICTED: 2, pairing.REPEATED_PAIR: 1}


def test_margins_are_written_if_asked_for_and_a_row_s_own_always():
    rated = entry([("a", 9.0), ("b", 6.5)], RATING)
    own = entry([("c", 1.0), ("d", 0.0)], PREFERENCE, is_pair=True, margin=0.25, is_pooled=False)
    judged = entry([("e", 1.0), ("f", 0.0)])
    for use, margins in ((False, [0, 0.25, 0]), (True, [2.5, 0.25, 0])):
        settings = config(use_margins=use)
        found = [pairs_of([one], settings, no_drops())[0] for one in (rated, own, judged)]
        assert [pair.margin for pair in found] == margins
        assert [pair.lineage.get("margin") for pair in found] == [2.5, None, None]


def test_the_lineage_says_where_each_answer_comes_from():
    rows = [entry([("w", 0.0)], row=7), entry([("r", 1.0)], row=3)]
    (pair,) = pairs_of(rows, config(), no_drops())
    assert pair.lineage == {
        "source": "candidates",
        "pairing": "random",
        "graded_by": CORRECTNESS,
        "chosen": {"file": "rows.jsonl", "row": 3, "grade": 1.0},
        "rejected": {"file": "rows.jsonl", "row": 7, "grade": 0.0},
    }
