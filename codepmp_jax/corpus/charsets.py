"""From bytes to text: which encoding a source file is written in.

The rule, in this order; what it leaves in doubt is Undecodable, since text in a wrong encoding teaches nonsense:

1.  A byte order mark names UTF-8, UTF-16 or UTF-32.
2.  NULs at every other place (or three of four) are UTF-16 (UTF-32) without a mark. Any other NUL: no text.
3.  ESC $ and ESC ( with ASCII around them are ISO-2022-JP.
4.  What decodes as UTF-8 is UTF-8.
5.  A declaration in the first two lines (PEP 263, and the same comment in Ruby, Perl and Emacs) names the encoding.
6.  Signs alone, where such signs stand (`© 2004`, `20 °C`), are those that all code pages of Windows share.
7.  Else two detectors read the lines that are not ASCII: chardet, among the encodings of source code that give
    a plausible text, and cChardet. They must give the same text. cChardet takes short Chinese, Japanese and
    Korean texts for anything: there it is enough that chardet is sure and all characters are common ones.

Figures: benchmarks/results/charsets_table.md.
"""

from __future__ import annotations

import codecs
import itertools
import re
import unicodedata

# Bytes that name the encoding: UTF-32 first, as its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Places of the NULs in ASCII text, modulo 4.
_NULS = {
    "utf-32-le": {1, 2, 3},
    "utf-32-be": {0, 1, 2},
    "utf-16-le": {1, 3},
    "utf-16-be": {0, 2},
}
_DECLARED = re.compile(rb"coding[:=][ \t]*([-\w.]+)")
_ISO_2022 = re.compile(rb"\x1b\$[@B].*?\x1b\([BJ]", re.DOTALL)
# `© 2004`, `20 °C`, `5 µs`, `± 1`, `Shelf®`: at the same place in cp1250 to cp1254, and of no use there in others.
_SIGN = re.compile(
    rb"(?<![\w\x80-\xff])\xa9(?=[\s\d(])|(?:(?<=\d)|(?<=\d ))\xb0(?=[CFK]?(?:[\s,.;:)]|$))"
    rb"|(?<=[\s\d(])\xb5(?=[smgAFHVW]\b)|(?<=[\s(=])\xb1(?= ?\d)|(?<=[A-Za-z])\xae(?=[\s,.)])"
)
# Single-byte encodings that the other ones are weighed against, and those of East Asia.
_SINGLE_BYTE = (
    *(
        "cp1252",
        "iso8859-1",
        "iso8859-15",
        "cp1250",
        "iso8859-2",
        "cp1254",
        "cp1251",
        "koi8-r",
        "koi8-u",
    ),
    *("cp866", "cp1253", "cp437", "cp850", "mac-roman"),
)
# The encoding -> one in which the lead byte tells how common a character is, and the common lead bytes.
_EAST_ASIAN = {
    "gb18030": ("gb2312", 0xB0, 0xD7),
    "big5hkscs": ("big5", 0xA4, 0xC6),
    "cp932": ("euc-jp", 0xB0, 0xCF),
    "shift_jis_2004": ("euc-jp", 0xB0, 0xCF),
    "euc_jis_2004": ("euc-jp", 0xB0, 0xCF),
    "cp949": ("euc-kr", 0xB0, 0xC8),
}
# chardet's confidence in an East Asian text over that in the next best one.
_SURE = 2.0
_LEAST_CHARACTERS = 3
_SAMPLE = 64 << 10
_WORD = re.compile(r"[^\W\d_]+")
# A sign in a word, but for those that join words: `w„hlen`.
_SIGN_IN_WORD = re.compile(r"[A-Za-z](?![\w’‘·…–—«»\xad])[\xa1-\u2bff][A-Za-z]")


class Undecodable(ValueError):
    """Bytes whose encoding is not known beyond doubt."""


def decode(data: bytes) -> str:
    """The text of a source file. Raises Undecodable."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _strict(data.removeprefix(mark), encoding)
    if b"\0" in data:
        return _strict(data, _wide(data))
    if _ISO_2022.search(data) and data.isascii():
        return _strict(data, "iso2022_jp_2")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        fault = str(error)
    declared = declared_encoding(data)
    if declared:
        return _strict(data, declared)
    return _detected(data, fault)


def declared_encoding(data: bytes) -> str:
    """The encoding that a comment in the first two lines names; empty where there is none or it is not known."""
    found = _DECLARED.search(b"\n".join(data[:1000].split(b"\n")[:2]))
    name = found[1].decode().lower() if found else ""
    name = re.sub(r"-(unix|dos|mac)$", "", name)  # Emacs' line ends
    try:
        return codecs.lookup(name).name if name else ""
    except LookupError:
        return ""


def _strict(data: bytes, encoding: str) -> str:
    try:
        text = data.decode(encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise Undecodable(f"{encoding}: {error}") from error
    if "\0" in text:
        raise Undecodable("holds NULs: is binary")
    return text


def _wide(data: bytes) -> str:
    """UTF-16 or UTF-32 by the places of the NULs. Raises Undecodable for other data."""
    head = data[: _SAMPLE & ~3]
    shares = [head[place::4].count(0) / max(1, len(head[place::4])) for place in range(4)]
    for encoding, places in _NULS.items():
        # Text outside Latin has its ASCII in blanks, signs and line ends.
        high = min(shares[place] for place in places)
        low = max((shares[place] for place in range(4) if place not in places), default=0.0)
        if high > 0.2 and low < 0.01:
            return encoding
    raise Undecodable("holds NULs: is binary")


def _detected(data: bytes, fault: str) -> str:
    """The text of signs alone, or that on which the detectors agree. Raises Undecodable."""
    if _SIGN.sub(b"", data).isascii():
        return data.decode("cp1252")
    try:
        import cchardet
        import chardet
    except ImportError as error:
        raise Undecodable(
            f"{fault}; other encodings need pip install 'codepmp_jax[corpus]'"
        ) from error
    # ASCII lines tell nothing, and make a detector take the few other bytes for noise.
    lines = b"\n".join(line for line in data.split(b"\n") if not line.isascii())[:_SAMPLE]
    lines = lines[: lines.rfind(b"\n")] if len(lines) == _SAMPLE and b"\n" in lines else lines
    found = chardet.detect_all(
        lines,
        ignore_threshold=True,
        compat_names=False,
        include_encodings=[*_SINGLE_BYTE, *_EAST_ASIAN],
    )
    texts: dict[str, tuple[str, float]] = {}
    for guess in found:
        text = _decoded(lines, guess["encoding"])
        if text is not None and is_plausible(text):
            texts.setdefault(text, (guess["encoding"] or "", guess["confidence"]))
    if not texts:
        raise Undecodable(f"{fault}; no other encoding gives a text")
    (best, (encoding, confidence)), *others = texts.items()
    second = cchardet.detect(lines)["encoding"]
    if best != _decoded(lines, second) and not (
        _is_common(best, encoding) and (not others or confidence >= _SURE * others[0][1][1])
    ):
        raise Undecodable(f"{fault}; {encoding} and {second} are both possible")
    text = _strict(data, encoding)
    if not is_plausible(text):
        raise Undecodable(f"{fault}; no text in {encoding}")
    return text


def _decoded(data: bytes, encoding: str | None) -> str | None:
    try:
        return data.decode(encoding) if encoding else None
    except (UnicodeDecodeError, LookupError):
        return None


def is_plausible(text: str) -> bool:
    """Whether no character and no word says that the text was decoded wrongly.

    Signs of that: C1 control characters, private characters, accents without a letter; a sign in a word; a capital behind a small letter where one of
    the two is not ASCII (`JosÈ`); Latin, Cyrillic and Greek letters in one word (`Josй`).
    """
    if any("\x80" <= c < "\xa0" or "\ue000" <= c < "\uf900" or c == "\ufffd" for c in set(text)):
        return False
    if _SIGN_IN_WORD.search(text) or any(map(unicodedata.combining, set(text))):
        return False
    for word in set(_WORD.findall(text)):
        if word.isascii():
            continue
        pairs = itertools.pairwise(word)
        if any(a.islower() and b.isupper() and not (a + b).isascii() for a, b in pairs):
            return False
        scripts = {unicodedata.name(c, "").split(" ")[0] for c in word}
        if len(scripts & {"LATIN", "CYRILLIC", "GREEK"}) > 1:
            return False
    return True


def _is_common(text: str, encoding: str) -> bool:
    """Whether all East Asian characters, of which there are enough, are common ones."""
    if encoding not in _EAST_ASIAN:
        return False
    codec, first, last = _EAST_ASIAN[encoding]
    others = [c for c in text if not c.isascii()]
    # Kana, and the signs of all three scripts.
    letters = [c for c in others if not ("\u3000" <= c < "\u3100" or "\uff00" <= c < "\uff61")]
    try:
        leads = [c.encode(codec)[0] for c in letters]
    except UnicodeEncodeError:
        return False
    return len(others) >= _LEAST_CHARACTERS and all(first <= lead <= last for lead in leads)
