r"""MathShepherd (arXiv 2312.08935): solutions of GSM8K and MATH whose steps are marked right or wrong.

Rows are the authors' (peiyi9979/Math-Shepherd), or TRL's (trl-lib/math_shepherd):

    input, label, task             problem and steps in one text, `ки` behind each step of `input`; `label` is the same
                                   text with `+` or `-` in the place of each mark
    prompt, completions, labels    problem, steps, and true or false (or a number: right from 0.5) for each step

In one text the steps begin at the last `Step 1:` before the first mark, or else at the first one behind it: then marks
stand in the problem, and they and their labels are no steps'. Without any `Step 1:` they begin behind the last `?` that
is before the first mark. The response is the steps, a line each, without marks.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from codepmp_jax.records.row_files import MalformedRow
from codepmp_jax.rm_data.entries import (
    CORRECTNESS,
    RIGHT,
    WRONG,
    Answer,
    Entry,
    Reading,
    Source,
    not_read,
    text_of,
)

_MARK = "ки"
_FIRST_STEP = re.compile(r"\bstep\s*1\s*:", re.IGNORECASE)

MARKS_IN_PROBLEM = "marks within the problem were removed"
NO_LAST_LABEL = "last step has no mark"
WRONG_STEP = "right answer, wrong step"


def _read(right_by: str, row: dict[str, Any], number: int) -> Reading:
    """A solution, graded by the marks of its steps."""
    remarks: set[str] = set()
    if "completions" in row or "labels" in row:
        columns = ("prompt", "completions", "labels")
        problem, steps, marks = _from_columns(row)
    else:
        columns = ("input", "label")
        problem, steps, marks = _from_text(row, remarks)
    subset = row.get("task") or ""
    if not isinstance(subset, str):
        raise MalformedRow("task is no text", type(subset).__name__)
    reading = Reading(None, not_read(row, *columns, "task"), remarks)
    if len(steps) > len(marks):
        reading.dropped = [NO_LAST_LABEL]
    elif marks[-1] and right_by == "all_steps" and not all(marks):
        reading.dropped = [WRONG_STEP]
    else:
        grade = RIGHT if marks[-1] else WRONG
        answer = Answer("\n".join(steps), grade, {"steps": "".join("-+"[mark] for mark in marks)})
        reading.entry = Entry(problem, (answer,), CORRECTNESS, subset)
    return reading


def _from_columns(row: dict[str, Any]) -> tuple[str, list[str], list[bool]]:
    steps, labels = row.get("completions"), row.get("labels")
    for name, value in (("completions", steps), ("labels", labels)):
        if not isinstance(value, list) or not value:
            raise MalformedRow(f"{name} is no list with something in it", repr(value)[:80])
    assert isinstance(steps, list)
    assert isinstance(labels, list)
    if not all(isinstance(step, str) for step in steps):
        raise MalformedRow("completions are not all texts")
    if not all(isinstance(label, bool | int | float) and 0 <= label <= 1 for label in labels):
        raise MalformedRow("labels are not all true or false, or numbers from 0 to 1")
    if len(steps) != len(labels):
        raise MalformedRow(
            "there are not as many labels as steps", f"{len(steps)} steps, {len(labels)} labels"
        )
    return text_of(row, "prompt").strip(), _lines(steps), [label >= 0.5 for label in labels]


def _from_text(row: dict[str, Any], remarks: set[str]) -> tuple[str, list[str], list[bool]]:
    """(problem, steps, whether each is right); a last step without a mark has no value."""
    text = text_of(row, "input")
    places = [found.start() for found in re.finditer(_MARK, text)]
    if not places:
        raise MalformedRow("input has no marks of steps")
    marks = _marks(text, text_of(row, "label"), places)
    start = _start_of_steps(text, places[0])
    num_before = sum(place < start for place in places)
    if num_before:
        remarks.add(MARKS_IN_PROBLEM)
    problem = " ".join(part.strip() for part in text[:start].split(_MARK)).strip()
    *steps, rest = text[start:].split(_MARK)
    steps += [rest] if rest.strip() else []
    if not problem:
        raise MalformedRow("input has no problem before its steps")
    marks = marks[num_before:]
    if not marks:
        raise MalformedRow("input has no marks of steps")
    return problem, _lines(steps), marks


def _marks(text: str, label: str, places: list[int]) -> list[bool]:
    """What `label` has in the place of each mark of the text."""
    found = []
    for number, place in enumerate(places):
        # A mark is two letters of the text, and one of the label.
        there = place - number * (len(_MARK) - 1)
        mark = label[there : there + 1]
        if mark not in ("+", "-"):
            raise MalformedRow(
                "label does not have + or - for each mark of input", f"mark {number + 1}: {mark!r}"
            )
        found.append(mark == "+")
    return found


def _start_of_steps(text: str, first_mark: int) -> int:
    starts = [found.start() for found in _FIRST_STEP.finditer(text)]
    before = [start for start in starts if start < first_mark]
    if before:
        return before[-1]
    if starts:
        return starts[0]
    start = text.rfind("?", 0, first_mark) + 1
    if not start:
        raise MalformedRow("input says neither Step 1: nor a question before its first mark")
    return start


def _lines(steps: list[str]) -> list[str]:
    stripped = [step.strip() for step in steps]
    if not all(stripped):
        raise MalformedRow("a step is blank")
    return stripped


SOURCE = Source(
    open=lambda config: functools.partial(_read, config.right_by),
    hub="peiyi9979/Math-Shepherd",
)
