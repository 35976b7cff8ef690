"""Small files of each public schema, as their authors publish them."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable
from typing import Any

from codepmp_jax.config import RmDataConfig
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.records.shards import ShardedDataset, read_manifest
from codepmp_jax.rm_data.build import build

EGGS = "A farm sells 4 boxes of 6 eggs. How many eggs are that?"
RIGHT = ("Step 1: Each box holds 6 eggs.", "Step 2: 4 x 6 = <<4*6=24>>24. The answer is: 24")
WRONG = ("Step 1: Add the numbers.", "Step 2: 4 + 6 = <<4+6=10>>10. The answer is: 10")


def shepherd(
    steps: Iterable[str], marks: str, problem: str = EGGS, task: str = "GSM8K"
) -> dict[str, str]:
    """A row of MathShepherd; `marks` holds + or - for each step."""
    steps = list(steps)
    texts = [
        f"{problem} " + "\n".join(f"{step} {mark}" for step, mark in zip(steps, shown, strict=True))
        for shown in (["ки"] * len(steps), marks)
    ]
    return {"input": texts[0], "label": texts[1], "task": task}


def stepwise(steps: Iterable[Any], labels: Any, problem: str = EGGS) -> dict[str, Any]:
    """A row of TRL's form of MathShepherd."""
    return {"prompt": problem, "completions": list(steps), "labels": labels}


RECLOR = {
    "context": "All crows that were seen are black.",
    "question": "Which one follows?",
    "answers": ["Some bird is black.", "All birds are black.", "No crow is white.", "Crows fly."],
    "label": 0,
    "id_string": "train_0",
}
LOGIQA2 = {
    "id": 10,
    "answer": 2,
    "text": "Who sings is happy. Tom sings.",
    "type": {"Sufficient Conditional Reasoning": True},
    "question": "What is true of Tom?",
    "options": ["He is sad.", "He is tall.", "He is happy.", "He is late."],
}
RATED = {
    "instruction": "Write a function that reverses a list.",
    "preference": "readability",
    "models": ["gpt-4", "wizardlm-7b", "llama-2-13b-chat", "mistral-7b-instruct"],
    "responses": [
        {"model": "gpt-4", "response": "def turn(xs): return xs[::-1]"},
        {"model": "wizardlm-7b", "response": "xs.reverse()"},
        {"model": "llama-2-13b-chat", "response": "return reversed"},
        {"model": "mistral-7b-instruct", "response": "sorry"},
    ],
    # In the order in which the judge saw them.
    "annotations": [
        {"model": "wizardlm-7b", "rating": "6", "rationale": "fine"},
        {"model": "mistral-7b-instruct", "rating": "1", "rationale": "no code"},
        {"model": "gpt-4", "rating": "9", "rationale": "clear"},
        {"model": "llama-2-13b-chat", "rating": "N/A", "rationale": ""},
    ],
}
BENCH = {
    "prompt": "Name a prime.",
    "chosen": "7",
    "chosen_model": "human",
    "rejected": "8",
    "rejected_model": "gpt-4",
    "subset": "math-prm",
    "id": 12,
}


def candidates(number: int, answers: Iterable[tuple[str, bool | None]]) -> dict[str, Any]:
    """A problem with judged candidates, as `evaluate judge` writes it."""
    return {
        "problem_id": f"p/{number}",
        "prompt": f"What is {number} + {number}? Think of {number} apples.",
        "candidates": [
            {"response": text, "is_correct": is_correct, "answer": None, "verdict": ""}
            for text, is_correct in answers
        ],
        "task": "gsm8k",
        "subset": "sums",
        "reference": {"answer": str(2 * number)},
    }


def write(path: pathlib.Path, rows: Iterable[Any]) -> pathlib.Path:
    """The rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def built(
    folder: pathlib.Path, rows: Iterable[Any], source: Any, **settings: Any
) -> tuple[dict[str, list[PreferencePair]], dict[str, Any]]:
    """(the pairs of each split, the report) of rows; all are train's unless the settings say otherwise."""
    folder.mkdir(exist_ok=True)
    path = write(folder / "rows.jsonl", rows)
    if "heldout_input" not in settings:
        settings = {"heldout_fraction": 0.0} | settings
    config = RmDataConfig(source=source, input=str(path), output=str(folder / "out"), **settings)
    report = build(config)
    splits = read_manifest(config.output)["splits"]
    return {
        split: list(ShardedDataset(config.output, PreferencePair, split)) for split in splits
    }, report
