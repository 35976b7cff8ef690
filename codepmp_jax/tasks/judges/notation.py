r"""Brings formulas to one notation: LaTeX that the parser of `formulas` reads, and splits it into parts."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

from codepmp_jax.tasks.judges.replies import plain_characters

_UNICODE = {
    "×": r"\times ",
    "÷": r"\div ",
    "·": r"\cdot ",
    "∙": r"\cdot ",
    "π": r"\pi ",
    "∞": r"\infty ",
    "≤": r"\le ",
    "≥": r"\ge ",
    "≠": r"\neq ",
    "≈": r"\approx ",
    "∪": r"\cup ",
    "∩": r"\cap ",
    "∈": r"\in ",
    "∅": r"\emptyset ",
    "ℝ": r"\mathbb{R}",
    "±": r"\pm ",
    "θ": r"\theta ",
    "α": r"\alpha ",
    "β": r"\beta ",
    "φ": r"\phi ",
    "ω": r"\omega ",
    "λ": r"\lambda ",
    "°": r"^\circ ",
    "º": r"^\circ ",
    "⁄": "/",
    "′": "'",
    "∣": "|",
    "⟨": r"\langle ",
    "⟩": r"\rangle ",
    "✓": "",
    "✔": "",
    "✅": "",
}
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿˣ", "0123456789+-nx")
_LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_FRACTIONS = {
    "½": "12", "⅓": "13", "⅔": "23", "¼": "14", "¾": "34", "⅕": "15", "⅖": "25", "⅗": "35", "⅘": "45",
    "⅙": "16", "⅚": "56", "⅐": "17", "⅛": "18", "⅜": "38", "⅝": "58", "⅞": "78", "⅑": "19",
}  # fmt: skip
# Names that plain notation writes without a backslash.
_NAMES = "arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|log|ln|pi|theta|alpha|beta|gamma|phi|infty"
_FONTS = re.compile(
    r"\\(?:text|textbf|textit|textrm|textsf|textnormal|mathrm|mathbf|mathit|mathsf|mbox|hbox|boldsymbol|bold|"
    r"underline|emph|operatorname\*?|textcolor\s*\{[^{}]*\})\s*\{([^{}]*)\}"
)
_CLEAN: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|tiny|small|large|Large|LARGE|huge|bf|rm|it|checkmark|limits|hline|square)(?![A-Za-z])\.?"), " "),
    (re.compile(r"\\color\s*\{[^{}]*\}|\\phantom\s*\{[^{}]*\}|\\(?:hspace|vspace)\*?\s*\{[^{}]*\}"), " "),
    (re.compile(r"\\\\\s*\[[^\]\n]{1,9}(?:ex|em|pt|mm|cm)\]"), r"\\\\"),
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\(?:geqslant|geq)(?![A-Za-z])|>="), r"\\ge "),
    (re.compile(r"\\(?:leqslant|leq)(?![A-Za-z])|<="), r"\\le "),
    (re.compile(r"\\(?:ne)(?![A-Za-z])|!="), r"\\neq "),
    (re.compile(r"\\lt(?![A-Za-z])"), "<"),
    (re.compile(r"\\gt(?![A-Za-z])"), ">"),
    (re.compile(r"\\(?:varnothing|empty)(?![A-Za-z])|\\\{\s*\\\}|\bempty set\b"), r"\\emptyset "),
    (re.compile(r"\\(?:lbrace|rbrace)(?![A-Za-z])"), lambda m: r"\{" if "l" in m[0] else r"\}"),
    (re.compile(r"\\(?:mathbb\s*\{?\s*R\s*\}?|R|Reals|reals)(?![A-Za-z])"), r"\\mathbb{R}"),
    (re.compile(r"\{,\}|,\\!"), ","),
    (re.compile(r"\\!"), ""),
    (re.compile(r"(?<!\\)\\[,;: ]|~|\\(?:thinspace|quad|qquad)(?![A-Za-z])"), " "),
    (re.compile(r"\\([$%#&])"), r"\1"),
    (re.compile(r"[`\"]|(?:\\\\\s*)+$|\$"), " "),
    (re.compile(r"^\s*\*+\s*|\s*\*+\s*$|^_{2,}|_{2,}$"), ""),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"(?<![\\^_*])\*"), r"\\cdot "),
    (re.compile(r"\{\s*([-+])\s*\}"), r"\1"),
    (re.compile(r"\^\s*\{?\s*(?:\\top|\\mathsf\s*\{?T\}?|\\intercal|T|\\prime\s*T)\s*\}?(?![A-Za-z])"), "^T "),
    (re.compile(rf"(?<![\\A-Za-z])(?=(?:{_NAMES})(?![A-Za-z]))"), r"\\"),
    (re.compile(r"(?<![\\A-Za-z])(?:infinity|inf|oo)(?![A-Za-z])"), r"\\infty "),
    (re.compile(r"\b(?:all|any)\s+(?:of\s+)?(?:the\s+)?(?:real\s+numbers?|reals?)\b(?:\s+x)?", re.IGNORECASE), r"\\mathbb{R}"),
    (re.compile(r"\\frac\s*\{( [A-Za-z ]+) \}\s*\{( [A-Za-z ]+) \}"), r"\1/\2"),
    (re.compile(r"(?<![\\A-Za-z])sqrt\s*(\d+|[a-z])(?![a-z(])"), r"\\sqrt{\1}"),
    (re.compile(r"\^\s*(-\s*\w+|\d{2,})"), r"^{\1}"),
    (re.compile(r"^(-?\d+(?:\.\d+)?)[eE]([+-]?\d{1,3})$"), r"\1\\cdot 10^{\2}"),
    (re.compile(r"(?<=\d)\s*\^?\s*\{?\s*(?:st|nd|rd|th)\s*\}?(?![A-Za-z])"), ""),
    (re.compile(r"(?<![\w.])(\d{1,3})((?:_\d{3})+)(?!\w)"), lambda m: m[1] + m[2].replace("_", "")),
    (re.compile(r"(\d)\s+(?:percent|pct)\b", re.IGNORECASE), r"\1%"),
    (
        re.compile(r"\\\{\s*[a-z]\s*(?:\\in\s*\\mathbb\{R\}\s*)?(?::|\\mid|\\vert|\|)\s*(.*<.*|.*>.*|.*\\[lg]e.*|.*\\neq.*)\\\}$"),
        r"\1",
    ),
    (re.compile(r"(\d)\s*degrees?\b", re.IGNORECASE), r"\1^\\circ"),
    (re.compile(r"(?<![\d.,])([1-9]\d{0,2})((?: \d{3})+)(?![\d.])"), lambda m: m[1] + m[2].replace(" ", "")),
    (re.compile(r"(?<![\d.,}])(\d+) +(\d+)/(\d+)(?!\d)"), r"\1\\frac{\2}{\3}"),
    (
        re.compile(r"(?<!\d)(\d*)\.(\d*)\\(?:overline|bar|dot)\s*\{?(\d+)\}?"),
        lambda m: _repeating(m[1], m[2], m[3]),
    ),
)  # fmt: skip
_INTRODUCTION = re.compile(
    r"^(?:so|thus|hence|therefore)?[\s,]*(?:the\s+)?(?:final\s+|correct\s+)?(?:answers?|solutions?|results?|values?)(?:\s+of\s+[a-z])?"
    r"\s*(?:is|are|:)\s*:?\s*|^(?:it|this|that)\s+is\s+",
    re.IGNORECASE,
)

_PAIRS = {"(": ")", "[": "]", r"\{": r"\}", r"\langle": r"\rangle"}


def clean(text: str) -> str:
    r"""A formula in one notation: LaTeX without spaces of its own, fonts, colours, `\left` and decorations.

    Words lose their `\text{}`. Plain notation becomes LaTeX: `sqrt(2)/2`, `x**2`, `2√3`, `½`, `pi`.
    """
    text = plain_characters(text)
    text = re.sub(
        "[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑]", lambda m: r"\frac{{{}}}{{{}}}".format(*_FRACTIONS[m[0]]), text
    )
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿˣ]+", lambda m: f"^{{{m[0].translate(_RAISED)}}}", text)
    text = re.sub("[₀₁₂₃₄₅₆₇₈₉]+", lambda m: f"_{{{m[0].translate(_LOWERED)}}}", text)
    text = re.sub(r"√\s*(\d+(?:\.\d+)?|[a-zA-Z]|\\pi)", r"\\sqrt{\1}", text).replace("√", r"\sqrt")
    for character, command in _UNICODE.items():
        text = text.replace(character, command)
    for _ in range(4):
        text, count = _FONTS.subn(lambda m: f" {m[1]} " if len(m[1]) > 1 else m[1], text)
        if not count:
            break
    for pattern, replacement in _CLEAN:
        text = pattern.sub(replacement, text)
    text = _in_braces(text, re.compile(r"\\?sqrt\s*(?=\()"), r"\sqrt{%s}")
    text = _in_braces(text, re.compile(r"(?<![\\A-Za-z])cbrt\s*(?=\()"), r"\sqrt[3]{%s}")
    text = _in_braces(text, re.compile(r"\\?(?<![A-Za-z])exp\s*(?=\()"), "e^{%s}")
    text = _in_braces(text, re.compile(r"(?<![\\A-Za-z])abs\s*(?=\()"), "|%s|")
    text = _in_braces(text, re.compile(r"\^\s*(?=\()"), "^{%s}")
    text = " ".join(text.split()).strip(" ,;")
    text = _INTRODUCTION.sub("", text)
    return re.sub(r"(?<![.])\.$", "", text).strip()


def _in_braces(text: str, name: re.Pattern[str], form: str) -> str:
    """Replaces `name(argument)` by a form, from the innermost out; what is not closed stays."""
    for found in reversed(list(name.finditer(text))):
        end = _closing(text, found.end())
        if end is not None:
            argument = text[found.end() + 1 : end]
            text = text[: found.start()] + form.replace("%s", argument) + text[end + 1 :]
    return text


def _closing(text: str, start: int) -> int | None:
    """The place of the round bracket that closes the one at `start`."""
    depth = 0
    for index in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[index], 0)
        if depth == 0:
            return index
    return None


def _repeating(whole: str, start: str, repeated: str) -> str:
    nines = (10 ** len(repeated) - 1) * 10 ** len(start)
    top = int((start or "") + repeated) - int(start or 0) + int(whole or 0) * nines
    return rf"\frac{{{top}}}{{{nines}}}"


def depth(text: str) -> int:
    """How deep brackets of all kinds lie in each other."""
    levels = itertools.accumulate(
        1 if character in "([{" else -1 for character in text if character in "()[]{}"
    )
    return max(levels, default=0)


def bracket_of(text: str) -> str:
    r"""The bracket that encloses a whole text: `(`, `[`, `\{`, `\langle`; empty where none does."""
    for opening in _PAIRS:
        if text.startswith(opening) and re.search(r"(?:\)|\]|\\\}|\\rangle)$", text):
            depth = 0
            for token in re.finditer(r"\\[a-zA-Z]+|\\.|[()\[\]{}]", text):
                if token[0] in ("(", "[", r"\{", r"\langle", "{"):
                    depth += 1
                elif token[0] in (")", "]", r"\}", r"\rangle", "}"):
                    depth -= 1
                    if depth == 0:
                        return opening if token.end() == len(text) else ""
    return ""


def elements(text: str) -> list[str]:
    """The parts of a list, by its commas, semicolons, `and` and `or` that stand in no bracket; of `a ± b`, both."""
    if re.fullmatch(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?", text):
        return [text.replace(",", "")]
    parts, depth, start = [], 0, 0
    for token in re.finditer(
        r"\\begin|\\end|\\[a-zA-Z]+|\\.|[()\[\]{}]|[,;]|(?<![A-Za-z])(?:and|or)(?![A-Za-z])", text
    ):
        name = token[0]
        if name in ("(", "[", r"\{", r"\langle", "{", r"\begin"):
            depth += 1
        elif name in (")", "]", r"\}", r"\rangle", "}", r"\end"):
            depth -= 1
        elif depth == 0 and name in (",", ";", "and", "or"):
            parts.append(text[start : token.start()])
            start = token.end()
    parts = [part.strip() for part in (*parts, text[start:]) if part.strip()]
    both = (
        [part.replace(r"\pm", sign, 1) for sign in ("+", "-")]
        if part.count(r"\pm") == 1
        else [part]
        for part in parts
    )
    return [re.sub(r"(^|=)\s*\+\s*", r"\1", part) for part in itertools.chain(*both)]


def inside(text: str) -> str:
    """A text without the bracket that encloses it."""
    bracket = bracket_of(text)
    return text[len(bracket) : -len(_PAIRS[bracket])].strip() if bracket else text
