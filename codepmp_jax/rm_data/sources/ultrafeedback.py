"""UltraFeedback (arXiv 2310.01377): responses to an instruction with ratings of several aspects, or pairs of them.

Rows are the authors' (openbmb/UltraFeedback): `instruction`, `completions` of {model, response, fine-grained_score,
overall_score, ...}. The grade is `fine-grained_score`, the mean over the aspects; `overall_score` only where there is none,
since some of those are ten times too high. Rows with `chosen` and `rejected`, e.g. of
HuggingFaceH4/ultrafeedback_binarized, are pairs (see `pairs`).
"""

from __future__ import annotations

from typing import Any

from codepmp_jax.records.row_files import MalformedRow
from codepmp_jax.rm_data.entries import (
    NO_RATING,
    RATING,
    Answer,
    Entry,
    Reading,
    Source,
    not_read,
    number_of,
    text_of,
)
from codepmp_jax.rm_data.sources import pairs

OVERALL = "rated by overall_score, for want of a fine-grained_score"
_READ = ("instruction", "completions", "source", "models")


def _read(row: dict[str, Any], number: int) -> Reading:
    if row.get("completions") is None:
        return pairs.read(row)
    completions = row["completions"]
    if not isinstance(completions, list) or not completions:
        raise MalformedRow("completions is no list with something in it", repr(completions)[:80])
    subset = row.get("source") or ""
    if not isinstance(subset, str):
        raise MalformedRow("source is no text", type(subset).__name__)
    answers, reading = [], Reading(None, not_read(row, *_READ))
    for completion in completions:
        if not isinstance(completion, dict) or not isinstance(completion.get("response"), str):
            raise MalformedRow("completions holds something else than objects with a response")
        grade = number_of(completion.get("fine-grained_score"))
        if grade is None:
            grade = number_of(completion.get("overall_score"))
            if grade is not None:
                reading.remarks.add(OVERALL)
        if grade is None:
            reading.dropped.append(NO_RATING)
            continue
        facts = {"model": completion["model"]} if isinstance(completion.get("model"), str) else {}
        answers.append(Answer(completion["response"], grade, facts))
    if answers:
        instruction = text_of(row, "instruction")
        reading.entry = Entry(instruction, tuple(answers), RATING, subset, is_pooled=False)
    return reading


SOURCE = Source(open=lambda config: _read, hub="openbmb/UltraFeedback")
