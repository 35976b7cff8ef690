"""A pass: chunks, retries, failures, and what is done again after a kill."""

import collections
import contextlib
import dataclasses
import json

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import SynthesisConfig, WriterConfig
from codepmp_jax.records.schema import SourceFile, content_id
from codepmp_jax.records.shards import write_manifest, write_split
from codepmp_jax.synthesis import passes
from codepmp_jax.synthesis.passes import Pass, PassWorker, ShardId, sample
from codepmp_jax.synthesis.prompts import make_request, template_version
from codepmp_jax.synthesis.reports import status
from codepmp_jax.synthesis.writers.samplers import AuthorSampler
from tests.synthesis.writers.fakes import FAILS, FAILS_ONCE, RAISES, Slow, answered, fate

SHARD = ShardId("train", 1, 2)


def source(number: int, description: str = "Does it.") -> SourceFile:
    text = f"f{number}()\n"
    return SourceFile(
        content_id(text), text, description, "f", "file", "python", "r", f"{number}.py", "", 1
    )


SOURCES = [source(i, "" if i % 10 == 0 else "Does it.") for i in range(100)]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Config of a run: the author describes, the tests' sampler writes the rejected ones."""
    splits = {
        "train": write_split(tmp_path / "corpus", "train", SOURCES, 2),
        "heldout": write_split(tmp_path / "corpus", "heldout", SOURCES[:1], 1),
    }
    write_manifest(tmp_path / "corpus", SourceFile, splits, {})
    log = tmp_path / "log"
    monkeypatch.setattr(
        passes,
        "make_sampler",
        lambda writer, *_: AuthorSampler() if writer.sampler == "author" else Slow(log),
    )
    return SynthesisConfig(
        input=str(tmp_path / "corpus"), output=str(tmp_path / "pairs"), chunk_size=8
    )


def describe_and_reject(config) -> Pass:
    for name in ("describe", "rejected"):
        PassWorker(Pass(config, name), "me")(SHARD)
    return Pass(config, "rejected")


def test_every_described_source_has_a_completion(run):
    which = describe_and_reject(run)
    found = which.completions(SHARD)
    assert set(found) == {s.source_id for s in SOURCES[50:] if s.description}
    expected = {
        RAISES: ("error", "RuntimeError('no words for this one')"),
        FAILS: ("refused by the server", "status 500"),
    }
    fates = collections.Counter()
    for source_id, completion in found.items():
        what = fate(f"rejected/{source_id}")
        fates[what] += 1
        assert (completion.failure, completion.detail) == expected.get(what, ("", ""))
        assert bool(completion.text) == (what not in expected)
    assert fates.keys() >= {RAISES, FAILS, FAILS_ONCE}


def test_what_lies_there_is_not_done_again(run, tmp_path):
    which = describe_and_reject(run)
    before = answered(tmp_path / "log")
    assert before.most_common(1)[0][1] == 1
    folder = which.directory / SHARD.folder
    assert which.num_done(SHARD, 50) == 50
    (folder / "retry.array_record").unlink()
    (folder / "00002.array_record.json").unlink()
    assert not which.is_finished(SHARD)
    assert which.num_done(SHARD, 50) == 42
    PassWorker(which, "me")(SHARD)
    again = answered(tmp_path / "log") - before
    redone = {f"rejected/{s.source_id}" for s in SOURCES[66:74]}
    retried = {key for key in before if fate(key) == FAILS_ONCE}
    assert set(again) - retried <= redone
    assert len(again) >= 5


def test_lineage_names_the_template_of_a_model(run):
    asked = dataclasses.replace(run.rejected, sampler="openai", model="m", template="T {code}")
    which = describe_and_reject(dataclasses.replace(run, rejected=asked))
    facts = [completion.facts for completion in which.completions(SHARD).values()]
    assert facts
    assert all(fact["template"] == template_version("T {code}") for fact in facts)


def test_chunks_say_what_they_cost(run):
    which = describe_and_reject(run)
    entries = [
        json.loads(path.read_text())
        for path in sorted((which.directory / SHARD.folder).glob("*.json"))
    ]
    assert len(entries) == 8  # 50 sources in chunks of 8, and the retries
    completions = which.completions(SHARD).values()
    assert sum(entry["tokens"] for entry in entries) == sum(c.num_tokens for c in completions)
    assert all(entry["seconds"] >= 0 and entry["worker"] for entry in entries)


class Streaming(Slow):
    """Answers one request after the other, and breaks off after `most` of them."""

    def __init__(self, log, most):
        super().__init__(log)
        self._most = most

    def stream(self, requests):
        for request in requests:
            if not self._most:
                raise UserError("no server answers")
            self._most -= 1
            yield from self.sample([request])


def test_replies_of_a_chunk_that_breaks_off_are_not_asked_for_again(run, tmp_path, monkeypatch):
    undisturbed = Pass(run, "rejected")
    PassWorker(Pass(run, "describe"), "me")(SHARD)
    PassWorker(undisturbed, "me")(SHARD)
    expected = undisturbed.completions(SHARD)
    log = tmp_path / "broken"
    monkeypatch.setattr(
        passes,
        "make_sampler",
        lambda writer, *_: Streaming(log, 12) if writer.model else AuthorSampler(),
    )
    asked = dataclasses.replace(run.rejected, sampler="openai", model="m")
    which = Pass(
        dataclasses.replace(run, output=str(tmp_path / "other"), rejected=asked), "rejected"
    )
    PassWorker(Pass(which.config, "describe"), "me")(SHARD)
    num_starts = 0
    while not which.is_finished(SHARD):
        worker = PassWorker(which, "me")
        num_starts += 1
        assert num_starts < 20
        with contextlib.suppress(UserError):
            worker(SHARD)
        done = which.num_done(SHARD, 50)
        assert done <= 50
    texts = {key: (c.text, c.failure) for key, c in which.completions(SHARD).items()}
    assert texts == {key: (c.text, c.failure) for key, c in expected.items()}
    assert num_starts > 4
    assert answered(log).most_common(1)[0][1] == 1
    assert not list((which.directory / SHARD.folder).glob("*.replies.jsonl"))


def test_progress_is_counted_inside_a_chunk(run, tmp_path, monkeypatch):
    monkeypatch.setattr(status, "_WRITE_SECONDS", 0.0)
    worker = PassWorker(Pass(run, "describe"), "me")
    seen = []
    write = status.write_json
    monkeypatch.setattr(
        status, "write_json", lambda path, row: (seen.append(row["sources"]), write(path, row))
    )
    worker(SHARD)
    assert seen[:8] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert seen[-1] == 50


def requests(number):
    return [make_request(f"k{i}", WriterConfig(), source(i), "d") for i in range(number)]


def test_an_error_costs_its_own_request_alone(tmp_path):
    asked = requests(60)
    assert any(fate(request.key) == RAISES for request in asked)
    found = sample(Slow(tmp_path / "log"), asked)
    assert [completion.key for completion in found] == [request.key for request in asked]
    assert [completion.failure == "error" for completion in found] == [
        fate(request.key) == RAISES for request in asked
    ]


class Broken(AuthorSampler):
    def __init__(self, error):
        self.error = error

    def sample(self, requests):
        raise self.error


def test_a_sampler_that_fails_on_everything_stops_the_pass():
    with pytest.raises(RuntimeError, match="engine is dead"):
        sample(Broken(RuntimeError("engine is dead")), requests(2))
    with pytest.raises(UserError, match="no server answers"):
        sample(Broken(UserError("no server answers")), requests(1))
    # Requests that have failed before say nothing of the sampler.
    again = sample(Broken(RuntimeError("out of words")), requests(2), are_retries=True)
    assert [completion.failure for completion in again] == ["error", "error"]


class Dying(AuthorSampler):
    """Fails on requests together, and dies of the second one alone."""

    asked = 0

    def sample(self, requests):
        self.asked += 1
        if self.asked == 3:
            raise UserError("the engine died")
        if len(requests) > 1:
            raise RuntimeError("too much")
        return super().sample(requests)


def test_a_sampler_that_dies_on_the_way_stops_the_pass():
    with pytest.raises(UserError, match="the engine died"):
        sample(Dying(), requests(4))


def test_a_models_error_names_the_pass(run, monkeypatch):
    broken = Broken(UserError("model = 'm': no such model. Remedy: give another"))
    monkeypatch.setattr(passes, "make_sampler", lambda *_: broken)
    asked = dataclasses.replace(run.describe, sampler="openai", model="m")
    worker = PassWorker(Pass(dataclasses.replace(run, describe=asked), "describe"), "me")
    with pytest.raises(UserError, match=r"^describe\.model = 'm': no such model"):
        worker(SHARD)


def test_the_model_is_let_go(run, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(
        passes, "make_sampler", lambda *_: made.append(Slow(tmp_path / "log")) or made[-1]
    )
    PassWorker(Pass(run, "describe"), "me").close()
    assert made[-1].is_closed
