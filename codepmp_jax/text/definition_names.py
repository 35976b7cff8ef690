"""Names of functions and classes by tree-sitter's nodes, and the names that values are bound to.

The rule that users read is definitions.py's: parts joined by dots, without namespaces and type parameters.
"""

from __future__ import annotations

import re
from typing import Any

# Node type -> field of the name, field of the value.
_BINDINGS = {
    "assignment": ("left", "right"),
    "assignment_expression": ("left", "right"),
    "augmented_assignment_expression": ("left", "right"),
    "export_statement": ("", "value"),
    "field": ("name", "value"),
    "field_definition": ("property", "value"),
    "init_declarator": ("declarator", "value"),
    "pair": ("key", "value"),
    "public_field_definition": ("name", "value"),
    "val_definition": ("pattern", "value"),
    "var_spec": ("name", "value"),
    "variable_declarator": ("name", "value"),
}
DEFAULT = "default"
"""The name of a default export without one."""
# What a module gives out; no object that holds functions.
_MODULE = re.compile(r"^(?:module\.)?exports\b\.?|^this\.|\.prototype\b")
_WORD = re.compile(r"[^\W\d][\w.:$?!-]*")
_TYPE_ARGUMENTS = re.compile(r"<[^<>]*>")


def bindings_of(node: Any, kinds: frozenset[str]) -> dict[int, str]:
    """Id of a value (a node of one of `kinds`) -> the name that `node` binds it to."""
    if node.type in ("assignment_statement", "var_spec"):
        names, values = _listed(node, "name"), _listed(node, "value")
        pairs = list(zip(names, values, strict=False))
    elif node.type == "call":
        return _defined_method(node)
    elif node.type in _BINDINGS:
        name, value = map(node.child_by_field_name, _BINDINGS[node.type])
        pairs = [(name, value)] if value is not None else []
    else:
        return {}
    return {
        value.id: target(name) for name, value in pairs if value.type in kinds or _is_lambda(value)
    }


def _listed(node: Any, field: str) -> list[Any]:
    """Names or values of a statement that may bind several."""
    found = node.children_by_field_name(field)
    for child in node.named_children:
        if child.type in ("variable_list", "expression_list"):
            inner = child.children_by_field_name(field)
            if not inner and child in found:
                inner = child.named_children
            found = [one for one in found if one != child] + inner
    return found


def _is_lambda(value: Any) -> bool:
    """Ruby's `lambda do ... end` and `proc { ... }`."""
    method = value.child_by_field_name("method") if value.type == "call" else None
    is_named = method is not None and method.text in (b"lambda", b"proc")
    return is_named and value.child_by_field_name("block") is not None


def _defined_method(node: Any) -> dict[int, str]:
    """Ruby's `define_method(:name) do ... end`."""
    method, block = map(node.child_by_field_name, ("method", "block"))
    arguments = node.child_by_field_name("arguments")
    if method is None or block is None or arguments is None:
        return {}
    first = arguments.named_child(0)
    if method.text not in (b"define_method", b"define_singleton_method") or first is None:
        return {}
    name = _text(first).strip(":\"'")
    return {block.id: name} if _WORD.fullmatch(name) else {}


def target(node: Any) -> str:
    """The name on the left of an assignment, or before a colon."""
    if node is None:
        return DEFAULT
    if node.type in ("string", "template_string") or node.type == "computed_property_name":
        return _text(node).strip("\"'`")
    text = "".join(_text(node).split()) if "expression" in node.type else _text(node)
    text = re.sub(r"\[(['\"])([\w$-]+)\1\]", r".\2", text.replace("->", ".").replace("::", "."))
    text = _MODULE.sub("", text)
    if re.fullmatch(r"[\w$#.-]+|\[[\w.]+\]", text):
        return text.removeprefix("$").removeprefix("self.").replace("$this.", "")
    words = _WORD.findall(text)
    return words[-1].strip(".:-") if words else DEFAULT


def name_of(node: Any, language: str) -> str:
    """The name that a definition has of itself; empty where the grammar gives none."""
    reader = _READERS.get(language, _plain)
    name = " ".join(reader(node).split())
    return name[:200] or _first_word(node)


def _plain(node: Any) -> str:
    name = node.child_by_field_name("name")
    return _text(name).strip("`\"'") if name is not None else ""


def _text(node: Any) -> str:
    return node.text.decode(errors="replace")


def _bare_type(text: str) -> str:
    """`List<T>?` -> `List`, `&'a mut std::Map<K, V>` -> `std.Map`; empty where it has no name."""
    while (shorter := _TYPE_ARGUMENTS.sub("", text)) != text:
        text = shorter
    text = re.sub(r"\[[^\[\]]*\]|^[&*\s]+|'\w+|\b(?:mut|dyn|const|template|typename)\b", "", text)
    text = text.replace("::", ".").strip(" .?*&()")
    return text if re.fullmatch(r"[\w.$~]+", text) else ""


def _dotted(*parts: str) -> str:
    return ".".join(filter(None, parts))


def _c(node: Any) -> str:
    if node.type not in ("function_definition", "inline_method_definition"):
        return _bare_type(_plain(node))
    place, scopes = node.child_by_field_name("declarator"), []
    if (
        place is not None and place.text == b"(void)"
    ):  # `int API main(void)`: `main` is taken for the type
        return _text(node.child_by_field_name("type"))
    while place is not None:
        if place.type == "qualified_identifier":
            scope = place.child_by_field_name("scope")
            scopes += [_bare_type(_text(scope))] if scope is not None else []
            place = place.child_by_field_name("name")
        elif place.type == "operator_cast":
            called = _text(place).split("(")[0].split()
            return _dotted(*scopes, " ".join(called))
        elif place.type in ("template_function", "template_method", "dependent_name"):
            place = place.child_by_field_name("name") or place.named_child(0)
        elif place.type == "operator_name":
            sign = _text(place).removeprefix("operator")
            gap = " " if sign.strip()[:1].isalpha() else ""
            return _dotted(*scopes, f"operator{gap}{sign.strip()}")
        else:
            inner = place.child_by_field_name("declarator")
            if inner is None and place.type.endswith("_declarator"):
                inner = next((c for c in reversed(place.named_children) if _may_name(c)), None)
            if inner is None:
                return _dotted(*scopes, _text(place) if _may_name(place) else "")
            place = inner
    return ""


def _may_name(node: Any) -> bool:
    return node.type.endswith(("identifier", "declarator", "_name", "operator_cast"))


def _c_sharp(node: Any) -> str:
    if node.type in ("operator_declaration", "conversion_operator_declaration"):
        before = _text(node).split("(")[0].split()
        sign = " ".join(before[before.index("operator") + 1 :]) if "operator" in before else ""
        if not sign:  # `operator+(...)`
            sign = _text(node).partition("operator")[2].split("(")[0].strip()
        return f"operator {sign}" if sign[:1].isalpha() else f"operator{sign}"
    if node.type == "indexer_declaration":
        return "this[]"
    return f"~{_plain(node)}" if node.type == "destructor_declaration" else _plain(node)


def _go(node: Any) -> str:
    receiver = node.child_by_field_name("receiver")
    held = receiver.named_child(0) if receiver is not None else None
    kind = held.child_by_field_name("type") if held is not None else None
    return _dotted(_bare_type(_text(kind)) if kind is not None else "", _plain(node))


def _julia(node: Any) -> str:
    signature = node.named_child(0)
    text = _text(signature)
    depth = 0
    for place, sign in enumerate(text):  # up to the parameters
        if sign == "(" and depth == 0 and place and not text[:place].isspace():
            return text[:place].split("{")[0].strip()
        depth += (sign in "({") - (sign in ")}")
    return ""


def _kotlin(node: Any) -> str:
    if node.type == "secondary_constructor":
        return "constructor"
    receiver = ""
    for child in node.named_children:
        if child.type in ("receiver_type", "user_type", "nullable_type") and not receiver:
            receiver = _bare_type(_text(child))
        elif child.type == "variable_declaration":
            return _dotted(receiver, _text(child.named_child(0)).strip("`"))
        elif child.type in ("simple_identifier", "type_identifier"):
            return _dotted(receiver, _text(child).strip("`"))
    return ""


def _lua(node: Any) -> str:
    return _plain(node).replace(":", ".")


def _ruby(node: Any) -> str:
    holder = node.child_by_field_name("object")
    named = _text(holder) if holder is not None and holder.type != "self" else ""
    return _dotted(named, _plain(node).replace("::", "."))


def _rust(node: Any) -> str:
    kind = node.child_by_field_name("type") if node.type == "impl_item" else None
    if kind is None:
        return _plain(node)
    bare = re.sub(r"^[&*\s]+|'\w+\s*|\b(?:mut|dyn)\s+", "", _text(kind))
    return _bare_type(_text(kind)) or "".join(bare.split())[:40]


def _swift(node: Any) -> str:
    special = {"init_declaration": "init", "deinit_declaration": "deinit"}
    special["subscript_declaration"] = "subscript"
    if node.type in special:
        return special[node.type]
    if node.type == "function_declaration":
        # The field `name` is the type of the result where an operator is defined.
        after = False
        for child in node.children:
            if after:
                return _text(child).strip("`")
            after = child.type == "func"
    name = node.child_by_field_name("name")
    text = _text(name) if name is not None else ""
    return text.strip("`") if node.type == "property_declaration" else _bare_type(text)


_READERS = {
    "c": _c,
    "c++": _c,
    "c-sharp": _c_sharp,
    "cuda": _c,
    "go": _go,
    "julia": _julia,
    "kotlin": _kotlin,
    "lua": _lua,
    "ruby": _ruby,
    "rust": _rust,
    "swift": _swift,
}


def _first_word(node: Any) -> str:
    """The first identifier at the names' fields or below."""
    while True:
        inner = next(filter(None, map(node.child_by_field_name, ("name", "declarator"))), None)
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
    found = _WORD.search(node.text[:200].decode(errors="replace"))
    return found.group() if found else ""
