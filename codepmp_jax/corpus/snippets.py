"""The functions and classes of a Python file, with their docstrings taken out."""

from __future__ import annotations

import ast
import bisect
import dataclasses
import inspect
import io
import tokenize
import warnings
from collections.abc import Iterator
from typing import NamedTuple

from codepmp_jax.config import CorpusConfig
from codepmp_jax.records.schema import content_id

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Unparsable(ValueError):
    """A file is no Python that this interpreter parses."""


@dataclasses.dataclass(frozen=True)
class Snippet:
    """A function or class of a file."""

    content: str
    """The author's text, dedented, without the docstring."""
    description: str
    """The docstring, or what name and signature say."""
    is_described: bool
    """Whether there is a docstring."""
    name: str
    kind: str
    line: int
    normal_hash: str
    """Equal for snippets that differ in whitespace, comments and docstring only."""


class Dropped(NamedTuple):
    """A definition that makes no snippet."""

    name: str
    kind: str
    line: int
    reason: str
    content: str = ""
    """Its text, for the samples."""


class _Token(NamedTuple):
    line: int
    depth: int
    """Indentation levels of the block around it."""
    string: str
    starts_line: bool
    """First of a logical line."""


class _Lines:
    """The lines and tokens of a file. Lines are counted from 1, as ast counts them."""

    def __init__(self, text: str):
        self.lines = ["", *text.split("\n")]
        self.inside_string: set[int] = set()
        self.tokens: list[_Token] = []
        depth, starts_line = 0, True
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            self.inside_string.update(range(token.start[0] + 1, token.end[0] + 1))
            if token.type == tokenize.INDENT:
                depth += 1
            elif token.type == tokenize.DEDENT:
                depth -= 1
            elif token.type == tokenize.NEWLINE:
                starts_line = True
            elif token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER):
                self.tokens.append(_Token(token.start[0], depth, token.string, starts_line))
                starts_line = False
        self._token_lines = [token.line for token in self.tokens]

    def dedent(self, numbers: list[int], indent: str) -> str:
        """The lines without `indent`; lines that begin inside a string stay as they are."""
        kept = []
        for number in numbers:
            line = self.lines[number]
            if number not in self.inside_string:
                line = line.removeprefix(indent) if line.startswith(indent) else line.lstrip()
            kept.append(line)
        return "\n".join(kept)

    def normal_hash(self, first: int, last: int, docstring: range) -> str:
        """Id of the tokens of lines first..last without the docstring, comments and layout."""
        start = bisect.bisect_left(self._token_lines, first)
        stop = bisect.bisect_right(self._token_lines, last)
        tokens = [token for token in self.tokens[start:stop] if token.line not in docstring]
        parts = []
        for token in tokens:
            if token.starts_line:
                parts.append(f"\n{token.depth - tokens[0].depth}")
            parts.append(token.string)
        return content_id(*parts)


def parse_file(text: str) -> ast.Module:
    """The file's syntax tree. Raises Unparsable."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the parser thinks of other people's escapes
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise Unparsable(str(error)) from error


def extract(text: str, config: CorpusConfig) -> Iterator[Snippet | Dropped]:
    """Functions, methods and classes of a file in the order of their lines; closures stay inside.

    Raises Unparsable.
    """
    tree = parse_file(text)
    try:
        lines = _Lines(text)
    except (tokenize.TokenError, SyntaxError) as error:
        raise Unparsable(str(error)) from error
    for node, scope in _definitions(tree, ()):
        yield _snippet(node, scope, lines, config)


def _definitions(
    parent: ast.AST, scope: tuple[ast.ClassDef, ...]
) -> Iterator[tuple[Definition, tuple[ast.ClassDef, ...]]]:
    """Definitions under `parent` with the classes around them."""
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, Definition):
            yield node, scope
        if isinstance(node, ast.ClassDef):
            yield from _definitions(node, (*scope, node))
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.expr):
            yield from _definitions(node, scope)


def _snippet(
    node: Definition, scope: tuple[ast.ClassDef, ...], lines: _Lines, config: CorpusConfig
) -> Snippet | Dropped:
    """The snippet of a definition, or the reason for which it is dropped."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    last = node.end_lineno
    assert last is not None
    name = ".".join([*(outer.name for outer in scope), node.name])
    kind = "class" if isinstance(node, ast.ClassDef) else "function"
    docstring = _docstring_lines(node, lines)
    if docstring is None or (docstring and len(node.body) == 1):
        reason = "docstring beside code" if docstring is None else "nothing but a docstring"
        return Dropped(name, kind, first, reason, "\n".join(lines.lines[first : last + 1]))
    numbers = [number for number in range(first, last + 1) if number not in docstring]
    content = lines.dedent(numbers, lines.lines[node.lineno][: node.col_offset])
    fault = size_fault(content, config)
    if fault:
        return Dropped(name, kind, first, fault, content)
    try:
        parse_file(content)
    except Unparsable:
        return Dropped(name, kind, first, "not parsable on its own", content)
    return Snippet(
        content=content,
        description=_description(node, scope, config.max_description_chars),
        is_described=bool((ast.get_docstring(node) or "").strip()),
        name=name,
        kind=kind,
        line=first,
        normal_hash=lines.normal_hash(first, last, docstring),
    )


def size_fault(content: str, config: CorpusConfig) -> str:
    """The limit on definitions that the text breaks; empty where it breaks none."""
    num_lines = content.count("\n") + 1
    if num_lines < config.min_lines:
        return "too few lines"
    if num_lines > config.max_lines:
        return "too many lines"
    return "too many characters" if len(content) > config.max_chars else ""


def _docstring_lines(node: Definition, lines: _Lines) -> range | None:
    """Lines of the docstring and the blank lines after it; None where code is on the same line."""
    statement = node.body[0]
    if ast.get_docstring(node, clean=False) is None:
        return range(0)
    first, last = statement.lineno, statement.end_lineno
    assert last is not None
    before = lines.lines[first].encode()[: statement.col_offset].decode()
    after = lines.lines[last].encode()[statement.end_col_offset :].decode().strip()
    if before.strip() or (after and not after.startswith("#")):
        return None
    while last + 1 < len(lines.lines) and not lines.lines[last + 1].strip():
        last += 1
    return range(first, last + 1)


def _description(node: Definition, scope: tuple[ast.ClassDef, ...], max_chars: int) -> str:
    """The docstring, or what name and signature say."""
    docstring = inspect.cleandoc(ast.get_docstring(node, clean=False) or "").strip()
    if docstring:
        return shorten(docstring, max_chars)
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        text = f"Class {node.name}" + (f", derived from {bases}" if bases else "")
    else:
        arguments = node.args
        names = [
            argument.arg
            for argument in (
                *arguments.posonlyargs,
                *arguments.args,
                *([arguments.vararg] if arguments.vararg else []),
                *arguments.kwonlyargs,
                *([arguments.kwarg] if arguments.kwarg else []),
            )
        ]
        if scope and names and names[0] in ("self", "cls", "mcs"):
            names = names[1:]
        text = f"Method {node.name} of class {scope[-1].name}" if scope else f"Function {node.name}"
        text += f" with the parameters {', '.join(names)}" if names else ""
    return shorten(text + ".", max_chars)


def shorten(text: str, max_chars: int) -> str:
    """The text's first paragraphs within `max_chars`, or its first words where even one is longer."""
    if len(text) <= max_chars:
        return text
    cut = text.rfind("\n\n", 0, max_chars + 1)
    if cut < 0:
        cut = max(text.rfind(" ", 0, max_chars + 1), text.rfind("\n", 0, max_chars + 1))
    return text[: cut if cut > 0 else max_chars].rstrip()
