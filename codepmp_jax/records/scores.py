"""Files of scores, read with checks."""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

from codepmp_jax.cli.errors import UserError
from codepmp_jax.records.schema import Score

# Field -> the names that a file of others may have for it.
_NAMES = {
    "item_id": ("item_id", "problem_id", "pair_id"),
    "index": ("index",),
    "reward": ("reward", "score"),
}


def read_scores(path: str | pathlib.Path) -> list[Score]:
    """The scores of a JSONL file, by `launch/evaluate.py score` or by another program, in order.

    A line holds `item_id` (or `problem_id` or `pair_id`), `index`, `reward` (or `score`) and perhaps
    `num_tokens`; other entries are not read. Raises UserError naming file and line where one is missing, of
    another kind or not finite, and where a text has two scores.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file. Remedy: write it with `launch/evaluate.py score`.")
    lines: dict[tuple[str, int], int] = {}
    scores = []
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                score = _parse(json.loads(line))
                key = (score.item_id, score.index)
                if key in lines:
                    raise ValueError(
                        f"text {score.index} of {score.item_id!r} has a score already, at line {lines[key]}"
                    )
            except ValueError as error:
                raise UserError(
                    f"{path}:{number}: {error}. Remedy: score the same file again."
                ) from error
            lines[key] = number
            scores.append(score)
    return scores


def _parse(row: Any) -> Score:
    if not isinstance(row, dict):
        raise ValueError("no object of item_id, index and reward")
    values = {}
    for field, names in _NAMES.items():
        found = [row[name] for name in names if row.get(name) is not None]
        if not found:
            raise ValueError(f"lacks {' or '.join(names)}")
        values[field] = found[0]
    item_id, index, reward = values.values()
    num_tokens = row.get("num_tokens")
    if isinstance(item_id, int) and not isinstance(item_id, bool):
        item_id = str(item_id)
    if not isinstance(item_id, str):
        raise ValueError(f"item_id is no string ({item_id!r})")
    for name, value in (("index", index), ("num_tokens", num_tokens)):
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        if not whole and not (name == "num_tokens" and value is None):
            raise ValueError(f"{name} is no whole number ({value!r})")
    is_number = isinstance(reward, int | float) and not isinstance(reward, bool)
    if not is_number or not abs(reward) <= sys.float_info.max:
        raise ValueError(f"reward is no finite number ({reward!r})")
    return Score(item_id, index, float(reward), num_tokens)
