"""The page of a benchmark: what was run, on which commit, the table, and one line of JSON."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import platform
import shlex
import subprocess
import sys
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def commit() -> str:
    """The checkout's commit, with `-dirty` where files differ from it."""
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()


class Page:
    """`benchmarks/results/NAME.md`, or RESULT.md. The commit is that of the moment when it is made."""

    def __init__(self, name: str, title: str, python: str = "python", result: str | None = None):
        """`python` is how the interpreter is called in the command shown."""
        self._name = name
        self._result = result or name
        self._title = title
        self._command = f"{python} {shlex.join([f'benchmarks/{name}.py', *sys.argv[1:]])}"
        self._commit = commit()

    def write(self, note: str, tables: str, **figures: Any) -> str:
        """Writes the page anew and returns it. `note` says how to read the Markdown `tables`."""
        text = f"""\
# {self._title}

    {self._command}

{datetime.date.today()}, commit {self._commit}, Python {platform.python_version()}, {os.cpu_count()} CPU \
cores. {note}

{tables}

```json
{json.dumps({"benchmark": self._name, "commit": self._commit, **figures})}
```
"""
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{self._result}.md").write_text(text, encoding="utf-8")
        return text
