"""A problem's entries -> its pairs: which better answer is set against which worse one.

Two answers are a pair where their texts differ, and those of programs not only in layout and comments, the grade of one is
higher, and by at least `min_margin` where grades are ratings or rewards. Of these pairs a policy takes, in this order and,
but for `all`, only where neither answer is in a pair already:

    random, all       in a random order, that of hashes of the texts and the seed
    nearest_length    by the difference of the two lengths in characters
    nearest_edit      by the least number of characters to insert, delete or replace
    most_confident    by the sum of the two confidences, the highest first
    least_confident   by the same, the lowest first
    best_worst        the pair of the largest difference of grades, and no other

So `all` makes n * m pairs of n right and m wrong answers, `best_worst` one, and the others min(n, m). Equal places are
ordered as in `random`. The result does not depend on the order of the rows.

An answer that stands in several rows counts once; one with two grades is left out, and so are two pairs that say the
opposite of each other.
"""

from __future__ import annotations

import collections
import itertools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from rapidfuzz.distance import Levenshtein

from codepmp_jax.config import RmDataConfig
from codepmp_jax.config.rm_data import BY_CONFIDENCE
from codepmp_jax.records.schema import PreferencePair, content_id
from codepmp_jax.rm_data.entries import (
    CORRECTNESS,
    PREFERENCE,
    RATING,
    REWARD,
    RIGHT,
    Answer,
    Entry,
)

# Largest margin that float32 holds for certain.
_LARGEST = 3e38

# Why a problem has no pair.
NO_ANSWER = "no answer is left"
NO_RIGHT = "no right answer"
NO_WRONG = "no wrong answer"
NO_DIFFERENCE = "no two answers far enough apart"
NO_PAIR = "no pair is left"
# Why an answer is left out.
TWO_GRADES = "answer with two grades"
REPEATED = "answer of another row too"
UNUSED = "in no pair"
# Why a pair is left out.
SAME_TEXT = "both answers are the same"
SAME_PROGRAM = "both programs are the same but for layout and comments"
ALIKE = "answers rated alike"
OTHER_WAY = "rejected is rated higher"
SMALL_MARGIN = "margin below min_margin"
REPEATED_PAIR = "pair of another row too"
CONTRADICTED = "another pair says the opposite"
PER_PROBLEM = "beyond max_pairs_per_problem"


class Dropped(NamedTuple):
    """Counts by reason of what is left out."""

    rows: collections.Counter[str]
    problems: collections.Counter[str]
    answers: collections.Counter[str]
    pairs: collections.Counter[str]


def no_drops() -> Dropped:
    """Counts without anything in them."""
    return Dropped(*(collections.Counter() for _ in Dropped._fields))


class _Placed(NamedTuple):
    """An answer, and the row that it comes from."""

    answer: Answer
    place: tuple[str, int]


class _Pair(NamedTuple):
    """A pair that may become one of the problem's."""

    order: tuple[Any, ...]
    """What a policy sorts by."""
    chosen: _Placed
    rejected: _Placed


def pairs_of(entries: list[Entry], config: RmDataConfig, dropped: Dropped) -> list[PreferencePair]:
    """The pairs of one problem, the first to be taken first; counts what is left out in `dropped`.

    The entries are of one problem, and all train's or all held-out. Where there are several wordings of it, which differ
    in case and white space, the pairs of pooled entries have the first of them in alphabetical order.
    """
    groups: dict[Any, list[Entry]] = collections.defaultdict(list)
    for number, entry in enumerate(entries):
        groups[entry.graded_by if entry.is_pooled else number].append(entry)
    made: list[tuple[tuple[Any, ...], PreferencePair]] = []
    reasons = set()
    for group in groups.values():
        first = min(group, key=lambda entry: (entry.prompt, entry.subset))
        if first.is_pair:
            found = list(_ready(first, config, dropped))
            reason = NO_PAIR
        else:
            found, reason = _matched(group, config, dropped)
        made += [(pair.order, _record(first, pair, config)) for pair in found]
        if not found:
            reasons.add(reason)
    kept = _without_conflicts(made, dropped)
    if not kept:
        dropped.problems[min(reasons) if reasons else NO_PAIR] += 1
    kept.sort(key=lambda one: one[0])
    most = config.max_pairs_per_problem
    if most is not None and len(kept) > most:
        dropped.pairs[PER_PROBLEM] += len(kept) - most
    return [pair for _, pair in kept[:most]]


def _ready(entry: Entry, config: RmDataConfig, dropped: Dropped) -> Iterator[_Pair]:
    """The pair that a row is, if it is one."""
    chosen, rejected = entry.answers
    margin = chosen.grade - rejected.grade
    reason = ""
    if chosen.text.strip() == rejected.text.strip():
        reason = SAME_TEXT
    elif margin < 0:
        reason = OTHER_WAY
    elif margin == 0:
        reason = ALIKE
    elif entry.graded_by != PREFERENCE and margin < config.min_margin:
        reason = SMALL_MARGIN
    if reason:
        dropped.pairs[reason] += 1
    else:
        order = _order(config, chosen, rejected)
        yield _Pair(order, _Placed(chosen, entry.place), _Placed(rejected, entry.place))


def _matched(group: list[Entry], config: RmDataConfig, dropped: Dropped) -> tuple[list[_Pair], str]:
    """(the pairs that the policy takes, why there are none)."""
    graded_by = group[0].graded_by
    answers = _distinct(group, dropped)
    least = 0.0 if graded_by == CORRECTNESS else config.min_margin
    candidates, same = [], 0
    for one, other in itertools.permutations(answers, 2):
        margin = one.answer.grade - other.answer.grade
        if margin > 0 and margin >= least:
            if one.answer.syntax and one.answer.syntax == other.answer.syntax:
                same += 1
                continue
            order = _order(config, one.answer, other.answer)
            candidates.append(_Pair(order, one, other))
    if same:
        dropped.pairs[SAME_PROGRAM] += same
    candidates.sort(key=lambda pair: pair.order)
    if config.pairing == "best_worst":
        candidates = candidates[:1]
    elif config.pairing != "all":
        candidates = _disjoint(candidates)
    num_used = len({id(placed) for pair in candidates for placed in (pair.chosen, pair.rejected)})
    if num_used < len(answers):
        dropped.answers[UNUSED] += len(answers) - num_used
    reason = NO_DIFFERENCE
    if not answers:
        reason = NO_ANSWER
    elif same:
        reason = NO_PAIR
    elif graded_by == CORRECTNESS:
        reason = NO_WRONG if answers[0].answer.grade == RIGHT else NO_RIGHT
    return candidates, reason


def _distinct(group: list[Entry], dropped: Dropped) -> list[_Placed]:
    """The answers of the entries by their texts, each once, without those that have two grades."""
    by_text: dict[str, list[_Placed]] = collections.defaultdict(list)
    for entry in group:
        for answer in entry.answers:
            by_text[answer.text.strip()].append(_Placed(answer, entry.place))
    found = []
    for text in sorted(by_text):
        same = by_text[text]
        if len({placed.answer.grade for placed in same}) > 1:
            dropped.answers[TWO_GRADES] += len(same)
            continue
        if len(same) > 1:
            dropped.answers[REPEATED] += len(same) - 1
        found.append(min(same, key=lambda placed: (placed.place, placed.answer.text)))
    return found


def _order(config: RmDataConfig, better: Answer, worse: Answer) -> tuple[Any, ...]:
    draw = _draw(config, better, worse)
    if config.pairing == "nearest_length":
        return abs(len(better.text) - len(worse.text)), draw
    if config.pairing == "nearest_edit":
        return Levenshtein.distance(better.text, worse.text), draw
    if config.pairing in BY_CONFIDENCE:
        both = better.facts["confidence"] + worse.facts["confidence"]
        return both if config.pairing == "least_confident" else -both, draw
    if config.pairing == "best_worst":
        return worse.grade - better.grade, draw
    return (draw,)


def _draw(config: RmDataConfig, better: Answer, worse: Answer) -> str:
    """A random number, the same for the same texts and seed."""
    return content_id(str(config.seed), better.text.strip(), worse.text.strip())


def _disjoint(candidates: list[_Pair]) -> list[_Pair]:
    """The candidates, in order, of which neither answer is in one before."""
    used: set[int] = set()
    found = []
    for pair in candidates:
        answers = {id(pair.chosen), id(pair.rejected)}
        if not used & answers:
            used |= answers
            found.append(pair)
    return found


def _without_conflicts(
    made: list[tuple[tuple[Any, ...], PreferencePair]], dropped: Dropped
) -> list[tuple[tuple[Any, ...], PreferencePair]]:
    """Each pair once, without those that another says the opposite of."""
    by_texts: dict[tuple[str, str], tuple[tuple[Any, ...], PreferencePair]] = {}
    for order, pair in made:
        texts = pair.chosen.strip(), pair.rejected.strip()
        before = by_texts.get(texts)
        if before is not None:
            dropped.pairs[REPEATED_PAIR] += 1
        if before is None or _rank(pair) < _rank(before[1]):
            by_texts[texts] = order, pair
    opposed = [texts for texts in by_texts if texts[::-1] in by_texts]
    for texts in opposed:
        del by_texts[texts]
        dropped.pairs[CONTRADICTED] += 1
    return list(by_texts.values())


def _rank(pair: PreferencePair) -> tuple[Any, ...]:
    """Which of several equal pairs is kept."""
    lineage = json.dumps(pair.lineage, sort_keys=True)
    return pair.prompt, pair.chosen, pair.rejected, pair.subset, pair.margin, lineage


def _record(entry: Entry, pair: _Pair, config: RmDataConfig) -> PreferencePair:
    """The pair with its lineage: where each answer comes from, its grade, and how they became a pair."""
    chosen, rejected = pair.chosen.answer, pair.rejected.answer
    margin = entry.margin
    lineage: dict[str, Any] = {
        "source": config.source,
        "pairing": "row" if entry.is_pair else config.pairing,
        "graded_by": entry.graded_by,
    }
    if entry.graded_by in (RATING, REWARD):
        difference = min(chosen.grade - rejected.grade, _LARGEST)
        lineage["margin"] = difference
        if config.use_margins and not margin:
            margin = difference
    for name, placed in (("chosen", pair.chosen), ("rejected", pair.rejected)):
        file, row = placed.place
        lineage[name] = {"file": file, "row": row, **placed.answer.facts}
        if entry.graded_by != PREFERENCE:
            lineage[name]["grade"] = placed.answer.grade
    return PreferencePair(
        pair_id=content_id(entry.prompt, chosen.text, rejected.text),
        prompt=entry.prompt,
        chosen=chosen.text,
        rejected=rejected.text,
        is_conversation=entry.is_conversation,
        margin=margin,
        subset=entry.subset,
        lineage=lineage,
    )
