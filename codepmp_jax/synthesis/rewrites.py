"""Held-out SourceFile shards -> Best-of-N problems: the author's code among a writer's.

A problem needs a task: sources without a description (whole files have none) are left out, and counted.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.cli.progress import progress
from codepmp_jax.config import CandidatesConfig
from codepmp_jax.files.journal import Journal
from codepmp_jax.records.schema import Candidate, Problem, SourceFile, content_id
from codepmp_jax.records.shards import ShardedDataset, read_manifest
from codepmp_jax.synthesis.passes import sample
from codepmp_jax.synthesis.prompts import make_request
from codepmp_jax.synthesis.writers.sampler import Request, Sampler, naming_settings
from codepmp_jax.text.replies import is_refusal

SAMPLERS = ("ngram", "vllm", "transformers", "openai", "author")
NO_TASK, TOO_FEW = "no description", "too few different texts"
# Texts asked for, as a multiple of those needed, before a source is given up.
_PATIENCE = 4


def fingerprint(config: CandidatesConfig) -> str:
    """Id of the sources. Raises UserError where the input is no corpus."""
    found = read_manifest(config.input, SourceFile)["splits"]["heldout"]["shards"]
    return content_id(*(shard["sha256"] for shard in found))


def write(config: CandidatesConfig, journal: Journal, sampler: Sampler) -> dict[str, int]:
    """Writes the problems that the journal lacks; the sources that were left out in all, by reason.

    Raises UserError where no source gives a problem.
    """
    heldout = ShardedDataset(config.input, SourceFile, "heldout")
    most = len(heldout) if config.max_problems is None else min(config.max_problems, len(heldout))
    dropped: dict[str, int] = {NO_TASK: 0, TOO_FEW: 0}
    sources = _left(journal, iter(heldout), dropped)
    with (
        progress(total=most, initial=journal.num_lines, desc="candidates", unit="problem") as bar,
        naming_settings("writer", bool(config.writer.model)),
    ):
        while journal.num_lines < most:
            source = next(sources, None)
            if source is None:
                break
            problem = make_problem(source, sampler, config)
            if problem is not None:
                journal.append([problem.to_json()])
                bar.update()
            else:
                dropped[TOO_FEW] += 1
    if not journal.num_lines:
        require(
            dropped[TOO_FEW] > 0,
            "input",
            config.input,
            f"none of the {len(heldout)} held-out sources has a description, which is a problem's task",
            "make the corpus of definitions (--unit definition), which have one",
        )
        raise UserError(
            f"num_candidates = {config.num_candidates}: the writer found that many different texts for "
            f"none of the {dropped[TOO_FEW]} held-out sources with a task in {config.input}. Remedy: ask for fewer "
            "candidates, or make a larger corpus."
        )
    return {reason: count for reason, count in dropped.items() if count}


def _left(
    journal: Journal, sources: Iterator[SourceFile], dropped: dict[str, int]
) -> Iterator[SourceFile]:
    """The sources with a task behind the last one that the journal has a problem of; counts what is left out."""
    done = [Problem.from_json(line).problem_id for line in journal.lines()]
    num_written = 0
    for source in sources:
        if num_written < len(done) and source.source_id == done[num_written]:
            num_written += 1
        elif not source.description.strip():
            dropped[NO_TASK] += 1
        elif num_written == len(done):
            yield source
        else:
            dropped[TOO_FEW] += 1


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
        for completion in sample(sampler, requests):
            is_new = completion.text.strip() and completion.text != author
            # What has no finish reason was written by no model.
            is_declined = completion.finish_reason and is_refusal(completion.text)
            if is_new and not completion.failure and not is_declined:
                texts[completion.text] = None
    return list(texts)


def shuffle(candidates: list[Candidate], seed: int, key: str) -> None:
    """Shuffles candidates in an order that depends on seed and key alone."""
    random.Random(int(content_id(str(seed), key), 16)).shuffle(candidates)
