"""What a folder's own files say of it: the git remote's name and the license."""

from __future__ import annotations

import dataclasses
import pathlib
import re

# What only this license says, in the order of search: the GNU licenses name one another further down.
_LICENSES = {
    "AGPL-3.0": r"\A\W*GNU AFFERO GENERAL PUBLIC LICENSE\s+Version 3",
    "LGPL-3.0": r"\A\W*GNU LESSER GENERAL PUBLIC LICENSE\s+Version 3",
    "LGPL-2.1": r"\A\W*GNU LESSER GENERAL PUBLIC LICENSE\s+Version 2\.1",
    "GPL-3.0": r"\A\W*GNU GENERAL PUBLIC LICENSE\s+Version 3",
    "GPL-2.0": r"\A\W*GNU GENERAL PUBLIC LICENSE\s+Version 2",
    "MPL-2.0": r"\A\W*Mozilla Public License,? Version 2\.0",
    "CC0-1.0": r"CC0 1\.0 Universal",
    "Apache-2.0": r"Apache License,?\s+Version 2\.0",
    "BSL-1.0": r"Boost Software License - Version 1\.0",
    "PSF-2.0": r"PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2",
    "Unlicense": r"This is free and unencumbered software released into the public domain",
    "ISC": r"Permission to use, copy, modify,? and(/or)? distribute this software for any\s+purpose with or "
    r"without fee is hereby granted, provided",
    "0BSD": r"Permission to use, copy, modify,? and(/or)? distribute this software for any\s+purpose with or "
    r"without fee is hereby granted\.",
    "MIT-0": r"Permission is hereby granted, free of charge, to any person obtaining a copy(?!.*above copyright)",
    "MIT": r"Permission is hereby granted, free of charge, to any person obtaining a copy",
    "BSD-3-Clause": r"Redistribution and use in source and binary forms.*(Neither the name|may not be used to endorse)",
    "BSD-2-Clause": r"Redistribution and use in source and binary forms",
}


@dataclasses.dataclass(frozen=True)
class Checkout:
    """A folder whose files share a repository and a license."""

    root: str
    repository: str
    license: str
    """SPDX identifier; empty where it is not known."""
    is_git: bool


def open_checkout(root: str) -> Checkout:
    """The git checkout in a folder: the remote's owner and name, the folder's name where there is none."""
    folder = pathlib.Path(root).resolve()
    return Checkout(root, _remote_name(folder) or folder.name, license_of(folder), True)


def license_of(folder: pathlib.Path) -> str:
    """The SPDX identifier of the folder's license file; empty where it is none of the common licenses."""
    names = ("license", "licence", "copying", "unlicense")
    try:
        found = sorted(path for path in folder.iterdir() if path.name.lower().startswith(names))
    except OSError:
        return ""
    texts = [" ".join(_head(path).split()) for path in found if path.is_file()]
    for text in texts:
        declared = re.search(r"SPDX-License-Identifier: ?([\w.+-]+)", text)
        if declared:
            return declared.group(1)
        for identifier, phrase in _LICENSES.items():
            if re.search(phrase.replace(r"\s+", " "), text, re.IGNORECASE):
                return identifier
    return ""


def _remote_name(folder: pathlib.Path) -> str:
    """`owner/name` of the remote `origin`; empty where there is none."""
    git = folder / ".git"
    if git.is_file():  # a worktree or a submodule
        git = folder / _head(git).removeprefix("gitdir:").strip()
        common = _head(git / "commondir").strip()
        git = git / common if common else git
    section = re.search(r'^\[remote "origin"\]([^\[]*)', _head(git / "config"), re.MULTILINE)
    url = re.search(r"^\s*url\s*=\s*(\S+)", section.group(1), re.MULTILINE) if section else None
    # The last two parts only: before them may stand a user's name and password.
    parts = re.split(r"[/:]+", url.group(1).rstrip("/").removesuffix(".git")) if url else []
    return "/".join(parts[-2:])


def _head(path: pathlib.Path) -> str:
    """The first characters of a file; empty where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(20_000)
    except OSError:
        return ""
