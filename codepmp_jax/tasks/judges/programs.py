"""Judges programs by their tests.

`code_blocks` states which part of a response is run. There is no final answer to vote on.

A program may take the timeout, or four times as long as the authors' solution takes on the same machine, where that
is more, but no more than four times the timeout (the rule of EvalPlus). Where it is run for cases, the timeout is that of
each.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import importlib
import time
import warnings
from collections.abc import Callable
from typing import Any

from codepmp_jax.tasks.judges import execution
from codepmp_jax.tasks.judges.code_blocks import code_of
from codepmp_jax.tasks.judges.execution import Program
from codepmp_jax.tasks.judges.judge import NO_ANSWER, Judge, Judgement

# Imported once in the process that programs are forked from, and not again by every program.
_POPULAR = (
    "abc",
    "bisect",
    "cmath",
    "collections",
    "copy",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
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
    "typing_extensions",  # changes typing, which is no tampering where it comes first
)
# A program may take this many times as long as the authors' solution does.
_SLOWER = 4
# Within so many timeouts a judgement ends: the program, the solution, and the program again.
_MOST_TIMEOUTS = 1 + 2 * _SLOWER
# What it may take beyond that.
_GRACE_SECONDS = 20.0


@dataclasses.dataclass(frozen=True)
class ProgramJudge(Judge):
    """Runs a response's code with its tests."""

    make_program: Callable[[str, dict[str, Any]], Program]
    """(prompt, reference) -> the tests, with the beginning of the program where the task is to complete it."""
    reference: tuple[str, ...]
    """Entries of Problem.reference that `make_program` needs. `solution`, the authors', is used where it is given."""
    _seconds: dict[Any, float] = dataclasses.field(default_factory=dict, compare=False)
    """(tests, solution) -> seconds that the solution takes."""

    def check_reference(self, reference: dict[str, Any]) -> None:
        """As in Judge: `cases` are pairs of texts, any other entry is Python code, in one text or a list of texts."""
        for name in self.reference:
            value = reference[name]
            if name == "cases":
                _check_cases(value)
                continue
            parts = value if isinstance(value, list) else [value]
            if not all(isinstance(part, str) for part in parts):
                raise ValueError(f"{name} must be a text or a list of texts, and is {value!r}")
            try:
                ast.parse("\n".join(parts))
            except (SyntaxError, ValueError) as error:
                raise ValueError(f"{name} is not Python: {error}") from error

    def deadline(self, reference: dict[str, Any], timeout: float) -> float:
        """As in Judge: programs are killed before it."""
        limits = max(1, len(reference.get("cases", ())))
        return _MOST_TIMEOUTS * timeout * limits + _GRACE_SECONDS

    def prepare(self) -> None:
        """Makes this process one that programs can be forked from."""
        execution.adopt_orphans()
        for name in _POPULAR:
            with contextlib.suppress(ImportError):  # typing_extensions is no part of Python
                importlib.import_module(name)

    def syntax(self, prompt: str, reference: dict[str, Any], response: str) -> str:
        """As in Judge."""
        _, code = self._read(prompt, reference, response)
        try:
            with warnings.catch_warnings(action="ignore"):
                return ast.dump(ast.parse(code)) if code.strip() else ""
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return ""

    def _read(self, prompt: str, reference: dict[str, Any], response: str) -> tuple[Program, str]:
        """(the tests, the response's code)."""
        program = self.make_program(prompt, reference)
        return program, code_of(response, (*program.functions, *program.classes), program.head)

    def judge(
        self, prompt: str, reference: dict[str, Any], response: str, timeout: float
    ) -> Judgement:
        """As in Judge."""
        program, code = self._read(prompt, reference, response)
        if not code.strip():
            return Judgement(False, None, NO_ANSWER)
        verdict = execution.run(program._replace(code=code), timeout)
        if verdict == execution.TIMED_OUT:
            longer = self._longer(program, reference.get("solution") or "", timeout)
            if longer > timeout:
                verdict = execution.run(program._replace(code=code), longer)
        return Judgement(verdict == execution.CORRECT, None, verdict)

    def _longer(self, program: Program, solution: str, timeout: float) -> float:
        """Seconds that a program may take for as long as the solution takes; 0 where that is not known."""
        if not solution:
            return 0.0
        key = (program, solution)
        if key not in self._seconds:
            begin = time.monotonic()
            verdict = execution.run(program._replace(code=solution), _SLOWER * timeout)
            seconds = time.monotonic() - begin
            self._seconds[key] = seconds if verdict == execution.CORRECT else 0.0
        return min(_SLOWER * self._seconds[key], _SLOWER * timeout)


def _check_cases(cases: Any) -> None:
    pairs = cases if isinstance(cases, list) else []
    if not pairs or not all(
        isinstance(pair, list) and [type(part) for part in pair] == [str, str] for pair in pairs
    ):
        raise ValueError(f"cases must be a list of pairs of texts, and is {cases!r:.80}")
