"""Conversations as text: the chat template, the date that it writes, and where the assistant's turns are.

A conversation is a prompt and a response, each a list of messages; its row is what the template writes for both.
The response's labels are those of the assistant's turns:

- A turn begins where the template's own generation prompt ends. A template whose text does not go on as its
  generation prompt begins (the prompt ends in "<think>", the answer does not begin with it), or that has none,
  gives no such place: there the turn begins with the message's content and the spaces before it.
- A turn ends where the text of the conversation up to it ends, so that it includes what the template closes it
  with. Where a later message changes how the template writes the turn, it ends with the content and what
  follows it in the same way when it is the last message.
- What is between two turns, the users' messages and all role headers, is no label.

The content's place is found by rendering the conversation with another content in its place. Where the turns
cannot be found, all of the response counts as the assistant's, and the row says so (`are_turns_known`).
`{% generation %}` tags, which few templates have, are not used.
"""

from __future__ import annotations

import datetime
import functools
import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jinja2
import jinja2.ext
import jinja2.sandbox

Messages = list[dict[str, Any]]
Render = Callable[[Messages, bool], str]
"""(messages, add_generation_prompt) -> text."""
Span = tuple[int, int]

# Roles whose messages are the assistant's, in the formats that templates are written for.
ASSISTANT_ROLES = ("assistant", "model", "gpt", "chatbot", "bot", "ai")

# Stands in for a content, to see where the template writes it: a character of private use.
_PROBE = "\ue000"


class Conversation(NamedTuple):
    """A conversation as text."""

    text: str
    response_start: int
    """Index of the character at which the response begins."""
    gaps: tuple[Span, ...]
    """Characters of the response that are no turn of the assistant's."""
    are_turns_known: bool


def write(
    render: Render, prompt: Messages, response: Messages, opening: str | None, has_opening: bool
) -> Conversation:
    """The row of a conversation, by the rules of this module.

    `opening` is what the template writes for the prompt with its generation prompt, None where it refuses;
    `has_opening` says whether it has a generation prompt. Raises what `render` does on the whole conversation.
    """
    messages = prompt + response
    text = render(messages, False)
    first = len(prompt)
    turns = [
        _turn(render, messages, i, text, opening if i == first else None, has_opening)
        for i in range(first, len(messages))
        if messages[i].get("role") in ASSISTANT_ROLES
    ]
    known = [turn for turn in turns if turn is not None]
    bounds = [bound for turn in known for bound in turn]
    if not turns or len(known) < len(turns) or bounds != sorted(bounds):
        return Conversation(text, _end_of_prompt(render, prompt, opening, text), (), False)
    start = known[0][0]
    if messages[first].get("role") not in ASSISTANT_ROLES:
        start = min(start, _end_of_prompt(render, prompt, opening, text))
    edges = [start, *bounds, len(text)]
    gaps = zip(edges[::2], edges[1::2], strict=True)
    return Conversation(text, start, tuple(gap for gap in gaps if gap[0] < gap[1]), True)


def _end_of_prompt(render: Render, prompt: Messages, opening: str | None, text: str) -> int:
    """Index of the character of `text` at which the prompt's messages end."""
    before = _try(render, prompt, False)
    if before is not None and text.startswith(before):
        return len(before)
    return _common(opening or "", text)


def _turn(
    render: Render, messages: Messages, i: int, text: str, opening: str | None, has_opening: bool
) -> Span | None:
    """Where in `text` the assistant's message i is; None where that cannot be found."""
    content: Span | None = None
    start = None
    if has_opening:
        opening = _try(render, messages[:i], True) if opening is None else opening
        start = len(opening) if opening and text.startswith(opening) else None
    if start is None:
        content = _content(render, messages, i, text)
        if content is None:
            return None
        start = len(text[: content[0]].rstrip(" "))
    if i == len(messages) - 1:
        return start, len(text)
    so_far = _try(render, messages[: i + 1], False)
    if so_far is not None and text.startswith(so_far):
        return start, len(so_far)
    content = content or _content(render, messages, i, text)
    if content is None:
        return None
    stop = content[1]
    last = _try(render, [*messages[:i], messages[i] | {"content": _PROBE}], False) or ""
    closing = last.partition(_PROBE)[2]
    length = _common(closing, text[stop:])
    if length < len(closing):
        # The last message is followed by something else, which may begin like the next role's header.
        length = min(length, _before_header(render, messages, i + 1, text) - stop)
    return start, stop + max(length, 0)


def _before_header(render: Render, messages: Messages, i: int, text: str) -> int:
    """Index of the character of `text` at which the header of message i begins, by what the template writes before
    the content of that message alone; len(text) where that cannot be found."""
    content = _content(render, messages, i, text)
    alone = _try(render, [messages[i] | {"content": _PROBE}], False)
    if content is None or alone is None or _PROBE not in alone:
        return len(text)
    header = alone.partition(_PROBE)[0]
    return content[0] - _common(header[::-1], text[: content[0]][::-1])


def _content(render: Render, messages: Messages, i: int, text: str) -> Span | None:
    """Where in `text` the content of message i is; None where the rest depends on it."""
    probed = _try(
        render, [*messages[:i], messages[i] | {"content": _PROBE}, *messages[i + 1 :]], False
    )
    if probed is None or probed.count(_PROBE) != 1:
        return None
    before, after = probed.split(_PROBE)
    is_around = text.startswith(before) and text.endswith(after)
    if not is_around or len(before) + len(after) > len(text):
        return None
    return len(before), len(text) - len(after)


def _try(render: Render, messages: Messages, add_generation_prompt: bool) -> str | None:
    """The text; None where the template refuses these messages."""
    try:
        return render(messages, add_generation_prompt)
    except Exception:  # templates raise anything
        return None


def _common(a: str, b: str) -> int:
    """How many characters `a` and `b` begin with alike."""
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


# --- the environment that transformers gives templates --------------------------------------------


class _Generation(jinja2.ext.Extension):
    """`{% generation %}...{% endgeneration %}` marks the assistant's text; its body is the text."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> Any:
        """The statements between the two tags."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _strftime_now(pattern: str) -> str:
    return datetime.datetime.now().strftime(pattern)


@functools.lru_cache(maxsize=8)
def compiled(template: str) -> jinja2.Template:
    """The template in that environment. Raises jinja2.TemplateError where it is none."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_Generation, jinja2.ext.loopcontrols],
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment.from_string(template)


# --- the date -------------------------------------------------------------------------------------

_DATED = "{# strftime_now of the day "
# Directives of strftime with and without padding, as far as platforms agree on them.
_DIRECTIVES = [f"%{sign}{letter}" for sign in ("-", "") for letter in "dmyHIMSj"] + [
    f"%{letter}" for letter in "aAbBYpfzZUWcxXGuVwDeFhRTnt"
]


def writes_date(template: str | None) -> bool:
    """Whether what the template writes depends on the day."""
    return template is not None and "strftime_now" in template and not template.startswith(_DATED)


def dated(template: str, day: datetime.date) -> str:
    """The template with a `strftime_now` of its own, which gives midnight of `day` in any program, in place of one
    that it already has."""
    if template.startswith(_DATED):
        template = template.partition("\n")[2]
    if not writes_date(template):
        return template
    moment = datetime.datetime.combine(day, datetime.time())
    values = {directive: moment.strftime(directive) for directive in _DIRECTIVES}
    filters = "".join(
        f" | replace({_literal(directive)}, {_literal(value)})"
        for directive, value in values.items()
        if value != directive
    )
    # A line of its own, whose end Jinja drops: what follows begins as before.
    return (
        f"{_DATED}{day} #}}{{% macro strftime_now(format) %}}{{% for part in format.split('%%') %}}"
        f"{{{{ ('' if loop.first else '%') + (part{filters}) }}}}{{% endfor %}}{{% endmacro %}}\n{template}"
    )


def _literal(text: str) -> str:
    """The text as a string literal of Jinja."""
    return "'" + re.sub(r"[\\']", r"\\\g<0>", text).replace("\n", "\\n").replace("\t", "\\t") + "'"
