"""What data sets write into the texts: StarCoderData's repository, path and stars before a file, and others.

The markers are taken off; repository and path are used where the row has no columns for them. Stars are given as
a range (`10-100`), which is no count.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# `<reponame>ada/shelf<filename>src/a.py<gh_stars>10-100`, any of them, then a newline and the file; StarCoder2's and
# Qwen's `<repo_name>` and `<file_sep>`, with bars or without.
_HEAD = re.compile(
    r"\A(?:<\|?(?:reponame|repo_name|filename|file_sep|gh_stars)\|?>[^<\n]*)+(?:\n|\Z)"
)
_PART = re.compile(r"<\|?(reponame|repo_name|filename|file_sep|gh_stars)\|?>([^<\n]*)")
_END = re.compile(r"(?:\s*<\|endoftext\|>)+\s*\Z")
# What begins a row that is no file, and what the row is.
_OTHERS = {"<issue_start>": "an issue", "<commit_before>": "a commit", "<commit_msg>": "a commit"}
_FILE_SEP = re.compile(r"^<\|?file_sep\|?>", re.MULTILINE)
_NOTEBOOK = re.compile(r"\A<(?:jupyter_start|jupyter_text|jupyter_code)>")
_CODE_CELL = re.compile(r"<jupyter_code>(.*?)(?=<jupyter_|<empty_output>|\Z)", re.DOTALL)


class Marked(NamedTuple):
    """A text without its markers, and what they say."""

    content: str
    repository: str = ""
    path: str = ""
    fault: str = ""
    """Why the text is no source file; empty where it is one."""
    is_notebook: bool = False
    """Whether the content is the code cells of a notebook."""


def take_off(text: str) -> Marked:
    """The text without the markers at its beginning and end."""
    if not text.startswith("<"):
        return Marked(_END.sub("\n", text) if text.endswith("|>") else text)
    for marker, what in _OTHERS.items():
        if text.startswith(marker):
            return Marked(text, fault=f"is {what}: begins with {marker}")
    if _NOTEBOOK.match(text):
        cells = [cell.strip("\n") for cell in _CODE_CELL.findall(text)]
        joined = "\n\n".join(cell for cell in cells if cell.strip()) + "\n"
        return Marked(joined, is_notebook=True)
    head = _HEAD.match(text)
    if head is None:
        return Marked(text)
    found = {name: value.strip() for name, value in _PART.findall(head[0])}
    repository = found.get("reponame") or found.get("repo_name", "")
    path = found.get("filename") or found.get("file_sep", "")
    rest = _END.sub("\n", text[head.end() :])
    fault = "holds several files: <file_sep>" if _FILE_SEP.search(rest) else ""
    return Marked(rest, repository, path, fault)
