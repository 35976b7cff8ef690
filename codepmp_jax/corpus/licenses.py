"""Licenses: SPDX expressions, and which license a text is.

A license is written as an SPDX expression; `unknown` where something is said but not clearly, empty where nothing
is said. Doubt is `unknown`, which no list of allowed licenses holds.

A text is a license if (rules of `identify`, in this order)

1. it says `SPDX-License-Identifier:` in its first lines: that expression;
2. three quarters of its words, and all but 150, are those of licenses of the SPDX list, word by word, copyright
   lines left out (package licenseclassifier, a port of Go's licensecheck, which pkg.go.dev uses). Several together
   all hold (`AND`); LGPL-3.0 includes the GPL-3.0 it adds to;
3. it has the title of a GNU license, the MPL or the EPL, whole or not;
4. it is a short form of MIT, BSD, ISC or Apache-2.0 under that title, with its first sentence.

What is left beside them must not restrict: with words such as Commons Clause, non-commercial, proprietary or
evaluation in it, or with a list of third parties before the first license, the text is `unknown`.
"""

from __future__ import annotations

import functools
import re
from typing import Any

UNKNOWN = "unknown"

# --- expressions ----------------------------------------------------------------------------------


@functools.cache
def spdx() -> Any:
    """The SPDX list's licenses and exceptions, of the package license-expression."""
    # Reading the list takes a fifth of a second.
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()


def parse(expression: str) -> Any:
    """The expression's tree; None where it is none. `MIT/Apache-2.0`, as in older Cargo files, means OR."""
    from license_expression import ExpressionError, ExpressionParseError

    try:
        return spdx().parse(re.sub(r"\s*/\s*", " OR ", expression.strip()))
    except (ExpressionError, ExpressionParseError):
        return None


@functools.lru_cache(4096)
def allows(licenses: str, allowed: frozenset[str]) -> bool:
    """Whether a text under `licenses` is let in; `allowed` holds SPDX identifiers in lower case.

    Of alternatives (`MIT OR GPL-2.0-only`) one must be allowed; of what holds together (`AND`), and of a list of
    expressions (`MIT;Apache-2.0`, `['MIT OR X', 'Apache-2.0']`), all. A known exception (`WITH`) only adds to what
    is allowed. `GPL-2.0` means `GPL-2.0-only`, which `GPL-2.0-or-later` includes. Text without a license is not
    let in.
    """
    parts = [part for part in re.split(r"[;,|\[\]'\"]", licenses) if part.strip()]
    names = frozenset(_canonical(name) for name in allowed)
    trees = [parse(part) for part in parts]
    return bool(trees) and all(tree is not None and _allows(tree, names) for tree in trees)


@functools.lru_cache(1024)
def _canonical(name: str) -> str:
    tree = parse(name) if name else None
    return str(tree if tree is not None else name).lower()


def _allows(tree: Any, names: frozenset[str]) -> bool:
    if tree.__class__.__name__ == "OR":
        return any(_allows(part, names) for part in tree.args)
    if tree.__class__.__name__ == "AND":
        return all(_allows(part, names) for part in tree.args)
    if hasattr(tree, "exception_symbol"):
        is_known = not spdx().unknown_license_keys(tree.exception_symbol)
        return str(tree).lower() in names or (is_known and _allows(tree.license_symbol, names))
    name = str(tree).lower()
    later = name.removesuffix("-or-later") + "-only"
    return name in names or (name.endswith("-or-later") and later in names)


def all_of(expressions: list[str]) -> str:
    """The expression in which all hold; `unknown` if one is, empty for none."""
    found = list(dict.fromkeys(filter(None, expressions)))
    if UNKNOWN in found:
        return UNKNOWN
    if "LGPL-3.0" in found:
        found = [name for name in found if name != "GPL-3.0"]
    if len(found) <= 1:
        return "".join(found)
    return " AND ".join(f"({name})" if " OR " in name else name for name in found)


# --- texts ----------------------------------------------------------------------------------------

_TAG = re.compile(r"SPDX-License-Identifier:[ \t]*([^\n]+)")
_TAG_END = re.compile(r"\s*(?:\*/|-->|--%>|#\}|\"\"\"|'''|\*\)|[\"';]\s*\Z).*|[^\w.+)]+\Z")
_COPYRIGHT = re.compile(
    r"^.*(?:copyright|\(c\)|©|all rights reserved|\bcontributors?\b).*$",
    re.IGNORECASE | re.MULTILINE,
)
_OWNER = re.compile(
    r"^\W*(?:copyright\s*(?:\(c\)|©)?|\(c\)|©)\s*(?:copyright\s*)?\d{4}.*$",
    re.IGNORECASE | re.MULTILINE,
)
_RESTRICTS = re.compile(
    r"commons clause|non-?\s?commercial|business source|functional source|fair[- ](?:source|code)|elastic license|"
    r"server side public|polyform|prosperity|hippocratic|ethical|do no harm|proprietary|confidential|"
    r"evaluation|trial\b|no licen[sc]e is granted|terms of (?:service|use)|subscri|\bpay(?:s|ment)?\b|\bfees?\b|end[- ]user licen[sc]e|eula\b|commercial|not be (?:used|sold|copied|"
    r"redistributed|distributed)|may not (?:use|sell|copy|redistribute|distribute|offer|provide|modify)|not permitted|"
    r"prohibited|research (?:use|purposes?)|academic|educational|personal use|internal use|"
    r"additional (?:terms|restrictions?|conditions?|use)|subject to the following additional|competing|"
    r"military|training|machine learning|field of use|without (?:prior |express |explicit )*written permission",
    re.IGNORECASE,
)
_OF_OTHERS = re.compile(
    r"third[- ]part(?:y|ies)|following (?:files?|components?|libraries|packages)|"
    r"(?:file|folder|directory|library|package|component)s? \S+ (?:is|are)\b|excerpt|portions? of",
    re.IGNORECASE,
)
_GNU = r"\s*GENERAL\s+PUBLIC\s+LICEN[SC]E\s*,?\s*Version\s+"
_TITLES = {
    "AGPL-3.0": r"GNU\s+AFFERO" + _GNU + "3",
    "LGPL-3.0": r"GNU\s+LESSER" + _GNU + "3",
    "LGPL-2.1": r"GNU\s+LESSER" + _GNU + r"2\.1",
    "LGPL-2.0": r"GNU\s+LIBRARY" + _GNU + "2",
    "GPL-3.0": r"GNU" + _GNU + "3",
    "GPL-2.0": r"GNU" + _GNU + "2",
    "MPL-2.0": r"Mozilla\s+Public\s+License,?\s+(?:Version|v\.?)\s*2\.0",
    "EPL-2.0": r"Eclipse\s+Public\s+License\s+-?\s*v(?:ersion)?\s*2\.0",
}
_TITLE = {
    name: re.compile(rf"^[\W_]*{title}", re.IGNORECASE | re.MULTILINE)
    for name, title in _TITLES.items()
}
# (license, title at the beginning, first sentence) of short forms.
_SHORT = (
    ("MIT", r"(?:The )?MIT License", r"Permission is hereby granted, free of charge, to any person obtaining a copy"),
    ("BSD-3-Clause", r"(?:The )?(?:New |Modified )?BSD[- ](?:3|Three)[- ]Clause",
     r"Redistribution and use in source and binary forms"),
    ("BSD-2-Clause", r"(?:The )?(?:Simplified )?BSD[- ](?:2|Two)[- ]Clause",
     r"Redistribution and use in source and binary forms"),
    ("ISC", r"(?:The )?ISC License", r"Permission to use, copy, modify,? and(?:/or)? distribute this software"),
    ("Apache-2.0", r"Apache License", r"Apache License,? Version 2\.0,? January 2004"),
)  # fmt: skip
_SHORT_CHARS = 1500
_LONGEST = 300_000
_COVERED = 0.75
_MOST_LEFT = 150


def tagged(text: str) -> str:
    """The expression of the text's SPDX tags, all of them together; `unknown` for a tag that is no expression."""
    found = []
    for match in _TAG.finditer(text):
        written = _TAG_END.sub("", match[1]).strip()
        tree = parse(written)
        # Words with spaces are free text, which the parser takes for a symbol.
        is_one = tree is not None and not any(" " in key for key in spdx().license_keys(tree))
        found.append(written if is_one else UNKNOWN)
    return all_of(found)


@functools.lru_cache(4096)
def identify(text: str) -> str:
    """The SPDX expression of a license's text, `unknown` for any other text, and empty for an empty one."""
    if not text.strip():
        return ""
    tag = tagged(text[:2000])
    if tag:
        return tag
    text = text[:_LONGEST]
    # Without its lines of copyright, which the matcher counts to the license below, with all between.
    matches = matched(_OWNER.sub(lambda line: " " * len(line[0]), text))
    rest, end = [], 0
    for _, start, stop in matches:
        rest.append(text[end:start])
        end = max(end, stop)
    rest.append(text[end:])
    names = list(dict.fromkeys(name for name, _, _ in matches))
    is_restricted = _RESTRICTS.search(" ".join(" ".join(rest).split())) is not None
    num_left, num_words = (
        len(_COPYRIGHT.sub("", part).split()) for part in ("\n".join(rest), text)
    )
    if names and num_left <= min(_MOST_LEFT, (1 - _COVERED) * num_words):
        is_of_others = _OF_OTHERS.search(" ".join(rest[0].split())) is not None
        return UNKNOWN if is_restricted or is_of_others else all_of(names)
    for name, title in _TITLE.items():
        if title.search(text):
            return UNKNOWN if is_restricted else name
    one_line = " ".join(text.split())
    for name, title, sentence in _SHORT:
        if len(text) <= _SHORT_CHARS and re.match(rf"\W*{title}", text, re.IGNORECASE):
            is_short = re.search(sentence, one_line, re.IGNORECASE)
            return name if is_short and not _RESTRICTS.search(one_line) else UNKNOWN
    return UNKNOWN


def matched(text: str) -> list[tuple[str, int, int]]:
    """(SPDX identifier, start, end) of the license texts in a text."""
    from licenseclassifier import identify_license

    return [(found.id, found.start, found.end) for found in identify_license(text, 0.0)]
