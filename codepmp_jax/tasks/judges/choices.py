r"""Judges which option a response takes.

The reasoning in `<think>` and the like is taken away. Then the first of these patterns that finds something decides:

| pattern | confidence | what it reads |
|---|---|---|
| whole | high | the reply is a letter or an option's text: `B`, `(b)`, `**B**`, `"B"`, `B. Some ...` |
| box | high | the last `\boxed{...}` is one |
| tag | high | the last `<answer>...</answer>` is one |
| json | high | the last `"answer": ...` is one |
| answer | high | the last statement of the answer: `the answer is (B)`, `Answer: b`, `the correct option is B`, `答案是B` |
| verdict | high | the last option that is called right or chosen: `B is correct`, `I choose B`, `So B.`, `选B` |
| first line | medium | the first line is a letter, or begins with one and is the only such line, or gives a reason: `B because` |
| last line | medium | of the lines that begin with a letter, the only one that is marked as right, or the last of the reply; a letter that ends the reply |
| text | medium | the only option whose text the last sentence holds, or the first, or the reply |
| mention | low | the last `option B`; else the last letter in brackets |

What a reply denies is not taken: `the answer is not A`, `B is wrong`, `it would be C if`. One that states several
options (`A and C`) takes none of them. A letter that is no option's is skipped. An `A` before a word is a letter after
`option` and the like, and else where no article can stand before that word (`A because`, `A is`).
"""

from __future__ import annotations

import collections
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from codepmp_jax.tasks.judges import choice_words as words
from codepmp_jax.tasks.judges.judge import CORRECT, NO_ANSWER, WRONG, Judge, Judgement
from codepmp_jax.tasks.judges.replies import last_boxes, plain_characters, without_reasoning

SEVERAL = "several answers"

# Characters before and after a letter that are read to tell what is said of it.
_BEFORE, _AFTER = 80, 120
# Letters, and statements, that are looked at: a reply may repeat one for ever.
_LAST = 500
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")

Chosen = tuple[int, ...]
"""Index of the option that is taken; several where a reply states several."""


class Options:
    """The options of a problem: their letters and texts."""

    def __init__(self, texts: list[str]):
        self.texts = [_plain(plain_characters(text)) for text in texts]

    def of_letter(self, letter: str) -> int | None:
        """The index of an option's letter; None where there is no such option."""
        index = ord(letter.upper()) - ord("A")
        return index if 0 <= index < len(self.texts) else None

    def of_text(self, text: str) -> int | None:
        """The index of the option that a text is, with or without a letter before it; None where it is none."""
        label = words.LABEL.fullmatch(text.strip())
        for plain in (_plain(text), _plain(label[2]) if label else ""):
            if plain and plain in self.texts:
                return self.texts.index(plain)
        return None

    def named_in(self, text: str) -> int | None:
        """The index of the only option whose text stands in a text, apart from those within another's text."""
        plain = _plain(text)
        found = [
            (index, option)
            for index, option in enumerate(self.texts)
            if len(option) > 2 and re.search(rf"(?<!\w){re.escape(option)}(?!\w)", plain)
        ]
        longest = [
            index
            for index, option in found
            if not any(option in o and option != o for _, o in found)
        ]
        return longest[0] if len(longest) == 1 else None


class Pattern(NamedTuple):
    """A way in which replies take an option."""

    name: str
    confidence: str
    """`high` where the reply states its choice, `medium` where its place suggests it, `low` where it is a guess."""
    find: Callable[[str, Options], Chosen | None]
    """(reply, options) -> what it takes; None where the pattern does not apply."""


def _plain(text: str) -> str:
    return " ".join(text.split()).strip(" .*\"'`").lower()


def _lines(reply: str) -> list[str]:
    return [line.strip() for line in words.unmarked(reply).splitlines() if line.strip()]


def _letter_at(reply: str, place: int, options: Options, any_a: bool) -> tuple[int, int] | None:
    """(index, end) of the option whose letter stands at a place."""
    found = words.LETTER.match(reply, place)
    if found is None and any_a:
        found = words.ANY_A.match(reply, place)
    if found is None:
        return None
    index = options.of_letter(next(group for group in found.groups() if group))
    return None if index is None else (index, found.end())


def _with_others(reply: str, index: int, end: int, options: Options) -> Chosen:
    """An option, with those that are named along with it."""
    indexes = [index]
    while (other := words.OTHERS.match(reply, end)) is not None:
        further = options.of_letter(other[1])
        if further is None:
            break
        indexes.append(further)
        end = other.end()
    return tuple(dict.fromkeys(indexes))


def _only(text: str, options: Options) -> Chosen | None:
    """What a text consists of: a letter, several, a letter with a text, or an option's text."""
    found = options.of_text(text)
    if found is not None:
        return (found,)
    letters = re.fullmatch(
        r"\W*[A-Za-z]\W*|\W*[A-Z](?:(?:\s*(?:[,&/+]|and|or)\s*)+\W*[A-Z]\W*)+", text.strip()
    )
    if letters is None:
        return None
    indexes = [options.of_letter(letter) for letter in re.findall(r"\b[A-Za-z]\b", text)]
    found_all = tuple(dict.fromkeys(index for index in indexes if index is not None))
    return found_all if found_all and None not in indexes else None


def _labelled(text: str, options: Options) -> Chosen | None:
    """The option of a text that begins with its letter: `B. Some ...`."""
    label = words.LABEL.fullmatch(text.strip().split("\n")[0])
    if label is None or (label[1].islower() and not re.match(r"\s*[(\[]", text)):
        return None
    found = options.of_letter(label[1])
    return None if found is None else (found,)


def _part(text: str, options: Options) -> Chosen | None:
    """The option of a part that the reply marks as its answer."""
    text = words.unmarked(text)
    return _only(text, options) or _labelled(text, options) or _answered(text, options)


def _whole(reply: str, options: Options) -> Chosen | None:
    return _only(words.unmarked(reply), options)


def _boxed(reply: str, options: Options) -> Chosen | None:
    found = [_part(content, options) or () for content in last_boxes(reply)]
    return tuple(dict.fromkeys(sum(found, ()))) or None


def _tagged(reply: str, options: Options) -> Chosen | None:
    found = (_part(content, options) for content in reversed(words.TAG.findall(reply)))
    return next(filter(None, found), None)


def _in_json(reply: str, options: Options) -> Chosen | None:
    found = (_part(content, options) for content in reversed(words.JSON.findall(reply)))
    return next(filter(None, found), None)


def _answered(reply: str, options: Options) -> Chosen | None:
    """The last statement of the answer."""
    reply = words.unmarked(reply)
    statements = [
        (place, chosen)
        for start, place in collections.deque(_cues(reply), maxlen=_LAST)
        if (chosen := _stated(reply, start, place, options)) is not None
    ]
    return max(statements)[1] if statements else None


def _cues(reply: str) -> Iterator[tuple[int, int]]:
    """(start, end) of everything that may introduce an answer; they may overlap."""
    for pattern in words.ANSWERS:
        found = pattern.search(reply)
        while found is not None:
            yield found.span()
            found = pattern.search(reply, found.start() + 2)


def _stated(reply: str, start: int, place: int, options: Options) -> Chosen | None:
    cue = reply[start:place]
    if words.DENYING.search(cue) or words.REFUSED.search(cue):
        return None
    if (but := words.DENIED_BUT.match(reply, place)) is not None:
        place = but.end()
    if words.DENIED.match(reply, place):
        return None
    if (both := re.compile(r"both\s+").match(reply, place)) is not None:
        place = both.end()
    sentence = _SENTENCE_END.split(reply[place:], maxsplit=1)[0]
    begin = max(_last_end(reply, start), 0)
    if words.MAY_BE.search(cue) and (
        words.IF.search(reply[begin:start]) or words.IF.search(sentence)
    ):
        return None
    text = re.split(r"\n|(?<=[\w)\]\"'])\.(?=\s|$)", reply[place:], maxsplit=1)[0]
    if (index := options.of_text(text)) is not None:
        return (index,)
    letter = _letter_at(reply, place, options, words.CALLS_LETTER.search(cue) is not None)
    if letter is not None:
        is_chinese_denial = re.match(r"\s*(?:选?项)?\s*(?:是|为)?\s*(?:不|错)", reply[letter[1] :])
        return None if is_chinese_denial else _with_others(reply, *letter, options)
    index = None if words.DENYING.search(sentence) else options.named_in(sentence)
    return None if index is None else (index,)


def _last_end(reply: str, place: int) -> int:
    """Where the sentence of a place begins."""
    return max((end.end() for end in _SENTENCE_END.finditer(reply, 0, place)), default=0)


def _letters(reply: str, options: Options) -> Iterator[tuple[str, int, str, int]]:
    """(what stands before, index, what stands after, its place) of the capitals that may be options' letters."""
    for found in collections.deque(words.CAPITAL.finditer(reply), maxlen=_LAST):
        index = options.of_letter(found[1])
        before = reply[max(0, found.start() - _BEFORE) : found.start()]
        after = reply[found.end() : found.end() + _AFTER]
        if index is None or found[0] == "I":
            continue
        is_article = found[0] == "A" and not (
            words.MENTIONS.search(before)
            or words.LETTER.match(reply, found.start())
            or words.IS_RIGHT_IN_CHINESE.match(after)
        )
        if not is_article:
            yield before, index, after, found.start()


def _judged(reply: str, options: Options) -> Chosen | None:
    """The last option that is called right or chosen."""
    reply = words.unmarked(reply)
    last: Chosen | None = None
    for before, index, after, _ in _letters(reply, options):
        if words.REFUSED.search(before):
            continue
        right, wrong = words.IS_RIGHT.match(after), words.IS_WRONG.match(after)
        if right is not None and (wrong is None or wrong.end() > right.end()):
            other = words.OTHER_BEFORE.search(before)
            further = options.of_letter(other[1]) if other else None
            last = (index,) if further is None else (further, index)
        elif wrong is None and _is_chosen(before):
            last = _with_others(after, index, 0, options)
    return last


def _is_chosen(before: str) -> bool:
    """Whether what stands before a letter chooses it."""
    for pattern in words.CHOOSING:
        for cue in pattern.finditer(before + "B"):
            if len(before) - 1 <= cue.end() <= len(before) + 1 and not words.DENYING.search(cue[0]):
                return not words.REFUSED.search(before[: cue.start()])
    return False


def _first_line(reply: str, options: Options) -> Chosen | None:
    line = next(iter(_lines(reply)), "")
    if (found := _only(line, options)) is not None:
        return found
    reason = re.match(r"([A-Z])(?:,\s*)?\s+(?:because|since|as|for)\b", line)
    if reason is not None and (index := options.of_letter(reason[1])) is not None:
        return (index,)
    label = words.LABEL.fullmatch(line)
    if label is None or label[1].islower() or len(_labels(reply, options)) > 1:
        return None
    return (
        None if re.match(words.WRONG_WORDS, label[2], re.IGNORECASE) else _labelled(line, options)
    )


def _labels(reply: str, options: Options) -> dict[int, str]:
    """Option -> what follows its letter in the last line that begins with it."""
    found: dict[int, str] = {}
    for line in _lines(reply):
        label = words.LABEL.fullmatch(line)
        if label is not None and label[1].isupper():
            index = options.of_letter(label[1])
            if index is not None:
                found[index] = label[2]
    return found


def _last_line(reply: str, options: Options) -> Chosen | None:
    labels, lines = _labels(reply, options), _lines(reply)
    right = [
        index
        for index, text in labels.items()
        if re.search(rf"\b(?:{words.RIGHT_WORDS})", text, re.IGNORECASE)
        and not re.search(rf"\b(?:{words.WRONG_WORDS})", text, re.IGNORECASE)
    ]
    if len(right) == 1:
        return (right[0],)
    if len(labels) == 1:
        ((index, text),) = labels.items()
        return None if re.match(words.WRONG_WORDS, text, re.IGNORECASE) else (index,)
    if len(labels) == len(options.texts) or not lines:
        return None  # the list of the options
    if (found := _labelled(lines[-1], options) or _only(lines[-1], options)) is not None:
        return found
    *_, end = None, *words.LETTER_AT_END.finditer(lines[-1])
    if end is None or end.end() != len(lines[-1]) or end[1].islower():
        return None
    index = options.of_letter(end[1])
    is_denied = words.REFUSED.search(lines[-1][: end.start(1)])
    return None if index is None or is_denied else (index,)


def _by_text(reply: str, options: Options) -> Chosen | None:
    reply = words.unmarked(reply)
    sentences = [text for text in re.split(r"(?<=[.!?])\s+|\n", reply) if text.strip()]
    for text in (*sentences[-1:], *sentences[:1], reply):
        index = options.named_in(text)
        if index is None:
            continue
        if not words.DENYING.search(_plain(text).replace(options.texts[index], "")):
            return (index,)
    return None


def _mentioned(reply: str, options: Options) -> Chosen | None:
    reply = words.unmarked(reply)
    option = brackets = None
    for before, index, after, place in _letters(reply, options):
        if words.REFUSED.search(before) or words.IS_WRONG.match(after):
            continue
        if words.MENTIONS.search(before):
            option = index
        elif reply[place] in "([":
            brackets = index
    found = brackets if option is None else option
    return None if found is None else (found,)


PATTERNS = (
    Pattern("whole", "high", _whole),
    Pattern("box", "high", _boxed),
    Pattern("tag", "high", _tagged),
    Pattern("json", "high", _in_json),
    Pattern("answer", "high", _answered),
    Pattern("verdict", "high", _judged),
    Pattern("first line", "medium", _first_line),
    Pattern("last line", "medium", _last_line),
    Pattern("text", "medium", _by_text),
    Pattern("mention", "low", _mentioned),
)


def find_options(response: str, options: list[str]) -> tuple[Chosen, str] | None:
    """(indexes of the options that a response takes, name of the pattern that found them); None where it takes none."""
    reply, found = plain_characters(without_reasoning(response)), Options(options)
    for pattern in PATTERNS:
        if (chosen := pattern.find(reply, found)) is not None:
            return chosen, pattern.name
    return None


def _right_index(reference: dict[str, Any]) -> int:
    """The index of the right option, given as a number, its digits or a letter. Raises ValueError where it is none."""
    options, answer = reference["options"], reference["answer"]
    is_list = isinstance(options, list) and all(isinstance(option, str) for option in options)
    if not is_list or not 2 <= len(options) <= 26:
        raise ValueError(f"options are no list of 2 to 26 texts but {options!r}")
    index = answer
    if isinstance(answer, str) and (letter := re.fullmatch(r"\s*\(?([A-Za-z])[).]?\s*", answer)):
        index = ord(letter[1].upper()) - ord("A")
    elif (isinstance(answer, str) and answer.strip().isdecimal() and len(answer) < 9) or (
        isinstance(answer, float) and answer.is_integer()
    ):
        index = int(answer)
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(options):
        raise ValueError(
            f"answer is no index from 0 to {len(options) - 1}, nor a letter, but {answer!r}"
        )
    return index


class ChoiceJudge(Judge):
    """Compares the option that a response takes with reference["answer"], the index or letter of the right one."""

    reference = ("options", "answer")

    def check_reference(self, reference: dict[str, Any]) -> None:
        """As in Judge."""
        _right_index(reference)

    def judge(
        self, prompt: str, reference: dict[str, Any], response: str, timeout: float
    ) -> Judgement:
        """As in Judge."""
        right, found = _right_index(reference), find_options(response, reference["options"])
        if found is None:
            return Judgement(False, None, NO_ANSWER)
        indexes, _ = found
        answer = ", ".join(chr(ord("A") + index) for index in sorted(indexes))
        if len(indexes) > 1:
            return Judgement(False, answer, SEVERAL)
        is_correct = indexes == (right,)
        return Judgement(is_correct, answer, CORRECT if is_correct else WRONG)
