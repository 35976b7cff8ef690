"""Package manifests: the license that a package's own description declares.

Read are package.json, composer.json, Cargo.toml, pyproject.toml, setup.cfg, PKG-INFO, METADATA and *.gemspec. A
declaration that is no SPDX expression and no known classifier is `unknown`; one that only points to a file says
nothing.
"""

from __future__ import annotations

import configparser
import json
import re
import tomllib
from collections.abc import Callable
from typing import Any

from codepmp_jax.corpus.licenses import UNKNOWN, all_of, parse, spdx

# Of Python's classifiers those that name one license, and usual ways to write them.
_NAMES = {
    "mit": "MIT",
    "mit license": "MIT",
    "the mit license": "MIT",
    "expat": "MIT",
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "isc license (iscl)": "ISC",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd-3": "BSD-3-Clause",
    "3-clause bsd": "BSD-3-Clause",
    "bsd 2-clause": "BSD-2-Clause",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "gnu general public license v3 (gplv3)": "GPL-3.0-only",
    "gnu general public license v3 or later (gplv3+)": "GPL-3.0-or-later",
    "gnu general public license v2 (gplv2)": "GPL-2.0-only",
    "gnu general public license v2 or later (gplv2+)": "GPL-2.0-or-later",
    "gnu affero general public license v3": "AGPL-3.0-only",
    "gplv3": "GPL-3.0-only",
    "gplv2": "GPL-2.0-only",
    "the unlicense (unlicense)": "Unlicense",
    "python software foundation license": "PSF-2.0",
    # npm's word for no license at all, and others.
    **dict.fromkeys(
        (
            "unlicensed",
            "proprietary",
            "other/proprietary license",
            "commercial",
            "all rights reserved",
            "none",
        ),
        "LicenseRef-Proprietary",
    ),
}
_POINTS = re.compile(r"see\b|file\b|licen[cs]e(?:\.\w+)?$", re.IGNORECASE)
_CLASSIFIER = re.compile(r"^Classifier: License ::(?: .* ::)? (.+)$", re.MULTILINE)


def expression(declared: str) -> str:
    """What a manifest's field says, as an SPDX expression."""
    declared = " ".join(declared.split())
    if not declared or _POINTS.match(declared):
        return ""
    known = _NAMES.get(declared.lower())
    if known:
        return known
    tree = parse(declared)
    # A name in free text parses too, as one symbol.
    is_spdx = tree is not None and not spdx().unknown_license_keys(tree)
    return declared if is_spdx else UNKNOWN


def declared(name: str, text: str) -> str:
    """The license that the manifest declares; empty where it says nothing, or cannot be parsed."""
    for pattern, reader in _READERS.items():
        if re.fullmatch(pattern, name, re.IGNORECASE):
            try:
                return reader(text)
            except (
                ValueError,
                KeyError,
                TypeError,
                AttributeError,
                RecursionError,
                configparser.Error,
            ):
                return ""
    return ""


def is_manifest(name: str) -> bool:
    """Whether a file of that name is one."""
    return any(re.fullmatch(pattern, name, re.IGNORECASE) for pattern in _READERS)


def _field(value: Any, joined: str) -> str:
    """Of npm's and Composer's field: a string, {type}, or a list of them."""
    if isinstance(value, dict):
        value = value.get("type", "")
    if isinstance(value, list):
        found = [_field(part, joined) for part in value]
        return UNKNOWN if UNKNOWN in found else f" {joined} ".join(filter(None, found))
    return expression(value) if isinstance(value, str) else ""


def _json(text: str) -> str:
    found = json.loads(text)
    return _field(found.get("license") or found.get("licenses") or "", "OR")


def _cargo(text: str) -> str:
    found = tomllib.loads(text).get("package", {}).get("license", "")
    return expression(found) if isinstance(found, str) else ""


def _pyproject(text: str) -> str:
    found = tomllib.loads(text)
    project = found.get("project", {})
    license = project.get("license", found.get("tool", {}).get("poetry", {}).get("license", ""))
    if isinstance(license, dict):
        license = license.get("text", "")
        license = license if len(license) < 100 else ""
    if license:
        return expression(license)
    return _classified("\n".join(f"Classifier: {name}" for name in project.get("classifiers", [])))


def _classified(text: str) -> str:
    # `OSI Approved` alone, or `BSD License`, of several forms, name no license.
    found = [name.strip().lower() for name in _CLASSIFIER.findall(text)]
    return all_of([_NAMES.get(name, UNKNOWN) for name in found if name != "osi approved"])


def _setup_cfg(text: str) -> str:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    return expression(parser.get("metadata", "license", fallback=""))


def _metadata(text: str) -> str:
    head = text.partition("\n\n")[0]
    for field in ("License-Expression", "License"):
        found = re.search(rf"^{field}: (.+)$", head, re.MULTILINE)
        if found and found[1].strip().lower() not in ("unknown", ""):
            return expression(found[1])
    return _classified(head)


def _gemspec(text: str) -> str:
    found = re.search(r"\.licenses?\s*=\s*(.+)", text)
    names = re.findall(r"[\"']([^\"']+)[\"']", found[1]) if found else []
    return _field(names, "OR")


_READERS: dict[str, Callable[[str], str]] = {
    r"package\.json|composer\.json": _json,
    r"cargo\.toml": _cargo,
    r"pyproject\.toml": _pyproject,
    r"setup\.cfg": _setup_cfg,
    r"pkg-info|metadata": _metadata,
    r".+\.gemspec": _gemspec,
}
