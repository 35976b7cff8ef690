"""What MkDocs calls when it builds the site: adds the pages of settings and fills the markers of the others."""

from __future__ import annotations

import re
from typing import Any

import reference
from mkdocs.structure.files import File, Files


def on_files(files: Files, config: Any) -> Files:
    """Adds a page of settings for each entry of reference.PAGES."""
    for slug, page in reference.PAGES.items():
        content = reference.settings_page(page)
        files.append(File.generated(config, f"reference/{slug}.md", content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fills the markers of a page."""
    return reference.fill(markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Keeps options in running text on one line: browsers break lines after hyphens."""

    def keep(code: re.Match[str]) -> str:
        return re.sub(
            r"(?<!\S)--[\w.-]+", r'<span class="option">\g<0></span>', code[0][6:-7]
        ).join(("<code>", "</code>"))

    return re.sub(r"<code>[^<]*</code>", keep, html)
