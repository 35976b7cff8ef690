"""Candidates -> judged candidates."""

import dataclasses
import json
import pathlib
import sys

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import JudgeConfig, ProblemsConfig, PuzzlesConfig
from codepmp_jax.evaluation.judging import run
from codepmp_jax.evaluation.problems import read_benchmark
from codepmp_jax.records.schema import Candidate, Problem, read_problems
from tests import processes

ROOT = pathlib.Path(__file__).parents[2]


def answers(count: int = 3) -> list[Problem]:
    responses = ("#### {n}", "it is {n}.0", "#### 7{n}", "no idea", "")
    return [
        Problem(
            f"gsm8k/{n}",
            "How many?",
            tuple(Candidate(response.format(n=n)) for response in responses),
            "gsm8k",
            reference={"answer": str(n)},
        )
        for n in range(10, 10 + count)
    ]


def write(path: pathlib.Path, problems: list[Problem]) -> str:
    path.write_text("".join(f"{problem.to_json()}\n" for problem in problems), encoding="utf-8")
    return str(path)


def judge(folder: pathlib.Path, problems: list[Problem], **settings) -> list[Problem]:
    source = write(folder / "candidates.jsonl", problems)
    output = str(folder / "judged.jsonl")
    run(JudgeConfig(input=source, output=output, workers=2, **settings))
    return list(read_problems(output))


def test_every_candidate_gets_a_judgement_and_nothing_else_changes(tmp_path, capsys):
    problems = answers()
    judged = judge(tmp_path, problems)
    assert [dataclasses.replace(problem, candidates=()) for problem in judged] == [
        dataclasses.replace(problem, candidates=()) for problem in problems
    ]
    assert judged[1].candidates == (
        Candidate("#### 11", True, "11", "correct"),
        Candidate("it is 11.0", True, "11", "correct"),
        Candidate("#### 711", False, "711", "wrong answer"),
        Candidate("no idea", False, None, "no answer"),
        Candidate("", False, None, "no answer"),
    )
    counts = json.loads((tmp_path / "judged.verdicts.json").read_text())
    assert counts["settings"]["timeout_seconds"] == 5.0
    assert set(counts["settings"]["packages"]) == {
        "latex2sympy2_extended",
        "math-verify",
        "sympy",
    }
    assert counts["tasks"]["gsm8k"] == {
        "problems": 3,
        "solved": 3,
        "candidates": 15,
        "verdicts": {"correct": 6, "no answer": 6, "wrong answer": 3},
    }
    out = capsys.readouterr().out
    assert "  wrong answer           3  20.0%" in out
    assert "gsm8k: 3 of 3 problems have a correct candidate" in out
    assert {path.name for path in tmp_path.iterdir()} == {
        "candidates.jsonl",
        "judged.jsonl",
        "judged.verdicts.json",
    }


def test_what_was_not_written_is_wrong_and_keeps_its_reason(tmp_path):
    failed = Candidate("", False, verdict="not written: prompt too long")
    cut_off = Candidate("#### 10 and", verdict="cut off")
    (problem,) = answers(1)
    (judged,) = judge(tmp_path, [dataclasses.replace(problem, candidates=(failed, cut_off))])
    assert judged.candidates == (
        failed,
        dataclasses.replace(cut_off, is_correct=True, answer="10", verdict="correct"),
    )


def test_an_answer_that_takes_too_long_is_wrong_and_counted(tmp_path):
    (problem,) = answers(1)
    slow = Candidate(r"\boxed{9^{9^{9^{9^{9}}}}}")
    problem = dataclasses.replace(problem, candidates=(slow, *problem.candidates))
    (judged,) = judge(tmp_path, [problem], timeout_seconds=1.0)
    assert judged.candidates[0].is_correct is False
    assert judged.candidates[0].verdict in ("timed out", "out of memory")
    assert [c.is_correct for c in judged.candidates[1:]] == [True, True, False, False, False]


def test_candidates_that_no_library_or_file_can_hold_are_judged(tmp_path):
    """Too many digits, a power of a vector, half a surrogate pair: each is a verdict of its own."""
    (problem,) = answers(1)
    texts = (r"\boxed{1990!}", r"\boxed{(1,2)^2}", "#### 10 \ud83d", "#### " + "7" * 5000)
    problem = dataclasses.replace(problem, task="math", candidates=tuple(map(Candidate, texts)))
    (judged,) = judge(tmp_path, [problem])
    assert [c.response for c in judged.candidates] == list(texts)
    assert [c.is_correct for c in judged.candidates] == [False, False, True, False]


def test_a_reference_may_be_a_number(tmp_path):
    (problem,) = answers(1)
    (judged,) = judge(tmp_path, [dataclasses.replace(problem, reference={"answer": 10})])
    assert judged.candidates[0].verdict == "correct"


def test_judging_again_what_was_made_with_a_judgement_finds_the_same(tmp_path):
    """Options and puzzles: their makers and their judges agree."""
    puzzles = PuzzlesConfig(num_problems=3)
    made = list(read_benchmark(ProblemsConfig(task="reasoning_gym", puzzles=puzzles)))
    row = {"context": "c", "question": "q", "answers": ["(B) x", "A y", "The answer is D", "z"]}
    path = tmp_path / "reclor.json"
    path.write_text(json.dumps([row | {"label": n, "id_string": f"v{n}"} for n in range(4)]))
    options = list(read_benchmark(ProblemsConfig(task="reclor", input=str(path))))
    judged = judge(tmp_path, made + options)
    for before, after in zip(made + options, judged, strict=True):
        assert [c.is_correct for c in before.candidates] == [c.is_correct for c in after.candidates]
    assert judged[len(made) :] == options


def test_a_slice_of_humaneval_is_judged_by_its_tests(tmp_path):
    """Author's code is correct, as a whole function and as a body; another body is not."""
    problems = list(read_benchmark(ProblemsConfig()))[::8]
    texts = {
        problem.problem_id: (
            problem.reference["solution"],
            problem.reference["solution"].partition('"""\n')[2].partition('"""\n')[2]
            or problem.reference["solution"],
            "    return NotImplemented\n",
        )
        for problem in problems
    }
    asked = [
        dataclasses.replace(p, candidates=tuple(map(Candidate, texts[p.problem_id])))
        for p in problems
    ]
    judged = judge(tmp_path, asked)
    assert len(judged) == 21
    for problem in judged:
        assert [c.is_correct for c in problem.candidates] == [True, True, False], problem
        assert [c.answer for c in problem.candidates] == [None, None, None]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": ""}, r"problem 'gsm8k/10': task = '': must be one of .*gsm8k, humaneval"),
        ({"task": "gsm9k"}, r"problem 'gsm8k/10': task = 'gsm9k': must be .*Remedy: give gsm8k, "),
        ({"reference": {}}, r"problem 'gsm8k/10': reference = \[\]: lacks answer"),
        (
            {"reference": {"answer": None}},
            r"problem 'gsm8k/10': reference: answer is no text, number",
        ),
        ({"task": "mbpp"}, r"problem 'gsm8k/10': reference = \['answer'\]: lacks tests"),
        ({"candidates": ()}, r"problem 'gsm8k/10': candidates = 0: must be at least one"),
    ],
)
def test_what_cannot_be_judged_is_one_error_before_any_work(tmp_path, changes, message):
    (problem,) = answers(1)
    with pytest.raises(UserError, match=message):
        judge(tmp_path, [dataclasses.replace(problem, **changes)])
    assert [path.name for path in tmp_path.iterdir()] == ["candidates.jsonl"]


def test_ids_must_be_there_and_differ(tmp_path):
    (problem,) = answers(1)
    with pytest.raises(
        UserError, match=r"candidates\.jsonl:2: problem_id 'gsm8k/10' is not unique"
    ):
        judge(tmp_path, [problem, problem])
    with pytest.raises(UserError, match=r"candidates\.jsonl:1: problem_id is empty"):
        judge(tmp_path, [dataclasses.replace(problem, problem_id="")])
    with pytest.raises(UserError, match=r"candidates\.jsonl = 0: holds no problem"):
        judge(tmp_path, [])


def test_killed_and_started_again_equals_undisturbed(tmp_path):
    """SIGKILL as soon as some problems are judged; nothing of the killed run stays at work."""
    problems = answers(1000)
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    judge(undisturbed, problems)
    source, output = write(tmp_path / "c.jsonl", problems), tmp_path / "j.jsonl"
    command = [
        sys.executable,
        str(ROOT / "launch" / "evaluate.py"),
        "judge",
        "--workers",
        "1",
        "--input",
        source,
        "--output",
        str(output),
    ]
    lines = tmp_path / "j.jsonl.partial" / "lines.jsonl"
    with processes.Process(command) as process:
        process.until(lambda: lines.exists() and lines.stat().st_size)
        workers = process.children()
        process.kill()
    assert not output.exists()
    done = lines.read_bytes().count(b"\n")
    assert 0 < done < 1000
    other = processes.run([*command, "--timeout-seconds", "9"])
    assert other.returncode == 2
    assert "timeout_seconds was 5.0, is 9.0" in other.stderr
    again = processes.run(command)
    assert again.returncode == 0, again.stderr
    assert output.read_bytes() == (undisturbed / "judged.jsonl").read_bytes()
    verdicts = (tmp_path / "j.verdicts.json").read_text()
    assert json.loads(verdicts)["tasks"]["gsm8k"]["candidates"] == 5000
    assert not any(pathlib.Path(f"/proc/{pid}").exists() for pid in workers)
