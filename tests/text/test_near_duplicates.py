"""Near-duplicates: found at the threshold and not below it, in the order of the calls, in bounded memory."""

import pickle
import random
import subprocess
import sys

import numpy as np
import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DedupConfig
from codepmp_jax.text.near_duplicates import NearDuplicates, rows_per_band, signature, similarity

CONFIG = DedupConfig(near=True)


def words(seed, count=400):
    draw = random.Random(seed)
    return [f"word{draw.randrange(10**6)}" for _ in range(count)]


def edited(text, changes, seed=0):
    """The words with some of them, spread evenly, replaced."""
    found = list(text)
    for i in range(changes):
        found[i * len(found) // changes] = f"other{seed}_{i}"
    return found


def jaccard(one, other, n=5):
    sets = [{tuple(text[i : i + n]) for i in range(len(text) - n + 1)} for text in (one, other)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def sign(text, config=CONFIG):
    return signature(" ".join(text), config)


def test_signatures_estimate_jaccard_similarity():
    for changes in (0, 2, 5, 10, 20, 40):
        errors = [
            similarity(sign(words(seed)), sign(edited(words(seed), changes)))
            - jaccard(words(seed), edited(words(seed), changes))
            for seed in range(20)
        ]
        # The deviation of one estimate is at most sqrt(0.25 / 128) = 0.044, of the mean of 20, 0.01.
        assert abs(np.mean(errors)) < 0.03
        assert np.abs(errors).max() < 0.2
    assert similarity(sign(words(0)), sign(words(1))) < 0.03


def test_signatures_are_small_and_do_not_see_layout():
    assert len(sign(words(0))) == 2 * CONFIG.num_permutations
    assert len(sign(words(0), DedupConfig(num_permutations=64))) == 128
    assert signature("def f(a, b):\n\treturn a+b", CONFIG) == signature(
        "def f(a,b): return a + b", CONFIG
    )
    assert signature("def f(a, b): return", CONFIG) != signature("def f(b, a): return", CONFIG)


@pytest.mark.parametrize("text", ["", "{}", "x", "x = 1"])
def test_texts_shorter_than_an_ngram_equal_only_themselves(text):
    assert similarity(signature(text, CONFIG), signature(f" {text}\n", CONFIG)) == 1
    assert similarity(signature(text, CONFIG), signature("y = 2", CONFIG)) == 0


def test_signatures_are_the_same_in_another_process():
    script = (
        "from codepmp_jax.config import DedupConfig\n"
        "from codepmp_jax.text.near_duplicates import signature\n"
        "print(signature('to be or not to be, that is the question', DedupConfig()).hex())"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "3"},
    )
    assert run.stdout.strip() == signature("to be or not to be, that is the question", CONFIG).hex()


def test_the_earlier_text_is_named_and_only_new_ones_are_kept():
    index = NearDuplicates(CONFIG)
    assert index.add(sign(words(0))) is None
    assert index.add(sign(words(1))) is None
    assert index.add(sign(edited(words(0), 3))) == 0
    assert index.add(sign(words(2))) is None
    assert index.add(sign(words(2))) == 2
    assert index.add(sign(edited(words(1), 3))) == 1
    assert len(index) == 3


def test_the_most_similar_text_is_named():
    index = NearDuplicates(CONFIG)
    far, near = words(0), edited(words(0), 20)
    for text in (words(5), far, near):
        assert index.add(sign(text)) is None
    between = [*near[:280], *far[280:]]
    assert CONFIG.threshold < jaccard(far, between) < jaccard(near, between)
    assert index.add(sign(between)) == 2


def test_linked_texts_are_all_kept_and_each_names_those_near_it():
    index = NearDuplicates(CONFIG)
    assert index.link(sign(words(0))) == []
    assert index.link(sign(words(1))) == []
    assert index.link(sign(edited(words(0), 3))) == [0]
    assert index.link(sign(words(0))) == [0, 2]
    assert len(index) == 4
    # More equal texts than a bucket holds.
    for _ in range(30):
        assert index.link(sign(words(1)))
    assert index.add(sign(words(1))) == 1


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.85, 1.0])
def test_recall_above_the_threshold_and_precision_below_it(threshold):
    config = DedupConfig(near=True, threshold=threshold)
    index = NearDuplicates(config)
    for seed in range(400):
        assert index.add(sign(words(seed), config)) is None
    found = {True: [], False: []}
    for seed in range(400):
        text = edited(words(seed), changes) if (changes := seed % 80) else words(seed)
        exact = jaccard(words(seed), text)
        # An estimate of 128 hashes can be off by so much, but not for equal texts.
        if exact == 1 or abs(exact - threshold) > 0.1:
            found[exact >= threshold].append(index.add(sign(text, config)) == seed)
    assert np.mean(found[True]) > 0.97
    assert np.mean(found[False]) < 0.03


def test_all_of_many_texts_are_found_again_after_growth():
    index = NearDuplicates(CONFIG)
    draw = np.random.default_rng(0)
    kept = [draw.bytes(256) for _ in range(6000)]
    assert all(index.add(text) is None for text in kept)
    assert index.nbytes / len(index) < 1000
    near = [np.frombuffer(text, np.uint16).copy() for text in kept]
    for text in near:
        text[draw.permutation(128)[:24]] += 1
    found = [index.add(text.tobytes()) for text in near]
    assert np.mean(np.array(found, float) == np.arange(6000)) > 0.995
    assert [index.add(text) for text in kept] == list(range(6000))


def test_texts_with_a_common_header_are_found_though_buckets_overflow():
    index = NearDuplicates(CONFIG)
    header = words(999, 160)
    texts = [[*header, *words(seed, 200)] for seed in range(300)]
    assert sum(index.add(sign(text)) is None for text in texts) > 290
    kept = len(index)
    assert np.mean([index.add(sign(edited(text, 3))) is not None for text in texts]) > 0.97
    assert len(index) - kept < 10


def test_answers_depend_on_the_order_alone():
    texts = [edited(words(seed % 60), 1 + seed % 17, seed) for seed in range(400)]
    signatures = [sign(text) for text in texts]
    index = NearDuplicates(CONFIG)
    answers = []
    for i, text in enumerate(signatures):
        answers.append(index.add(text))
        if i == 200:
            index = pickle.loads(pickle.dumps(index))
    again = NearDuplicates(CONFIG)
    assert [again.add(text) for text in signatures] == answers
    assert any(answer is not None for answer in answers)


@pytest.mark.parametrize(("threshold", "rows"), [(0.7, 5), (0.85, 9), (1.0, 128), (0.01, 1)])
def test_rows_per_band_find_the_threshold(threshold, rows):
    assert rows_per_band(threshold, 128) == rows


def test_the_package_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "rensa", None)
    with pytest.raises(UserError, match=r"rensa is not installed.*extra `corpus`"):
        signature("x", CONFIG)
