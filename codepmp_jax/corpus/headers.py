"""The head of a file: comments, imports and the like before its code.

It says whether a program wrote the file (generated.py), and it is no evidence that two files are near-duplicates.
"""

from __future__ import annotations

import re

from codepmp_jax.corpus.comments import comment_scanner

# What may stand before and between the comments of a head.
_OPENING = re.compile(
    r"\s+|<\?php\b|['\"]use strict['\"];?|#!.*|<!DOCTYPE[^>]*>|<\?xml[^>]*>", re.IGNORECASE
)
# For languages whose comments are not known.
_ANY_COMMENT = re.compile(r"[ \t]*(?:#|//|/\*|\*|--|;|%|<!--|\"|\(\*)[^\n]*\n?")
_IMPORT = re.compile(
    r"""^[ \t]*(?:
        (?:pub(?:\([^)]*\))?\s+)?use\s+[\w\\:{][^;]*;                          # Rust, PHP, Perl
      | import\s*\((?s:.*?)^\)                                                # Go
      | (?:import|export)\s*(?:type\s*)?(?:\w+\s*,\s*)?[{*][^;'"]*?['"][^'"\n]*['"];?  # JavaScript
      | import\b[^\n]*
      | from\s+[\w.]+\s+import\s*(?:\([^)]*\)|[^\n]*)
      | (?:package|namespace)\s+[\w.\\:]+\s*;?[ \t]*$
      | \#\s*(?:include|import|pragma)\b[^\n]*
      | (?:global\s+)?using\s+[^;()\n]*;
      | (?:require|require_relative|require_once|include|include_once|autoload)\b[^\n{]*$
      | (?:const|let|var|local)\s+[^=\n]*=\s*require\b[^\n]*
      | @file:[^\n]*
    )""",
    re.MULTILINE | re.VERBOSE,
)


def header(content: str, language: str) -> tuple[str, int]:
    """The comments before the first line of code, and where that begins."""
    scanner = comment_scanner(language)
    comments: list[str] = []
    place = 0
    while place < len(content):
        found = _OPENING.match(content, place)
        if found is None:
            found = scanner.match(content, place) if scanner else _ANY_COMMENT.match(content, place)
            if found is None or (scanner and not found["comment"]):
                break
            comments.append(found.group())
        if found.end() == place:
            break
        if found.group().startswith("#!"):
            comments.append(found.group())
        place = found.end()
    return "\n".join(comments), place


def without_header(content: str, language: str) -> str:
    """The code without the comments before it and without imports, wherever they are; all of it where no code is left."""
    body = _IMPORT.sub("", content[header(content, language)[1] :])
    # Comments may go on behind the package or the imports, with the license for example.
    body = body[header(body, language)[1] :]
    return body if re.search(r"\w", body) else content
