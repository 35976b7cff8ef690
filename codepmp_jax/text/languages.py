"""Programming languages: which one a file is in, and whether a text parses.

Languages have the names of The Stack's folders: `python`, `c++`, `c-sharp`, `jupyter-notebook`. Python
is parsed by the interpreter's own parser, the others by tree-sitter (extra `corpus`), whose grammars lie
inside the wheel of tree-sitter-language-pack.
"""

from __future__ import annotations

import ast
import functools
import posixpath
import time
import warnings
from typing import Any

from codepmp_jax.cli.errors import UserError

NOTEBOOK = "jupyter-notebook"
# Time of a core that a text's parser has, and bytes that it reads at a time.
_PARSE_SECONDS, _PIECE = 2.0, 1 << 16


# Language -> grammar of tree-sitter-language-pack.
_GRAMMARS = {
    "c": "c",
    "c++": "cpp",
    "c-sharp": "csharp",
    "css": "css",
    "cuda": "cuda",
    "dockerfile": "dockerfile",
    "elixir": "elixir",
    "erlang": "erlang",
    "fortran": "fortran",
    "go": "go",
    "haskell": "haskell",
    "html": "html",
    "java": "java",
    "javascript": "javascript",
    "json": "json",
    "julia": "julia",
    "kotlin": "kotlin",
    "lua": "lua",
    "makefile": "make",
    "objective-c": "objc",
    "ocaml": "ocaml",
    "perl": "perl",
    "php": "php",
    "powershell": "powershell",
    "r": "r",
    "ruby": "ruby",
    "rust": "rust",
    "scala": "scala",
    "shell": "bash",
    "solidity": "solidity",
    "sql": "sql",
    "swift": "swift",
    "tsx": "tsx",
    "typescript": "typescript",
    "yaml": "yaml",
    "zig": "zig",
    NOTEBOOK: "python",
}

_FILE_TYPES = {
    "ada": "ada adb ads",
    "assembly": "asm s nasm",
    "awk": "awk",
    "batchfile": "bat cmd",
    "c": "c h",
    "c++": "cc cpp cxx c++ hh hpp hxx h++ ipp tpp",
    "c-sharp": "cs csx",
    "clojure": "clj cljs cljc",
    "cmake": "cmake",
    "coffeescript": "coffee",
    "common-lisp": "lisp lsp asd",
    "css": "css",
    "cuda": "cu cuh",
    "dart": "dart",
    "elixir": "ex exs",
    "elm": "elm",
    "emacs-lisp": "el",
    "erlang": "erl hrl",
    "f-sharp": "fs fsi fsx",
    "fortran": "f f77 f90 f95 f03 f08 for",
    "glsl": "glsl vert frag geom comp",
    "go": "go",
    "groovy": "groovy gradle",
    "haskell": "hs lhs",
    "html": "html htm xhtml",
    "java": "java",
    "javascript": "js mjs cjs jsx es6",
    "json": "json",
    "julia": "jl",
    NOTEBOOK: "ipynb",
    "kotlin": "kt kts",
    "lua": "lua",
    "makefile": "mk mak",
    "markdown": "md markdown",
    "matlab": "m",
    "objective-c": "mm",
    "ocaml": "ml mli",
    "pascal": "pas pp dpr",
    "perl": "pl pm",
    "php": "php php5 phtml",
    "powershell": "ps1 psm1 psd1",
    "prolog": "pro prolog",
    "protocol-buffer": "proto",
    "python": "py pyi pyw",
    "r": "r",
    "racket": "rkt",
    "restructuredtext": "rst",
    "ruby": "rb rake gemspec",
    "rust": "rs",
    "scala": "scala sc sbt",
    "scheme": "scm ss sld",
    "shell": "sh bash zsh ksh",
    "solidity": "sol",
    "sql": "sql",
    "standard-ml": "sml sig fun",
    "swift": "swift",
    "systemverilog": "sv svh",
    "tcl": "tcl",
    "tex": "tex sty cls",
    "thrift": "thrift",
    "tsx": "tsx",
    "typescript": "ts mts cts",
    "verilog": "v vh",
    "vhdl": "vhd vhdl",
    "visual-basic": "vb vbs bas",
    "yaml": "yaml yml",
    "zig": "zig",
}
_BY_FILE_TYPE = {
    file_type: language for language, types in _FILE_TYPES.items() for file_type in types.split()
}
_BY_FILE_NAME = {
    "cmakelists.txt": "cmake",
    "dockerfile": "dockerfile",
    "gemfile": "ruby",
    "gnumakefile": "makefile",
    "jenkinsfile": "groovy",
    "makefile": "makefile",
    "rakefile": "ruby",
}
_OTHER_NAMES = {"c#": "c-sharp", "csharp": "c-sharp", "cpp": "c++", "f#": "f-sharp"}


def known_languages() -> list[str]:
    """The languages that a file's name can tell."""
    return sorted({*_FILE_TYPES, *_BY_FILE_NAME.values()})


def language_of(path: str) -> str | None:
    """The language of a file by its name: `src/a.py` -> `python`; None where the name tells none."""
    name = posixpath.basename(path).lower()
    if name in _BY_FILE_NAME:
        return _BY_FILE_NAME[name]
    return _BY_FILE_TYPE.get(name.rpartition(".")[2]) if "." in name else None


def language_name(written: str) -> str:
    """The Stack's folder name for a language as a data set writes it: `Jupyter Notebook`, `C#`."""
    name = written.strip().lower().replace(" ", "-").replace("_", "-")
    return _OTHER_NAMES.get(name, name)


def is_parsable(code: str, language: str) -> bool | None:
    """Whether the text parses without an error; None for a language without a parser, and notebooks.

    Raises UserError where the language needs tree-sitter and it is not installed.
    """
    if language == "python":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the parser thinks of other people's escapes
            try:
                ast.parse(code)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                return False
        return True
    if language not in _GRAMMARS or language == NOTEBOOK:
        return None
    try:
        return not parse(code.encode(errors="replace"), language).has_error
    except SlowParseError:
        return False


class SlowParseError(ValueError):
    """A text takes its parser longer than any program would."""


def parse(data: bytes, language: str) -> Any:
    """The root node of a text's syntax tree.

    Raises UserError where tree-sitter is not installed, and SlowParseError after 2 s of a core: a program of 1 MB takes
    less than that, but a parser that looks for where an error ends may take time that grows as the square of the length.
    """
    import tree_sitter

    parser = tree_sitter.Parser(_language(_GRAMMARS[language]))
    end = time.thread_time() + _PARSE_SECONDS
    try:
        # The library looks at the clock only where it reads by pieces.
        tree = parser.parse(
            lambda start, _: data[start : start + _PIECE],
            progress_callback=lambda *_: time.thread_time() > end,
        )
    except ValueError as error:
        raise SlowParseError(f"{len(data)} bytes of {language}") from error
    return tree.root_node


@functools.cache
def _language(grammar: str) -> Any:
    try:
        import tree_sitter_language_pack
    except ImportError as error:
        raise UserError(
            "tree-sitter is not installed, and no language but Python can be parsed without it. "
            "Remedy: pip install 'codepmp_jax[corpus]'."
        ) from error
    return tree_sitter_language_pack.get_language(grammar)  # type: ignore[arg-type]
