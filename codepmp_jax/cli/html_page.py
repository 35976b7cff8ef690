"""HTML pages that need nothing beside them: sections, tables, and figures as PNG within the page."""

from __future__ import annotations

import base64
import contextlib
import html
import io
import os
import pathlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

Row = Sequence[Any]

# Rows beyond so many are left out, and the page says so.
MAX_ROWS = 100

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fff; margin: 0 auto;
       max-width: 1180px; padding: 1.5rem; }
h1 { font-size: 1.5rem; margin: 0 0 1rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; border-bottom: 1px solid #e5e5e5; padding-bottom: .2rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 1rem; }
.plots img { width: 100%; }
figure { margin: 0; }
figcaption { color: #666; }
.tables { display: flex; flex-wrap: wrap; gap: 0 3rem; align-items: flex-start; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .9rem .2rem 0; text-align: right; border-bottom: 1px solid #eee; }
th { font-weight: 600; border-bottom-color: #bbb; vertical-align: bottom; }
td:first-child, th:first-child, .text { text-align: left; }
p { margin: .4rem 0; color: #666; }
h3 { font-size: .95rem; margin: 1.4rem 0 .3rem; }
.texts { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 0 1rem; }
pre { font: 13px/1.4 ui-monospace, monospace; background: #f6f6f6; padding: .5rem .7rem; margin: .2rem 0;
      max-height: 24rem; overflow: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
"""


def page(title: str, sections: Iterable[str]) -> str:
    """The page's HTML; sections that are empty are left out."""
    head = f"<title>{html.escape(title)}</title><style>{_STYLE}</style>"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">{head}</head>\n<body>\n'
        f"<h1>{html.escape(title)}</h1>\n{''.join(filter(None, sections))}</body></html>\n"
    )


def write(path: str | os.PathLike[str], text: str) -> None:
    """Writes a page, whole or not at all."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def section(title: str, content: str) -> str:
    """A headed section; empty without content."""
    return f"<h2>{html.escape(title)}</h2>\n{content}\n" if content else ""


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{html.escape(text)}</p>"


def texts(title: str, captioned: Iterable[tuple[str, str]]) -> str:
    """Texts as they are, each below its caption, side by side where there is room."""
    parts = (
        f"<div><p>{html.escape(caption)}</p><pre>{html.escape(text)}</pre></div>"
        for caption, text in captioned
    )
    return f'<h3>{html.escape(title)}</h3>\n<div class="texts">{"".join(parts)}</div>\n'


def table(header: Row, rows: Iterable[Row], num_text: int = 1) -> str:
    """A table whose first `num_text` columns are text; empty without rows."""
    rows = list(rows)
    if not rows:
        return ""

    def line(tag: str, cells: Row) -> str:
        classes = [' class="text"' if i < num_text else "" for i in range(len(cells))]
        written = (
            f"<{tag}{name}>{html.escape(_show(cell))}</{tag}>"
            for name, cell in zip(classes, cells, strict=True)
        )
        return f"<tr>{''.join(written)}</tr>"

    lines = [line("th", header), *(line("td", row) for row in rows[:MAX_ROWS])]
    rest = len(rows) - MAX_ROWS
    note = f"<p>and {rest:,} more in report.json</p>" if rest > 0 else ""
    return f"<div><table>\n{chr(10).join(lines)}\n</table>{note}</div>"


def tables(*parts: str) -> str:
    """Tables side by side where there is room; empty where all of them are."""
    return f'<div class="tables">{"".join(parts)}</div>' if any(parts) else ""


def _show(cell: Any) -> str:
    if isinstance(cell, float):
        return f"{cell:,.1f}"
    return "" if cell is None else f"{cell:,}" if isinstance(cell, int) else str(cell)


def image(title: str, figure: Figure, caption: str = "") -> str:
    """A figure as an image within the page, with a caption below it."""
    data = base64.b64encode(png(figure)).decode()
    source = f'<img alt="{html.escape(title)}" src="data:image/png;base64,{data}">'
    if not caption:
        return f"{source}\n"
    return f"<figure>{source}<figcaption>{html.escape(caption)}</figcaption></figure>\n"


def plots(images: Iterable[str]) -> str:
    """Images side by side where there is room; empty where there are none."""
    found = "".join(images)
    return f'<div class="plots">\n{found}</div>' if found else ""


@contextlib.contextmanager
def plain_names() -> Iterator[None]:
    """Within it, figures show names as they are: no formulas, and a box for what the font lacks."""
    with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def png(figure: Figure) -> bytes:
    """A figure as PNG; equal figures, equal bytes."""
    file = io.BytesIO()
    with plain_names():
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
