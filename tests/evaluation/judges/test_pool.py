"""Processes that judge: replaced when they die, and no verdict where they are at fault."""

import os
import pathlib
import signal
import time

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.evaluation.judges import pool
from codepmp_jax.evaluation.judges.pool import JudgePool
from codepmp_jax.records.schema import Problem

REFERENCE = {"entry_point": "add", "test": "def check(add):\n    assert add(1, 2) == 3\n"}
PROBLEM = Problem("add", "def add(a, b):\n    'The sum.'\n", task="humaneval", reference=REFERENCE)
HONEST = "def add(a, b):\n    return a + b\n"
SUM = Problem("sum", "1 + 2", task="math", reference={"answer": "3"})


@pytest.fixture(scope="module")
def judges():
    with JudgePool(["humaneval", "math"], 1, timeout=120.0, memory=1 << 30) as judges:
        yield judges


def children(pid: int) -> list[str]:
    return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_one_process_serves_several_judges(judges):
    programs = [judges.submit(PROBLEM, HONEST) for _ in range(5)]
    answers = [judges.submit(SUM, f"#### {n}") for n in range(5)]
    assert all(future.result().is_correct for future in programs)
    assert [future.result().is_correct for future in answers] == [n == 3 for n in range(5)]


def test_a_response_past_its_deadline_costs_its_judge_and_nothing_else():
    with JudgePool(["math"], 1, timeout=2.0, memory=1 << 30) as judges:
        assert judges.submit(SUM, "#### 3").result().is_correct
        (worker,) = judges._workers
        assert worker._process is not None
        before = worker._process.pid
        slow = judges.submit(SUM, r"\boxed{9^{9^{9^{9^{9}}}}}")
        assert slow.result() in {(False, None, pool.TIMED_OUT), (False, None, "out of memory")}
        assert judges.submit(SUM, "#### 3").result().is_correct
        assert worker._process.pid != before


def test_the_judge_is_replaced_when_it_dies(judges):
    assert judges.submit(PROBLEM, HONEST).result().is_correct
    future = judges.submit(PROBLEM, "import time\ntime.sleep(1e6)")
    (worker,) = judges._workers
    # A candidate leads a session of its own right after it has tied its end to the judge's.
    while not (
        candidates := [p for p in children(worker._process.pid) if os.getsid(int(p)) == int(p)]
    ):
        time.sleep(0.01)
    os.kill(worker._process.pid, signal.SIGKILL)
    assert future.result() == (False, None, pool.JUDGE_DIED)
    (status,) = (pathlib.Path(f"/proc/{pid}/stat") for pid in candidates)
    while status.exists() and " Z " not in status.read_text():
        time.sleep(0.01)
    assert judges.submit(PROBLEM, HONEST).result().is_correct


def test_a_judge_that_dies_idle_costs_nobody(judges):
    assert judges.submit(PROBLEM, HONEST).result().is_correct
    (worker,) = judges._workers
    os.kill(worker._process.pid, signal.SIGKILL)
    while worker._process.poll() is None:
        time.sleep(0.01)
    assert judges.submit(PROBLEM, HONEST).result().is_correct


def test_a_mistake_of_the_judge_is_a_verdict_of_its_own(judges, capfd):
    broken = Problem("x", "p", task="mbpp", reference={"tests": ["]"], "solution": "", "setup": ""})
    for _ in range(2):
        assert judges.submit(broken, HONEST).result() == (False, None, pool.JUDGE_FAILED)
    error = capfd.readouterr().err
    assert error.count("the judge of mbpp failed: Traceback") == 1
    assert "SyntaxError" in error
    assert judges.submit(PROBLEM, HONEST).result().is_correct


def test_a_judge_that_does_not_start_is_no_verdict():
    with (
        JudgePool(["humaneval"], 1, timeout=1.0, memory=1 << 20) as judges,
        pytest.raises(UserError, match="memory_mib = 1: no process started that judges humaneval"),
    ):
        judges.submit(PROBLEM, HONEST).result()


SLOW = Problem(
    "slow",
    "Wait.",
    task="mbpp",
    reference={
        "tests": ["assert f(0) == 1"],
        "setup": "",
        "solution": "import time\ndef f(x):\n    time.sleep(2)\n    return 1",
    },
)


def test_a_program_may_take_four_times_as_long_as_the_solution():
    with JudgePool(["mbpp"], 1, timeout=1.0, memory=1 << 30) as judges:
        assert judges.submit(SLOW, SLOW.reference["solution"]).result().verdict == "correct"
        slower = "import time\ndef f(x):\n    time.sleep(99)\n    return 1"
        assert judges.submit(SLOW, slower).result().verdict == pool.TIMED_OUT
