"""Best-of-N candidates: responses to the problems of a benchmark, or rewrites of held-out sources."""

from __future__ import annotations

import collections
import dataclasses
import pathlib
from typing import Any

from codepmp_jax.cli.errors import require
from codepmp_jax.config import CandidatesConfig
from codepmp_jax.files.journal import Journal, open_journal
from codepmp_jax.files.json_files import write_json
from codepmp_jax.records.schema import Problem
from codepmp_jax.synthesis import responses, rewrites
from codepmp_jax.synthesis.writers.samplers import make_sampler


@dataclasses.dataclass(frozen=True)
class CandidatesReport:
    """Counts of a run, with what was done before a kill."""

    num_problems: int
    num_candidates: int
    num_dropped: int
    """Sources that were left out."""
    dropped: dict[str, int]
    """How many of them by reason: `no description`, which is a problem's task; `too few different texts`."""
    remarks: dict[str, int]
    """What is to be said of candidates, e.g. `cut off`, `not written: prompt too long`: how many, by falling
    count."""


def write_candidates(config: CandidatesConfig) -> CandidatesReport:
    """Writes the problems with their candidates, one a line, and the report beside them.

    Killed at any time, the same command goes on where it was. Raises UserError where the input is neither
    problems nor a corpus, gives no problem, or was begun with other settings.
    """
    is_benchmark = pathlib.Path(config.input).is_file()
    samplers = responses.SAMPLERS if is_benchmark else rewrites.SAMPLERS
    require(
        config.writer.sampler in samplers,
        "writer.sampler",
        config.writer.sampler,
        f"must be one of {', '.join(samplers)} where input is a "
        f"{'file of problems' if is_benchmark else 'folder of sources'}",
        f"try --writer.sampler {samplers[0]}",
    )
    sampler = make_sampler(config.writer, config.input, config.seed)
    stage = responses if is_benchmark else rewrites
    settings: dict[str, Any] = {
        "input": stage.fingerprint(config),
        "num_candidates": config.num_candidates,
        "max_problems": config.max_problems,
        "writer": sampler.settings(),
        "template": config.template if is_benchmark else config.writer.template,
    }
    with open_journal(config.output, settings) as journal:
        try:
            dropped = stage.write(config, journal, sampler)
        finally:
            sampler.close()
        report = _report(journal, dropped)
        write_json(
            pathlib.Path(config.output).with_suffix(".writing.json"),
            dataclasses.asdict(report) | {"settings": settings},
        )
        journal.finish()
    return report


def _report(journal: Journal, dropped: dict[str, int]) -> CandidatesReport:
    num_candidates = 0
    remarks: collections.Counter[str] = collections.Counter()
    for line in journal.lines():
        candidates = Problem.from_json(line).candidates
        num_candidates += len(candidates)
        remarks.update(candidate.verdict for candidate in candidates if candidate.verdict)
    return CandidatesReport(
        journal.num_lines,
        num_candidates,
        sum(dropped.values()),
        dropped,
        dict(remarks.most_common()),
    )
