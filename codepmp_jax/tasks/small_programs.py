"""Small Python functions, generated from a seed with their descriptions in words: tasks that a tiny model can learn.

    Write f(a, b): the larger of a and (3 times b).

    def f(a, b):
        u = 3 * b
        return max(a, u)

A description is a composition of one or two operations on integers, a text and a list of integers; the function has a line
for each. A problem's candidates are the function among wrong ones, each of another description that differs in one place,
none of which passes the tests: calls with drawn arguments. No problem of an even seed is one of an odd seed: train on one,
evaluate on the other. (Ours; no published benchmark.)
"""

from __future__ import annotations

import ast
import collections
import dataclasses
import random
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from codepmp_jax.records.schema import Candidate, Problem, content_id
from codepmp_jax.tasks.common.task import Task
from codepmp_jax.tasks.judges.execution import Program
from codepmp_jax.tasks.judges.judge import CORRECT, WRONG
from codepmp_jax.tasks.judges.programs import ProgramJudge

if TYPE_CHECKING:  # judge processes need no settings
    from codepmp_jax.config import ProblemsConfig

TEMPLATE = "{prompt}\n"
_NUM_TESTS = 6
# Wrong functions tried for one that differs from the right one in the tests.
_TRIES = 100
_LETTERS = "abcdefgh"

# Result -> (description, code) of the operations: {int}, {str} and {list} stand for parts, {n} for a number from 2 to 9.
_OPERATIONS = {
    "int": (
        ("the sum of {int} and {int}", "({int} + {int})"),
        ("the difference of {int} and {int}", "({int} - {int})"),
        ("the product of {int} and {int}", "({int} * {int})"),
        ("the larger of {int} and {int}", "max({int}, {int})"),
        ("the smaller of {int} and {int}", "min({int}, {int})"),
        ("the remainder of {int} divided by {n}", "({int} % {n})"),
        ("the square of {int}", "({int} ** 2)"),
        ("the absolute value of {int}", "abs({int})"),
        ("{n} times {int}", "({n} * {int})"),
        ("{int} plus {n}", "({int} + {n})"),
        ("the length of {str}", "len({str})"),
        ("the number of items of {list}", "len({list})"),
        ("the sum of the items of {list}", "sum({list})"),
        ("the largest item of {list}", "max({list})"),
        ("the smallest item of {list}", "min({list})"),
        ("the first item of {list}", "({list})[0]"),
        ("the last item of {list}", "({list})[-1]"),
    ),
    "str": (
        ("{str} in upper case", "({str}).upper()"),
        ("{str} backwards", "({str})[::-1]"),
        ("{str} repeated {n} times", "({str} * {n})"),
        ("the first {n} letters of {str}", "({str})[:{n}]"),
        ("the last {n} letters of {str}", "({str})[-{n}:]"),
        ("{str} without its first {n} letters", "({str})[{n}:]"),
        ("{str} followed by {str}", "({str} + {str})"),
        ("{int} in digits", "str({int})"),
    ),
    "list": (
        ("{list} sorted", "sorted({list})"),
        ("{list} sorted from large to small", "sorted({list}, reverse=True)"),
        ("{list} backwards", "({list})[::-1]"),
        ("the first {n} items of {list}", "({list})[:{n}]"),
        ("{list} without its first item", "({list})[1:]"),
        ("each item of {list} plus {n}", "[i + {n} for i in {list}]"),
        ("each item of {list} times {n}", "[i * {n} for i in {list}]"),
        ("the items of {list} above {n}", "[i for i in {list} if i > {n}]"),
    ),
}
_NAMES = {"int": "ab", "str": "s", "list": "x"}
_KIND = {name: kind for kind, names in _NAMES.items() for name in names}
_PART = re.compile(r"\{(int|str|list|n)\}")
# How often descriptions have one and two operations.
_DEPTHS = (1, 2, 2)


@dataclasses.dataclass(frozen=True)
class _Tree:
    """A description as an operation on others; a name or a number without parts."""

    description: str
    code: str
    parts: tuple[_Tree, ...] = ()
    kind: str = ""
    """Of its result: int, str or list; n of a number."""

    def words(self) -> str:
        """The description, with its parts in parentheses."""
        parts = [f"({part.words()})" if part.parts else part.words() for part in self.parts]
        return self.filled(self.description, parts)

    def python(self) -> str:
        """One expression, with more parentheses than it needs."""
        return self.filled(self.code, [part.python() for part in self.parts])

    def filled(self, text: str, parts: list[str]) -> str:
        """The text with its parts: those of a kind stand in description and code in the same order."""
        by_kind: dict[str, list[str]] = {}
        for part, found in zip(self.parts, parts, strict=True):
            by_kind.setdefault(part.kind, []).append(found)
        pieces = _PART.split(text)
        # Every second piece is a kind.
        pieces[1::2] = [by_kind[kind].pop(0) for kind in pieces[1::2]]
        return "".join(pieces)

    def names(self) -> set[str]:
        """The arguments that it uses."""
        if self.kind in _NAMES and not self.parts:
            return {self.code}
        return {name for part in self.parts for name in part.names()}


def make_problems(config: ProblemsConfig, skipped: collections.Counter[str]) -> Iterator[Problem]:
    """Different problems, the same for the same seed; those whose tests tell nothing apart are counted in `skipped`."""
    settings = config.puzzles
    rng = random.Random(settings.seed)
    seen: set[str] = set()
    while len(seen) < settings.num_problems:
        tree = _draw(rng, rng.choice(tuple(_OPERATIONS)), rng.choice(_DEPTHS))
        names = sorted(tree.names(), key="absx".index)
        prompt = f"Write f({', '.join(names)}): {tree.words()}."
        if prompt in seen or int(content_id(prompt), 16) % 2 != settings.seed % 2:
            continue
        arguments = [[_argument(rng, _KIND[name]) for name in names] for _ in range(_NUM_TESTS)]
        right = _values(tree, names, arguments)
        if right is None or len(set(map(repr, right))) < 3:
            skipped["without a difference"] += 1
            continue
        wrong = _wrong(rng, tree, names, arguments, right, settings.num_candidates - 1)
        if wrong is None:
            skipped["without wrong functions"] += 1
            continue
        seen.add(prompt)
        yield _problem(
            f"small_programs/{settings.seed}/{len(seen)}",
            prompt,
            tree,
            names,
            wrong,
            zip(arguments, right, strict=True),
            rng,
        )


def _problem(
    name: str,
    prompt: str,
    tree: _Tree,
    names: list[str],
    wrong: list[_Tree],
    calls: Any,
    rng: random.Random,
) -> Problem:
    candidates = [
        Candidate(_function(one, names), is_correct=False, verdict=WRONG) for one in wrong
    ]
    solution = _function(tree, names)
    if wrong:
        candidates.append(Candidate(solution, is_correct=True, verdict=CORRECT))
        rng.shuffle(candidates)
    tests = [f"assert f({', '.join(map(repr, given))}) == {value!r}" for given, value in calls]
    return Problem(
        name,
        prompt,
        tuple(candidates),
        task="small_programs",
        reference={"solution": solution, "tests": tests},
    )


def _draw(rng: random.Random, kind: str, depth: int) -> _Tree:
    """A random tree with that kind of result, of at most `depth` operations above each other."""
    if kind == "n":
        number = str(rng.randint(2, 9))
        return _Tree(number, number, kind="n")
    if depth == 0:
        name = rng.choice(_NAMES[kind])
        return _Tree(name, name, kind=kind)
    description, code = rng.choice(_OPERATIONS[kind])
    kinds = _PART.findall(description)
    # One part is as deep as it may be.
    deep = rng.choice([i for i, one in enumerate(kinds) if one != "n"])
    parts = tuple(_draw(rng, one, depth - 1 if i == deep else 0) for i, one in enumerate(kinds))
    return _Tree(description, code, parts, kind)


def _changed(rng: random.Random, tree: _Tree) -> _Tree:
    """The tree with one place changed: another operation on the same parts, another name, another number."""
    if not tree.parts or (rng.random() < 0.5 and (others := _others(tree))):
        if not tree.parts:
            return _draw(rng, tree.kind, 0)
        description, code = rng.choice(others)
        return dataclasses.replace(tree, description=description, code=code)
    at = rng.randrange(len(tree.parts))
    parts = (*tree.parts[:at], _changed(rng, tree.parts[at]), *tree.parts[at + 1 :])
    return dataclasses.replace(tree, parts=parts)


def _others(tree: _Tree) -> list[tuple[str, str]]:
    """Operations on parts of the same kinds, in the same order."""
    kinds = _PART.findall(tree.description)
    return [
        one
        for one in _OPERATIONS[tree.kind]
        if one[0] != tree.description and _PART.findall(one[0]) == kinds
    ]


def _wrong(
    rng: random.Random,
    tree: _Tree,
    names: list[str],
    arguments: list[list[Any]],
    right: list[Any],
    number: int,
) -> list[_Tree] | None:
    """Different trees of the same arguments whose values are not those of `right`; None where there are too few."""
    found: dict[str, _Tree] = {}
    for _ in range(_TRIES):
        if len(found) >= number:
            break
        other = _changed(rng, tree)
        if other.names() <= set(names) and _values(other, names, arguments) != right:
            found[_function(other, names)] = other
    return list(found.values()) if len(found) >= number else None


def _argument(rng: random.Random, kind: str) -> Any:
    if kind == "int":
        return rng.randint(-20, 20)
    if kind == "str":
        return "".join(rng.choices(_LETTERS, k=rng.randint(3, 12)))
    return [rng.randint(-9, 20) for _ in range(rng.randint(3, 12))]


def _values(tree: _Tree, names: list[str], arguments: list[list[Any]]) -> list[Any] | None:
    """The function's values; None where one raises, or is too large to be written down."""
    code = compile(tree.python(), "<expression>", "eval")
    try:
        values = [eval(code, {}, dict(zip(names, given, strict=True))) for given in arguments]
    except (IndexError, ValueError):
        return None
    return values if max(map(len, map(repr, values))) < 200 else None


def _function(tree: _Tree, names: list[str]) -> str:
    """The function, with a line for each operation."""
    lines: list[str] = []
    result = _expression(tree, lines)
    body = "".join(f"    {line}\n" for line in lines)
    return f"def f({', '.join(names)}):\n{body}    return {result}"


def _expression(tree: _Tree, lines: list[str]) -> str:
    """An operation on names and numbers; the lines before it, which compute its parts, are added to `lines`."""
    parts = []
    for part in tree.parts:
        if part.parts:
            code = _expression(part, lines)
            name = "uv"[len(lines)]
            lines.append(f"{name} = {code}")
            parts.append(name)
        else:
            parts.append(part.code)
    return ast.unparse(ast.parse(tree.filled(tree.code, parts), mode="eval"))


def make_program(prompt: str, reference: dict[str, Any]) -> Program:
    """The calls that judge a function."""
    return Program("", "\n".join(reference["tests"]), functions=("f",), classes=())


TASK = Task(
    template=TEMPLATE,
    judge=ProgramJudge(make_program, reference=("tests", "solution")),
    make_problems=make_problems,
)
