"""Judging in containers: the command that is run, by a runtime that runs its end for real, and what it may refuse."""

from __future__ import annotations

import json
import pathlib
import stat
import sys

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import JudgeConfig
from codepmp_jax.evaluation.judges.container import Image
from codepmp_jax.evaluation.judges.pool import JudgePool
from codepmp_jax.evaluation.judging import run
from codepmp_jax.records.schema import Candidate, Problem, read_problems

ROOT = pathlib.Path(__file__).parents[3]
# Keeps what it is asked for, and runs what stands behind the image.
RUNTIME = """\
#!{python}
import json, os, sys
arguments = sys.argv[1:]
with open({log!r}, "a") as log:
    log.write(json.dumps(arguments) + "\\n")
if arguments[:2] == ["image", "inspect"]:
    if arguments[-1] == "missing":
        sys.exit("Error: no such image: missing")
    print("sha256:0123")
elif arguments[0] == "run":
    place = arguments.index("--entrypoint") + 2
    image, rest = arguments[place], arguments[place + 1:]
    given = [arguments[i + 1] for i, part in enumerate(arguments) if part == "--env"]
    environment = dict(part.split("=", 1) for part in given) | {{"PYTHONPATH": {root!r}}}
    if image == "broken":
        print("warning", file=sys.stderr)
        sys.exit("exec: python: executable file not found")
    if image == "old":
        print('"0.0.1"', flush=True)
        sys.stdin.read()
    os.execve(sys.executable, [sys.executable, *rest], environment)
"""
SUM = Problem(
    "sum",
    "def add(a, b):\n    'The sum.'\n",
    task="humaneval",
    reference={"entry_point": "add", "test": "def check(add):\n    assert add(1, 2) == 3\n"},
    candidates=(Candidate("def add(a, b):\n    return a + b\n"), Candidate("def add(a, b): pass")),
)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a runtime of that name, alone, on the PATH; where its calls are kept."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def put(name: str) -> pathlib.Path:
        log = tmp_path / "calls.jsonl"
        (tmp_path / "bin").mkdir(exist_ok=True)
        path = tmp_path / "bin" / name
        path.write_text(RUNTIME.format(python=sys.executable, log=str(log), root=str(ROOT)))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return log

    return put


def calls(log: pathlib.Path) -> list[list[str]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.parametrize("runtime", ["docker", "podman"])
def test_candidates_are_judged_in_a_container_that_may_do_nothing_else(tmp_path, install, runtime):
    log = install(runtime)
    source, output = tmp_path / "candidates.jsonl", tmp_path / "judged.jsonl"
    source.write_text(SUM.to_json() + "\n")
    run(
        JudgeConfig(
            input=str(source), output=str(output), workers=1, memory_mib=512, container="judge:1"
        )
    )
    (judged,) = read_problems(str(output))
    assert [candidate.verdict for candidate in judged.candidates] == ["correct", "wrong answer"]
    settings = json.loads((tmp_path / "judged.verdicts.json").read_text())["settings"]
    assert settings["container"] == "sha256:0123"
    inspected, started, removed = calls(log)
    assert inspected == ["image", "inspect", "--format", "{{.Id}}", "judge:1"]
    name = started[started.index("--name") + 1]
    assert removed == ["rm", "--force", name]
    options = " ".join(started[: started.index("judge:1")])
    for expected in (
        "run --rm --interactive --pull never",
        "--network none --read-only",
        "--tmpfs /tmp:rw,nosuid,nodev,size=256m,mode=1777",
        "--memory 1280m --memory-swap 1280m --pids-limit 256",
        "--cap-drop ALL --security-opt no-new-privileges --user 65534:65534",
        "--env PYTHONHASHSEED=0",
    ):
        assert expected in options
    assert started[started.index("judge:1") + 1 :] == [
        "-m",
        "codepmp_jax.evaluation.judges.worker",
        str(512 << 20),
        "humaneval",
    ]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            "missing",
            r"container = 'missing': \S+/docker: Error: no such image: missing\. Remedy: build or pull",
        ),
        ("broken", r"judges humaneval \(exec: python: executable file not found\)\. Remedy: "),
        ("old", r"judges humaneval \(it has version \"0\.0\.1\", and this is "),
    ],
)
def test_an_image_that_cannot_judge_is_one_error(install, image, message):
    install("docker")
    with (
        pytest.raises(UserError, match=message),
        JudgePool(["humaneval"], 1, 60.0, 1 << 30, Image(image)) as judges,
    ):
        judges.submit(SUM, "pass").result()


def test_podman_is_asked_where_docker_does_not_answer(tmp_path, install):
    log = install("podman")
    docker = tmp_path / "bin" / "docker"
    docker.write_text("#!/bin/sh\necho Cannot connect to the Docker daemon >&2\nexit 1\n")
    docker.chmod(0o755)
    assert Image("judge").identifier == "sha256:0123"
    assert len(calls(log)) == 1
    with pytest.raises(
        UserError, match=r"docker: Cannot connect to .*; \S+/podman: Error: no such"
    ):
        Image("missing")


def test_a_machine_without_a_runtime_is_one_error(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        UserError, match="container = 'a': neither docker nor podman is on the PATH"
    ):
        Image("a")


def test_a_judge_that_takes_too_long_takes_its_container_with_it(install):
    log = install("docker")
    problem = Problem("sum", "1 + 2", task="math", reference={"answer": "3"})
    with JudgePool(["math"], 1, timeout=1.0, memory=1 << 30, image=Image("judge")) as judges:
        judgement = judges.submit(problem, r"\boxed{9^{9^{9^{9^{9}}}}}").result()
        assert judgement.verdict in ("timed out", "out of memory")
    started = {call[call.index("--name") + 1] for call in calls(log) if call[0] == "run"}
    assert {call[-1] for call in calls(log) if call[0] == "rm"} == started
