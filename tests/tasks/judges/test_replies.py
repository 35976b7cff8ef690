r"""What is left of a reply, its boxes, and the table of replies that the judges are held to.

A line of replies.jsonl is a reply, judged by hand, with its task (`choice`, `numbers` or `formulas`), the reference, the
verdict, and the pattern that reads its answer.
"""

import json
import pathlib

import pytest

from codepmp_jax.tasks.judges import answers, choices
from codepmp_jax.tasks.judges.answers import AnswerJudge, find_answer
from codepmp_jax.tasks.judges.choices import ChoiceJudge, find_options
from codepmp_jax.tasks.judges.replies import (
    last_box,
    last_boxes,
    plain_characters,
    without_reasoning,
)

OPTIONS = [
    "Every door is locked",
    "Some windows are open",
    "At least 11 rooms are empty",
    "At least 13 guests arrived",
]
TABLE = [
    json.loads(line)
    for line in (pathlib.Path(__file__).parent / "replies.jsonl").read_text("utf-8").splitlines()
]


def judged(row):
    if row["task"] == "choice":
        reference = {"options": OPTIONS, "answer": row["reference"]}
        return ChoiceJudge().judge("", reference, row["reply"], 1.0), find_options(
            row["reply"], OPTIONS
        )
    is_number = row["task"] == "numbers"
    judgement = AnswerJudge(is_number).judge("", {"answer": row["reference"]}, row["reply"], 1.0)
    return judgement, find_answer(row["reply"], is_number)


@pytest.mark.parametrize("task", ["choice", "numbers", "formulas"])
def test_the_table_of_replies(task):
    wrong = []
    for row in (row for row in TABLE if row["task"] == task):
        judgement, found = judged(row)
        seen = {"verdict": judgement.verdict, "pattern": found[1] if found else None}
        if not seen.items() <= row.items():
            wrong.append((row, seen))
    assert wrong == []


def test_the_table_shows_every_pattern_right_and_wrong():
    read = {(row["task"] == "choice", row["pattern"]) for row in TABLE}
    assert read >= {(True, pattern.name) for pattern in choices.PATTERNS}
    assert read >= {(False, pattern.name) for pattern in answers.PATTERNS}
    for task in ("choice", "numbers", "formulas"):
        verdicts = {row["verdict"] for row in TABLE if row["task"] == task}
        assert verdicts >= {"correct", "wrong answer"}


@pytest.mark.parametrize(
    "response",
    [
        "<think>the answer is 5</think>42",
        "<think>a</think> 42 <think>the answer is 5</think>",
        "<thinking>5</thinking>\n42",
        "<Reasoning>5</Reasoning>42",
        "<think type='long'>5</think>42",
        "<think>one <think>two</think> 5</think>42",
        "the prompt opened it, 5</think>42",
        "42<think>cut off, 5",
        "[THINK]5[/THINK]42",
        "◁think▷5◁/think▷42",
        "<|begin_of_thought|>5<|end_of_thought|>42",
        "<|channel|>analysis<|message|>5<|end|><|start|>assistant<|channel|>final<|message|>42<|return|>",
        "42<|im_end|>",
        "42</s>",
    ],
)
def test_reasoning_and_ends_of_turns_are_taken_away(response):
    assert without_reasoning(response).strip() == "42"


def test_a_reply_that_only_reasons_has_nothing_left():
    assert without_reasoning("<think>the answer is 5").strip() == ""
    assert without_reasoning("<think>the answer is 5</think>").strip() == ""


def test_a_reply_without_reasoning_stays_as_it_is():
    assert without_reasoning("    return 1\n") == "    return 1\n"
    assert without_reasoning("<think>a</think>    return 1") == "\n    return 1"


def test_plain_characters():
    assert plain_characters("１２（Ｂ）【C】“x”‘y’−5–3\u00a0\u202f\u3000\ufeff\u200b。、：") == (
        "12(B)(C)\"x\"'y'-5-3   .,:"
    )
    assert plain_characters("all — 5") == "all — 5"


@pytest.mark.parametrize(
    ("text", "box"),
    [
        (r"so \boxed{42}.", "42"),
        (r"\boxed{1} and then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"$\boxed{\{1, \{2\}\}}$", r"\{1, \{2\}\}"),
        (r"\boxed{\left\{x : x > 0\right\}}", r"\left\{x : x > 0\right\}"),
        (r"\boxed{\text{a {nested} one}}", r"\text{a {nested} one}"),
        (r"\fbox{3} ", "3"),
        (r"\boxed 5", "5"),
        ("\\boxed\n{5}", "5"),
        (r"\boxed{7} and \boxed{8", "7"),
        (r"\boxed{7} and \boxed{}", "7"),
        (r"\boxed{7}, in a \boxed as you asked", "7"),
        (r"\boxed{\boxed{9}}", "9"),
        (r"\boxedx", None),
        (r"no box", None),
        (r"\boxed", None),
    ],
)
def test_the_last_closed_box(text, box):
    assert last_box(text) == box


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (r"$x=\boxed{1}$ or $x=\boxed{2}$", ["1", "2"]),
        (r"\boxed{1}, \boxed{2}, and \boxed{3}", ["1", "2", "3"]),
        (r"\boxed{0}. So \boxed{1}, \boxed{2}", ["1", "2"]),
        (r"\boxed{1} apples and then \boxed{2}", ["2"]),
        (r"\boxed{1} and \boxed{1}", ["1"]),
        ("none", []),
    ],
)
def test_boxes_that_are_one_list(text, parts):
    assert last_boxes(text) == parts


@pytest.mark.parametrize(
    "piece",
    [
        "$",
        "\\boxed{",
        "<think>",
        "#### ",
        "answer is ",
        "A ",
        "1,234 ",
        "A. x\n",
        "*",
        "\\",
        "{",
        "答案",
        "\ud83d",
    ],
)
def test_a_reply_that_repeats_itself_for_ever_is_read(piece):
    for reply in (
        piece * 1000,
        f"{piece * 1000} The answer is 5.",
        f"The answer is (B). {piece * 9}",
    ):
        for is_number in (False, True):
            answer = find_answer(reply, is_number)
            assert answer is None or answer[0] != ""
        found = find_options(reply, OPTIONS)
        assert found is None or set(found[0]) <= {0, 1, 2, 3}
