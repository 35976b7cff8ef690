"""Where a prompt ends and the replies begin, in two texts or two lists of messages that both hold the prompt.

Texts: a dialogue is cut after the last marker of an assistant's turn that both share, or not at all; any other text
at the last space or line end that both share, so that no word is cut. Messages: after the last turn that both share
and that is not the assistant's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from codepmp_jax.records.row_files import MalformedRow

Messages = list[dict[str, str]]

ASSISTANT = "assistant"
# ShareGPT's names of roles.
_SHAREGPT = {
    "human": "user",
    "gpt": ASSISTANT,
    "user": "user",
    ASSISTANT: ASSISTANT,
    "system": "system",
}
_ROLES = {*_SHAREGPT, "tool", "function", "developer", "model"}
# A message's role in JSON or in Python's notation.
_TURN = re.compile(rf"""["'](?:role|from)["']\s*:\s*["'](?:{"|".join(sorted(_ROLES))})["']""")


# --- dialogues in texts ---------------------------------------------------------------------------


class Style(NamedTuple):
    """How a dialogue's text marks its turns."""

    user: re.Pattern[str]
    assistant: re.Pattern[str]


def _tokens(user: str, assistant: str) -> Style:
    """Special tokens of a chat template, and the line ends that belong to them."""
    return Style(re.compile(re.escape(user)), re.compile(rf"{re.escape(assistant)}\n*"))


def _names(user: str, assistant: str) -> Style:
    """Names at the start of a line, perhaps as Markdown headings: `Human:`, `### Human:`, `**Human:**`."""
    mark = r"(?im:^[ \t]*(?:#+[ \t]*)?(?:\*\*)?(?:{})(?:\*\*)?[ \t]*:(?:\*\*)?\n*)"
    return Style(re.compile(mark.format(user)), re.compile(mark.format(assistant)))


STYLES = (
    _tokens("<|im_start|>user", "<|im_start|>assistant"),
    _tokens(
        "<|start_header_id|>user<|end_header_id|>", "<|start_header_id|>assistant<|end_header_id|>"
    ),
    _tokens("<start_of_turn>user", "<start_of_turn>model"),
    _tokens("<|user|>", "<|assistant|>"),
    _tokens("<|prompter|>", "<|assistant|>"),
    _tokens("<｜User｜>", "<｜Assistant｜>"),
    _tokens("[INST]", "[/INST]"),
    _names("human|user", "assistant|ai|bot|gpt"),
    _names("instruction", "response"),
    _names("question", "answer"),
    _names("q", "a"),
    # Vicuna's, all on one line.
    Style(re.compile(r"\bUSER:"), re.compile(r"\bASSISTANT:")),
)


def style_of(text: str) -> Style | None:
    """The style of a dialogue: the first of STYLES of which a user's turn comes before an assistant's."""
    for style in STYLES:
        user = style.user.search(text)
        if user and style.assistant.search(text, user.end()):
            return style
    return None


def split_texts(chosen: str, rejected: str) -> tuple[int, str]:
    """(index, rule): at which character the prompt that both texts begin with ends, and by what rule.

    The rule is `dialogue` or `words`; 0 where there is no prompt. Something is left to both replies.
    """
    pairs = enumerate(zip(chosen, rejected, strict=False))
    length = next((i for i, (one, other) in pairs if one != other), min(len(chosen), len(rejected)))
    shared = chosen[:length]
    style = style_of(chosen) or style_of(rejected)
    if style is not None:
        ends = (mark.end() for mark in style.assistant.finditer(shared))
        left = [end for end in ends if chosen[end:].strip() and rejected[end:].strip()]
        return max(left, default=0), "dialogue"
    for end in range(min(len(shared), len(chosen) - 1, len(rejected) - 1), 0, -1):
        after = chosen[end] + rejected[end]
        if chosen[end - 1].isspace() or after.isspace():
            # As in TRL: a single space before the first word goes to the replies.
            end -= chosen[end - 1] == " " and not after[0].isspace()
            return (end if shared[:end].strip() else 0), "words"
    return 0, "words"


def without_markers(text: str) -> str:
    """The text without the markers of turns."""
    for style in STYLES:
        text = style.assistant.sub("", style.user.sub("", text))
    return text


# --- messages -------------------------------------------------------------------------------------


def shared_turns(chosen: Messages, rejected: Messages) -> Messages:
    """The turns that both conversations begin with; at least one is left to each."""
    length = min(len(chosen), len(rejected)) - 1
    same = next((i for i in range(length) if not same_turn(chosen[i], rejected[i])), max(length, 0))
    return chosen[:same]


def same_turn(one: dict[str, str], other: dict[str, str]) -> bool:
    """Whether two messages say the same, white space around it aside."""
    return one["role"] == other["role"] and one["content"].strip() == other["content"].strip()


def end_of_prompt(shared: Messages) -> int:
    """How many of the shared turns are the prompt: all up to the last one that is not the assistant's."""
    return max((i + 1 for i, turn in enumerate(shared) if turn["role"] != ASSISTANT), default=0)


def holds_question(turns: Messages) -> bool:
    """Whether somebody asks something in these turns."""
    return any(turn["role"] not in (ASSISTANT, "system") for turn in turns)


def position_of(part: Messages, whole: Messages) -> int | None:
    """Index in `whole` at which the messages of `part` lie one after the other; None where they do not."""
    for start in range(len(whole) - len(part) + 1):
        if all(same_turn(a, b) for a, b in zip(part, whole[start:], strict=False)):
            return start
    return None


def num_repeated(prompt: Messages, conversation: Messages) -> int:
    """How many of the last messages of a prompt the conversation begins with, a question among them."""
    for length in range(min(len(prompt), len(conversation)), 0, -1):
        tail = prompt[len(prompt) - length :]
        if holds_question(tail) and all(map(same_turn, tail, conversation)):
            return length
    return 0


def messages_in(text: str) -> list[Any] | None:
    """The messages that a text holds as JSON, e.g. `[{"role": "user", "content": "q"}]`; None where it is a text.

    JSON of anything else, and of roles that nobody uses, is a text. Raises MalformedRow where a list of messages is
    no JSON, e.g. in Python's notation or cut off.
    """
    if not re.match(r"""\s*\[?\s*\{\s*["'](role|content|from|value)["']\s*:""", text):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith("[") and _TURN.search(text):
            raise MalformedRow("text is a list of messages, but no JSON", str(error)) from error
        return None
    found = [found] if isinstance(found, dict) else found
    is_messages = all(
        isinstance(turn, dict)
        and ({"role", "content"} <= turn.keys() or {"from", "value"} <= turn.keys())
        and isinstance(role := turn.get("role", turn.get("from")), str)
        and role in _ROLES
        for turn in found
    )
    return found if is_messages else None


def to_messages(column: str, value: Sequence[Any]) -> Messages:
    """Messages of {role, content}, from those or from ShareGPT's {from, value}.

    Raises MalformedRow where one of `column` is neither, or says more.
    """
    messages = []
    for message in value:
        entries = dict(message) if isinstance(message, dict) else {}
        if "from" in entries and "role" not in entries:
            name = entries.pop("from")
            role = _SHAREGPT.get(name) if isinstance(name, str) else None
            if role is None:
                raise MalformedRow(f"{column} has a message of an unknown role", repr(name)[:80])
            entries |= {"role": role, "content": entries.pop("value", None)}
        if not all(isinstance(entries.get(key), str) for key in ("role", "content")):
            raise MalformedRow(f"{column} has a message without a role and content of strings")
        for key, entry in entries.items():
            if key not in ("role", "content") and entry not in (None, "", [], {}):
                raise MalformedRow(f"{column} has a message with more than role and content", key)
        messages.append({"role": entries["role"], "content": entries["content"]})
    return messages
