"""Programming languages: which one a file is in, whether a text parses, and the functions in it.

Languages have the names of The Stack's folders: `python`, `c++`, `c-sharp`, `jupyter-notebook`. Python
is parsed by the interpreter's own parser, the others by tree-sitter (extra `corpus`), whose grammars lie
inside the wheel of tree-sitter-language-pack.
"""

from __future__ import annotations

import ast
import functools
import posixpath
import re
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

from codepmp_jax.cli.errors import UserError

NOTEBOOK = "jupyter-notebook"


class Definition(NamedTuple):
    """A function or class in a text."""

    name: str
    """Qualified by the classes around it, e.g. `Shelf.width`."""
    kind: str
    """`function` or `class`."""
    content: str
    """The author's text, dedented."""
    comment: str
    """The comment right before it, without its signs."""
    line: int
    """First line in the text, from 1."""
    is_parsable: bool
    """Whether it parses without an error."""


class _Grammar(NamedTuple):
    name: str
    """In tree-sitter-language-pack."""
    functions: tuple[str, ...] = ()
    """Node types of functions and methods."""
    classes: tuple[str, ...] = ()
    """Node types whose name qualifies the functions inside."""


_SCRIPT_FUNCTIONS = (
    "function_declaration",
    "generator_function_declaration",
    "method_definition",
    "variable_declarator",
)
_C_CLASSES = ("class_specifier", "struct_specifier")
_GRAMMARS = {
    "c": _Grammar("c", ("function_definition",)),
    "c++": _Grammar("cpp", ("function_definition",), _C_CLASSES),
    "c-sharp": _Grammar(
        "csharp",
        ("method_declaration", "constructor_declaration"),
        ("class_declaration", "struct_declaration", "record_declaration"),
    ),
    "css": _Grammar("css"),
    "cuda": _Grammar("cuda", ("function_definition",), _C_CLASSES),
    "dockerfile": _Grammar("dockerfile"),
    "elixir": _Grammar("elixir"),
    "erlang": _Grammar("erlang"),
    "fortran": _Grammar("fortran", ("function", "subroutine")),
    "go": _Grammar("go", ("function_declaration", "method_declaration")),
    "haskell": _Grammar("haskell"),
    "html": _Grammar("html"),
    "java": _Grammar(
        "java",
        ("method_declaration", "constructor_declaration"),
        ("class_declaration", "enum_declaration", "record_declaration", "interface_declaration"),
    ),
    "javascript": _Grammar("javascript", _SCRIPT_FUNCTIONS, ("class_declaration",)),
    "json": _Grammar("json"),
    "julia": _Grammar("julia", ("function_definition",)),
    # Cells may hold lines for the shell; tree-sitter finds the functions beside them.
    NOTEBOOK: _Grammar("python", ("function_definition",), ("class_definition",)),
    "kotlin": _Grammar(
        "kotlin", ("function_declaration",), ("class_declaration", "object_declaration")
    ),
    "lua": _Grammar("lua", ("function_declaration",)),
    "makefile": _Grammar("make"),
    "objective-c": _Grammar("objc", ("function_definition", "method_definition")),
    "ocaml": _Grammar("ocaml"),
    "perl": _Grammar("perl", ("subroutine_declaration_statement",)),
    "php": _Grammar(
        "php",
        ("function_definition", "method_declaration"),
        ("class_declaration", "trait_declaration"),
    ),
    "powershell": _Grammar("powershell", ("function_statement",)),
    "r": _Grammar("r"),
    "ruby": _Grammar("ruby", ("method", "singleton_method"), ("class", "module")),
    "rust": _Grammar("rust", ("function_item",), ("impl_item", "trait_item")),
    "scala": _Grammar(
        "scala",
        ("function_definition",),
        ("class_definition", "object_definition", "trait_definition"),
    ),
    "shell": _Grammar("bash", ("function_definition",)),
    "solidity": _Grammar("solidity", ("function_definition",), ("contract_declaration",)),
    "sql": _Grammar("sql"),
    "swift": _Grammar("swift", ("function_declaration",), ("class_declaration",)),
    "tsx": _Grammar("tsx", _SCRIPT_FUNCTIONS, ("class_declaration", "abstract_class_declaration")),
    "typescript": _Grammar(
        "typescript", _SCRIPT_FUNCTIONS, ("class_declaration", "abstract_class_declaration")
    ),
    "yaml": _Grammar("yaml"),
    "zig": _Grammar("zig"),
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
    return not _parse(code.encode(errors="replace"), language).has_error


def has_definitions(language: str) -> bool:
    """Whether `definitions` knows the functions of a language."""
    return language in _GRAMMARS and bool(_GRAMMARS[language].functions)


def definitions(code: str, language: str) -> Iterator[Definition]:
    """Functions, methods and classes in the order of their places; what lies in a function stays there.

    None for a language without `has_definitions` (Python's own are `codepmp_jax.corpus.snippets`').
    Raises UserError where tree-sitter is not installed.
    """
    if not has_definitions(language):
        return
    grammar = _GRAMMARS[language]
    data = code.encode(errors="replace")
    # A stack of our own: generated code nests deeper than Python recurses.
    waiting: list[tuple[Any, tuple[str, ...]]] = [(_parse(data, language), ())]
    while waiting:
        node, scope = waiting.pop()
        kind = _kind(node, grammar)
        if kind:
            name = _name(node)
            yield _definition(node, kind, (*scope, name), data)
            scope = (*scope, name)
        if kind != "function":
            waiting += [(child, scope) for child in reversed(node.named_children)]


def _kind(node: Any, grammar: _Grammar) -> str:
    """`function`, `class`, or nothing where the node is neither or has no body."""
    if node.type == "variable_declarator":
        value = node.child_by_field_name("value")
        is_function = value is not None and value.type in ("arrow_function", "function_expression")
        return "function" if is_function and node.type in grammar.functions else ""
    if node.type in grammar.functions:
        return "function"
    # `struct shelf *s` is of the same node type as the struct's definition.
    has_body = node.type not in _C_CLASSES or node.child_by_field_name("body") is not None
    return "class" if node.type in grammar.classes and has_body else ""


def _name(node: Any) -> str:
    """The identifier that the definition binds; empty where the grammar gives none."""
    while True:
        fields = ("name", "declarator", *(("type",) if node.type == "impl_item" else ()))
        inner = next(filter(None, map(node.child_by_field_name, fields)), None)
        if inner is None:
            break
        node = inner
    waiting = [node]
    while waiting:
        node = waiting.pop()
        named = ("name", "function_name", "word")
        if node.type.endswith(("identifier", "index_expression")) or node.type in named:
            break
        waiting += reversed(node.named_children)
    found = re.search(r"[^\W\d][\w.:$?!-]*", node.text[:200].decode(errors="replace"))
    return found.group() if found else ""


def _definition(node: Any, kind: str, scope: tuple[str, ...], data: bytes) -> Definition:
    # `const f = () => ...`: the statement is the function's text.
    outer = node.parent if node.type == "variable_declarator" else node
    while outer.parent is not None and outer.parent.type in (
        "export_statement",
        "decorated_definition",
        "template_declaration",
    ):
        outer = outer.parent
    start = data.rfind(b"\n", 0, outer.start_byte) + 1
    indent = data[start : outer.start_byte]
    text = data[outer.start_byte : outer.end_byte].decode(errors="replace")
    if not indent.strip():
        lines = text.split("\n")
        text = "\n".join([lines[0], *(line.removeprefix(indent.decode()) for line in lines[1:])])
    return Definition(
        name=".".join(part for part in scope if part),
        kind=kind,
        content=text.rstrip(),
        comment=_comment_before(outer),
        line=outer.start_point[0] + 1,
        is_parsable=not outer.has_error,
    )


def _comment_before(node: Any) -> str:
    """The text of the comments that end on the line above the node, or above one another."""
    parts: list[str] = []
    before = node.prev_named_sibling
    while before is not None and "comment" in before.type:
        text = before.text.decode(errors="replace")
        end = before.end_point[0] - text.endswith("\n")
        if end + 1 != node.start_point[0]:
            break
        parts.append(text)
        node, before = before, before.prev_named_sibling
    lines = "\n".join(reversed(parts)).split("\n")
    bare = [re.sub(r"^\s*(///?!?|/\*+!?|\*+/|\*|#+|--+|%+)|\*+/\s*$", "", line) for line in lines]
    return "\n".join(line.strip() for line in bare).strip()


def _parse(data: bytes, language: str) -> Any:
    """The root node of the text's syntax tree."""
    import tree_sitter

    return tree_sitter.Parser(_language(_GRAMMARS[language].name)).parse(data).root_node


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
