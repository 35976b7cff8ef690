"""Judges programs by their tests.

The code of a response is its first code block, or the whole response where it has none. There is no final answer to
vote on.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Callable
from typing import Any

from codepmp_jax.tasks.judges import execution
from codepmp_jax.tasks.judges.execution import Program
from codepmp_jax.tasks.judges.judge import NO_ANSWER, Judge, Judgement

# Imported once in the process that programs are forked from, and not again by every program.
_POPULAR = (
    "bisect",
    "cmath",
    "collections",
    "copy",
    "datetime",
    "decimal",
    "fractions",
    "functools",
    "hashlib",
    "heapq",
    "itertools",
    "json",
    "math",
    "operator",
    "random",
    "re",
    "statistics",
    "string",
    "typing",
)
# A code block to its end, or to the end of a response that was cut off in it.
_BLOCK = re.compile(r"^[ \t]*```[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)


def code_of(response: str) -> str:
    """The code of a response."""
    block = _BLOCK.search(response)
    return block[1] if block else response


@dataclasses.dataclass(frozen=True)
class ProgramJudge(Judge):
    """Runs a response's code with its tests."""

    make_program: Callable[[str, dict[str, Any], str], Program]
    """(prompt, reference, code) -> the program and its tests."""
    reference: tuple[str, ...]
    """Entries of Problem.reference that `make_program` needs."""
    keeps_timeout = True

    def prepare(self) -> None:
        """Makes this process one that programs can be forked from."""
        execution.adopt_orphans()
        for name in _POPULAR:
            importlib.import_module(name)

    def judge(
        self, prompt: str, reference: dict[str, Any], response: str, timeout: float
    ) -> Judgement:
        """As in Judge."""
        code = code_of(response)
        if not code.strip():
            return Judgement(False, None, NO_ANSWER)
        verdict = execution.run(self.make_program(prompt, reference, code), timeout)
        return Judgement(verdict == execution.CORRECT, None, verdict)
