"""Values as JSON in UTF-8. Without dependencies, since processes that only judge import it."""

from __future__ import annotations

import json
import re
from typing import Any

_HALF_PAIR = re.compile("[\ud800-\udfff]")


def json_line(value: Any, sort_keys: bool = False) -> str:
    """A value as one line of JSON, without the line's end, that can be encoded as UTF-8 (see `escaped`)."""
    return escaped(json.dumps(value, ensure_ascii=False, sort_keys=sort_keys))


def escaped(text: str) -> str:
    r"""JSON that can be encoded as UTF-8.

    Half a surrogate pair, as in a reply that was cut off within an emoji, or in the name of a file, has no form in UTF-8.
    It is written as its escape, `\ud83d`, and is read back as it was.
    """
    return _HALF_PAIR.sub(lambda half: f"\\u{ord(half[0]):04x}", text)
