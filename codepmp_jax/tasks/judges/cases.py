"""Runs a program once for each pair of an input and an output that belongs to it, as LiveCodeBench does.

A program of contests reads its input from where programs read (`sys.stdin`, `input`, `open(0)`, descriptor 0), and its
output is what it writes there; it runs as `__main__`, in a namespace of its own for every case, and may end itself by
`exit()`. Outputs are equal where their lines are, without spaces around them and empty lines around all; a line may
also hold the same decimal numbers written otherwise. A method gets JSON values, one a line, and returns one; a
tuple counts as a list (LiveCodeBench/LiveCodeBench, lcb_runner/evaluation/testing_util.py).
"""

from __future__ import annotations

import decimal
import io
import json
import os
import sys
import threading
import types
from collections.abc import Callable, Sequence
from typing import IO, Any

Cases = Sequence[tuple[str, str]]


def run_method(method: Callable[..., Any], cases: Cases, begin: Callable[[], None]) -> bool:
    """Whether the method returns the output of every case. Raises what it raises. `begin` is called before each."""
    for given, expected in cases:
        arguments = [json.loads(line) for line in given.split("\n")]
        begin()
        found = method(*arguments)
        if isinstance(found, tuple):
            found = list(found)
        if found != json.loads(expected):
            return False
    return True


def run_program(setup: Any, code: Any, cases: Cases, begin: Callable[[], None]) -> bool:
    """Whether the compiled program writes the output of every case. Raises what it raises. For a process of its own, whose
    folder may be written to: its standard input and output become files there."""
    # Opened once: a program may close its standard input, whose number the next file would get.
    with open("input", "w+b") as source, open("output", "w+b") as target:
        for given, expected in cases:
            begin()
            if not is_same_output(_output(setup, code, given, source, target), expected):
                return False
    return True


def _output(setup: Any, code: Any, given: str, source: IO[bytes], target: IO[bytes]) -> str:
    """What the program writes for an input. The files are what it reads and writes."""
    for file, content, number in ((source, given, 0), (target, "", 1)):
        file.seek(0)
        file.truncate()
        file.write(content.encode("utf-8", "surrogatepass"))
        file.flush()
        file.seek(0)
        os.dup2(file.fileno(), number)
    sys.stdin = io.TextIOWrapper(io.FileIO(0, "r", closefd=False), encoding="utf-8")
    sys.stdout = stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding="utf-8")
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    # Threads inherit whether they are waited for, and the main thread of a program is none that ends unawaited.
    threading.current_thread()._daemonic = False  # pyright: ignore[reportAttributeAccessIssue]
    before = set(threading.enumerate())
    try:
        exec(setup, vars(module))
        exec(code, vars(module))
        for thread in set(threading.enumerate()) - before:
            if not thread.daemon:
                thread.join()
    except SystemExit:
        pass
    if not stdout.closed:
        stdout.flush()
    target.seek(0)
    return target.read().decode("utf-8", "replace")


def is_same_output(found: str, expected: str) -> bool:
    """Whether two outputs are equal by the rule above."""
    lines, others = (
        [line.strip() for line in text.strip().split("\n")] for text in (found, expected)
    )
    return len(lines) == len(others) and all(map(_is_same_line, lines, others))


def _is_same_line(line: str, other: str) -> bool:
    if line == other:
        return True
    try:
        return [*map(decimal.Decimal, line.split())] == [*map(decimal.Decimal, other.split())]
    except decimal.InvalidOperation:
        return False
