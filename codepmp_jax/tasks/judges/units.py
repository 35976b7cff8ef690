r"""Takes the unit from a number: `6 cm^2` is 6, `\$12.50` is 12.50, and `5 million` is 5000000."""

from __future__ import annotations

import re

from codepmp_jax.tasks.judges.numbers import SCALE, number_in

# Units of which one is not another: a name, its abbreviation first.
_MEASURES: dict[str, str] = {
    name: names.split()[0]
    for names in (
        "cm centimeter centimetre",
        "mm millimeter millimetre",
        "km kilometer kilometre",
        "m meter metre",
        "in inch inche",
        "ft foot feet",
        "yd yard",
        "mi mile",
        "s sec second",
        "min minute",
        "h hr hour",
        "kg kilogram",
        "g gram",
        "mg milligram",
        "lb pound",
        "oz ounce",
        "l L liter litre",
        "ml mL milliliter millilitre",
    )
    for name in names.split()
}
_SHORT = {
    "yr",
    "sq",
    "cu",
    "am",
    "pm",
    "pt",
    "cc",
    "gal",
    "of",
    "a",
    "an",
    "by",
    "or",
    "Hz",
    "C",
    "F",
}
_SINGLE = {"N", "J", "W", "V"}
_UNIT = re.compile(
    r"(?P<value>.*(?:[\d})!%]|\\pi))(?P<unit>\s*(?:\^\s*\{?\\circ\}?\s*[CF]?|[A-Za-z€£°.]+|[\s/·-]|\\cdot|\^\s*\{?-?[123]\}?|\(s\))+)",
    re.DOTALL,
)
_KNOWN_UNIT = re.compile(
    r"(?<=[\d)π])\s*(?:(?:square|cubic|sq\.?|cu\.?)\s+)?"
    rf"(?:units?|degrees?|(?<=\s)(?:{'|'.join(sorted(_MEASURES, key=len, reverse=True))})s?)"
    r"(?:\s*\^?\s*[23]|[²³])?$"
)
_CURRENCY = re.compile(r"^[€£]\s*|(?<=^-)[€£]\s*")


def without_known_unit(text: str) -> str:
    """A text without the measure that it ends with behind a number or π: `is 36π cubic inches` -> `is 36π`."""
    return _KNOWN_UNIT.sub("", text)


def without_unit(text: str) -> tuple[str, str]:
    r"""(number, unit) of a cleaned text: `6 cm^2` -> (`6`, `cm2`). The unit is empty where there is none.

    A unit is known by its abbreviation, or is any word of three letters or more after a space.
    """
    found = _UNIT.fullmatch(text)
    if found is None or not re.search(r"[A-Za-z€£°]", found["unit"]):
        return _CURRENCY.sub("", text), ""
    words = re.findall(r"[A-Za-z]+", found["unit"].replace(r"\circ", "").replace(r"\cdot", ""))
    if any(re.fullmatch(SCALE, word, re.IGNORECASE) for word in words):
        return number_in(text) or text, ""
    is_apart = found["unit"][0] in " ^/°.-"
    if not all(_is_unit(word, is_apart) for word in words):
        return text, ""
    names = (word if word in _MEASURES else word.removesuffix("s") for word in words)
    unit = "".join(_MEASURES.get(name) or name for name in names)
    power = "".join(re.findall(r"[123]", found["unit"]))
    return _CURRENCY.sub("", found["value"].strip()), unit + power


def _is_unit(word: str, is_apart: bool) -> bool:
    if word in _MEASURES or word.removesuffix("s") in _MEASURES:
        return is_apart or len(word) > 1
    return is_apart and (word in _SHORT or word in _SINGLE or len(word) > 2)


def differ(unit: str, other: str) -> bool:
    """Whether two units are known and not the same."""
    known = set(_MEASURES.values())
    return unit != other and {unit.rstrip("123"), other.rstrip("123")} <= known
