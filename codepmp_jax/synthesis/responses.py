"""Problems of a benchmark -> the same with candidates: a language model's responses, or the author's code among its
mutants. Nobody has judged them yet: launch/evaluate.py judge does.

A request that a model fails on is sent once more, and then kept as an empty candidate, which is wrong; its verdict
says why. So every problem has num_candidates candidates, whatever happens. A model's replies are kept as they come
(kept.py).
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence

from codepmp_jax.cli.errors import require
from codepmp_jax.cli.progress import progress
from codepmp_jax.config import CandidatesConfig
from codepmp_jax.config.tasks import TASKS
from codepmp_jax.files.checksums import sha256_of
from codepmp_jax.files.journal import Journal
from codepmp_jax.records.schema import Candidate, Completion, Problem, SourceFile, read_problems
from codepmp_jax.synthesis.kept import KeptReplies, num_kept
from codepmp_jax.synthesis.passes import sample
from codepmp_jax.synthesis.rewrites import different_texts, shuffle
from codepmp_jax.synthesis.writers.mutants import normal_form
from codepmp_jax.synthesis.writers.sampler import Request, Sampler, naming_settings
from codepmp_jax.tasks.common.options import letter
from codepmp_jax.tasks.common.registry import find_task

SAMPLERS = ("vllm", "transformers", "openai", "mutant")
# Mutants asked for, as a multiple of those needed: a short function has few different ones.
_PATIENCE = 40
CUT_OFF, NOT_WRITTEN = "cut off", "not written: "


def fingerprint(config: CandidatesConfig) -> str:
    """Id of the problems."""
    return sha256_of(config.input)


def write(config: CandidatesConfig, journal: Journal, sampler: Sampler) -> dict[str, int]:
    """Writes the problems that the journal lacks; returns nothing, as none is ever left out.

    Raises UserError naming the problem that nothing can be written for.
    """
    problems = list(itertools.islice(read_problems(config.input), config.max_problems))
    require(bool(problems), config.input, 0, "holds no problem", "give a file of problems")
    for problem in problems:
        _check(problem, config)
    count = config.num_candidates
    size = max(1, config.chunk_size // count)
    with progress(
        total=len(problems) * count,
        initial=min(journal.num_lines * count + num_kept(journal.replies), len(problems) * count),
        desc="candidates",
        unit="text",
        smoothing=0.0,
    ) as bar:
        for start in range(journal.num_lines, len(problems), size):
            chunk = problems[start : start + size]
            if config.writer.sampler == "mutant":
                written = []
                for problem in chunk:
                    written.append(_mutants(problem, sampler, config))
                    bar.update(count)
                journal.append(problem.to_json() for problem in written)
                continue
            kept = KeptReplies(journal.replies)
            is_done = False
            try:
                written = _responses(chunk, sampler, config, kept, functools.partial(bar.update, 1))
                journal.append(problem.to_json() for problem in written)
                is_done = True
            finally:
                kept.close(is_done)
    return {}


def _check(problem: Problem, config: CandidatesConfig) -> None:
    where = f"{config.input}: problem {problem.problem_id!r}"
    if config.writer.sampler == "mutant":
        require(
            isinstance(problem.reference.get("solution"), str),
            f"{where}: reference",
            sorted(problem.reference),
            "must hold the solution that mutants are made of",
            "take a benchmark of programs (humaneval, mbpp), or --writer.sampler vllm",
        )
    else:
        require(
            bool(config.template) or problem.task in TASKS,
            f"{where}: task",
            problem.task,
            f"must be one of {', '.join(TASKS)}, which have a template",
            "give --template, the question that a model is asked",
        )


# --- language models ------------------------------------------------------------------------------


def _responses(
    problems: Sequence[Problem],
    sampler: Sampler,
    config: CandidatesConfig,
    kept: KeptReplies,
    count: Callable[[], object],
) -> list[Problem]:
    """The problems with the candidates that a model writes, all of them asked for together, but for those that are kept.

    `count` is called for every reply that comes.
    """
    shown = [with_options(problem) for problem in problems]
    prompts = [make_prompt(problem, config) for problem in shown]
    requests = [
        make_request(problem, number, prompt)
        for problem, prompt in zip(shown, prompts, strict=True)
        for number in range(config.num_candidates)
    ]
    found = kept.of(requests)
    left = [request for request in requests if request.key not in found]

    def arrived(completion: Completion) -> None:
        kept.add(completion)
        count()

    with naming_settings("writer", bool(config.writer.model)):
        for completion in sample(sampler, left, bool(found), arrived):
            found[completion.key] = completion
        failed = [request for request in left if found[request.key].failure]
        if failed and sampler.retries:
            for completion in sample(sampler, failed, True, kept.add):
                found[completion.key] = completion
    candidates = (_candidate(found[request.key]) for request in requests)
    return [
        dataclasses.replace(
            problem, candidates=tuple(itertools.islice(candidates, config.num_candidates))
        )
        for problem in shown
    ]


def _candidate(completion: Completion) -> Candidate:
    if completion.failure:
        return Candidate("", is_correct=False, verdict=f"{NOT_WRITTEN}{completion.failure}")
    return Candidate(
        completion.text, verdict=CUT_OFF if completion.finish_reason == "length" else ""
    )


def with_options(problem: Problem) -> Problem:
    """The problem with its options, where it has some, in its prompt: `A. ...`, one a line."""
    options = problem.reference.get("options")
    if not options:
        return problem
    lines = [f"{letter(index)}. {option}" for index, option in enumerate(options)]
    return dataclasses.replace(problem, prompt="\n".join([f"{problem.prompt}\n", *lines]))


def make_prompt(problem: Problem, config: CandidatesConfig) -> str:
    """What a model is asked: `config.template`, by default that of the problem's task, with the problem's prompt."""
    template = config.template or find_task(problem.task, problem.problem_id).template
    return template.replace("{prompt}", problem.prompt)


def make_request(problem: Problem, number: int, prompt: str = "") -> Request:
    """The request for a candidate of a problem; `prompt` is for models, mutants need none."""
    source = SourceFile(
        source_id=problem.problem_id,
        content=str(problem.reference.get("solution", "")),
        description=problem.prompt,
        name=problem.problem_id,
        kind="function",
        language="python",
        repository=problem.task,
        path="",
        license="",
        line=1,
    )
    return Request(f"{problem.problem_id}/{number}", prompt, problem.prompt, source)


# --- mutants --------------------------------------------------------------------------------------


def _mutants(problem: Problem, sampler: Sampler, config: CandidatesConfig) -> Problem:
    """The problem with the author's code among mutants of it, shuffled, all laid out alike."""
    where = f"{config.input}: problem {problem.problem_id!r}"
    try:
        author = normal_form(problem.reference["solution"])
    except SyntaxError as error:
        require(False, f"{where}: solution", str(error), "must be Python", "leave the problem out")
        raise
    needed = config.num_candidates - 1
    texts = different_texts(
        sampler,
        lambda number: make_request(problem, number),
        author,
        needed,
        _PATIENCE,
    )
    require(
        len(texts) == needed,
        "num_candidates",
        config.num_candidates,
        f"is more than there are different mutants of {problem.problem_id} ({len(texts)}), and its own code",
        "ask for fewer candidates, or for more mistakes in each (--writer.mutant.num-mistakes 1 2 3 4)",
    )
    candidates = [Candidate(text) for text in (author, *texts)]
    shuffle(candidates, config.seed, problem.problem_id)
    return dataclasses.replace(problem, candidates=tuple(candidates))
