"""A file of source code as the readers give it, and the way from its bytes to its text."""

from __future__ import annotations

import io
import json
import tokenize
from typing import NamedTuple

from codepmp_jax.text.languages import NOTEBOOK


class File(NamedTuple):
    """A file of source code."""

    content: str
    """Its text, lines ending in newlines; of a notebook the code cells."""
    language: str
    repository: str
    path: str
    """Path within the repository."""
    license: str
    """SPDX expression, or several joined by commas; `unknown` where it is not clear, empty where nothing is said."""
    stars: int = -1
    """Stars of the repository; -1 where they are not known."""


class Rejected(NamedTuple):
    """A file that gives no text."""

    path: str
    reason: str
    detail: str = ""
    repository: str = ""


def as_text(name: str) -> str:
    """A name without surrogates; bytes and escapes that are no text become `?`."""
    return name.encode(errors="replace").decode()


def decode(data: bytes, language: str, max_bytes: int) -> str | Rejected:
    """The text of a file: Python's in its declared encoding (PEP 263), UTF-8 else.

    `data` may be cut after `max_bytes` + 1. The Rejected's path is empty.
    """
    if len(data) > max_bytes:
        return Rejected("", "too large", f"more than {max_bytes} bytes")
    encoding = "utf-8-sig"
    try:
        if language == "python":
            encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError) as error:
        return Rejected("", "undecodable", str(error))
    return normalize(text, language)


def normalize(text: str, language: str) -> str | Rejected:
    """The text with plain newlines; a notebook's code cells. The Rejected's path is empty."""
    try:
        if language == NOTEBOOK:
            text = code_cells(text)
        text.encode()
    except UnicodeEncodeError as error:
        return Rejected("", "undecodable", str(error))
    except NotANotebook as error:
        return Rejected("", "no notebook", str(error))
    return text.replace("\r\n", "\n").replace("\r", "\n")


class NotANotebook(ValueError):
    """A text is no Jupyter notebook."""


def code_cells(text: str) -> str:
    """The code cells of a notebook (nbformat 3 and later), a blank line between two; outputs are left out.

    Raises NotANotebook.
    """
    try:
        notebook = json.loads(text)
        # Up to nbformat 3 the cells lie in worksheets, and their text is the `input`.
        holders = [notebook] if "cells" in notebook else notebook["worksheets"]
        cells = [cell for holder in holders for cell in holder["cells"]]
        sources = [
            cell["source"] if "source" in cell else cell["input"]
            for cell in cells
            if cell["cell_type"] == "code"
        ]
        joined = [source if isinstance(source, str) else "".join(source) for source in sources]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotANotebook(f"{type(error).__name__}: {error}") from error
    return "\n\n".join(source.strip("\n") for source in joined if source.strip()) + "\n"
