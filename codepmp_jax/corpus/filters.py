"""Filters: which texts are code worth learning from.

Line lengths, alphanumeric fraction and comment fraction, with their thresholds, are those of The Stack's
and StarCoder's preprocessing (bigcode-project/bigcode-dataset, preprocessing/README.md: 1000, 100, 0.25
and 0.8), the first three after Codex (arXiv 2107.03374, section 3.1).
"""

from __future__ import annotations

import re

from codepmp_jax.config import FilterConfig
from codepmp_jax.corpus import licenses
from codepmp_jax.text.tokenization import Tokenizer

# What CodeParrot's and Go's tools look for, in the lines where headers stand.
_HEADER_LINES = 10
_GENERATED = re.compile(
    r"auto-?generated|auto(?:matically)?[ -]generated|generated (?:automatically|by)\b.*do not (?:edit|modify)"
    r"|generated automatically|(?:file|code) (?:is|was|has been) generated|@generated\b",
    re.IGNORECASE,
)

_DOUBLE = r'"(?:\\.|[^"\\\n])*"'
_SINGLE = r"'(?:\\.|[^'\\\n])*'"
_TRIPLE = r'(?:"""(?s:.*?)(?:"""|\Z))|(?:\'\'\'(?s:.*?)(?:\'\'\'|\Z))'
_TO_LINE_END = r"[^\n]*"


def _scanner(comments: str, *strings: str) -> re.Pattern[str]:
    """Matches comments, as the group of that name, and strings, in which there are none."""
    return re.compile("|".join([f"(?P<comment>{comments})", *strings]), re.MULTILINE)


_BLOCK = r"/\*(?s:.*?)(?:\*/|\Z)"
_C = _scanner(rf"//{_TO_LINE_END}|{_BLOCK}", _DOUBLE, _SINGLE)
_HASH = _scanner(rf"(?<![$\w])#{_TO_LINE_END}", _DOUBLE, _SINGLE)
_DASHES = _scanner(rf"--{_TO_LINE_END}|{_BLOCK}", _DOUBLE, _SINGLE)
_SCANNERS = {
    # Docstrings are taken to be the triple-quoted strings that begin a line.
    "python": _scanner(rf"#{_TO_LINE_END}|^[ \t]*[rRuU]?(?:{_TRIPLE})", _TRIPLE, _DOUBLE, _SINGLE),
    **dict.fromkeys(
        (
            "c",
            "c++",
            "c-sharp",
            "css",
            "cuda",
            "dart",
            "go",
            "groovy",
            "glsl",
            "java",
            "javascript",
            "kotlin",
            "objective-c",
            "protocol-buffer",
            "scala",
            "solidity",
            "swift",
            "systemverilog",
            "thrift",
            "tsx",
            "typescript",
            "verilog",
            "zig",
        ),
        _C,
    ),
    # A quote alone is a lifetime, a type variable or a character.
    "rust": _scanner(rf"//{_TO_LINE_END}|{_BLOCK}", _DOUBLE),
    "php": _scanner(rf"//{_TO_LINE_END}|#(?!\[){_TO_LINE_END}|{_BLOCK}", _DOUBLE, _SINGLE),
    **dict.fromkeys(
        (
            "awk",
            "cmake",
            "coffeescript",
            "dockerfile",
            "elixir",
            "julia",
            "makefile",
            "perl",
            "powershell",
            "r",
            "ruby",
            "shell",
            "tcl",
            "yaml",
        ),
        _HASH,
    ),
    "sql": _DASHES,
    "lua": _scanner(rf"--\[\[(?s:.*?)(?:\]\]|\Z)|--{_TO_LINE_END}", _DOUBLE, _SINGLE),
    "haskell": _scanner(rf"\{{-(?s:.*?)(?:-\}}|\Z)|--{_TO_LINE_END}", _DOUBLE),
    **dict.fromkeys(("ada", "elm", "vhdl"), _scanner(rf"--{_TO_LINE_END}", _DOUBLE)),
    **dict.fromkeys(
        ("assembly", "clojure", "common-lisp", "emacs-lisp", "racket", "scheme"),
        _scanner(rf";{_TO_LINE_END}", _DOUBLE),
    ),
    **dict.fromkeys(("erlang", "matlab", "prolog"), _scanner(rf"%{_TO_LINE_END}", _DOUBLE)),
    "tex": _scanner(rf"(?<!\\)%{_TO_LINE_END}"),
    "fortran": _scanner(rf"!{_TO_LINE_END}|^[cC*]{_TO_LINE_END}", _DOUBLE, _SINGLE),
    **dict.fromkeys(
        ("f-sharp", "ocaml", "standard-ml"), _scanner(r"\(\*(?s:.*?)(?:\*\)|\Z)", _DOUBLE)
    ),
    "visual-basic": _scanner(rf"'{_TO_LINE_END}", _DOUBLE),
    "html": _scanner(r"<!--(?s:.*?)(?:-->|\Z)"),
}
_SCANNERS["jupyter-notebook"] = _SCANNERS["python"]


def comment_fraction(content: str, language: str) -> float:
    """Share of characters in comments and, in Python, docstrings; 0 where the language's signs are not known."""
    scanner = _SCANNERS.get(language)
    if scanner is None or not content:
        return 0.0
    found = (match for match in scanner.finditer(content) if match["comment"])
    return sum(len(match["comment"].strip()) for match in found) / len(content)


def is_generated(content: str) -> bool:
    """Whether one of the first lines says that a program wrote the text."""
    return (
        _GENERATED.search("\n".join(content.split("\n", _HEADER_LINES)[:_HEADER_LINES])) is not None
    )


class Filters:
    """The rules of a FilterConfig. Picklable."""

    def __init__(self, config: FilterConfig):
        self._config = config
        self._licenses = frozenset(name.lower() for name in config.licenses)
        self._tokenizer = Tokenizer.load("embedded")
        vocabulary = self._tokenizer.backend.get_vocab()
        # In byte-level BPE a token's name has a character a byte.
        self._longest_token = max(map(len, vocabulary))

    def reason(self, content: str, language: str, license: str) -> str | None:
        """The first setting, in the config's order, that the text breaks; None where it breaks none."""
        config = self._config
        if self._licenses and not licenses.allows(license, self._licenses):
            return "licenses"
        lengths = [len(line) for line in content.splitlines()] or [0]
        if max(lengths) > config.max_line_length:
            return "max_line_length"
        if sum(lengths) / len(lengths) > config.max_mean_line_length:
            return "max_mean_line_length"
        least = config.min_alphanumeric_fraction * len(content)
        if not content or sum(map(str.isalnum, content)) < least:
            return "min_alphanumeric_fraction"
        if comment_fraction(content, language) > config.max_comment_fraction:
            return "max_comment_fraction"
        if self._is_shorter(content, config.min_tokens):
            return "min_tokens"
        if not self._is_shorter(content, config.max_tokens + 1):
            return "max_tokens"
        if config.drop_generated and is_generated(content):
            return "drop_generated"
        return None

    def _is_shorter(self, content: str, num_tokens: int) -> bool:
        """Whether the text has fewer tokens; counted only where its size does not settle it."""
        size = len(content.encode(errors="replace"))
        if size < num_tokens:
            return True
        if size >= num_tokens * self._longest_token:
            return False
        backend = self._tokenizer.backend
        return len(backend.encode(content, add_special_tokens=False)) < num_tokens
