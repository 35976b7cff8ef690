"""CodeUltraFeedback (arXiv 2403.09032): four responses to an instruction, each rated from 1 to 10.

Rows are those of coseal/CodeUltraFeedback: `instruction`, `responses` of {model, response}, `annotations` of {model,
rating, rationale}. Responses and annotations belong together by the model's name. A rating of `N/A`, and a response that
nobody rated, are left out and counted. Rows of coseal/CodeUltraFeedback_binarized are pairs (see `pairs`): their `chosen`
and `rejected` are taken. `preference`, what the ratings are about, becomes the subset.
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

_READ = ("instruction", "responses", "annotations", "preference")


def _read(row: dict[str, Any], number: int) -> Reading:
    if row.get("chosen") is not None or row.get("rejected") is not None:
        return pairs.read(
            row, subset="preference", passed_over=("responses", "annotations", "models")
        )
    instruction = text_of(row, "instruction")
    subset = row.get("preference") or ""
    if not isinstance(subset, str):
        raise MalformedRow("preference is no text", type(subset).__name__)
    responses = _by_model(row, "responses", "response")
    ratings = _by_model(row, "annotations", "rating", may_be_empty=True)
    answers, reading = [], Reading(None, not_read(row, *_READ, "models"))
    for model, response in responses.items():
        rating = number_of(ratings.pop(model, None))
        if not isinstance(response, str):
            raise MalformedRow("a response is no text", f"of {model}")
        if rating is None:
            reading.dropped.append(NO_RATING)
        else:
            answers.append(Answer(response, rating, {"model": model}))
    if ratings:
        raise MalformedRow("an annotation is of a model without a response", ", ".join(ratings))
    if answers:
        reading.entry = Entry(instruction, tuple(answers), RATING, subset, is_pooled=False)
    return reading


def _by_model(
    row: dict[str, Any], name: str, value: str, may_be_empty: bool = False
) -> dict[str, Any]:
    """Model -> what the objects in a column say under `value`."""
    entries = row.get(name)
    if entries is None and may_be_empty:
        return {}
    if not isinstance(entries, list) or not (entries or may_be_empty):
        raise MalformedRow(f"{name} is no list with something in it", repr(entries)[:80])
    found: dict[str, Any] = {}
    for entry in entries:
        if (
            not isinstance(entry, dict)
            or not isinstance(entry.get("model"), str)
            or value not in entry
        ):
            raise MalformedRow(f"{name} holds something else than objects of model and {value}")
        if entry["model"] in found:
            raise MalformedRow(f"{name} has two entries of one model", entry["model"])
        found[entry["model"]] = entry[value]
    return found


SOURCE = Source(open=lambda config: _read, hub="coseal/CodeUltraFeedback")
