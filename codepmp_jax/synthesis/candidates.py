"""Held-out SourceFile shards -> Best-of-N problems: the author's code among a writer's."""

from __future__ import annotations

import dataclasses
import pathlib
import random

from codepmp_jax.config import CandidatesConfig
from codepmp_jax.errors import UserError
from codepmp_jax.progress import progress
from codepmp_jax.records import Candidate, Problem, SourceFile, content_id
from codepmp_jax.shards import ShardedDataset
from codepmp_jax.synthesis.prompts import make_request
from codepmp_jax.synthesis.sampler import Sampler
from codepmp_jax.synthesis.samplers import make_sampler

# Texts asked for, as a multiple of those needed, before a source is given up.
_PATIENCE = 4


@dataclasses.dataclass(frozen=True)
class CandidatesReport:
    """Counts of a run."""

    num_problems: int
    num_dropped: int
    """Sources that the writer found too few different texts for."""


def write_candidates(config: CandidatesConfig) -> CandidatesReport:
    """Writes the problems, one a line, all of them or none.

    Raises UserError where the input is no corpus or gives no problem.
    """
    heldout = ShardedDataset(config.input, SourceFile, "heldout")
    sampler = make_sampler(config.writer, config.input, config.seed)
    problems: list[Problem] = []
    num_dropped = 0
    with progress(
        total=min(config.max_problems, len(heldout)), desc="candidates", unit="problem"
    ) as bar:
        for source in heldout:
            if len(problems) == config.max_problems:
                break
            problem = make_problem(source, sampler, config)
            if problem is None:
                num_dropped += 1
                continue
            problems.append(problem)
            bar.update()
    if not problems:
        raise UserError(
            f"num_candidates = {config.num_candidates}: the writer found that many different texts for "
            f"none of the {len(heldout)} held-out sources in {config.input}. Remedy: ask for fewer "
            "candidates, or make a larger corpus."
        )
    output = pathlib.Path(config.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(output.name + ".partial")
    partial.write_text("".join(f"{problem.to_json()}\n" for problem in problems), encoding="utf-8")
    partial.replace(output)
    return CandidatesReport(len(problems), num_dropped)


def make_problem(source: SourceFile, sampler: Sampler, config: CandidatesConfig) -> Problem | None:
    """The author's code, the one that is correct, among different texts of the sampler, shuffled.

    None where the sampler does not find enough of them.
    """
    needed = config.num_candidates - 1
    texts: dict[str, None] = {}
    asked = 0
    while len(texts) < needed and asked < _PATIENCE * needed:
        requests = [
            make_request(f"{source.source_id}/{number}", config.writer, source, source.description)
            for number in range(asked, asked + needed - len(texts))
        ]
        asked += len(requests)
        for completion in sampler.sample(requests):
            is_new = completion.text.strip() and completion.text != source.content
            if is_new and not completion.failure:
                texts[completion.text] = None
    if len(texts) < needed:
        return None
    candidates = [Candidate(source.content, is_correct=True)]
    candidates += [Candidate(text, is_correct=False) for text in texts]
    rng = random.Random(int(content_id(str(config.seed), source.source_id), 16))
    rng.shuffle(candidates)
    return Problem(source.source_id, source.description, tuple(candidates))
