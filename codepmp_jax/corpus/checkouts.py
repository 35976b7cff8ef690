"""What folders say of the files in them: the git remote's name, and the license.

The license of a file is (rules, in this order)

1. what its own first lines say: SPDX tags, or a license's notice (`of_file`);
2. what the nearest folder above it says, by its license files and its package's manifest: a vendored library
   under the GPL is under the GPL, whatever the root says;
3. nothing. No folder above the checkout counts.

Of a folder's license files count those that are named LICENSE, COPYING, UNLICENSE or LICENSES/* with an ending, or
with the name of a license (`LICENSE-MIT`, `COPYING.LESSER`); not one for something else (`LICENSE-fonts`). Several
hold together (`AND`), unless the manifest, or a license file that points to the others, offers a choice. Where file
and manifest differ, both hold.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re

from codepmp_jax.corpus import licenses, manifests
from codepmp_jax.corpus.files import open_local
from codepmp_jax.corpus.licenses import UNKNOWN


@dataclasses.dataclass(frozen=True)
class Checkout:
    """A folder whose files share a repository, and the license of what lies in the current folder."""

    root: str
    repository: str
    license: str
    """SPDX expression; `unknown` where it is not clear, empty where nothing is said."""
    is_git: bool


def open_checkout(root: str) -> Checkout:
    """The git checkout in a folder: the remote's owner and name, the folder's name where there is none."""
    folder = pathlib.Path(root).resolve()
    return Checkout(root, _remote_name(folder) or folder.name, license_of(folder), True)


def enter(checkout: Checkout, folder: str, names: list[str]) -> Checkout:
    """The checkout with the license of a folder of it that holds `names`; another checkout where one begins there."""
    if ".git" in names:
        return open_checkout(folder)
    if folder == checkout.root or not any(map(_says_something, names)):
        return checkout
    found = license_of(pathlib.Path(folder))
    return dataclasses.replace(checkout, license=found) if found else checkout


def around(folder: pathlib.Path) -> Checkout | None:
    """The git checkout that a folder lies in and belongs to, with the license of the folder; None where there is none.

    A folder that git doesn't track, as by .gitignore, belongs to none.
    """
    for top in folder.parents:
        if (top / ".git").exists():
            break
    else:
        return None
    index = top / ".git" / "index"
    relative = folder.relative_to(top).as_posix()
    if index.is_file() and f"{relative}/".encode() not in index.read_bytes():
        return None
    checkout = open_checkout(str(top))
    inner = [folder, *folder.parents]
    for path in reversed(inner[: inner.index(top)]):
        found = license_of(path)
        checkout = dataclasses.replace(checkout, license=found or checkout.license)
    return checkout


# --- licenses -------------------------------------------------------------------------------------

_FILE = re.compile(
    r"(?P<stem>licen[sc]es?|copying|unlicen[sc]e)(?:[-_. ](?P<suffix>.+?))??(?:\.(?:txt|md|rst|html?|markdown))?",
    re.IGNORECASE,
)
# What a suffix may be: the name of a license, or of the whole.
_LICENSE_NAME = re.compile(
    r"(?:the-)?(?:mit|apache|apache2|asl|bsd|gpl|lgpl|agpl|mpl|isc|zlib|boost|bsl|busl|cc0|cc-by|epl|unlicense|psf|lib|"
    r"lesser|library|sspl|elastic|fsl|0bsd|commercial|enterprise|proprietary|commons|ofl|wtfpl|artistic|perl|ruby|main|"
    r"source|code|project|software)(?:[-_. ]?v?[\d.]+)?(?:[-_. ](?:clause|only|or-later|license|licence|\d+))*",
    re.IGNORECASE,
)
_CHOICE = re.compile(
    r"\beither\b|\bdual[- ]licen|at your (?:option|choice)|your choice", re.IGNORECASE
)


def _says_something(name: str) -> bool:
    return _FILE.fullmatch(name) is not None or manifests.is_manifest(name)


def license_of(folder: pathlib.Path) -> str:
    """The SPDX expression of a folder by its license files and manifests; empty where there are none."""
    try:
        entries = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError:
        return ""
    texts, folders = [], []
    for path in entries:
        named = _FILE.fullmatch(path.name)
        if named is None or (named["suffix"] and not _LICENSE_NAME.fullmatch(named["suffix"])):
            continue
        if path.is_file():
            texts.append(_head(path))
        elif path.is_dir() and path.name.upper() == "LICENSES":
            folders.append(path)
    if not texts:  # as REUSE has it
        texts = [
            _head(path) for inner in folders for path in sorted(inner.iterdir()) if path.is_file()
        ]
    declared = [
        manifests.declared(path.name, _head(path))
        for path in entries
        if manifests.is_manifest(path.name) and path.is_file()
    ]
    return _together(texts, licenses.all_of(declared))


def _together(texts: list[str], declared: str) -> str:
    """The expression of a folder's license texts and what its manifests declare."""
    found = {text: licenses.identify(text) for text in texts if text.strip()}
    pointers = [
        text
        for text, name in found.items()
        if name == UNKNOWN and len(text) < 1500 and _CHOICE.search(text) and "licen" in text.lower()
    ]
    names = list(dict.fromkeys(name for text, name in found.items() if text not in pointers))
    if pointers and len(names) > 1 and UNKNOWN not in names:
        written = " OR ".join(f"({name})" if " AND " in name else name for name in names)
    else:
        written = licenses.all_of([*names, *[UNKNOWN] * bool(pointers)])
    if not written or not declared or UNKNOWN in (written, declared):
        return (
            UNKNOWN
            if UNKNOWN in (written, declared) and not _is_vague(written, declared)
            else written or declared
        )
    # A text says neither `only` nor `or-later`, and several texts not whether they are a choice.
    if _symbols(written) <= _symbols(declared):
        return declared
    return licenses.all_of([written, declared])


def _is_vague(written: str, declared: str) -> bool:
    """Whether the license file is clear and the manifest, in free text, is not."""
    return declared == UNKNOWN and bool(written) and written != UNKNOWN


def _symbols(expression: str) -> set[str]:
    tree = licenses.parse(expression)
    found = set() if tree is None else {str(symbol).lower() for symbol in tree.symbols}
    return {name.removesuffix("-only").removesuffix("-or-later") for name in found}


_HEAD = 4000
# What a notice at a file's beginning holds, to scan only where there may be one.
_NOTICE = re.compile(
    r"GNU |General Public|Mozilla Public|Apache License|Permission (?:is hereby|to use)|Redistribution and use|"
    r"Eclipse Public|Creative Commons|proprietary|confidential|unauthori[sz]ed|Boost Software|public domain",
    re.IGNORECASE,
)
_CLOSED = re.compile(
    r"\bproprietary\b|\bconfidential\b|unauthori[sz]ed (?:copying|use|distribution)|non-?commercial",
    re.IGNORECASE,
)


def of_file(content: str) -> str:
    """The license that a source file's first lines state; empty where they state none."""
    head = content[:_HEAD]
    if "SPDX-License-Identifier" in head:
        return licenses.tagged(head)
    if not _NOTICE.search(head):
        return ""
    return _noticed(_comment(head))


def _comment(head: str) -> str:
    """The comment or string that a file begins with."""
    match = re.match(
        r"(?:#![^\n]*\n|<\?php|\s)*(?:(?:[ \t]*(?:#|//|--|;|%|\*|REM\b)[^\n]*\n|\s*\n)+|/\*[\s\S]*?\*/"
        r"|\"\"\"[\s\S]*?\"\"\"|'''[\s\S]*?'''|<!--[\s\S]*?-->|\(\*[\s\S]*?\*\)|\{-[\s\S]*?-\})*",
        head,
    )
    found = match[0] if match else ""
    return re.sub(r"^[ \t]*(?:#+|//+|--+|;+|%+|\*+|REM)[ \t]?", "", found, flags=re.MULTILINE)


@functools.lru_cache(4096)
def _noticed(comment: str) -> str:
    if not _NOTICE.search(comment):
        return ""
    names = list(dict.fromkeys(name for name, _, _ in licenses.matched(comment)))
    if _CLOSED.search(comment) and not names:
        return UNKNOWN
    return licenses.all_of(names)


# --- git ------------------------------------------------------------------------------------------


def _remote_name(folder: pathlib.Path) -> str:
    """The path of the remote `origin` on its server, `owner/name`; empty where there is none."""
    git = folder / ".git"
    if git.is_file():  # a worktree or a submodule
        git = folder / _head(git).removeprefix("gitdir:").strip()
        common = _head(git / "commondir").strip()
        git = git / common if common else git
    section = re.search(r'^\[remote "origin"\]([^\[]*)', _head(git / "config"), re.MULTILINE)
    url = re.search(r"^\s*url\s*=\s*(\S+)", section.group(1), re.MULTILINE) if section else None
    if url is None:
        return ""
    address = url.group(1).rstrip("/").removesuffix(".git")
    # A server's whole path (GitLab has groups in groups), without its user and password; of a local one the end.
    server = re.fullmatch(
        r"(?!file:)[\w+.-]+://[^/]+/(.+)|(?:[^/@:]+@)?[^/@:]+:(?!//)(.+)", address
    )
    path = (server[1] or server[2]).strip("/") if server else ""
    return path or "/".join(re.split(r"[/:]+", address)[-2:])


def _head(path: pathlib.Path) -> str:
    """The first characters of a file; empty where it cannot be read."""
    try:
        with open_local(path) as file:  # a license may be a FIFO
            return file.read(300_000).decode(errors="replace")
    except OSError:
        return ""
