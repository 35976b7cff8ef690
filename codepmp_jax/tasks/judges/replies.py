r"""What every judge reads a reply by: its text without the reasoning, in plain characters, and its boxes.

Reasoning is what stands between `<think>` and `</think>`, or between other marks of `_MARKS`. Taken away are also all
before a closing mark whose opening one is in the prompt, and all after an opening mark that is never closed: a reply
that was cut off in its reasoning has no answer.

A reply is one turn: marks that begin it are taken away, and so is the first mark that ends it with all that follows,
which a model wrote for the user. A mark in quotes, as in `text.split("</think>")`, is a mention and stays.
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
# What begins a reply: BOS, and heads of a turn.
_TURN_BEGIN = re.compile(
    r"\s*(?:<s>|<bos>|\[/INST\]|<\|(?:begin_of_text|startoftext)\|>|<｜begin▁of▁sentence｜>|<｜Assistant｜>|"
    r"(?:<\|im_start\|>|<start_of_turn>|<\|start\|>)(?:assistant|model)?\n?|<\|assistant\|>|"
    r"<\|start_header_id\|>assistant<\|end_header_id\|>|<\|channel\|>final<\|message\|>|<\|message\|>)\s*?"
)
TURN_END = re.compile(
    r"</s>|\[/?INST\]|<eos>|<(?:end|start)_of_turn>|<｜(?:end▁of▁sentence|User|begin▁of▁sentence)｜>|"
    r"<\|(?:im_end|im_start|eot_id|eom_id|endoftext|end_of_text|end|EOT|file_sep|return|call|start|user|"
    r"start_header_id|endofprompt|end_of_turn)\|>"
)
"""Marks that end a turn, or begin the next one, which a writer left in the text."""
_QUOTES = {
    '"': re.compile('"'),
    "'": re.compile(r"(?<!\w)'|'(?!\w)"),
    "`": re.compile(r"(?<!`)`(?!`)"),
}

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
    """A reply without what it marks as reasoning, and without what is not its turn, by the rules above.

    A line's end takes the place of reasoning; what is left keeps its indentation.
    """
    for opening, closing in _MARKS:
        kept, position = [], 0
        while (start := _mark(opening, text, position)) is not None:
            kept.append(text[position : start.start()])
            end = _mark(closing, text, start.end())
            position = len(text) if end is None else end.end()
        text = "\n".join((*kept, text[position:]))
        while (end := _mark(closing, text, 0)) is not None:
            text = text[end.end() :]
    while begin := _TURN_BEGIN.match(text):
        text = text[begin.end() :]
    end = _mark(TURN_END, text, 0)
    return text[: end.start()] if end else text


def _mark(pattern: re.Pattern[str], text: str, position: int) -> re.Match[str] | None:
    """The first match that is a mark and no mention."""
    return next(
        (found for found in pattern.finditer(text, position) if not _is_mention(text, found)), None
    )


def _is_mention(text: str, found: re.Match[str]) -> bool:
    """Whether a mark stands in quotes in its line, or opens right behind a quote; of strike-outs in HTML, `</s>`."""
    start, end = found.span()
    line = text.rfind("\n", 0, start) + 1
    before, after = text[line:start], text[end:].partition("\n")[0]
    if before.endswith(('"', "'", "`")) and not found[0].startswith(("</", "[/", "◁/")):
        return True
    if found[0] == "</s>" and "<s>" in text[:start]:
        return True
    return any(
        len(quote.findall(before)) % 2 == 1 and quote.search(after) is not None
        for quote in _QUOTES.values()
    )


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
    partners = _partners(text)
    for match in _BOX.finditer(text):
        start = match.end()
        content, end = "", start
        if start in partners:
            content, end = text[start + 1 : partners[start]], partners[start] + 1
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


def _partners(text: str) -> dict[int, int]:
    """The place of every opening brace -> that of the brace which closes it, but for escaped ones."""
    found: dict[int, int] = {}
    opened: list[int] = []
    for token in re.finditer(r"\\.|[{}]", text, re.DOTALL):
        if token[0] == "{":
            opened.append(token.start())
        elif token[0] == "}" and opened:
            found[opened.pop()] = token.start()
    return found
