"""LiveCodeBench (arXiv 2403.07974), code generation: problems of contests, each with the date of its contest.

Tests are inputs with outputs: of a program that reads and writes, or of a method that starter code names. The columns
and rules are those of LiveCodeBench/LiveCodeBench (lcb_runner/benchmarks/code_generation.py and
lcb_runner/evaluation/testing_util.py). `private_test_cases` is JSON, or base64 of zlib of a pickle of JSON; of the
pickle nothing but a text is read, and nothing in it is run.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import io
import json
import pickle
import zlib
from typing import Any

from codepmp_jax.records.schema import Problem
from codepmp_jax.tasks.common.row import Row
from codepmp_jax.tasks.common.task import Passages, Task
from codepmp_jax.tasks.judges.execution import Program
from codepmp_jax.tasks.judges.programs import ProgramJudge

TEMPLATE = """\
{prompt}

Answer with the whole Python program in one code block.
"""
_READS = "Read the input from standard input, and write the output to standard output."
_STARTS = "Complete this code:"
_KINDS = ("stdin", "functional")
_MOST_BYTES = 1 << 30
# What the authors' harness imports before a program.
_MODULES = [
    "string",
    "re",
    "datetime",
    "collections",
    "heapq",
    "bisect",
    "copy",
    "math",
    "random",
    "statistics",
    "itertools",
    "functools",
    "operator",
    "io",
    "sys",
    "json",
]
_SETUP = "\n".join(
    [
        *(f"from {name} import *" for name in (*_MODULES, "builtins", "typing")),
        f"import {', '.join(_MODULES)}",
        "sys.setrecursionlimit(50000)\n",
    ]
)


def make_problem(row: Row, number: int) -> Problem:
    """Columns: question_id, question_content, starter_code (perhaps empty), difficulty, contest_date, public_test_cases,
    private_test_cases, metadata (JSON, with func_name where a method is asked for)."""
    method = _metadata(row).get("func_name") or ""
    starter = row.text("starter_code") if row.has("starter_code") else ""
    if method and method not in starter:
        raise ValueError(f"starter_code lacks {method}, which metadata names")
    asked = f"{_STARTS}\n\n```python\n{starter.rstrip()}\n```" if method else _READS
    name = row.identifier("question_id")
    return Problem(
        f"livecodebench/{name}",
        f"{row.text('question_content').strip()}\n\n{asked}",
        task="livecodebench",
        subset=row.text("difficulty"),
        reference={"cases": _cases(row, bool(method)), "method": method, "starter": starter},
    )


def contest_date(row: Row) -> datetime.date:
    """The day of a row's contest. Raises ValueError where there is none."""
    text = row.text("contest_date")
    try:
        return datetime.datetime.fromisoformat(text).date()
    except ValueError as error:
        raise ValueError(f"contest_date is no date but {text!r}") from error


def _metadata(row: Row) -> dict[str, Any]:
    text = row.text("metadata") if row.has("metadata") else "{}"
    found = _parsed("metadata", text)
    if not isinstance(found, dict):
        raise ValueError(f"metadata is no JSON object but {text!r:.80}")
    return found


def _parsed(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{name} holds no JSON: {error}") from error


def _cases(row: Row, calls_method: bool) -> list[list[str]]:
    """[input, output] of the public tests and of the private ones."""
    texts = {"public_test_cases": row.text("public_test_cases")}
    texts["private_test_cases"] = unpacked(row.text("private_test_cases"))
    kind = _KINDS[calls_method]
    cases = []
    for name, text in texts.items():
        tests = _parsed(name, text)
        if not isinstance(tests, list):
            raise ValueError(f"{name} is no list of tests")
        for test in tests:
            if not isinstance(test, dict) or test.get("testtype") != kind:
                raise ValueError(f"{name} has a test that is not {kind}: {test!r:.80}")
            given, expected = test.get("input"), test.get("output")
            if not isinstance(given, str) or not isinstance(expected, str):
                raise ValueError(f"{name} has a test without input or output: {test!r:.80}")
            if calls_method:
                for line in (*given.split("\n"), expected):
                    _parsed(f"a test of {name}", line)
            cases.append([given, expected])
    if not cases:
        raise ValueError("public_test_cases and private_test_cases are empty")
    return cases


class _TextOnly(pickle.Unpickler):
    """Reads texts, numbers and containers; refuses what names a class or function."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        raise pickle.UnpicklingError(f"{module_name}.{global_name} is no text")


def unpacked(text: str) -> str:
    """The JSON of private tests, however it is packed. Raises ValueError where it is not packed as published."""
    if text.lstrip().startswith("["):
        return text
    try:
        unzip = zlib.decompressobj()
        data = unzip.decompress(base64.b64decode(text, validate=True), _MOST_BYTES)
        if unzip.unconsumed_tail:
            raise ValueError(f"more than {_MOST_BYTES} bytes")
        found = _TextOnly(io.BytesIO(data)).load()
    # A pickle that is damaged raises errors of many types.
    except (binascii.Error, zlib.error, Exception) as error:
        raise ValueError(f"private_test_cases cannot be unpacked: {error}") from error
    if not isinstance(found, str):
        raise ValueError(f"private_test_cases holds no text but a {type(found).__name__}")
    return found


def make_program(prompt: str, reference: dict[str, Any]) -> Program:
    """The program's cases. A method may also be defined as a function, without the starter's class."""
    method = reference["method"]
    cases = tuple((given, expected) for given, expected in reference["cases"])
    has_class = bool(method) and "class Solution" in reference["starter"]
    functions = (("Solution",) if has_class else (method,)) if method else ()
    adapter = (
        f"if 'Solution' not in globals() and {method!r} in globals():\n"
        f"    Solution = type('Solution', (), {{{method!r}: staticmethod(globals()[{method!r}])}})\n"
    )
    return Program(
        _SETUP,
        tests="",
        functions=functions,
        classes=(),
        test_setup=adapter if has_class else "",
        cases=cases,
        method=method,
    )


def _passages(row: dict[str, Any]) -> list[str]:
    return [row["question_content"]]


TASK = Task(
    template=TEMPLATE,
    judge=ProgramJudge(make_program, reference=("cases",)),
    make_problem=make_problem,
    date=contest_date,
    passages=(
        Passages(
            "LiveCodeBench",
            columns=("question_content", "starter_code", "private_test_cases"),
            id="question_id",
            texts=_passages,
        ),
    ),
    hub="lighteval/code_generation_lite",
    configurations=("release_latest",),
)
