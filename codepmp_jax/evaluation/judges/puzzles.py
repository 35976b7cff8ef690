r"""Judges the puzzles of reasoning-gym by their own scorers.

The answer of a response is, in this order: the last `<answer>...</answer>`; the last `\boxed{...}`; what follows
the last `####`; what follows the last `answer is` or `answer:`, to the end of its line; the last line. A dot at
its end does not count. It is correct where the generator gives it full marks.

A puzzle is made again from its generator, seed and place, which keeps what its scorer needs. One that comes out
otherwise than the problem's prompt is of another version of reasoning-gym.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from codepmp_jax.evaluation.judges.answers import last_box
from codepmp_jax.evaluation.judges.judgement import CORRECT, NO_ANSWER, WRONG, Judgement

OTHER_VERSION = "puzzle of another version"

_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_NAMED = re.compile(r"\banswer\b(?:\s+is\b\s*:?|\s*:)[ \t]*(\S.*)", re.IGNORECASE)


class Puzzle:
    """A puzzle with its scorer."""

    def __init__(self, dataset: Any, entry: dict[str, Any]):
        self._dataset = dataset
        self._entry = entry
        self.question: str = entry["question"]
        # Of what follows from premises there is only an example.
        answer = str(entry["answer"] or entry["metadata"].get("example_answer") or "")
        self.answer = answer if self.is_solved_by(answer) else ""
        """A right answer; empty where the generator gives none that it accepts."""

    def is_solved_by(self, answer: str) -> bool:
        """Whether the generator gives an answer full marks."""
        try:
            return float(self._dataset.score_answer(answer, self._entry)) >= 1.0
        except (MemoryError, KeyboardInterrupt):
            raise
        except Exception:  # scorers trip over answers of another form, each in its own way
            return False


@functools.lru_cache(maxsize=64)
def _dataset(generator: str, seed: int, size: int) -> Any:
    import reasoning_gym

    return reasoning_gym.create_dataset(generator, seed=seed, size=size)


def make_puzzle(generator: str, seed: int, size: int, index: int) -> Puzzle:
    """The puzzle at a place of a generator's data set of `size` puzzles.

    Raises reasoning-gym's ValueError where there is no such generator.
    """
    dataset = _dataset(generator, seed, size)
    return Puzzle(dataset, dataset[index])


def answer_text(response: str) -> str | None:
    """The part of a response that is its answer, by the rule above; None where it is empty."""
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


def prepare() -> None:
    """Imports reasoning-gym, which takes seconds, before a response is waiting."""
    make_puzzle("chain_sum", 0, 1, 0)


def judge(task: str, prompt: str, reference: dict[str, Any], response: str) -> Judgement:
    """Lets the puzzle of reference (generator, seed, size, index) score the response's answer."""
    text = answer_text(response)
    if text is None:
        return Judgement(False, None, NO_ANSWER)
    places = (reference[name] for name in ("generator", "seed", "size", "index"))
    puzzle = make_puzzle(*places)
    if puzzle.question.strip() not in prompt:
        return Judgement(False, None, OTHER_VERSION)
    is_correct = puzzle.is_solved_by(text)
    answer = " ".join(text.lower().split())
    return Judgement(is_correct, answer, CORRECT if is_correct else WRONG)
