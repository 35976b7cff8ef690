"""The code in Jupyter notebooks."""

from __future__ import annotations

import json


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
