"""A process that judges one response after another: a line of JSON in, a line of JSON out.

    python -m codepmp_jax.evaluation.judges.worker MEMORY_BYTES JUDGE ...

It says `"ready"` first, and stays small, without numpy unless a judge needs it: every program runs in a fork of it.
"""

from __future__ import annotations

import importlib
import json
import resource
import signal
import sys
import traceback
from typing import Any

from codepmp_jax.evaluation.judges import programs
from codepmp_jax.evaluation.judges.judgement import Judgement

OUT_OF_MEMORY = "out of memory"
_LATER_SECONDS = 5.0


def judge(job: dict[str, Any]) -> Judgement:
    """The judgement of a job: judge, task, prompt, reference, response, timeout (seconds)."""
    arguments = (job["task"], job["prompt"], job["reference"], job["response"])
    try:
        if job["judge"] == "programs":
            return programs.judge(*arguments, job["timeout"])
        return _module(job["judge"]).judge(*arguments)
    except MemoryError:
        return Judgement(False, None, OUT_OF_MEMORY)


def _module(name: str) -> Any:
    return importlib.import_module(f"codepmp_jax.evaluation.judges.{name}")


def _say(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Judges until its input ends."""
    memory, *judges = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    for name in judges:
        _module(name).prepare()
    _say("ready")
    for line in sys.stdin.buffer:
        job = json.loads(line)
        # Ends this process where the one that would do so at the deadline is gone.
        signal.setitimer(signal.ITIMER_REAL, job["deadline"] + _LATER_SECONDS)
        try:
            reply: Any = judge(job)
        except Exception:
            reply = {"error": traceback.format_exc()}
        signal.setitimer(signal.ITIMER_REAL, 0)
        _say(reply)


if __name__ == "__main__":
    main()
