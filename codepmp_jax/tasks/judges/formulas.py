r"""Reads formulas with math-verify's parser, and decides whether an answer is equal to the reference.

- Equal are values that are mathematically equal: fractions and decimals, lists and sets in any order, tuples and vectors in
  their order, inequalities and intervals, equations up to a factor, matrices, expressions whose difference SymPy
  shows to be zero. A decimal of six places or more is equal to what rounds to it. 50 % is 50 and 1/2.
- `x = 5`, `AB = 5` and `x \in S` are 5 and S; `x^2 = 5`, `2x = 10` and `\neq 5` are not.
- Where the reference is a number, a unit does not count, unless both have one and these differ.
- Digits with a base are equal to the same digits with the same base or none. Words are compared as they stand.

Other than math-verify's `verify`: `\{1,2\}` is not `(1,2)`; numbers are compared exactly instead of to six places;
`5 million` and `5 ft 3 in` are not 5; and no number is taken out of what does not parse.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from codepmp_jax.tasks.judges.notation import bracket_of, elements, inside
from codepmp_jax.tasks.judges.units import differ, without_unit

_WORDS = re.compile(
    r"[A-Za-z][A-Za-z.'-]{2,}(?:[ -]+[A-Za-z][A-Za-z.'-]*)*|[A-Za-z]+(?:[ -]+[A-Za-z][A-Za-z.'-]+)+"
)
_CAPITALS = re.compile(r"[A-Z]{3}")  # a triangle, not a word
# A name that an equation gives a value: x, x_1, f(x), (x,y), AB, \angle A, area of the disc.
_NAMED = re.compile(
    r"\s*(?:m\s*)?(?:\\(?:angle|triangle|overline|vec|hat)\s*)?"
    r"\{?(?:\\?[A-Za-z]|[A-Z]{2,3}|(?:[A-Za-z]{3,}\s*)+|\([a-z](?:\s*,\s*[a-z])+\))\}?(?:_\s*(?:\{[^{}]*\}|\w))?"
    r"'*(?:\^\{?-1\}?(?=\())?(?:\s*\([^()=]*\))?\s*(?:=|\\approx(?![a-z])|\\in(?![a-z])|:(?=\s))\s*"
)
_LETTER_NAMED = re.compile(r"\s*[A-Za-z](?:_\{?\w+\}?)?\s*=")
_INEQUALITY = re.compile(r"<|>|\\(?:le|ge|neq)(?![A-Za-z])")
_RELATION = re.compile(rf"{_INEQUALITY.pattern}|=")
_VARIABLE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]")
_FUNCTION = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc|log|ln)(?![a-z])")
_DEGREES = re.compile(r"\^\s*\{?\s*\\circ\s*\}?")
_BASE = re.compile(r"\(?(\w+)\)?_\s*\{?\s*(\w+)\s*\}?")
_BASE_NAMES = [
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
]
_NO_LIST = re.compile(r"\\(?:cup|cap|begin|setminus)|\|")
_ROUNDED_PLACES = 6


# --- values ---------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1024)
def parse(text: str) -> Any:
    """The SymPy value of a cleaned text, with i as the imaginary unit; None where the library cannot read it."""
    import sympy
    from latex2sympy2_extended import NormalizationConfig, latex2sympy, normalize_latex

    if not _FUNCTION.search(text):
        text = _DEGREES.sub("", text)
    if (column := re.fullmatch(r"\((.*)\)\s*\^T", text)) is not None:
        rows = r" \\ ".join(elements(column[1]))
        text = rf"\begin{{pmatrix}}{rows}\end{{pmatrix}}"
    config = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none"
    )
    try:
        value: Any = latex2sympy(
            normalize_latex(text, config),
            is_real=True,
            convert_degrees=False,
            normalization_config=None,
        )
        imaginary = sympy.Symbol("i", real=True)
        if imaginary in getattr(value, "free_symbols", ()):
            value = value.subs(imaginary, sympy.I)
        return value
    except MemoryError:
        raise
    except Exception:  # a parser's errors are of many types
        return None


def is_readable(text: str) -> bool:
    """Whether a cleaned text is words or a value, or a list of values."""
    parts = elements(inside(text)) or [text]
    return (
        is_words(text)
        or parse(text) is not None
        or all(parse(without_unit(_value_side(part))[0]) is not None for part in parts)
    )


def is_words(text: str) -> bool:
    """Whether a text is words rather than a formula."""
    return _WORDS.fullmatch(text) is not None and _CAPITALS.fullmatch(text) is None


def _exact(value: Any) -> Any:
    """An expression with its decimals as fractions."""
    import sympy

    return value.xreplace(
        {number: sympy.Rational(str(number)) for number in value.atoms(sympy.Float)}
    )


def _number(text: str) -> Any:
    """The exact value of a text without variables; None where it is none."""
    import sympy

    value = parse(text)
    if not isinstance(value, sympy.Expr) or isinstance(value, sympy.MatrixExpr):
        return None
    return None if value.free_symbols else _exact(value.doit())


def _as_set(text: str) -> Any:
    """The set of real numbers that an interval, a union, or inequalities in one variable describe; else None."""
    import sympy

    if not _INEQUALITY.search(text):
        value = parse(text)
        if isinstance(value, sympy.Eq) and isinstance(value.lhs, sympy.Symbol):
            value = value.rhs
        return value if isinstance(value, sympy.Set) and not value.is_FiniteSet else None
    found = None
    # `or` joins solutions and `and` conditions; a comma conditions that can hold at once, else solutions.
    pieces = re.split(r"(?<![A-Za-z])(and|or|\\lor|\\vee|\\land|\\wedge)(?![A-Za-z])|[,;]", text)
    for joint, piece in zip([None, *pieces[1::2]], pieces[::2], strict=True):
        condition = parse(piece.strip())
        if condition is None or len(getattr(condition, "free_symbols", ())) != 1:
            return None
        try:
            part = condition.as_set()
        except MemoryError:
            raise
        except Exception:  # SymPy does not solve every inequality
            return None
        if found is None:
            found = part
            continue
        both = found.intersect(part)
        is_and = joint in ("and", r"\land", r"\wedge") or (joint is None and not both.is_empty)
        found = both if is_and else found.union(part)
    return found


def _value_side(text: str) -> str:
    r"""The value of `x = 5`, `f(x) = 3 + 4 = 7`, `x \in S`, `3 \cdot 6 = 18`; else the text."""
    if _INEQUALITY.search(text):
        return text
    named = _NAMED.match(text)
    if named is not None:
        value = text[named.end() :]
        if "=" not in value or len(elements(value)) == 1:
            return value.rpartition("=")[2].strip() or text
    elif "=" in text and not _VARIABLE.search(text):
        return text.rpartition("=")[2].strip() or text
    return text


def _places(text: str) -> int:
    found = re.fullmatch(r"-?\d*\.(\d+)", text)
    return len(found[1]) if found else 0


# --- equality -------------------------------------------------------------------------------------


def key(text: str) -> str:
    """A cleaned text as it stands, without needless spaces and braces, in lower case."""
    text = re.sub(r"(?<=\d)\s+(?=\d)|(?<=[A-Za-z])\s+(?=[A-Za-z])", "\0", text)
    text = re.sub(r"\{(\w)\}", r"\1", re.sub(r"\s+", "", text)).replace("\0", " ").lower()
    single = re.fullmatch(r"\((\w)\)", text)
    return single[1] if single else text


def equal(reference: str, text: str) -> bool:
    """Whether an answer is equal to the reference, both cleaned. May raise what SymPy raises."""
    if key(reference) == key(text):
        return True
    if is_words(reference) or is_words(text):
        return key(_value_side(reference)) == key(_value_side(text))
    if (found := _equations_equal(reference, text)) is not None:
        return found
    reference, text = _value_side(reference), _value_side(text)
    if key(reference) == key(text):
        return True
    if "%" in reference or "%" in text:
        return any(
            equal(one, other) for one in _of_percentage(reference) for other in _of_percentage(text)
        )
    number, its_unit = without_unit(reference)
    if not _VARIABLE.search(number):
        reference = number
        text, unit = without_unit(text)
        if differ(unit, its_unit):
            return False
    if _BASE.fullmatch(reference) or _BASE.fullmatch(text):
        return _same_digits(reference, text)
    found = _equal_in_parts(reference, text)
    return _values_equal(reference, text) if found is None else found


def _of_percentage(text: str) -> tuple[str, ...]:
    number = text.replace("%", "").strip()
    return (number, rf"\frac{{{number}}}{{100}}") if "%" in text else (text,)


def _same_digits(reference: str, text: str) -> bool:
    def split(text: str) -> tuple[str, str]:
        found = _BASE.fullmatch(text)
        if found is None:
            return key(text), ""
        base = found[2].lower()
        return found[1].lower(), str(_BASE_NAMES.index(base) + 2) if base in _BASE_NAMES else base

    (digits, base), (others, other_base) = split(reference), split(text)
    return digits == others and (base == other_base or "" in (base, other_base))


def _equations_equal(reference: str, text: str) -> bool | None:
    """Whether two equations say the same; None where they are not two, or give a value to different names."""
    import sympy

    texts = reference, text
    if any(t.count("=") != 1 or _INEQUALITY.search(t) or len(elements(t)) > 1 for t in texts):
        return None
    if all(_NAMED.match(t) for t in texts) and not all(_LETTER_NAMED.match(t) for t in texts):
        return None
    one, other = parse(reference), parse(text)
    if not isinstance(one, sympy.Eq) or not isinstance(other, sympy.Eq):
        return None
    sides: Any = (*one.args, *other.args)
    if not all(isinstance(side, sympy.Expr) for side in sides):
        return None
    ratio = sympy.simplify(_exact((sides[0] - sides[1]) / (sides[2] - sides[3])))
    return bool(ratio.is_number and ratio.is_finite and ratio != 0)


def _equal_in_parts(reference: str, text: str) -> bool | None:
    """Whether two sets, lists, tuples or intervals are equal; None where they are none."""
    brackets = bracket_of(reference), bracket_of(text)
    if "" in brackets:
        one, other = _as_set(reference), _as_set(text)
        if one is not None and other is not None:
            return one == other or one.symmetric_difference(other).is_empty is True
    parts, others = elements(inside(reference)), elements(inside(text))
    if any(map(_INEQUALITY.search, (reference, text))):
        return None
    if len(parts) != len(others):
        return None if any(map(_NO_LIST.search, (reference, text))) else False
    if len(parts) < 2:
        is_other = brackets[0] != brackets[1]
        return equal(inside(reference), inside(text)) if is_other else None
    if r"\{" in brackets and {*brackets} - {"", r"\{"}:
        return False
    if len(parts) == 2 and "" not in brackets and _ends(reference) != _ends(text):
        return False  # intervals
    if {*brackets} <= {"", r"\{"}:
        return _matched(parts, others)
    return all(equal(one, other) for one, other in zip(parts, others, strict=True))


def _ends(text: str) -> tuple[str, str]:
    return text[0], text[-1]


def _matched(parts: list[str], others: list[str]) -> bool:
    """Whether every part is equal to one of the others, each to another one."""
    left = list(others)
    for part in parts:
        found = next((other for other in left if equal(part, other)), None)
        if found is None:
            return False
        left.remove(found)
    return True


def _values_equal(reference: str, text: str) -> bool:
    import math_verify
    import sympy

    one, other = _number(reference), _number(text)
    if one is not None and other is not None:
        return _numbers_equal(one, other, max(_places(reference), _places(text)))
    expected, found = parse(reference), parse(text)
    if expected is None or found is None:
        return False
    if isinstance(expected, sympy.MatrixBase) and isinstance(found, sympy.MatrixBase):
        return expected.shape == found.shape and all(
            sympy.simplify(_exact(one - other)) == 0
            for one, other in zip(expected.flat(), found.flat(), strict=True)
        )
    if bool(_RELATION.search(reference)) < bool(_RELATION.search(text)):
        return False  # an equation or inequality is no value
    are_expressions = isinstance(expected, sympy.Expr) and isinstance(found, sympy.Expr)
    if are_expressions and (one is None) != (other is None):
        return False  # one of them has variables
    return math_verify.verify(expected, found, timeout_seconds=None, allow_set_relation_comp=True)


def _numbers_equal(one: Any, other: Any, places: int) -> bool:
    """Whether two numbers are equal, or equal once rounded to the many `places` that one of them has."""
    import sympy

    if one.is_finite is not True or other.is_finite is not True:
        return bool(one == other)
    difference = one - other
    if difference == 0:
        return True
    if places >= _ROUNDED_PLACES:
        return bool(abs(sympy.N(difference, places + 30)) <= sympy.Rational(1, 2 * 10**places))
    if one.is_Rational and other.is_Rational:
        return False
    size = max(abs(sympy.N(one, 30)), abs(sympy.N(other, 30)))
    return bool(abs(sympy.N(difference, 30)) <= size * sympy.Float("1e-20"))


def normal_form(text: str) -> str:
    """A cleaned text in a form in which equal values are equal strings, as far as SymPy finds it."""
    import sympy

    if is_words(text):
        return key(text)
    text = _value_side(text)
    parts = elements(inside(text))
    if len(parts) > 1 and not _RELATION.search(text) and not _NO_LIST.search(text):
        forms = [normal_form(part) for part in parts]
        if bracket_of(text) in ("", r"\{"):
            return f"{{{', '.join(sorted(forms))}}}"
        return f"{text[0]}{', '.join(forms)}{text[-1]}"
    try:
        if (found := _as_set(text)) is not None:
            return str(found)
        value = parse(without_unit(text)[0].replace("%", ""))
        if isinstance(value, sympy.Expr):
            return str(sympy.expand(_exact(value.doit())))
        return key(text) if value is None else str(value)
    except MemoryError:
        raise
    except Exception:  # too large to be written, or a fault of SymPy
        return key(text)
