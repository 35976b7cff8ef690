"""The functions and classes in a text of any language but Python: names, texts, comments.

A function is what has a body and a name: functions, methods, constructors, destructors, operators, accessors with a
body, and function values that are bound to a name (`exports.add = (a, b) => ...`, `close: function () ...`,
`local f = function() ...`). Callbacks have no name and are none; declarations without a body (prototypes,
abstract methods, overload signatures, `= default`) are none.

Names are qualified by what holds the function, joined by dots whatever the language writes: classes, modules
of Ruby, objects with a name, Go's receiver, Kotlin's extended type, C++'s `Shelf::`, JavaScript's
`Shelf.prototype.`. Namespaces and packages are left out, and so are type parameters and the `exports.` and
`module.exports.` of JavaScript. Operators are part of the name: `Shelf.operator<`, `Shelf.<=>`. A default export without
a name is `default`; Kotlin's and JavaScript's constructors are `constructor`, Swift's `init`.

A definition's text is the whole statement: with `export`, `template <...>`, attributes and decorators, `private` before
a Ruby method, and macros before the type in C. Lines lose the indentation of the first one, except those that
begin inside a string.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from codepmp_jax.text import languages
from codepmp_jax.text.definition_names import DEFAULT, bindings_of, name_of
from codepmp_jax.text.definition_rules import C_CLASSES, RULES, Rules
from codepmp_jax.text.doc_comments import describe


class Definition(NamedTuple):
    """A function or class in a text."""

    name: str
    """Qualified, e.g. `Shelf.width`."""
    kind: str
    """`function` or `class`."""
    content: str
    """The author's text, dedented."""
    comment: str
    """What the comment right before it says, see doc_comments.py."""
    line: int
    """First line in the text, from 1."""
    is_parsable: bool
    """Whether it parses without an error."""


_BODIES = (
    "{",
    "compound_statement",
    "function_body",
    "computed_property",
    "willset_didset_block",
    "getter",
    "setter",
    "lambda_literal",
    "anonymous_function",
)
_ACCESSORS = ("getter", "setter")
# Macros before a signature are no syntax: there the body tells whether a function parses.
_WITH_MACROS = ("c", "c++", "cuda", "objective-c")
_MACROS = ("declaration", "expression_statement", "ERROR", "type_identifier", "identifier")
_LISTS = ("expression_list", "variable_list")
_STRING = re.compile(r"string|heredoc|nowdoc")


def has_definitions(language: str) -> bool:
    """Whether `definitions` knows the functions of a language."""
    return language in RULES


def definitions(code: str, language: str) -> Iterator[Definition]:
    """Functions, methods and classes in the order of their places; what lies in a function stays there.

    None for a language without `has_definitions` (Python's own are `codepmp_jax.corpus.snippets`').
    Raises UserError where tree-sitter is not installed.
    """
    if not has_definitions(language):
        return
    rules = RULES[language]
    data = code.encode(errors="replace")
    root = languages.parse(data, language)
    # A stack of our own: generated code nests deeper than Python recurses.
    waiting = [_Place(root)]
    while waiting:
        place = waiting.pop()
        kind = _kind(place, rules, language)
        if kind:
            name = _dotted(place.scope, place.bound or name_of(place.node, language))
            yield _definition(place, kind, name, root, data, language)
            place = place._replace(scope=name)
        elif place.bound not in ("", DEFAULT):
            place = place._replace(scope=_dotted(place.scope, place.bound))
        if kind != "function":
            waiting += reversed(_children(place, rules))


class _Place(NamedTuple):
    """A node and what is known of it from the nodes around it."""

    node: Any
    scope: str = ""
    """Name of what holds it."""
    statement: Any = None
    """The outermost wrapper around it."""
    bound: str = ""
    """The name that it is bound to."""


def _dotted(*names: str) -> str:
    return ".".join(filter(None, names))


def _children(place: _Place, rules: Rules) -> list[_Place]:
    """The places of the children of a node that is no function."""
    node = place.node
    children = node.named_children
    if not children or node.type not in rules.wrappers:
        return [_Place(child, place.scope) for child in children]
    bound = bindings_of(node, frozenset((*rules.values, *rules.holders)))
    children = [
        inner
        for child in children
        for inner in (child.named_children if child.type in _LISTS else [child])
    ]
    # Of `const a = () => 1, b = () => 2` each has its own text.
    parts = {*rules.wrappers, *rules.functions, *rules.values, *rules.classes} - {"argument_list"}
    is_one = sum(child.type in parts for child in children) <= 1
    statement = (place.statement or node) if is_one else None
    return [_Place(child, place.scope, statement, bound.get(child.id, "")) for child in children]


def _kind(place: _Place, rules: Rules, language: str) -> str:
    """`function`, `class`, or nothing where the node is neither or has no body."""
    node = place.node
    if place.bound:
        if node.type in rules.holders:
            return "class" if node.type == "class" else ""
        return "function"
    if node.type in rules.functions:
        return "function" if _has_body(node, rules, language) else ""
    if node.type not in rules.classes:
        return ""
    # `struct shelf *s` is of the same node type as the struct's definition.
    has_body = node.type not in C_CLASSES or node.child_by_field_name("body") is not None
    return "class" if has_body else ""


def _has_body(node: Any, rules: Rules, language: str) -> bool:
    if language == "julia" and node.type == "assignment":  # f(x) = ...
        left = node.named_child(0)
        while left.type in ("typed_expression", "where_expression"):
            left = left.named_child(0)
        return left.type == "call_expression"
    if not rules.needs_body:
        return True
    if node.child_by_field_name("body") is not None:
        return True
    if language == "c-sharp":
        value, accessors = map(node.child_by_field_name, ("value", "accessors"))
        is_arrow = value is not None and value.type == "arrow_expression_clause"
        found = accessors.named_children if accessors is not None else ()
        return is_arrow or any(one.child_by_field_name("body") is not None for one in found)
    after = node.next_named_sibling
    return any(child.type in _BODIES for child in node.children) or (
        node.type == "property_declaration" and after is not None and after.type in _ACCESSORS
    )


def _definition(
    place: _Place, kind: str, name: str, root: Any, data: bytes, language: str
) -> Definition:
    node, outer = place.node, place.statement or place.node
    start, comments = _before(outer, root, data, RULES[language].attributes, language)
    end = outer.end_byte
    if language == "kotlin":  # an accessor on a line of its own
        after = outer.next_named_sibling if outer.type == "property_declaration" else None
        while after is not None and after.type in _ACCESSORS:
            end, after = after.end_byte, after.next_named_sibling
    end = _without_comments(root, data, outer.start_byte, end)
    if data[end : end + 1] == b";":
        end += 1
    line_start = data.rfind(b"\n", 0, start) + 1
    text = data[start:end].decode(errors="replace")
    line = data.count(b"\n", 0, start)
    indent = re.match(rb"[ \t]*", data[line_start:start])
    if "\n" in text and indent and indent.group():
        inside = _lines_in_strings(outer)
        prefix = indent.group().decode()
        text = "\n".join(
            row if number in inside else row.removeprefix(prefix)
            for number, row in enumerate(text.split("\n"), start=line)
        )
    body = node.child_by_field_name("body") if language in _WITH_MACROS else None
    return Definition(
        name=name,
        kind=kind,
        content=text.rstrip(),
        comment=describe(comments, language),
        line=line + 1,
        is_parsable=not (body or outer).has_error,
    )


def _lines_in_strings(node: Any) -> set[int]:
    """Lines that begin inside a string."""
    found: set[int] = set()
    waiting = [node]
    while waiting:
        node = waiting.pop()
        first, last = node.start_point[0], node.end_point[0]
        if first == last:
            continue
        if _STRING.search(node.type):
            found.update(range(first + 1, last + 1))
        else:
            waiting += node.children
    return found


def _before(
    node: Any, root: Any, data: bytes, attributes: tuple[str, ...], language: str
) -> tuple[int, list[str]]:
    """First byte of the statement with its attributes and macros; the comments right before it, in order.

    A comment counts where it begins its line and ends on the line above the statement, its attributes or another comment.
    Perl's POD may have a blank line after it.
    """
    start = place = _with_macros(node, data) if language in _WITH_MACROS else node.start_byte
    comments: list[str] = []
    while True:
        end = place
        while end and data[end - 1] in b" \t\r\n":
            end -= 1
        found = _node_at(root, end - 1, attributes, language) if end else None
        if found is None:
            break
        if found.type in attributes:
            start = place = found.start_byte
            continue
        is_near = data.count(b"\n", end, place) <= 1 or found.type == "pod"
        line_start = data.rfind(b"\n", 0, found.start_byte) + 1
        if not is_near or data[line_start : found.start_byte].strip():
            break
        comments.append(found.text.decode(errors="replace").rstrip())
        place = found.start_byte
    return start, comments[::-1]


def _node_at(root: Any, byte: int, attributes: tuple[str, ...], language: str) -> Any:
    """The comment or attribute that ends with a byte; None where something else does."""
    node = root.descendant_for_byte_range(byte, byte + 1)
    for _ in range(5):  # deeper than the parts of either
        if node is None or node.parent is None:
            return None
        is_comment = "comment" in node.type and "comment" not in node.parent.type
        if node.type == "pod" or is_comment:
            return node
        if node.type in attributes:
            return node
        if language == "julia" and node.type == "string_literal":
            return (
                node if node.parent.type in ("source_file", "block", "module_definition") else None
            )
        node = node.parent
    return None


def _without_comments(root: Any, data: bytes, start: int, end: int) -> int:
    """The end of a text without comments on lines of their own there: some grammars put the next one's in."""
    while True:
        end = start + len(data[start:end].rstrip())
        found = _node_at(root, end - 1, (), "")
        if found is None or found.start_byte <= start:
            return end
        line_start = data.rfind(b"\n", 0, found.start_byte) + 1
        if data[line_start : found.start_byte].strip():
            return end
        end = line_start


def _with_macros(node: Any, data: bytes) -> int:
    """First byte of a C function with what the grammar took for a declaration before it: `API int API_CALL f()`."""
    start, other = node.start_byte, node.prev_named_sibling
    if (
        node.child_count > 1
        and data.count(b"\n", node.children[0].end_byte, node.children[1].start_byte) > 1
    ):
        return node.children[1].start_byte  # `TEST_END`, and a blank line
    while other is not None and other.type in _MACROS:
        gap = data[other.end_byte : start]
        ends = (b";", b"}", b",", b":") if b"\n" not in gap else (b";", b"}", b",", b":", b")")
        text = other.text.rstrip()
        if gap.strip() or gap.count(b"\n") > 1 or text.startswith(b"#") or text.endswith(ends):
            break
        start, other = other.start_byte, other.prev_named_sibling
    return start
