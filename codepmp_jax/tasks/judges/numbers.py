r"""Reads a number out of words: `-$1,234.50 a day` is -1234.5.

- Thousands are parted by a comma, space, thin space, `\,`, `{,}`, `~`, `'` or `_`: `1,234`, `1 234`. A dot is a decimal
  point, so that `1.234` is less than 2, except where it can only part thousands: `1.234.567`, `1.234,50`. A comma before one
  or two digits, or after a zero, is a decimal point: `12,50`.
- A minus sign stands before the number or its currency, as any dash but the em dash; after a digit, letter or bracket
  it is subtraction. A word counts too: `negative 5`.
- `million`, `dozen`, `k` and the like multiply, unless the problem asks for how many of them.
- Units, currencies, `%` and what follows them do not count: `72 cm^2`, `10 miles/hour`, `18 dollars in all`. Hours and
  minutes, feet and inches and so on are one number, in the larger unit.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from fractions import Fraction

_SCALES = {
    "hundred": 100,
    "thousand": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
    "lakh": 10**5,
    "crore": 10**7,
}
SCALE = rf"(?:{'|'.join(_SCALES)})s?"
_CURRENCY = r"(?:(?:US|CA?|AU?|HK|NZ|R)?[$€£¥₹₩₽]|Rs\.?)"
_VALUE = (
    r"[1-9]\d{0,2}(?:\.\d{3})+,\d{1,2}(?![\d,])|[1-9]\d{0,2}(?:\.\d{3}){2,}(?![\d,])"  # 1.234,50
    r"|(?:[1-9]\d{0,2}(?:,\d{3})+|[1-9]\d?(?:,\d\d)+,\d{3})(?!\d)(?:\.\d+)?"  # 1,234.50; 12,34,567
    r"|[1-9]\d{0,2}(?:(?: \d{3})+|(?:'\d{3})+|(?:_\d{3})+)(?!\d)(?:\.\d+)?"  # 1 234.50
    r"|\d+,\d{1,2}(?![\d,])|0,\d+(?![\d,])"  # 12,50
    r"|\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3}(?![\d\w]))?|\.\d+"
)
_NUMBER = re.compile(
    rf"(?:(?<![\w)\]}}%])(?P<sign>[-+]))?(?:{_CURRENCY}\s*(?P<inner>-)?)?(?<![\d_])(?<!\d[.,])(?P<value>{_VALUE})"
    r"(?:\s+(?P<top>\d+)(?=\s*/\s*\d))?(?:\s*/\s*(?P<bottom>\d+(?:\.\d+)?))?"
    rf"(?:(?P<k>[kK])\b|[\s-]*(?P<scale>{SCALE})\b(?!-))?",
    re.IGNORECASE,
)
_COMPOUNDS = (
    (r"hours?|hrs?|h", r"minutes?|mins?|m", 60),
    (r"minutes?|mins?|m", r"seconds?|secs?|s", 60),
    (r"feet|foot|ft|'", r"inch(?:es)?|in|\"|''", 12),
    (r"pounds?|lbs?", r"ounces?|oz", 16),
    (r"dollars?", r"cents?", 100),
    (r"years?|yrs?", r"months?", 12),
    (r"weeks?", r"days?", 7),
    (r"days?", r"hours?|hrs?|h", 24),
    (r"met(?:er|re)s?|m", r"centimet(?:er|re)s?|cm", 100),
    (r"kilomet(?:er|re)s?|km", r"met(?:er|re)s?|m", 1000),
    (r"kilograms?|kgs?", r"grams?|g", 1000),
    (r"gallons?", r"quarts?", 4),
)
_COMPOUND = tuple(
    (
        re.compile(
            rf"\s*(?:{major})\.?\s*(?:,|and|&)?\s*(?:and\s+)?(\d+(?:\.\d+)?)\s*(?:{minor})(?![a-z])",
            re.IGNORECASE,
        ),
        ratio,
    )
    for major, minor, ratio in _COMPOUNDS
)
_TEXT = re.compile(
    r"\\(?:text|textbf|textit|textrm|textsf|mathrm|mathbf|mathit|mathsf|mbox|hbox|operatorname|bold|boldsymbol|"
    r"underline|emph|textcolor\s*\{[^{}]*\}|color\s*\{[^{}]*\})\s*\{([^{}]*)\}"
)
_HALVES = {
    "½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅖": "2/5", "⅗": "3/5", "⅘": "4/5",
    "⅙": "1/6", "⅚": "5/6", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8",
}  # fmt: skip
_NO_MARK = (
    (re.compile("[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞]"), lambda found: f" {_HALVES[found[0]]} "),
    (
        re.compile(
            r"\\(?:color\s*\{[^{}]*\}|left|right|displaystyle|tiny|small|large|Large|LARGE|huge|bf|rm|it|checkmark)(?![A-Za-z])"
        ),
        " ",
    ),
    (re.compile(r"\{,\}|,\\!"), ","),
    (re.compile(r"\\!"), ""),
    (re.compile(r"\\[,;: ]|~|\\(?:thinspace|medspace|enspace|quad|qquad)(?![A-Za-z])"), " "),
    (re.compile(r"\^\s*\{?\s*\\circ\s*\}?|\\degree(?![A-Za-z])|º"), "°"),
    (re.compile(r"\\([$%#&_])"), r"\1"),
    (re.compile(r"\*\*|__|[`✓✔✅]|\\\\\s*$|(?<!\\)\$\s*$"), ""),
    (re.compile(r"\{\s*([-+])\s*\}"), r"\1"),
    (re.compile(r"\b(?:negative|minus)\s+(?=[\d$€£.])", re.IGNORECASE), "-"),
    (re.compile(r"(?<=[=:])\s*([-+])\s+(?=[$€£.]?\d)"), r" \1"),
    (re.compile(r"</?[a-z]+/?>|<(-?[\d.,]+)>"), r"\1"),
    (re.compile(r"(?<!\w)_(?=\S)([^_]*\S)_(?!\w)"), r"\1"),
    (re.compile(r"\\[dt]?frac\s*\{( [A-Za-z ]+)\}\s*\{( [A-Za-z ]+)\}"), r"\1/\2"),
    (re.compile(r"[ \t]+"), " "),
)
_POWER_OF_UNIT = re.compile(r"[A-Za-z]\s*\^\s*\{?\s*-?$")
_LEADING_SIGN = re.compile(r"^([\s$(]*)([-+])\s+")
_APPROXIMATELY = re.compile(r"\\approx(?![A-Za-z])|\\simeq(?![A-Za-z])|≈|≃")
# What makes a text a formula: an operator that a number or bracket follows, a command, a power, a comparison.
_OPERATED = re.compile(
    r"[({\[](?!\s*[a-zA-Z°%])|\s*(?:[+*×÷^√π!|<>≤≥≠](?!\s*\^?[a-zA-Z°%])|-\s*[\d(\\.]|/\s*[\d(\\]|\\[a-zA-Z]+)"
)
_PREFIX_OPERATED = re.compile(
    r"\\[a-zA-Z]+|[\^+*×÷√({\[<>≤≥≠|]\s*$|[\d)}]\s*[-/]\s*$|\d\s*[+*×÷^]|[/^]"
)
_OTHER_VALUE = re.compile(
    rf"\s*(?:,|;|\bor\b|\band\b|,\s*(?:or|and)\b)\s*-?{_CURRENCY}?\d", re.IGNORECASE
)


def asked_scales(prompt: str) -> frozenset[str]:
    """The scales of which a problem asks how many: {"dozen"} for `How many dozens of eggs`."""
    found = re.findall(rf"\b(?:how many|number of|in)\s+({SCALE})\b", prompt, re.IGNORECASE)
    return frozenset(name.lower().rstrip("s") for name in found)


def unmarked(text: str) -> str:
    r"""A text without LaTeX's spaces, fonts and colours and without Markdown's marks: `\text{18 \$}` -> `18 $`."""
    for _ in range(4):
        text, count = _TEXT.subn(r" \1 ", text)
        if not count:
            break
    for pattern, replacement in _NO_MARK:
        text = pattern.sub(replacement, text)
    return text.strip()


def number_in(text: str, asked: Collection[str] = ()) -> str | None:
    """The one number that a text states, in the form `-5`, `1/2` or `1234`; None where it states none, or a formula."""
    side = _last_side(_LEADING_SIGN.sub(r"\1\2", unmarked(text)))
    if side is None:
        return None
    start = _last_colon(side)
    found = _NUMBER.search(side, start)
    if found is None:
        return None
    before, after = side[start : found.start()], side[found.end() :]
    if before.endswith("(") and after.startswith(")") and re.fullmatch(r"[A-Za-z\s-]*\(", before):
        before, after = "", after[1:]  # sixteen (16)
    if _PREFIX_OPERATED.search(before) or _OTHER_VALUE.match(after):
        return None
    if re.match(r":\d", after):
        after = re.sub(r"^:00\b", "", after)
    if re.match(r":\s*\d", after) or _OPERATED.match(after):
        return None
    return str(_whole_value(found, after, asked)[0])


def last_number(text: str, asked: Collection[str] = ()) -> str | None:
    """The last number of a text, in the form of `number_in`; a time is none. None where there is none."""
    last = None
    for found in numbers(text, asked):
        last = found
    return last


def numbers(text: str, asked: Collection[str] = ()) -> Iterator[str]:
    """The numbers of a text in their order; a time of day is given as it stands: `12:30`. Neither the total
    of `3 out of 5` nor the power of a unit (`10 m^2`) is one.
    """
    text = unmarked(text)
    if re.fullmatch(r"[-+]\s+\S+", text):  # else a list's mark
        text = _LEADING_SIGN.sub(r"\1\2", text)
    position = 0
    while (found := _NUMBER.search(text, position)) is not None:
        before = text[max(0, found.start() - 8) : found.start()]
        position = found.end()
        if before.endswith("out of ") or _POWER_OF_UNIT.search(before):
            continue
        time = re.compile(r":\d\d\b").match(text, position)
        if time is not None and time[0] != ":00":
            position = time.end()
            yield found[0] + time[0]
        else:
            position = time.end() if time else position
            value, length = _whole_value(found, text[position:], asked)
            position += length
            yield str(value)


def _last_side(text: str) -> str | None:
    """What follows the last `=`; None where a side before it is a formula of a variable (`x^2 = 5`)."""
    *sides, last = _APPROXIMATELY.sub("=", text).split("=")
    plain = (side for side in sides if not re.fullmatch(r"\s*[A-Za-z]\w?\s*", side))
    if any(
        re.search(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])\s*[\^+*/|-]|\d[a-zA-Z]\b|\|", side)
        for side in plain
    ):
        return None
    return last


def _last_colon(text: str) -> int:
    """The place after the last colon that words stand before and a number after; 0 where there is none."""
    places = [
        m.end() for m in re.finditer(rf"(?<=[A-Za-z)]):\s+(?=[-+]?\s*{_CURRENCY}?\s*\.?\d)", text)
    ]
    return places[-1] if places else 0


def _whole_value(
    found: re.Match[str], after: str, asked: Collection[str]
) -> tuple[Fraction | str, int]:
    """(value of a number with the lesser unit that follows it, length of that part): `5 ft 3 in`."""
    value = _value(found, asked)
    for pattern, ratio in _COMPOUND:
        if (lesser := pattern.match(after)) is not None and isinstance(value, Fraction):
            return value + (-1 if value < 0 else 1) * Fraction(lesser[1]) / ratio, lesser.end()
    return value, 0


def _value(found: re.Match[str], asked: Collection[str]) -> Fraction | str:
    """The value of a number; its digits where they are too many to be worth a number."""
    digits = re.sub(r"[ '_]", "", found["value"])
    if re.fullmatch(r"\d+(?:\.\d{3})+,\d{1,2}|\d+(?:\.\d{3}){2,}", digits):
        digits = digits.replace(".", "").replace(",", ".")
    elif re.fullmatch(r"\d+,\d{1,2}|0,\d+", digits):
        digits = digits.replace(",", ".")
    digits = digits.replace(",", "")
    sign = -1 if "-" in (found["sign"], found["inner"]) else 1
    if len(digits) > 4000:  # beyond it Python makes no number of a text
        return ("-" if sign < 0 else "") + (digits.lstrip("0") or "0")
    value = Fraction(digits)
    if found["top"]:
        value += Fraction(int(found["top"])) / (Fraction(found["bottom"]) or 1)
    elif found["bottom"] and Fraction(found["bottom"]):
        value /= Fraction(found["bottom"])
    scale = (found["scale"] or "").lower().rstrip("s")
    if scale and scale not in asked:
        value *= _SCALES[scale]
    return sign * value * (1000 if found["k"] else 1)
