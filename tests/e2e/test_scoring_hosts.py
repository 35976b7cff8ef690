"""`launch/evaluate.py score --backend jax` on several hosts, which go on with what one began."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import subprocess

import numpy as np
import pytest

from codepmp_jax.config import MeshConfig, ScoreConfig, ScorerConfig
from codepmp_jax.evaluation.scorers import scoring
from codepmp_jax.evaluation.scores import read_meta
from codepmp_jax.files.journal import Journal
from codepmp_jax.records.schema import Candidate, Problem
from codepmp_jax.records.scores import read_scores
from tests.e2e.launching import command, environment
from tests.evaluation.scorers.test_jax_scorer import write_run
from tests.processes import Process, free_port

NUM_HOSTS = 2
BATCH_TOKENS = 64


class Killed(Exception):
    """Stands for the end of the process."""


def write_candidates(path) -> None:
    generator = random.Random(0)

    def code(least: int, most: int) -> str:
        return " ".join(
            generator.choices(["def", "f", "(", ")", "x"], k=generator.randint(least, most))
        )

    problems = [
        Problem(f"p{i}", code(1, 9), tuple(Candidate(code(1, 60)) for _ in range(8)))
        for i in range(4)
    ]
    path.write_text("".join(problem.to_json() + "\n" for problem in problems), encoding="utf-8")


def score_on_hosts(*arguments: object) -> list[subprocess.CompletedProcess[str]]:
    """Runs the command on every host to its end."""
    address = f"localhost:{free_port()}"
    with contextlib.ExitStack() as stack:
        hosts = [
            stack.enter_context(
                Process(
                    command("evaluate.py", "score", *arguments),
                    environment(
                        XLA_FLAGS="--xla_force_host_platform_device_count=2",
                        JAX_CPU_COLLECTIVES_IMPLEMENTATION="gloo",
                        JAX_COORDINATOR_ADDRESS=address,
                        JAX_NUM_PROCESSES=str(NUM_HOSTS),
                        JAX_PROCESS_ID=str(host),
                    ),
                )
            )
            for host in range(NUM_HOSTS)
        ]
        return [host.finish() for host in hosts]


def test_two_hosts_go_on_with_what_one_began(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run")
    source, output = tmp_path / "candidates.jsonl", tmp_path / "scores.jsonl"
    write_candidates(source)
    config = ScoreConfig(
        run,
        "jax",
        input=str(source),
        output=str(tmp_path / "alone.jsonl"),
        scorer=ScorerConfig(batch_tokens=BATCH_TOKENS),
        mesh=MeshConfig(fsdp=4, tensor=2),
    )
    scoring.run(config)
    append = Journal.append

    def append_and_die(journal, lines):
        append(journal, lines)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", append_and_die)
        with pytest.raises(Killed):
            scoring.run(dataclasses.replace(config, output=str(output)))
    done = score_on_hosts(
        "--model",
        run,
        "--backend",
        "jax",
        "--input",
        source,
        "--output",
        output,
        "--scorer.batch-tokens",
        BATCH_TOKENS,
        "--mesh.fsdp",
        2,
        "--mesh.tensor",
        2,
    )
    assert [host.returncode for host in done] == [0] * NUM_HOSTS, done
    assert done[0].stdout.endswith(f"-> {output}\n")
    assert "texts of" not in done[1].stdout
    assert 0 < read_meta(output)["num_resumed"] < read_meta(output)["num_distinct"]
    ours, theirs = read_scores(output), read_scores(tmp_path / "alone.jsonl")
    assert [(s.item_id, s.index, s.num_tokens) for s in ours] == [
        (s.item_id, s.index, s.num_tokens) for s in theirs
    ]
    rewards = np.array([score.reward for score in theirs])
    assert rewards.std() > 0.1
    np.testing.assert_allclose([score.reward for score in ours], rewards, rtol=1e-5, atol=1e-5)


def test_what_only_the_first_host_meets_ends_both(tmp_path):
    """It alone writes; the other would wait for it."""
    run = write_run(tmp_path / "run")
    source = tmp_path / "candidates.jsonl"
    write_candidates(source)
    (tmp_path / "file").write_text("")
    output = tmp_path / "file" / "scores.jsonl"
    first, second = score_on_hosts(
        "--model",
        run,
        "--backend",
        "jax",
        "--input",
        source,
        "--output",
        output,
        "--mesh.fsdp",
        2,
        "--mesh.tensor",
        2,
    )
    assert first.returncode > 0
    assert f"error: {output}" in first.stderr
    assert second.returncode != 0
