"""The launch scripts as processes of their own, and what training runs leave behind."""

from __future__ import annotations

import json
import os
import pathlib
import sys
from typing import Any

from tests import processes

LAUNCH = pathlib.Path(__file__).parents[2] / "launch"


def command(script: str, *arguments: object) -> list[str]:
    """The command line of a launch script."""
    return [sys.executable, str(LAUNCH / script), *map(str, arguments)]


def environment(**variables: str) -> dict[str, str]:
    """This process's environment with jax and torch on the CPU, without pytest's settings of jax."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if name != "XLA_FLAGS" and not name.startswith("JAX_")
    }
    return clean | {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""} | variables


def launch(script: str, *arguments: object) -> str:
    """Runs a launch script to its end, which must be a good one; gives its stdout."""
    done = processes.run(command(script, *arguments), environment())
    assert done.returncode == 0, f"{script}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def metrics(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl, without what measures time; none where there is no file yet."""
    path = workdir / "metrics.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    rows = [json.loads(line) for line in text.split("\n")[:-1]]
    return [
        {name: value for name, value in row.items() if not name.startswith("speed/")}
        for row in rows
    ]


def checkpoint_steps(workdir: pathlib.Path) -> list[int]:
    """Steps of the whole checkpoints of a run."""
    found = (workdir / "checkpoints").glob("*")
    return sorted(int(folder.name) for folder in found if folder.name.isdecimal())
