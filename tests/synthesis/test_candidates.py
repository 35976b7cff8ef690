"""Which candidates an input gives, and what is reported of them."""

import json
from typing import Any

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import CandidatesConfig, WriterConfig
from codepmp_jax.records.schema import Problem, read_problems
from codepmp_jax.synthesis.candidates import write_candidates

SOLUTION = "def f(a, b):\n    return a + b\n"


@pytest.fixture
def benchmark(tmp_path):
    """A file of problems."""
    problems = [Problem(f"p/{n}", "Add.", (), "x", reference={"solution": SOLUTION}) for n in "ab"]
    path = tmp_path / "p.jsonl"
    path.write_text("".join(f"{problem.to_json()}\n" for problem in problems))
    return path


def config(source, output, sampler: Any = "mutant", **settings: Any) -> CandidatesConfig:
    writer = WriterConfig(sampler=sampler, model="" if sampler in ("mutant", "ngram") else "m")
    values = {"num_candidates": 3, "writer": writer, **settings}
    return CandidatesConfig(input=str(source), output=str(output / "c.jsonl"), **values)


def test_a_file_is_a_benchmark_and_a_folder_a_corpus(benchmark, corpus, tmp_path):
    report = write_candidates(config(benchmark, tmp_path / "one"))
    assert (report.num_problems, report.num_candidates, report.num_dropped) == (2, 6, 0)
    report = write_candidates(config(corpus, tmp_path / "two", "ngram", max_problems=3))
    assert (report.num_problems, report.num_candidates) == (3, 9)
    (first, *_) = read_problems(str(tmp_path / "two" / "c.jsonl"))
    assert first.task == ""


def test_the_report_lies_beside_the_output(benchmark, tmp_path):
    write_candidates(config(benchmark, tmp_path, seed=3))
    report = json.loads((tmp_path / "c.writing.json").read_text())
    assert report["num_problems"] == 2
    assert report["remarks"] == {}
    assert report["settings"]["writer"]["seed"] == 3
    names = {"p.jsonl", "c.jsonl", "c.writing.json"}
    assert {path.name for path in tmp_path.iterdir()} == names


@pytest.mark.parametrize("sampler", ["ngram", "author"])
def test_writers_that_rewrite_sources_are_refused_a_benchmark(benchmark, tmp_path, sampler):
    with pytest.raises(UserError, match=f"writer.sampler = '{sampler}': must be one of vllm"):
        write_candidates(config(benchmark, tmp_path, sampler))


def test_mutants_of_sources_are_refused_for_want_of_tests(corpus, tmp_path):
    with pytest.raises(UserError, match=r"writer\.sampler = 'mutant': must be one of ngram"):
        write_candidates(config(corpus, tmp_path))


def test_a_missing_input_is_an_error(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        write_candidates(config(tmp_path / "nowhere", tmp_path, "ngram"))
    assert not list(tmp_path.iterdir())
