"""Code as lexical tokens: what the embedded writer reads and writes."""

from __future__ import annotations

import re

# Layout is a line end with the next line's indentation; the frame is brackets, quotes and comment marks.
# All but layout take the one space before them along. Comments and strings fall into their words: as
# wholes they would hardly ever recur.
_TOKEN = re.compile(
    r"""
    (?P<layout> [^\S\n]* \n \s* )
  | (?P<word>   [ ]? [^\W\d] \w* )
  | (?P<number> [ ]? \d [\w.]* )
  | (?P<frame>  [ ]? (?: \"\"\" | ''' | [()\[\]{}"'`\#\\] ) )
  | (?P<sign>   [ ]? (?: \*\*= | //= | >>= | <<= | \.\.\.
                       | [-+*/%&|^!=<>:]= | \*\* | // | << | >> | -> | [^\w\s] ) )
  | (?P<space>  [^\S\n]+? (?= [ ]? \S ) | \s+ )
    """,
    re.VERBOSE,
)

LAYOUT = "layout"
# What a writer leaves as the author has it. With a frame of its own a text would give itself away by
# counting brackets.
FIXED = (LAYOUT, "frame", "space")


def split(code: str) -> list[tuple[str, str]]:
    """(kind, text) of each token; the texts joined are the code again."""
    return [(match.lastgroup or LAYOUT, match.group()) for match in _TOKEN.finditer(code)]
