"""What a server answered, read off its JSON, which servers write in many ways.

The reply is the first choice's `message.content`, else its `text` or `delta.content`; of content in parts, the parts that
hold text, without the reasoning. Token counts that are missing, null or no counts are 0. A body without a
choice, or with a choice that holds no message, is malformed.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

# Characters of a server's words that are shown.
_MAX_WORDS = 500
_MAX_COUNT = 2**31
_SURROGATE = re.compile("[\ud800-\udfff]")
# Types of content parts that hold the reply; others hold reasoning, images or tool calls.
_TEXT_PARTS = (None, "text", "output_text")


class MalformedError(Exception):
    """A body is no reply."""


class ServerReply(NamedTuple):
    """What is taken from a response."""

    text: str
    finish_reason: str
    """As the server writes it; `null` where it is null or missing."""
    num_prompt_tokens: int
    num_tokens: int
    """Tokens of the reply with its reasoning, as the server counts them."""
    refusal: str
    """What OpenAI's field `refusal` says; else empty."""
    model: str
    """Who wrote, as the server says; empty where it does not."""


def read_reply(body: str) -> ServerReply | dict[str, Any]:
    """The reply in a response's body; the error object where the body is an error under status 200.

    Raises MalformedError, which shows the body, where it is neither.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedError(f"not JSON: {short(body)!r}") from None
    if not isinstance(found, dict):
        raise MalformedError(f"not a JSON object: {short(body)!r}")
    choices = found.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if choice is None and found.get("error"):
        error = found["error"]
        return error if isinstance(error, dict) else {"message": str(error)}
    if not isinstance(choice, dict):
        raise MalformedError(f"no choices: {short(body)!r}")
    usage = found.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    message = _message(choice)
    text = _text(message.get("content"))
    if text is None:
        raise MalformedError(f"no message with content: {short(body)!r}")
    reason, refusal, model = choice.get("finish_reason"), message.get("refusal"), found.get("model")
    return ServerReply(
        _SURROGATE.sub("\ufffd", text),
        "null" if reason is None else short(str(reason)),
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        short(refusal) if isinstance(refusal, str) else "",
        short(model) if isinstance(model, str) else "",
    )


def _message(choice: dict[str, Any]) -> dict[str, Any]:
    for name in ("message", "delta"):
        message = choice.get(name)
        if isinstance(message, dict):
            # Without content, a message with reasoning or a refusal is a reply without text.
            return {"content": ""} | {k: v for k, v in message.items() if v is not None}
        if isinstance(message, str):
            return {"content": message}
    return {"content": choice.get("text")}


def _text(content: Any) -> str | None:
    """The text of a message's content; None where that is neither text nor parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        return None
    parts: list[str] = []
    for part in content:
        if isinstance(part, str):
            parts.append(part)
        elif isinstance(part, dict) and part.get("type") in _TEXT_PARTS:
            text = part.get("text")
            parts.append(text if isinstance(text, str) else "")
    return "".join(parts)


def _count(value: Any) -> int:
    is_count = isinstance(value, int | float) and 0 <= value < _MAX_COUNT
    return int(value) if is_count else 0


def read_error(status: int, body: str) -> str:
    """What a response with an error status says, in one line: `422: [{"loc": ["body", "seed"], ...}]`."""
    said: Any = body
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    # {"error": {"message": ...}}, {"error": ...}, {"message": ...}, {"detail": ...}
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and found.get(name):
            found = said = found[name]
    return short(f"{status}: {said if isinstance(said, str) else json.dumps(said)}")


def short(words: str) -> str:
    """A server's words in one line, the end of long ones left out."""
    line = _SURROGATE.sub("\ufffd", " ".join(words[: 4 * _MAX_WORDS].split()))
    return line if len(line) <= _MAX_WORDS else f"{line[:_MAX_WORDS]}…"
