"""A process that judges one response after another: a line of JSON in, a line of JSON out.

    python -m codepmp_jax.evaluation.judges.worker MEMORY_BYTES TASK ...

It writes the package's version first, when it is ready, and stays small, without numpy unless a judge needs it: every program runs in a fork of it.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import traceback
from typing import Any

import codepmp_jax
from codepmp_jax.tasks.common.registry import find_task
from codepmp_jax.tasks.judges.judge import Judgement

OUT_OF_MEMORY = "out of memory"
_LATER_SECONDS = 5.0


def judge(job: dict[str, Any]) -> Judgement:
    """The judgement of a job: task, prompt, reference, response, timeout (seconds)."""
    task = find_task(job["task"], "job")
    try:
        return task.judge.judge(job["prompt"], job["reference"], job["response"], job["timeout"])
    except MemoryError:
        return Judgement(False, None, OUT_OF_MEMORY)


def _write(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Judges until its input ends."""
    memory, *tasks = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    for name in tasks:
        find_task(name, "worker").judge.prepare()
    _write(codepmp_jax.__version__)
    for line in sys.stdin.buffer:
        job = json.loads(line)
        # Ends this process if its parent, which would do so at the deadline, is gone.
        signal.setitimer(signal.ITIMER_REAL, job["deadline"] + _LATER_SECONDS)
        try:
            reply: Any = judge(job)
        except Exception:
            reply = {"error": traceback.format_exc()}
        signal.setitimer(signal.ITIMER_REAL, 0)
        _write(reply)


if __name__ == "__main__":
    main()
