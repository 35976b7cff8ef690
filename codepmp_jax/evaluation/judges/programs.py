"""Judges programs by their tests (HumanEval, MBPP).

The code of a response is its first code block, or the whole response where it has none. For HumanEval it is a
whole function where it defines the one that is asked for (the prompt's imports and helpers then stand before
it), and else the rest of the prompt. There is no final answer to vote on.
"""

from __future__ import annotations

import ast
import importlib
import re
from typing import Any

from codepmp_jax.evaluation.judges import execution
from codepmp_jax.evaluation.judges.execution import Program
from codepmp_jax.evaluation.judges.judgement import NO_ANSWER, Judgement

# Imported once in the process that programs are forked from, and not again by every program.
_POPULAR = (
    *(
        "bisect",
        "cmath",
        "collections",
        "copy",
        "datetime",
        "decimal",
        "fractions",
        "functools",
        "hashlib",
    ),
    *(
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
    ),
)
# A code block to its end, or to the end of a response that was cut off in it.
_BLOCK = re.compile(r"^[ \t]*```[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)


def split_prompt(prompt: str, entry_point: str) -> tuple[str, str] | None:
    """(what stands before the function's definition, the rest) of a HumanEval prompt; None without one."""
    found = _definition(entry_point).search(prompt)
    return (prompt[: found.start()], prompt[found.start() :]) if found else None


def _definition(name: str) -> re.Pattern[str]:
    return re.compile(rf"^(?:async )?def {re.escape(name)}\b", re.MULTILINE)


def code_of(response: str) -> str:
    """The code of a response."""
    block = _BLOCK.search(response)
    return block[1] if block else response


def make_program(prompt: str, reference: dict[str, Any], code: str) -> Program:
    """What is run to judge a piece of code: HumanEval's where there is an entry_point, else MBPP's."""
    if "entry_point" not in reference:
        tests = "\n".join(reference["tests"])
        functions, classes = _used(tests, reference["solution"])
        return Program(reference["setup"], code, tests, functions, classes)
    name = reference["entry_point"]
    parts = split_prompt(prompt, name)
    assert parts is not None
    before, head = parts
    if not _definition(name).search(code):
        code = head + code
    return Program(before, code, f"{reference['test']}\ncheck({name})\n", (name,), ())


def _used(tests: str, solution: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(functions and values, classes) of the solution that the tests name."""
    used = {node.id for node in ast.walk(ast.parse(tests)) if isinstance(node, ast.Name)}
    defined: dict[str, bool] = {}
    for node in ast.parse(solution).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined[node.name] = isinstance(node, ast.ClassDef)
        elif isinstance(node, ast.Assign):
            defined |= {target.id: False for target in node.targets if isinstance(target, ast.Name)}
    names = sorted(used & defined.keys())
    return (
        tuple(name for name in names if not defined[name]),
        tuple(name for name in names if defined[name]),
    )


def prepare() -> None:
    """Makes this process one that programs can be forked from."""
    execution.adopt_orphans()
    for name in _POPULAR:
        importlib.import_module(name)


def judge(
    task: str, prompt: str, reference: dict[str, Any], response: str, timeout: float
) -> Judgement:
    """Runs a response's code with its tests, for `timeout` seconds at most."""
    code = code_of(response)
    if not code.strip():
        return Judgement(False, None, NO_ANSWER)
    verdict = execution.run(make_program(prompt, reference, code), timeout)
    return Judgement(verdict == execution.CORRECT, None, verdict)
