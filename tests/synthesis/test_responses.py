"""Candidates for the problems of a benchmark."""

import ast
import json
import pathlib
import sys

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import CandidatesConfig, MutantConfig, WriterConfig
from codepmp_jax.config.tasks import TASKS
from codepmp_jax.records.schema import Completion, Problem, read_problems
from codepmp_jax.synthesis import candidates
from codepmp_jax.synthesis.candidates import write_candidates
from codepmp_jax.synthesis.writers.mutants import normal_form
from codepmp_jax.synthesis.writers.sampler import Sampler
from codepmp_jax.tasks.common.registry import find_task
from tests.processes import Process, run

ROOT = pathlib.Path(__file__).parents[2]
MODEL = WriterConfig(sampler="vllm", model="m")
MUTANTS = WriterConfig(sampler="mutant")


class Model(Sampler):
    """Writes a request's key; fails on some of them once, on others always; cuts some off."""

    retries = True

    def __init__(self, breaks_after: int = 10**9):
        self.prompts: dict[str, str] = {}
        self.batches: list[int] = []
        self._left = breaks_after
        self.is_closed = False

    def settings(self):
        return {"sampler": "model"}

    def sample(self, requests):
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1
        self.batches.append(len(requests))
        return [self._complete(request) for request in requests]

    def _complete(self, request):
        is_again = request.key in self.prompts
        self.prompts[request.key] = request.prompt
        number = int(request.key.rpartition("/")[2])
        if number == 1 or (number == 2 and not is_again):
            return Completion(request.key, "", "prompt too long", "9 tokens of 8")
        return Completion(
            request.key, request.key, finish_reason="length" if number == 3 else "stop"
        )

    def close(self):
        self.is_closed = True


def problems(count: int = 5, task: str = "gsm8k", **reference) -> list[Problem]:
    return [
        Problem(f"{task}/{n}", f"How {n}?", (), task, reference=reference) for n in range(count)
    ]


def write(folder, asked: list[Problem], name: str = "c.jsonl", **settings) -> list[Problem]:
    source = folder / "p.jsonl"
    source.write_text("".join(f"{problem.to_json()}\n" for problem in asked), encoding="utf-8")
    values = {"input": str(source), "num_candidates": 5, "writer": MODEL, **settings}
    write_candidates(CandidatesConfig(output=str(folder / name), **values))
    return list(read_problems(str(folder / name)))


@pytest.fixture
def model(monkeypatch):
    """Puts a model in the place of the sampler."""

    def use(**settings) -> Model:
        made = Model(**settings)
        monkeypatch.setattr(candidates, "make_sampler", lambda *_: made)
        return made

    return use


def test_every_problem_has_all_its_candidates_whatever_fails(tmp_path, model):
    made = model()
    found = write(tmp_path, problems())
    assert [problem.problem_id for problem in found] == [f"gsm8k/{n}" for n in range(5)]
    for problem in found:
        key = problem.problem_id
        texts = [(c.response, c.is_correct, c.verdict) for c in problem.candidates]
        assert texts == [
            (f"{key}/0", None, ""),
            ("", False, "not written: prompt too long"),
            (f"{key}/2", None, ""),
            (f"{key}/3", None, "cut off"),
            (f"{key}/4", None, ""),
        ]
    assert made.batches == [25, 10]
    assert made.is_closed
    report = json.loads((tmp_path / "c.writing.json").read_text())
    assert report["num_candidates"] == 25
    assert report["remarks"] == {"not written: prompt too long": 5, "cut off": 5}


def test_a_chunk_holds_whole_problems(tmp_path, model):
    made = model()
    whole = write(tmp_path, problems(), chunk_size=12)
    assert made.batches == [10, 4, 10, 4, 5, 2]
    assert write(tmp_path, problems(), "other.jsonl", chunk_size=1) == whole


def test_each_task_has_a_template_that_the_setting_overrides(tmp_path, model):
    for task in TASKS:
        made = model()
        write(tmp_path, problems(1, task), f"{task}.jsonl")
        template = find_task(task, "task").template
        assert "{prompt}" in template
        assert made.prompts[f"{task}/0/0"] == template.replace("{prompt}", "How 0?")
    assert "\\boxed{}" in find_task("math", "task").template
    made = model()
    write(tmp_path, problems(1, "of my own"), template="Q: {prompt} {x}\nA:")
    assert made.prompts["of my own/0/0"] == "Q: How 0? {x}\nA:"


def test_options_are_shown_and_stay_in_the_prompt(tmp_path, model):
    made = model()
    (found,) = write(tmp_path, problems(1, "reclor", options=["one", "two"], answer=1))
    assert found.prompt == "How 0?\n\nA. one\nB. two"
    assert made.prompts["reclor/0/0"].startswith(f"{found.prompt}\n")
    assert found.reference == {"options": ["one", "two"], "answer": 1}


@pytest.mark.parametrize("breaks_after", [0, 1, 2, 3])
def test_a_run_that_breaks_off_goes_on_where_it_was(tmp_path, model, breaks_after):
    model()
    expected = write(tmp_path, problems(), "whole.jsonl")
    model(breaks_after=breaks_after)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, problems(), chunk_size=10)
    made = model()
    assert write(tmp_path, problems(), chunk_size=15) == expected
    # All five problems, then all but what was answered of a chunk, or is whole.
    asked_again = sum(made.batches)
    assert asked_again == {0: 35, 1: 35 - 6, 2: 21, 3: 21 - 6}[breaks_after]
    reports = [(tmp_path / f"{name}.writing.json").read_bytes() for name in ("c", "whole")]
    assert reports[0] == reports[1]


def test_other_settings_and_other_problems_are_refused(tmp_path, model):
    model(breaks_after=2)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, problems(), chunk_size=10)
    model()
    with pytest.raises(UserError, match="num_candidates was 5, is 6"):
        write(tmp_path, problems(), num_candidates=6)
    with pytest.raises(UserError, match="input was '"):
        write(tmp_path, problems(6))


def test_max_problems_are_taken_from_the_first(tmp_path, model):
    model()
    assert len(write(tmp_path, problems(), max_problems=2)) == 2


# --- mutants --------------------------------------------------------------------------------------

SOLUTION = "def f(a, b):\n    '''Both.'''\n    return a + b  # all\n"


def test_the_authors_code_stands_once_among_its_mutants(tmp_path):
    asked = problems(12, "humaneval", solution=SOLUTION)
    found = write(tmp_path, asked, writer=MUTANTS, num_candidates=8)
    author = normal_form(SOLUTION)
    for problem in found:
        texts = [candidate.response for candidate in problem.candidates]
        assert len(set(texts)) == 8
        assert texts.count(author) == 1
        assert all(ast.unparse(ast.parse(text)) == text for text in texts)
        assert all((c.is_correct, c.verdict) == (None, "") for c in problem.candidates)
    assert len({[c.response for c in p.candidates].index(author) for p in found}) > 3
    assert len({frozenset(c.response for c in p.candidates) for p in found}) > 3


@pytest.mark.parametrize(
    ("asked", "settings", "message"),
    [
        (problems(1), {"writer": MUTANTS}, r"reference = \[\]: must hold the solution"),
        (problems(1, solution="def f(:"), {"writer": MUTANTS}, "must be Python"),
        (
            problems(1, solution="def f():\n    return True\n"),
            {"writer": WriterConfig(sampler="mutant", mutant=MutantConfig((1,)))},
            r"num_candidates = 5: is more than there are different mutants of gsm8k/0 \(1\)",
        ),
        (problems(1, "mine"), {}, "problem 'mine/0': task = 'mine': must be one of aime2024, "),
        ([], {}, r"p\.jsonl = 0: holds no problem"),
        (problems(1) * 2, {}, "problem_id 'gsm8k/0' is not unique"),
    ],
)
def test_mistakes_are_one_error(tmp_path, model, asked, settings, message):
    if settings.get("writer", MODEL) is MODEL:
        model()
    with pytest.raises(UserError, match=message):
        write(tmp_path, asked, **settings)
    assert not (tmp_path / "c.jsonl").exists()


def test_settings():
    with pytest.raises(UserError, match=r"template = 'x': must hold \{prompt\}"):
        CandidatesConfig(template="x")
    with pytest.raises(UserError, match="max_problems = 0"):
        CandidatesConfig(max_problems=0)


def test_killed_and_started_again_equals_undisturbed(tmp_path):
    """SIGKILL in the middle, by the command itself."""
    write(tmp_path, problems(1500, "humaneval", solution=SOLUTION), "whole.jsonl", writer=MUTANTS)
    command = [
        sys.executable,
        str(ROOT / "launch" / "candidates.py"),
        "--chunk-size",
        "1",
        "--input",
        str(tmp_path / "p.jsonl"),
        "--output",
        str(tmp_path / "c.jsonl"),
        "--num-candidates",
        "5",
        "--writer.sampler",
        "mutant",
    ]
    lines = tmp_path / "c.jsonl.partial" / "lines.jsonl"
    with Process(command) as process:
        process.until(lambda: lines.exists() and lines.stat().st_size)
        process.kill()
    assert 0 < lines.read_bytes().count(b"\n") < 1500
    again = run(command)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "c.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert "1500 problems with 7500 candidates" in again.stdout
