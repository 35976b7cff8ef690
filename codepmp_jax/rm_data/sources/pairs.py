"""Preference pairs in any form that import-pairs reads: see codepmp_jax.records.pair_rows.

Beyond that, ratings of both replies become grades: `score_chosen` and `score_rejected`, `chosen_score` and
`rejected_score`, `rating_chosen` and `rating_rejected`, `chosen-rating` and `rejected-rating`. A pair whose chosen reply
is not rated higher is left out and counted. Ids, and the models that wrote the replies, go to the lineage.
"""

from __future__ import annotations

from typing import Any

from codepmp_jax.records.pair_rows import COLUMN, parse_row
from codepmp_jax.rm_data.entries import (
    PREFERENCE,
    RATING,
    RIGHT,
    WRONG,
    Answer,
    Entry,
    Reading,
    Source,
    number_of,
)

_SIDES = ("chosen", "rejected")
_RATINGS = ("score_{}", "{}_score", "rating_{}", "{}-rating", "{}_rating")
_MODELS = ("model_{}", "{}_model", "{}-model")
_IDS = ("id", "prompt_id")


def read(row: dict[str, Any], subset: str = "subset", passed_over: tuple[str, ...] = ()) -> Reading:
    """The pair in a row. `subset` names the column of the subset; columns `passed_over` say the same once more."""
    if subset != "subset":
        row = {"subset": row.get(subset)} | {name: row[name] for name in row if name != subset}
    parsed = parse_row(row, {})
    pair, used = parsed.pair, set(passed_over)
    grades, graded_by = (RIGHT, WRONG), PREFERENCE
    for form in _RATINGS:
        columns = [form.format(side) for side in _SIDES]
        ratings = [number_of(row.get(name)) for name in columns]
        if ratings[0] is not None and ratings[1] is not None:
            grades, graded_by = (ratings[0], ratings[1]), RATING
            used.update(columns)
            break
    facts: list[dict[str, Any]] = [{}, {}]
    for form in _MODELS:
        for side, of_side in zip(_SIDES, facts, strict=True):
            model = row.get(form.format(side))
            if isinstance(model, str) and model:
                of_side["model"] = model
                used.add(form.format(side))
    for name in _IDS:
        value = row.get(name)
        if isinstance(value, str | int):
            for of_side in facts:
                of_side[name] = value
            used.add(name)
    answers = tuple(
        Answer(text, grade, of_side)
        for text, grade, of_side in zip((pair.chosen, pair.rejected), grades, facts, strict=True)
    )
    entry = Entry(
        pair.prompt,
        answers,
        graded_by,
        pair.subset,
        is_conversation=pair.is_conversation,
        is_pair=True,
        is_pooled=False,
        margin=pair.margin,
    )
    remarks = set(parsed.remarks)
    if parsed.prompt_from != COLUMN:
        remarks.add(f"prompt: {parsed.prompt_from}")
    return Reading(entry, [name for name in parsed.not_read if name not in used], remarks)


SOURCE = Source(open=lambda config: lambda row, number: read(row))
