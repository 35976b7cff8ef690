"""Best-of-N problems from held-out sources."""

import collections
import dataclasses
import json
import pathlib

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import CandidatesConfig, NgramConfig, WriterConfig
from codepmp_jax.records.schema import Completion, Problem, SourceFile, read_problems
from codepmp_jax.records.shards import write_manifest, write_split
from codepmp_jax.synthesis import candidates
from codepmp_jax.synthesis.candidates import write_candidates
from codepmp_jax.synthesis.rewrites import make_problem
from codepmp_jax.synthesis.writers.sampler import Sampler


def write(corpus, path, **settings) -> list[Problem]:
    config = CandidatesConfig(
        input=str(corpus), output=str(path), num_candidates=4, max_problems=30
    )
    write_candidates(dataclasses.replace(config, **settings))
    return list(read_problems(str(path)))


@pytest.fixture(scope="module")
def problems(corpus, tmp_path_factory) -> list[Problem]:
    return write(corpus, tmp_path_factory.mktemp("candidates") / "c.jsonl")


def test_the_authors_code_stands_once_among_different_rewrites(problems, heldout):
    by_id = {source.source_id: source for source in heldout}
    for problem in problems:
        source = by_id[problem.problem_id]
        assert problem.prompt == source.description
        assert len({candidate.response for candidate in problem.candidates}) == 4
        (right,) = (candidate for candidate in problem.candidates if candidate.is_correct)
        assert right.response == source.content
        assert {len(candidate.response) for candidate in problem.candidates} == {
            len(source.content)
        }


def test_the_place_gives_nothing_away(problems):
    places = collections.Counter(
        [candidate.is_correct for candidate in problem.candidates].index(True)
        for problem in problems
    )
    assert len(problems) == 30
    assert len(places) == 4
    assert max(places.values()) < 18


def test_same_settings_same_bytes(corpus, problems, tmp_path):
    assert write(corpus, tmp_path / "again.jsonl") == problems
    assert write(corpus, tmp_path / "other.jsonl", seed=1) != problems
    assert not list(tmp_path.glob("*.partial"))


def test_fewer_sources_than_asked_for_are_all_taken(corpus, heldout, tmp_path):
    writer = WriterConfig(sampler="ngram", ngram=NgramConfig(rates=(1.0,)))
    settings = {"max_problems": None, "num_candidates": 2, "writer": writer}
    found = write(corpus, tmp_path / "c.jsonl", **settings)
    assert 0.8 * len(heldout) < len(found) <= len(heldout)


class Parrot(Sampler):
    """Has one text to say."""

    def __init__(self):
        self.asked = 0

    def settings(self):
        return {}

    def sample(self, requests):
        self.asked += len(requests)
        return [Completion(request.key, "pass") for request in requests]


def test_a_writer_that_repeats_itself_is_given_up(heldout):
    parrot = Parrot()
    assert make_problem(heldout[0], parrot, CandidatesConfig(num_candidates=4)) is None
    assert 12 <= parrot.asked < 15
    problem = make_problem(heldout[0], parrot, CandidatesConfig(num_candidates=2))
    assert problem is not None
    assert len(problem.candidates) == 2


def test_no_problem_at_all_is_a_user_error(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(candidates, "make_sampler", lambda *_: Parrot())
    with pytest.raises(UserError, match="num_candidates = 3"):
        write(corpus, tmp_path / "c.jsonl", num_candidates=3)
    assert not (tmp_path / "c.jsonl").exists()


class Choosy(Parrot):
    """Has texts for two sources in three, and breaks off after a number of them."""

    def __init__(self, lasts: int = 10**9):
        super().__init__()
        self._left = lasts

    def sample(self, requests):
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1
        text = "{key}" if int(requests[0].source.source_id, 16) % 3 else "pass"
        return [Completion(r.key, text.format(key=r.key)) for r in requests]


@pytest.mark.parametrize("lasts", [0, 1, 7, 40])
def test_a_run_that_breaks_off_goes_on_where_it_was(corpus, tmp_path, monkeypatch, lasts):
    settings = {"num_candidates": 4, "max_problems": 12}
    monkeypatch.setattr(candidates, "make_sampler", lambda *_: Choosy())
    expected = write(corpus, tmp_path / "whole.jsonl", **settings)
    report = (tmp_path / "whole.writing.json").read_bytes()
    monkeypatch.setattr(candidates, "make_sampler", lambda *_: Choosy(lasts))
    path: pathlib.Path = tmp_path / "c.jsonl"
    if lasts < 40:
        with pytest.raises(KeyboardInterrupt):
            write(corpus, path, **settings)
        assert not path.exists()
    monkeypatch.setattr(candidates, "make_sampler", lambda *_: Choosy())
    assert write(corpus, path, **settings) == expected
    assert (tmp_path / "c.writing.json").read_bytes() == report


def without_tasks(sources, folder, share: int) -> pathlib.Path:
    """A corpus of the sources, of which every `share`-th is a whole file, without a description."""
    changed = [
        dataclasses.replace(source, kind="file", description="") if i % share == 0 else source
        for i, source in enumerate(sources)
    ]
    splits = {split: write_split(folder, split, changed, 1) for split in ("train", "heldout")}
    write_manifest(folder, SourceFile, splits, {})
    return folder


def test_a_problem_needs_a_task(heldout, tmp_path, monkeypatch):
    monkeypatch.setattr(candidates, "make_sampler", lambda *_: Choosy())
    folder = without_tasks(heldout[:20], tmp_path / "corpus", 2)
    found = write(folder, tmp_path / "c.jsonl", max_problems=None)
    assert found
    assert all(problem.prompt for problem in found)
    report = json.loads((tmp_path / "c.writing.json").read_text())
    assert report["dropped"]["no description"] == 10
    assert len(found) + report["num_dropped"] == 20
    folder = without_tasks(heldout[:20], tmp_path / "files", 1)
    with pytest.raises(UserError, match="none of the 20 held-out sources has a description"):
        write(folder, tmp_path / "d.jsonl")


class Declining(Parrot):
    """A model that declines every other request."""

    def sample(self, requests):
        texts = ("I apologize, but I cannot.", "x = {}")
        return [
            Completion(
                r.key, texts[int(r.key.rpartition("/")[2]) % 2].format(r.key), finish_reason="stop"
            )
            for r in requests
        ]


def test_refusals_are_no_candidates(heldout):
    problem = make_problem(heldout[0], Declining(), CandidatesConfig(num_candidates=4))
    assert problem is not None
    assert not any("apologize" in candidate.response for candidate in problem.candidates)
