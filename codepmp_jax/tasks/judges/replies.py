r"""What every judge reads a reply by: its text without the reasoning, in plain characters, and its boxes.

Reasoning is what stands between `<think>` and `</think>`, or between other marks of `_MARKS`. Taken away are also all
before a closing mark whose opening one is in the prompt, and all after an opening mark that is never closed: a reply
that was cut off in its reasoning has no answer.
"""

from __future__ import annotations

import re

_TAGS = (
    "think(?:ing)?|thoughts?|reasoning|scratchpad|analysis|reflection|seed:think|antThinking|"
    "inner_monologue"
)
# (opening, closing): tags, and the marks of Magistral, Kimi, OpenThinker and gpt-oss.
_MARKS = tuple(
    (re.compile(opening, re.IGNORECASE), re.compile(closing, re.IGNORECASE))
    for opening, closing in (
        (rf"<(?:{_TAGS})(?:\s[^<>]*)?>", rf"</(?:{_TAGS})\s*>"),
        (r"\[THINK\]", r"\[/THINK\]"),
        (r"◁think▷", r"◁/think▷"),
        (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
        (r"<\|channel\|>(?:analysis|commentary)", r"<\|channel\|>final(?:<\|message\|>)?"),
    )
)
# Ends of a turn that a writer left in the text.
_TURN_END = re.compile(r"<\|(?:im_end|eot_id|endoftext|end|return|end_of_text)\|>|</s>")

_CHARACTERS: dict[int, str] = {
    **dict.fromkeys(map(ord, "\u00a0\u202f\u205f\u3000"), " "),
    **dict.fromkeys(range(0x2000, 0x200B), " "),
    **dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff\ufe0e\ufe0f"), ""),
    **dict.fromkeys(
        (*range(0xD800, 0xE000), *range(0x1F000, 0x1FB00)), ""
    ),  # emoji and halves of them
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212\ufe63"), "-"),
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
    **dict.fromkeys(map(ord, "“”„「」『』"), '"'),
    **dict.fromkeys(map(ord, "‘’"), "'"),
    **dict(zip(map(ord, "【】〔〕。、"), "()().,", strict=True)),
}

_BOX = re.compile(r"\\(?:boxed|fbox)(\s*)")
# What stands between boxes, or formulas, that are one list: `$\\boxed{1}$ and $x = \\boxed{2}$`.
JOINT = re.compile(
    r"[\s$]*(?:\\[)\]])?[\s$]*(?:,|;|and|or|\\text\s*\{\s*,?\s*(?:and|or)\s*\}|\\[,;]|\\q?quad)+\s*"
    r"(?:and|or)?[\s$]*(?:\\[(\[])?[\s$]*(?:[a-z](?:_\{?\w\}?)?\s*=\s*)?"
)
_BARE = re.compile(r"-?(?:\d[\d,.]*\d|\d)|[A-Za-z](?![A-Za-z])")


def without_reasoning(text: str) -> str:
    """A reply without what it marks as reasoning, by the rule above, and without marks of a turn's end.

    A line's end takes the place of reasoning; what is left keeps its indentation.
    """
    for opening, closing in _MARKS:
        kept, position = [], 0
        while (start := opening.search(text, position)) is not None:
            kept.append(text[position : start.start()])
            end = closing.search(text, start.end())
            position = len(text) if end is None else end.end()
        text = "\n".join((*kept, text[position:]))
        *_, start = 0, *(end.end() for end in closing.finditer(text))
        text = text[start:]
    return _TURN_END.sub("", text)


def plain_characters(text: str) -> str:
    """Full-width forms, dashes, spaces, quotes and brackets of any kind as those of ASCII; without invisible ones and emoji.

    The em dash, which is never a sign, stays.
    """
    return text.translate(_CHARACTERS)


def boxes(text: str) -> list[tuple[int, int, str]]:
    r"""(start, end, content) of every `\boxed{...}` (or `\fbox`) whose braces close and that is not empty, in order.

    Without braces only a number or a letter is a box: `\boxed 5`. Of boxes within boxes the innermost is given.
    """
    found: list[tuple[int, int, str]] = []
    for match in _BOX.finditer(text):
        start = match.end()
        content, end = "", start
        if text[start : start + 1] == "{":
            content = braced(text, start) or ""
            end = start + len(content) + 2
        elif match[1] and (bare := _BARE.match(text, start)):
            content, end = bare[0], bare.end()
        if content.strip():
            if found and found[-1][1] >= end:
                found.pop()
            found.append((match.start(), end, content.strip()))
    return found


def last_boxes(text: str) -> list[str]:
    """The content of the last box, after those of the boxes that only `and`, `or` or a comma part from it."""
    found = boxes(text)
    parts = found[-1:]
    for box in reversed(found[:-1]):
        if not JOINT.fullmatch(text[box[1] : parts[0][0]]) or box[2] in [part[2] for part in parts]:
            break
        parts.insert(0, box)
    return [part[2] for part in parts]


def last_box(text: str) -> str | None:
    r"""The content of the last `\boxed{...}` (or `\fbox`) whose braces close; None where there is none."""
    found = boxes(text)
    return found[-1][2] if found else None


def braced(text: str, start: int) -> str | None:
    """The text between the brace at `start` and its partner; None where it is not closed."""
    depth, index = 0, start
    while index < len(text):
        if text[index] == "\\":
            index += 1
        elif text[index] == "{":
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return text[start + 1 : index]
        index += 1
    return None
