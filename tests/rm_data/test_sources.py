"""Rows of each public schema, also broken ones: what they are read as, and why they are refused."""

import json
import typing
from typing import Any

import pytest

from codepmp_jax.cli.names import modules_in
from codepmp_jax.config import CandidatesConfig, RmDataConfig
from codepmp_jax.config.rm_data import SourceName
from codepmp_jax.records.row_files import MalformedRow
from codepmp_jax.records.schema import Problem
from codepmp_jax.rm_data.choices import NOT_JUDGED
from codepmp_jax.rm_data.entries import (
    CORRECTNESS,
    NO_RATING,
    PREFERENCE,
    RATING,
    REWARD,
    Entry,
    Source,
    find_source,
)
from codepmp_jax.rm_data.sources import candidates as candidates_source
from codepmp_jax.rm_data.sources import mathshepherd, ultrafeedback
from codepmp_jax.synthesis.responses import make_prompt
from tests.rm_data.rows import (
    BENCH,
    EGGS,
    LOGIQA2,
    RATED,
    RECLOR,
    RIGHT,
    WRONG,
    candidates,
    shepherd,
    stepwise,
    write,
)


def read(source: Any, row: Any, **settings: Any) -> Any:
    """What one row is read as."""
    return find_source(source).open(RmDataConfig(source=source, **settings))(row, 1)


def graded(reading):
    """(text, grade) of each answer."""
    return [(answer.text, answer.grade) for answer in reading.entry.answers]


def test_every_module_is_a_source_and_every_source_has_a_name():
    assert modules_in("rm_data/sources") == typing.get_args(SourceName)
    for name in typing.get_args(SourceName):
        assert isinstance(find_source(name), Source)


# --- MathShepherd ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "problem", "steps", "grade"),
    [
        (shepherd(RIGHT, "++"), EGGS, RIGHT, 1),
        (shepherd(WRONG, "+-"), EGGS, WRONG, 0),
        (shepherd(RIGHT, "-+"), EGGS, RIGHT, 1),
        # A problem without a question mark, and steps in lower case.
        (shepherd(("step 1: Add.", "step 2: 5"), "++", "Find 2 + 3."), "Find 2 + 3.", None, 1),
        # Steps that are not called so: the question ends the problem.
        (shepherd(("Add them.", "5"), "+-", "Is 2 + 3 = 6? Or 5?"), "Is 2 + 3 = 6? Or 5?", None, 0),
        # A problem that speaks of a Step 1 itself.
        (
            shepherd(RIGHT, "++", "Jo wrote Step 1: 4 + 6. Is it right?"),
            "Jo wrote Step 1: 4 + 6. Is it right?",
            RIGHT,
            1,
        ),
        # A solution that begins anew.
        (shepherd((*WRONG, "Step 1: again"), "+-+"), EGGS, (*WRONG, "Step 1: again"), 1),
        (stepwise(RIGHT, [True, True]), EGGS, RIGHT, 1),
        (stepwise(WRONG, [True, False]), EGGS, WRONG, 0),
        (stepwise(RIGHT, [1.0, 0.5]), EGGS, RIGHT, 1),
        (stepwise(RIGHT, [1, 0.49]), EGGS, RIGHT, 0),
    ],
)
def test_a_solution_is_as_right_as_its_last_step(row, problem, steps, grade):
    entry = read("mathshepherd", row).entry
    assert entry.prompt == problem
    assert entry.graded_by == CORRECTNESS
    ((answer),) = entry.answers
    assert answer.grade == grade
    assert "ки" not in answer.text
    assert answer.text.startswith(("Step 1:", "step 1:", "Add"))
    if steps is not None:
        assert answer.text == "\n".join(steps)


def test_both_forms_of_a_solution_are_one_answer():
    one = read("mathshepherd", shepherd(WRONG, "+-")).entry
    other = read("mathshepherd", stepwise(WRONG, [True, False])).entry
    assert (one.prompt, one.answers) == (other.prompt, other.answers)
    assert one.answers[0].facts == {"steps": "+-"}
    assert (one.subset, other.subset) == ("GSM8K", "")


@pytest.mark.parametrize("mark", ["+", "-"])
def test_marks_in_the_problem_are_no_steps(mark):
    row = shepherd(RIGHT, "++")
    row["input"] = row["input"].replace("4 boxes", "4 ки boxes")
    row["label"] = row["label"].replace("4 boxes", f"4 {mark} boxes")
    reading = read("mathshepherd", row)
    assert reading.entry.prompt == EGGS
    assert graded(reading) == [("\n".join(RIGHT), 1)]
    assert reading.remarks == {mathshepherd.MARKS_IN_PROBLEM}
    assert reading.entry.answers[0].facts == {"steps": "++"}


def test_all_steps_have_to_be_right_if_asked_for():
    noisy = shepherd(RIGHT, "-+")
    reading = read("mathshepherd", noisy, right_by="all_steps")
    assert reading.entry is None
    assert reading.dropped == [mathshepherd.WRONG_STEP]
    assert read("mathshepherd", shepherd(RIGHT, "++"), right_by="all_steps").entry is not None
    assert graded(read("mathshepherd", shepherd(WRONG, "--"), right_by="all_steps"))[0][1] == 0


def test_a_last_step_without_a_mark_is_counted():
    row = shepherd(RIGHT, "++")
    row = {name: f"{text}\nStep 3: So 24." for name, text in row.items()} | {"task": "GSM8K"}
    reading = read("mathshepherd", row)
    assert (reading.entry, reading.dropped) == (None, [mathshepherd.NO_LAST_LABEL])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "input is missing"),
        ({"input": "a ки"}, "label is missing"),
        ({"input": None, "label": "a +"}, "input is missing"),
        ({"input": 5, "label": "a +"}, "input is no text"),
        ({"input": " \n", "label": "a +"}, "input is blank"),
        ({"input": "How? Step 1: a", "label": "How? Step 1: a"}, "input has no marks"),
        (shepherd(RIGHT, "++") | {"label": "short"}, r"does not have \+ or - .*mark 1: ''"),
        (shepherd(RIGHT, "+*"), r"mark 2: '\*'"),
        ({"input": "Add. ки", "label": "Add. +"}, "neither Step 1: nor a question"),
        ({"input": "Step 1: a ки", "label": "Step 1: a +"}, "no problem before its steps"),
        ({"input": "Why? Step 1: ки", "label": "Why? Step 1: +"}, None),
        ({"input": "Why? ки ки", "label": "Why? + +"}, "a step is blank"),
        (shepherd(RIGHT, "++") | {"task": 3}, "task is no text"),
        (stepwise(RIGHT, [True]), "not as many labels as steps"),
        (stepwise([], []), "completions is no list with something in it"),
        (stepwise(RIGHT, []), "labels is no list with something in it"),
        (stepwise(RIGHT, None), "labels is no list"),
        (stepwise(RIGHT, ["+", "-"]), "labels are not all true or false"),
        (stepwise(RIGHT, [1, 2]), "labels are not all true or false"),
        (stepwise((RIGHT[0], None), [1, 1]), "completions are not all texts"),
        (stepwise((RIGHT[0], " "), [1, 1]), "a step is blank"),
        (stepwise(RIGHT, [1, 1], " "), "prompt is blank"),
    ],
)
def test_solutions_that_are_none(row, message):
    if message is None:
        assert read("mathshepherd", row).entry.answers[0].text == "Step 1:"
        return
    with pytest.raises(MalformedRow, match=message):
        read("mathshepherd", row)


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [0, "0"])
def test_reclor(label):
    reading = read("reclor", RECLOR | {"label": label})
    assert reading.entry.prompt == "All crows that were seen are black.\n\nWhich one follows?"
    assert graded(reading) == [(text, text == RECLOR["answers"][0]) for text in RECLOR["answers"]]
    assert reading.not_read == []


def test_logiqa2():
    reading = read("logiqa2", LOGIQA2)
    assert reading.entry.prompt == "Who sings is happy. Tom sings.\n\nWhat is true of Tom?"
    assert [grade for _, grade in graded(reading)] == [0, 0, 1, 0]
    assert reading.not_read == ["type"]
    assert read("logiqa2", LOGIQA2 | {"text": ""}).entry.prompt == "What is true of Tom?"


@pytest.mark.parametrize(
    ("source", "row", "message"),
    [
        ("reclor", RECLOR | {"label": ""}, "row is none of reclor .label is none of 0 to 3"),
        ("reclor", RECLOR | {"label": 4}, "label is none of 0 to 3"),
        ("reclor", RECLOR | {"answers": []}, "answers is no list of texts"),
        ("reclor", LOGIQA2, "row is none of reclor"),
        ("logiqa2", LOGIQA2 | {"answer": -1}, "answer is none of 0 to 3"),
        ("logiqa2", LOGIQA2 | {"question": None}, "lacks question"),
        ("logiqa2", LOGIQA2 | {"id": None}, "id is no identifier"),
    ],
)
def test_options_that_are_none(source, row, message):
    with pytest.raises(MalformedRow, match=message):
        read(source, row)


# --- ratings --------------------------------------------------------------------------------------


def test_codeultrafeedback_joins_responses_and_ratings_by_model():
    reading = read("codeultrafeedback", RATED)
    assert graded(reading) == [
        ("def turn(xs): return xs[::-1]", 9),
        ("xs.reverse()", 6),
        ("sorry", 1),
    ]
    assert reading.dropped == [NO_RATING]
    assert (reading.entry.subset, reading.entry.graded_by) == ("readability", RATING)
    assert [answer.facts["model"] for answer in reading.entry.answers] == [
        "gpt-4",
        "wizardlm-7b",
        "mistral-7b-instruct",
    ]
    assert not reading.entry.is_pooled


@pytest.mark.parametrize("annotations", [[], None])
def test_an_instruction_that_nobody_rated(annotations):
    reading = read("codeultrafeedback", RATED | {"annotations": annotations})
    assert (reading.entry, reading.dropped) == (None, [NO_RATING] * 4)


BINARISED = RATED | {
    "chosen": "def turn(xs): return xs[::-1]",
    "rejected": "sorry",
    "rating_chosen": 9,
    "rating_rejected": 1,
    "model_chosen": "gpt-4",
    "model_rejected": "mistral-7b-instruct",
}


def test_codeultrafeedback_binarised_is_a_pair():
    reading = read("codeultrafeedback", BINARISED)
    assert graded(reading) == [(BINARISED["chosen"], 9), ("sorry", 1)]
    assert (reading.entry.prompt, reading.entry.is_pair) == (RATED["instruction"], True)
    assert (reading.entry.subset, reading.entry.graded_by) == ("readability", RATING)
    assert reading.entry.answers[1].facts == {"model": "mistral-7b-instruct"}
    assert reading.not_read == []


def rating(**values):
    return [{"model": "gpt-4", "rating": "1"} | values]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (RATED | {"instruction": None}, "instruction is missing"),
        (RATED | {"responses": []}, "responses is no list with something in it"),
        (RATED | {"responses": [{"model": "a"}]}, "responses holds something else"),
        (RATED | {"responses": [{"model": "a", "response": 1}], "annotations": []}, "is no text"),
        (RATED | {"responses": RATED["responses"] * 2}, "two entries of one model"),
        (RATED | {"annotations": rating(model="other")}, "of a model without a response .other"),
        (RATED | {"annotations": rating() * 2}, "annotations has two entries of one model"),
        (RATED | {"annotations": "9"}, "annotations is no list"),
        (RATED | {"preference": 1}, "preference is no text"),
        (BINARISED | {"rejected": None}, "rejected is null"),
    ],
)
def test_ratings_that_are_none(row, message):
    with pytest.raises(MalformedRow, match=message):
        read("codeultrafeedback", row)


@pytest.mark.parametrize("value", ["N/A", "", None, "nan", "inf", True, [9], "9/10"])
def test_what_is_no_rating(value):
    row = RATED | {"annotations": rating(rating=value)}
    assert read("codeultrafeedback", row).dropped == [NO_RATING] * 4


def test_ultrafeedback_prefers_the_mean_over_aspects():
    completions = [
        {"model": "a", "response": "good", "overall_score": 2, "fine-grained_score": 4.75},
        {"model": "b", "response": "bad", "overall_score": 10.0, "fine-grained_score": 1.25},
        {"model": "c", "response": "soso", "overall_score": 5},
        {"model": "d", "response": "none", "overall_score": "N/A"},
    ]
    row = {"source": "flan", "instruction": "Say it.", "models": [], "completions": completions}
    reading = read("ultrafeedback", row)
    assert graded(reading) == [("good", 4.75), ("bad", 1.25), ("soso", 5)]
    assert reading.remarks == {ultrafeedback.OVERALL}
    assert reading.entry.subset == "flan"
    for broken in (row | {"completions": []}, row | {"completions": [{"model": "a"}]}):
        with pytest.raises(MalformedRow, match=r"completions (holds|is)"):
            read("ultrafeedback", broken)


def test_ultrafeedback_binarised_is_a_conversation():
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    row = {
        "prompt": "Hi",
        "prompt_id": "ab",
        "chosen": turns,
        "rejected": [turns[0], {"role": "assistant", "content": "?"}],
        "messages": turns,
        "score_chosen": 8.5,
        "score_rejected": 3.0,
    }
    reading = read("ultrafeedback", row)
    assert reading.entry.is_conversation
    assert [answer.grade for answer in reading.entry.answers] == [8.5, 3.0]
    assert reading.entry.answers[0].facts == {"prompt_id": "ab"}
    assert reading.not_read == ["messages"]


# --- pairs ----------------------------------------------------------------------------------------


def test_rewardbench():
    reading = read("rewardbench", BENCH)
    assert (reading.entry.prompt, reading.entry.subset) == ("Name a prime.", "math-prm")
    assert graded(reading) == [("7", 1), ("8", 0)]
    assert reading.entry.graded_by == PREFERENCE
    assert [answer.facts for answer in reading.entry.answers] == [
        {"model": "human", "id": 12},
        {"model": "gpt-4", "id": 12},
    ]
    assert reading.not_read == []


@pytest.mark.parametrize(
    "names",
    [
        ("score_chosen", "score_rejected"),
        ("chosen_score", "rejected_score"),
        ("rating_chosen", "rating_rejected"),
        ("chosen-rating", "rejected-rating"),
    ],
)
def test_ratings_of_pairs(names):
    row = {"prompt": "p", "chosen": "c", "rejected": "r"} | dict(zip(names, (4, 1.5), strict=True))
    reading = read("pairs", row)
    assert graded(reading) == [("c", 4), ("r", 1.5)]
    assert (reading.entry.graded_by, reading.not_read) == (RATING, [])


def test_a_rating_of_one_reply_is_none():
    row = {"prompt": "p", "chosen": "c", "rejected": "r", "score_chosen": 4, "score_rejected": None}
    reading = read("pairs", row)
    assert (reading.entry.graded_by, reading.not_read) == (PREFERENCE, ["score_chosen"])


def test_pairs_keep_their_margin_and_say_where_the_prompt_comes_from():
    reading = read("pairs", {"chosen": "Q: a A: yes", "rejected": "Q: a A: no", "margin": 2})
    assert reading.entry.margin == 2
    assert [remark for remark in reading.remarks if remark.startswith("prompt: ")]
    with pytest.raises(MalformedRow, match="rejected is missing"):
        read("pairs", {"prompt": "p", "chosen": "c"})


# --- candidates -----------------------------------------------------------------------------------

JUDGED = candidates(3, [("6", True), ("7", False), ("8", None)])


def test_judged_candidates():
    reading = read("candidates", JUDGED)
    assert graded(reading) == [("6", 1), ("7", 0)]
    assert reading.dropped == [NOT_JUDGED]
    assert (reading.entry.prompt, reading.entry.subset) == (JUDGED["prompt"], "sums")


def test_candidates_by_their_rewards(tmp_path):
    rewards = [
        {"item_id": "p/3", "index": 2, "reward": 0.5},
        {"item_id": "p/3", "index": 0, "reward": -1.0},
    ]
    path = str(write(tmp_path / "scores.jsonl", rewards))
    reading = read("candidates", JUDGED, rewards=path)
    assert graded(reading) == [("6", -1.0), ("8", 0.5)]
    assert reading.dropped == [candidates_source.NO_REWARD]
    assert reading.entry.graded_by == REWARD
    assert [answer.facts for answer in reading.entry.answers] == [
        {"candidate": 0, "is_correct": True},
        {"candidate": 2},
    ]


def test_a_policy_s_pairs_ask_what_it_was_asked(tmp_path):
    """As text, and as the conversation that a chat template writes; by rewards as by verdicts."""
    problem = Problem.from_row(JUDGED | {"task": "mbpp"})
    asked = make_prompt(problem, CandidatesConfig())
    assert asked != problem.prompt
    rewards = [{"item_id": "p/3", "index": index, "reward": index} for index in range(3)]
    for settings in ({}, {"rewards": str(write(tmp_path / "scores.jsonl", rewards))}):
        row = JUDGED | {"task": "mbpp"}
        as_text = read("candidates", row, prompts="text", **settings).entry
        assert (as_text.prompt, as_text.is_conversation) == (asked, False)
        assert as_text.answers[0].text == "6"
        as_turns = read("candidates", row, prompts="conversation", **settings).entry
        assert as_turns.is_conversation
        assert json.loads(as_turns.prompt) == [{"role": "user", "content": asked}]
        assert json.loads(as_turns.answers[0].text) == [{"role": "assistant", "content": "6"}]
    with pytest.raises(MalformedRow, match="task has no template"):
        read("candidates", JUDGED | {"task": "mine"}, prompts="text")


def test_confidences_are_beside_the_verdicts(tmp_path):
    scores = [{"item_id": "p/3", "index": index, "score": -index} for index in (1, 2)]
    path = str(write(tmp_path / "scores.jsonl", scores))
    reading = read("candidates", JUDGED, pairing="most_confident", confidences=path)
    (answer,) = reading.entry.answers
    assert (answer.text, answer.grade) == ("7", 0)
    assert answer.facts == {"candidate": 1, "confidence": -1}
    assert reading.dropped == [NOT_JUDGED, candidates_source.NO_CONFIDENCE]


def test_programs_know_their_syntax():
    """What stands around the code, its layout and comments do not count; what Python cannot read has none."""
    code = "def f(x):\n    return x + 1"
    replies = [
        code,
        f"Here it is:\n```python\n# adds\n{code.replace(' + ', '+')}\n```\nDone.",
        code.replace("1", "2"),
        "def f(x:",
    ]
    row = candidates(3, [(reply, True) for reply in replies]) | {
        "task": "mbpp",
        "reference": {"tests": ["assert f(1) == 2"], "setup": "", "solution": code},
    }
    entry = read("candidates", row).entry
    one, same, other, broken = (answer.syntax for answer in entry.answers)
    assert one == same != other
    assert one
    assert other
    assert broken == ""
    assert Entry.from_bytes(entry.to_bytes()) == entry
    assert not any(
        answer.syntax for answer in read("candidates", row | {"reference": {}}).entry.answers
    )
    assert not any(answer.syntax for answer in read("candidates", JUDGED).entry.answers)


@pytest.mark.parametrize(
    ("name", "pairing", "reasons"),
    [
        ("rewards", "random", [candidates_source.NO_REWARD] * 3),
        ("confidences", "least_confident", [NOT_JUDGED] + [candidates_source.NO_CONFIDENCE] * 2),
    ],
)
def test_where_scores_are_read_an_id_is_of_one_problem(tmp_path, name, pairing, reasons):
    settings: Any = {"pairing": pairing, name: str(write(tmp_path / "scores.jsonl", []))}
    reader = find_source("candidates").open(RmDataConfig(source="candidates", **settings))
    assert reader(JUDGED, 1).dropped == reasons
    with pytest.raises(MalformedRow, match=r"problem_id is not unique .*row 1"):
        reader(JUDGED, 1)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (JUDGED | {"candidates": []}, "candidates are missing"),
        (JUDGED | {"prompt": " "}, "prompt is blank"),
        (JUDGED | {"candidates": [{"response": 3}]}, "row is no problem with candidates"),
        (JUDGED | {"more": 1}, "row is no problem with candidates"),
        (JUDGED | {"candidates": [{"response": "a", "is_correct": "no"}]}, "is_correct"),
        (BENCH, "row is no problem with candidates"),
    ],
)
def test_candidates_that_are_none(row, message):
    with pytest.raises(MalformedRow, match=message):
        read("candidates", row)
