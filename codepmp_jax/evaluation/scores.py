"""Scores on disk, and by item."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterable

from codepmp_jax.errors import UserError
from codepmp_jax.records import Score


def write_scores(path: str | pathlib.Path, scores: Iterable[Score]) -> None:
    """Writes scores as JSONL, atomically."""
    path = pathlib.Path(path)
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w", encoding="utf-8") as file:
        for score in scores:
            file.write(json.dumps(dataclasses.asdict(score)) + "\n")
    partial.replace(path)


def by_item(scores: Iterable[Score]) -> Callable[[str, int], Score]:
    """Look-up of a score by (item_id, index). It raises UserError where there is none."""
    table = {(score.item_id, score.index): score for score in scores}

    def look_up(item_id: str, index: int) -> Score:
        try:
            return table[item_id, index]
        except KeyError:
            raise UserError(
                f"{item_id}: text {index} has no score. Remedy: score the same file again."
            ) from None

    return look_up
