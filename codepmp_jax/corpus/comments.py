"""Comments by the signs of the languages, with regular expressions."""

from __future__ import annotations

import re

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


def comment_scanner(language: str) -> re.Pattern[str] | None:
    """Matches comments (the group `comment`) and strings of a language; None where its signs are not known."""
    return _SCANNERS.get(language)
