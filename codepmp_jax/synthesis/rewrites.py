"""Held-out SourceFile shards -> Best-of-N problems: the author's code among a writer's."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator

from codepmp_jax.cli.errors import UserError
from codepmp_jax.cli.progress import progress
from codepmp_jax.config import CandidatesConfig
from codepmp_jax.files.journal import Journal
from codepmp_jax.records.schema import Candidate, Problem, SourceFile, content_id
from codepmp_jax.records.shards import ShardedDataset, read_manifest
from codepmp_jax.synthesis.prompts import make_request
from codepmp_jax.synthesis.writers.sampler import Request, Sampler

SAMPLERS = ("ngram", "vllm", "openai", "author")
# Texts asked for, as a multiple of those needed, before a source is given up.
_PATIENCE = 4


def fingerprint(config: CandidatesConfig) -> str:
    """Id of the sources. Raises UserError where the input is no corpus."""
    found = read_manifest(config.input, SourceFile)["splits"]["heldout"]["shards"]
    return content_id(*(shard["sha256"] for shard in found))


def write(config: CandidatesConfig, journal: Journal, sampler: Sampler) -> int:
    """Writes the problems that the journal lacks; the number of sources that were dropped in all.

    Raises UserError where no source gives a problem.
    """
    heldout = ShardedDataset(config.input, SourceFile, "heldout")
    most = len(heldout) if config.max_problems is None else min(config.max_problems, len(heldout))
    sources, num_seen = _left(journal, iter(heldout))
    with progress(total=most, initial=journal.num_lines, desc="candidates", unit="problem") as bar:
        while journal.num_lines < most:
            source = next(sources, None)
            if source is None:
                break
            num_seen += 1
            problem = make_problem(source, sampler, config)
            if problem is not None:
                journal.append([problem.to_json()])
                bar.update()
    if not journal.num_lines:
        raise UserError(
            f"num_candidates = {config.num_candidates}: the writer found that many different texts for "
            f"none of the {len(heldout)} held-out sources in {config.input}. Remedy: ask for fewer "
            "candidates, or make a larger corpus."
        )
    return num_seen - journal.num_lines


def _left(journal: Journal, sources: Iterator[SourceFile]) -> tuple[Iterator[SourceFile], int]:
    """The sources behind the last one that the journal has a problem of, and the number of the others."""
    last = None
    for line in journal.lines():
        last = Problem.from_json(line).problem_id
    if last is None:
        return sources, 0
    num_seen = 1 + sum(1 for _ in itertools.takewhile(lambda s: s.source_id != last, sources))
    return sources, num_seen


def make_problem(source: SourceFile, sampler: Sampler, config: CandidatesConfig) -> Problem | None:
    """The author's code, the one that is correct, among different texts of the sampler, shuffled.

    None where the sampler does not find enough of them.
    """
    texts = different_texts(
        sampler,
        lambda number: make_request(
            f"{source.source_id}/{number}", config.writer, source, source.description
        ),
        source.content,
        config.num_candidates - 1,
        _PATIENCE,
    )
    if len(texts) < config.num_candidates - 1:
        return None
    candidates = [Candidate(source.content, is_correct=True)]
    candidates += [Candidate(text, is_correct=False) for text in texts]
    shuffle(candidates, config.seed, source.source_id)
    return Problem(source.source_id, source.description, tuple(candidates))


def different_texts(
    sampler: Sampler, request: Callable[[int], Request], author: str, needed: int, patience: int
) -> list[str]:
    """Texts of a sampler that differ from the author's and from one another; `needed`, or fewer where
    `patience` times as many requests give no more. `request` makes the one of a number."""
    texts: dict[str, None] = {}
    asked = 0
    while len(texts) < needed and asked < patience * needed:
        requests = [request(number) for number in range(asked, asked + needed - len(texts))]
        asked += len(requests)
        for completion in sampler.sample(requests):
            is_new = completion.text.strip() and completion.text != author
            if is_new and not completion.failure:
                texts[completion.text] = None
    return list(texts)


def shuffle(candidates: list[Candidate], seed: int, key: str) -> None:
    """Shuffles candidates in an order that depends on seed and key alone."""
    random.Random(int(content_id(str(seed), key), 16)).shuffle(candidates)
