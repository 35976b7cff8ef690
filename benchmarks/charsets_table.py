"""Encodings: how often a source file in an old encoding is read as it was written.

    python benchmarks/charsets_table.py FOLDER

FOLDER holds the unpacked Debian packages coreutils, tar, bash, wget and findutils (`apt-get download NAME`, `dpkg -x
NAME*.deb FOLDER`): sentences of 19 languages, from their translations. Each file is C code with 1, 3 or 20
sentences as comments, of which the one is cut to four words, written in an encoding of its language. Compared are
`codepmp_jax.corpus.charsets` and the first guess of chardet, cChardet and charset-normalizer for the whole file.
Writes `benchmarks/results/charsets_table.md`.
"""

from __future__ import annotations

import argparse
import collections
import gettext
import pathlib
import random
import time
from collections.abc import Callable, Iterator

import cchardet
import chardet
import charset_normalizer
from page import Page

from codepmp_jax.corpus import charsets

# Locale -> encodings in which its source files were written before UTF-8.
ENCODINGS = {
    "zh_CN": ["gbk"],
    "zh_TW": ["big5"],
    "ja": ["shift_jis", "euc_jp"],
    "ko": ["cp949"],
    "ru": ["cp1251", "koi8_r", "cp866"],
    "uk": ["cp1251"],
    "bg": ["cp1251"],
    "de": ["cp1252", "cp850", "mac_roman"],
    "fr": ["cp1252", "cp850", "mac_roman"],
    **{locale: ["cp1252"] for locale in ("es", "pt_BR", "it", "sv", "da")},
    **{locale: ["cp1250", "iso8859_2"] for locale in ("pl", "cs", "hu")},
    "tr": ["cp1254"],
    "el": ["cp1253"],
}
CODE = """\
static int grow(struct table *table, size_t wanted)
{
    size_t size = table->size ? table->size : 16;
    while (size < wanted)
        size *= 2;
    table->items = realloc(table->items, size * sizeof *table->items);
    table->size = size;
    return table->items == NULL;
}
"""


def sentences(folder: pathlib.Path, locale: str) -> list[str]:
    """Lines of the translations that are not ASCII."""
    found = set()
    for path in folder.glob(f"usr/share/locale/{locale}/LC_MESSAGES/*.mo"):
        with open(path, "rb") as file:
            catalog = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
        for key, text in catalog.items():
            if key and isinstance(text, str):
                found |= {line.strip() for line in text.split("\n") if not line.isascii()}
    return sorted(found)


def files(folder: pathlib.Path, number: int, each: int) -> Iterator[tuple[str, bytes]]:
    """(text, its bytes) with `number` sentences, `each` an encoding; none of which is UTF-8."""
    draw = random.Random(0)
    for locale, encodings in ENCODINGS.items():
        known = sentences(folder, locale)
        for encoding in encodings:
            left = each
            while left:
                drawn = draw.sample(known, number)
                if number == 1:
                    drawn = [" ".join(drawn[0].split()[:4])]
                text = "".join(f"// {line}\n{CODE}" for line in drawn)
                try:
                    data = text.encode(encoding)
                except UnicodeEncodeError:
                    continue
                if not data.isascii():
                    left -= 1
                    yield text, data


def _ours(data: bytes) -> str | None:
    try:
        return charsets.decode(data)
    except charsets.Undecodable:
        return None


def _guess(name: Callable[[bytes], str | None]) -> Callable[[bytes], str | None]:
    def read(data: bytes) -> str | None:
        encoding = name(data)
        try:
            return data.decode(encoding) if encoding else None
        except (UnicodeDecodeError, LookupError):
            return None

    return read


READERS = {
    "ours": _ours,
    "chardet": _guess(lambda data: chardet.detect(data)["encoding"]),
    "cChardet": _guess(lambda data: cchardet.detect(data)["encoding"]),
    "charset-normalizer": _guess(
        lambda data: getattr(charset_normalizer.from_bytes(data).best(), "encoding", None)
    ),
}


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description="Measures the detection of encodings.")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--each", type=int, default=30, help="files an encoding and length")
    arguments = parser.parse_args()
    rows = [
        "| sentences | files | reader | right | wrong | rejected | ms a file |",
        "|---" * 7 + "|",
    ]
    figures = []
    for number in (1, 3, 20):
        table = list(files(arguments.folder, number, arguments.each))
        for name, reader in READERS.items():
            counts: collections.Counter[str] = collections.Counter()
            start = time.perf_counter()
            for text, data in table:
                found = reader(data)
                counts["rejected" if found is None else "right" if found == text else "wrong"] += 1
            cost = (time.perf_counter() - start) / len(table) * 1e3
            figures.append({"sentences": number, "reader": name, "ms": round(cost, 2), **counts})
            cells = " | ".join(str(counts[kind]) for kind in ("right", "wrong", "rejected"))
            rows.append(f"| {number} | {len(table)} | {name} | {cells} | {cost:.2f} |")
    note = "Wrong: a text that is not the one that was written, which a corpus must not hold."
    print(Page("charsets_table", "Encodings read").write(note, "\n".join(rows), figures=figures))


if __name__ == "__main__":
    main()
