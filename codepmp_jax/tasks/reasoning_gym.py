r"""reasoning-gym (arXiv 2505.24760): puzzles of arithmetic and logic, generated from a seed.

A puzzle's candidates are a right answer among wrong ones like it: other numbers, other roles of the same people, and
else the answers of other puzzles of the generator. The generator's scorer has refused each of them. Or they are worked
solutions, where the generator writes one: its own among copies with a slip in one step (slips.py), whose final answer its
scorer has refused.

The answer of a response, without its reasoning (`<think>`), is, in this order: the last `<answer>...</answer>`; the
last `\boxed{...}`; what follows the last `####`; what follows the last `answer is` or `answer:`, to the end of its
line; the last line. A dot at its end does not count. It is correct where the generator gives it full marks.

To judge, a puzzle is generated again from its generator, seed and index, which keeps what its scorer needs. One that
differs from the problem's prompt is of another version of reasoning-gym.
"""

from __future__ import annotations

import collections
import functools
import itertools
import random
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.records.schema import Candidate, Problem, content_id
from codepmp_jax.tasks.common.slips import with_slips
from codepmp_jax.tasks.common.task import Task
from codepmp_jax.tasks.judges.judge import CORRECT, NO_ANSWER, WRONG, Judge, Judgement
from codepmp_jax.tasks.judges.replies import last_box, without_reasoning

if TYPE_CHECKING:  # judge processes need no settings
    from codepmp_jax.config import ProblemsConfig

TEMPLATE = """\
{prompt}

Think step by step, and end with the line "The answer is ..." that holds your final answer alone.
"""
OTHER_VERSION = "puzzle of another version"

_SENTENCE = "The answer is {answer}."
# Puzzles generated, as a multiple of those needed; and wrong answers tried for one.
_SPARE, _TRIES = 4, 200
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
# Roles of knights_knaves, a pair a world.
_ROLES = re.compile(
    r"\b(an? )?(knight|knave|hero|villain|angel|devil|altruist|egoist|sage|fool|pioneer|laggard|saint|sinner)\b"
)
_OPPOSITE = {
    role: other
    for pair in (
        ("knight", "knave"),
        ("hero", "villain"),
        ("angel", "devil"),
        ("altruist", "egoist"),
        ("sage", "fool"),
        ("pioneer", "laggard"),
        ("saint", "sinner"),
    )
    for role, other in (pair, pair[::-1])
}


def make_problems(config: ProblemsConfig, skipped: collections.Counter[str]) -> Iterator[Problem]:
    """The puzzles of each generator in turn.

    A puzzle without a right answer (or worked solution), or with too few wrong ones (anything follows from premises that
    contradict each other), is skipped and counted in `skipped` by generator. Raises UserError where there is no such
    generator, it writes no worked solutions that are asked for, or most of its puzzles are skipped.
    """
    settings = config.puzzles
    for generator in settings.datasets:
        num_made = 0
        require(
            settings.answers == "short" or _make(config, generator, 0).solution is not None,
            "puzzles.answers",
            settings.answers,
            f"needs worked solutions, and {generator} writes none",
            "name generators that do, e.g. --puzzles.datasets gsm_symbolic",
        )
        for index in range(_size(config)):
            if num_made == settings.num_problems:
                break
            puzzle = _make(config, generator, index)
            candidates = _candidates(config, generator, index, puzzle)
            if candidates is None:
                skipped[f"{generator} gives no right answer or too few wrong ones for"] += 1
                continue
            num_made += 1
            yield Problem(
                f"{generator}/{settings.seed}/{index}",
                puzzle.question,
                candidates,
                task="reasoning_gym",
                subset=generator,
                reference={
                    "generator": generator,
                    "seed": settings.seed,
                    "size": _size(config),
                    "index": index,
                },
            )
        require(
            num_made == settings.num_problems,
            "puzzles.num_candidates",
            settings.num_candidates,
            f"is more than most puzzles of {generator} have right and wrong answers of one form",
            "ask for fewer, for 0 (none), or leave the generator out",
        )


def _size(config: ProblemsConfig) -> int:
    """Puzzles that a generator is asked for: some may be skipped."""
    return _SPARE * config.puzzles.num_problems


def _make(config: ProblemsConfig, generator: str, index: int) -> Puzzle:
    try:
        return make_puzzle(generator, config.puzzles.seed, _size(config), index)
    except ValueError as error:
        raise UserError(
            f"puzzles.datasets = {config.puzzles.datasets!r}: reasoning-gym makes no {generator!r} ({error}). "
            "Remedy: give names of its gallery, e.g. chain_sum knights_knaves."
        ) from error


def _candidates(
    config: ProblemsConfig, generator: str, index: int, puzzle: Puzzle
) -> tuple[Candidate, ...] | None:
    """A right candidate and wrong ones, shuffled; None where there are too few."""
    settings = config.puzzles
    num_wrong = settings.num_candidates - 1
    if num_wrong < 0:
        return ()
    rng = random.Random(int(content_id(generator, str(settings.seed), str(index)), 16))
    if settings.answers == "worked":
        right = puzzle.solution or ""
        tries = with_slips(right, rng)
    else:
        right = _sentence(puzzle.answer)
        others = (
            _make(config, generator, other).answer
            for other in rng.sample(range(_size(config)), min(_size(config), _TRIES))
        )
        answers = itertools.chain(_changes(puzzle.answer, rng), others)
        tries = (_sentence(answer) for answer in answers)
    if not puzzle.answer or not puzzle.is_solved_by(answer_text(right) or ""):
        return None
    wrong: dict[str, None] = {}
    for response in itertools.islice(tries, _TRIES):
        if len(wrong) == num_wrong:
            break
        answer = answer_text(response)
        if answer and not puzzle.is_solved_by(answer):
            wrong[response] = None
    if len(wrong) < num_wrong:
        return None
    candidates = [
        Candidate(response, is_correct=is_correct, verdict=CORRECT if is_correct else WRONG)
        for response, is_correct in ((right, True), *((response, False) for response in wrong))
    ]
    rng.shuffle(candidates)
    return tuple(candidates)


def _sentence(answer: str) -> str:
    return _SENTENCE.format(answer=answer.rstrip("."))


def _changes(answer: str, rng: random.Random) -> Iterator[str]:
    """Wrong answers in the form of a right one: numbers changed (an endless stream), or roles exchanged."""
    if _ROLES.search(answer):
        people = len(_ROLES.findall(answer))
        worlds = list(itertools.product((False, True), repeat=people))[1:]
        rng.shuffle(worlds)
        for world in worlds:
            turned = iter(world)
            yield _ROLES.sub(lambda found, t=turned: _turn(found) if next(t) else found[0], answer)
    elif _NUMBER.fullmatch(answer):
        while True:
            yield _change_number(answer, rng)


def _turn(found: re.Match[str]) -> str:
    """The opposite role, with its article where the role has one."""
    role = _OPPOSITE[found[2]]
    article = "an " if role[0] in "aeiou" else "a "
    return f"{article if found[1] else ''}{role}"


def _change_number(answer: str, rng: random.Random) -> str:
    """Off by a little, off by ten, with two digits exchanged, or of the other sign."""
    digits = list(answer.lstrip("-"))
    sign = "-" if answer.startswith("-") else ""
    kind = rng.randrange(4)
    if kind == 0 and answer.strip("0.-"):
        return "".join(digits) if sign else f"-{answer}"
    if kind == 1 and len(digits) > 1 and "." not in digits:
        first = rng.randrange(len(digits) - 1)
        digits[first : first + 2] = digits[first : first + 2][::-1]
        return f"{sign}{int(''.join(digits))}"
    _, dot, decimals = answer.partition(".")
    step = rng.choice((1, 2, 3, 10)) * rng.choice((-1, 1))
    return f"{float(answer) + step:.{len(decimals)}f}" if dot else str(int(answer) + step)


# --- puzzles with their scorers -------------------------------------------------------------------


class Puzzle:
    """A puzzle with its scorer."""

    def __init__(self, dataset: Any, entry: dict[str, Any]):
        self._dataset = dataset
        self._entry = entry
        self.question: str = entry["question"]
        # propositional_logic gives only an example of what follows from the premises.
        answer = str(entry["answer"] or entry["metadata"].get("example_answer") or "")
        self.answer = answer if self.is_solved_by(answer) else ""
        """A right answer; empty where the generator gives none that it accepts."""
        self.solution: str | None = entry["metadata"].get("answer_cot")
        """The worked solution of a generator that writes one; its final answer follows `####`."""

    def is_solved_by(self, answer: str) -> bool:
        """Whether the generator gives an answer full marks."""
        try:
            return float(self._dataset.score_answer(answer, self._entry)) >= 1.0
        except (MemoryError, KeyboardInterrupt):
            raise
        except Exception:  # scorers trip over answers of another form, each in its own way
            return False


@functools.lru_cache(maxsize=64)
def _data_set(generator: str, seed: int, size: int) -> Any:
    import reasoning_gym

    return reasoning_gym.create_dataset(generator, seed=seed, size=size)


def make_puzzle(generator: str, seed: int, size: int, index: int) -> Puzzle:
    """The puzzle at `index` of a generator's data set of `size` puzzles.

    Raises reasoning-gym's ValueError where there is no such generator.
    """
    dataset = _data_set(generator, seed, size)
    return Puzzle(dataset, dataset[index])


# --- judging --------------------------------------------------------------------------------------

_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_NAMED = re.compile(r"\banswer\b(?:\s+is\b\s*:?|\s*:)[ \t]*(\S.*)", re.IGNORECASE)


def answer_text(response: str) -> str | None:
    """The part of a response that is its answer, by the rule above; None where it is empty."""
    response = without_reasoning(response)
    tagged, named = _TAGGED.findall(response), _NAMED.findall(response)
    lines = [line for line in response.splitlines() if line.strip()]
    if tagged:
        text = tagged[-1]
    elif box := last_box(response):
        text = box
    elif "####" in response:
        text = response.rpartition("####")[2].strip().partition("\n")[0]
    elif named:
        text = named[-1]
    else:
        text = lines[-1] if lines else ""
    return text.strip().strip("*$").rstrip(". ").strip() or None


class PuzzleJudge(Judge):
    """Lets the puzzle of reference (generator, seed, size, index) score the response's answer."""

    reference = ("generator", "seed", "size", "index")
    packages = ("reasoning-gym",)

    def prepare(self) -> None:
        """Imports reasoning-gym, which takes seconds."""
        make_puzzle("chain_sum", 0, 1, 0)

    def judge(
        self, prompt: str, reference: dict[str, Any], response: str, timeout: float
    ) -> Judgement:
        """As in Judge."""
        text = answer_text(response)
        if text is None:
            return Judgement(False, None, NO_ANSWER)
        puzzle = make_puzzle(*(reference[name] for name in self.reference))
        if puzzle.question.strip() not in prompt:
            return Judgement(False, None, OTHER_VERSION)
        is_correct = puzzle.is_solved_by(text)
        answer = " ".join(text.lower().split())
        return Judgement(is_correct, answer, CORRECT if is_correct else WRONG)


TASK = Task(template=TEMPLATE, judge=PuzzleJudge(), make_problems=make_problems, by_data_set=True)
