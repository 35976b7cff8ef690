"""Scores by item, and what is known of how they were made."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.evaluation.items import item_id_of
from codepmp_jax.files.json_lines import json_line
from codepmp_jax.records.schema import PreferencePair, Problem, Score

ItemT = TypeVar("ItemT", PreferencePair, Problem)


def to_line(score: Score) -> str:
    """The score as one line of JSON."""
    return json_line(dataclasses.asdict(score))


def meta_path(path: str | pathlib.Path) -> pathlib.Path:
    """The file that says how scores were made: `scores.meta.json` next to `scores.jsonl`."""
    return pathlib.Path(path).with_suffix(".meta.json")


def read_meta(path: str | pathlib.Path) -> dict[str, Any]:
    """How a file of scores was made (`model`, `backend`, `dtype`, ...); empty where there is no such file."""
    meta = meta_path(path)
    try:
        return json.loads(meta.read_text(encoding="utf-8")) if meta.is_file() else {}
    except ValueError as error:
        raise UserError(f"{meta}: not JSON ({error}). Remedy: remove it.") from error


def without_refused(items: Sequence[ItemT], path: str | pathlib.Path) -> tuple[list[ItemT], int]:
    """(the items without those that scoring left out, how many it left out), by the meta file of the scores.

    Raises UserError where it left out all of them.
    """
    refused = read_meta(path).get("refused") or {}
    kept = [item for item in items if item_id_of(item) not in refused]
    require(
        len(kept) > 0 or not items,
        f"{meta_path(path)}: refused",
        len(refused),
        "must not be all items",
        "score the items of this file",
    )
    return kept, len(items) - len(kept)


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
