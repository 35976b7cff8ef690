"""Licenses: expressions, whole texts and what restricts them, headers of files, manifests, folders."""

import pytest

from codepmp_jax.corpus import checkouts, licenses, manifests
from codepmp_jax.corpus.checkouts import license_of
from codepmp_jax.corpus.licenses import UNKNOWN, identify

GPL_3 = "                    GNU GENERAL PUBLIC LICENSE\n                       Version 3, 29 June 2007\n"
LGPL_3 = GPL_3.replace("GENERAL", "LESSER GENERAL")
SHORT_MIT = (
    "MIT License\n\nCopyright (c) 2020 A\n\nPermission is hereby granted, free of charge, to any person "
    "obtaining a copy, provided that the notice is kept.\n"
)


@pytest.fixture(scope="module")
def mit(licenses_table):
    """The whole text."""
    return licenses_table.text_of(licenses_table.SOURCES["MIT"])


def test_of_the_table_what_is_permissive_is_let_in_and_nothing_else(licenses_table):
    folders = list(licenses_table.table())
    assert len(folders) > 100
    wrong = [
        (folder.kind, found, next(iter(folder.files.values()))[:80])
        for folder in folders
        for let_in, found in [licenses_table.is_let_in(folder.files)]
        if let_in != folder.is_permissive
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        (" \n", ""),
        ("Do what you want.", UNKNOWN),
        ("MIT", UNKNOWN),
        (SHORT_MIT, "MIT"),
        (f"{SHORT_MIT}Not for commercial use.\n", UNKNOWN),
        (GPL_3, "GPL-3.0"),
        (
            f"Copyright (C) 2010 A\nThis is free software.\n\n{GPL_3}\nEveryone may copy this.",
            "GPL-3.0",
        ),
        (LGPL_3, "LGPL-3.0"),
        ("SPDX-License-Identifier: EUPL-1.2\n", "EUPL-1.2"),
        ("SPDX-License-Identifier: MIT AND GPL-3.0-only", "MIT AND GPL-3.0-only"),
        ("SPDX-License-Identifier: see below", UNKNOWN),
        ("Business Source License 1.1\n\nChange License: Apache License, Version 2.0\n", UNKNOWN),
    ],
)
def test_texts(text, expected):
    assert identify(text) == expected


def test_texts_one_behind_the_other_hold_together(licenses_table, mit):
    apache = licenses_table.text_of(licenses_table.SOURCES["Apache-2.0"])
    assert identify(f"{mit}\n\n{apache}") == "MIT AND Apache-2.0"
    assert identify(f"{mit}\n\n{mit}") == "MIT"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, ""),
        ({"NOTICE": "{mit}", "README.md": "{mit}", "license.py": "{mit}"}, ""),
        ({"LICENSE": "{mit}"}, "MIT"),
        ({"LICENSE.MIT": "{mit}"}, "MIT"),
        ({"COPYING": GPL_3, "COPYING.LESSER": LGPL_3}, "LGPL-3.0"),
        ({"LICENSE-fonts": "{mit}", "LICENSE.txt": GPL_3}, "GPL-3.0"),
        ({"COPYING": GPL_3, "LICENSE": "{mit}"}, "GPL-3.0 AND MIT"),
        ({"LICENSE": "Either license, at your option.", "LICENSE-MIT": "{mit}", "LICENSE-GPL": GPL_3},
         "GPL-3.0 OR MIT"),
        ({"LICENSE": "Ask us.", "LICENSE-MIT": "{mit}"}, UNKNOWN),
        ({"COPYING": GPL_3, "package.json": '{"license": "GPL-3.0-or-later"}'}, "GPL-3.0-or-later"),
        ({"LICENSE-MIT": "{mit}", "LICENSE-GPL": GPL_3, "Cargo.toml": '[package]\nlicense = "MIT/GPL-3.0"'},
         "MIT/GPL-3.0"),
        ({"LICENSE": "{mit}", "package.json": '{"license": "ISC"}'}, "MIT AND ISC"),
        ({"LICENSE": "{mit}", "setup.cfg": "[metadata]\nlicense = my own words"}, "MIT"),
        ({"LICENSE": "Our terms.", "package.json": '{"license": "MIT"}'}, UNKNOWN),
        ({"LICENSE": "", "package.json": '{"license": "MIT"}'}, "MIT"),
    ],
)  # fmt: skip
def test_folders(tmp_path, mit, files, expected):
    for name, text in files.items():
        (tmp_path / name).write_text(text.replace("{mit}", mit), encoding="utf-8")
    assert license_of(tmp_path) == expected


def test_reuse_keeps_its_texts_in_a_folder(tmp_path, mit):
    (tmp_path / "LICENSES").mkdir()
    (tmp_path / "LICENSES/MIT.txt").write_text(mit)
    assert license_of(tmp_path) == "MIT"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("package.json", '{"license": "MIT"}', "MIT"),
        ("package.json", '{"licenses": [{"type": "MIT"}, {"type": "GPL-2.0"}]}', "MIT OR GPL-2.0"),
        ("package.json", '{"license": "SEE LICENSE IN x"}', ""),
        ("package.json", '{"license": "UNLICENSED"}', "LicenseRef-Proprietary"),
        ("package.json", '{"license": {"type": 3}}', ""),
        ("package.json", "not JSON", ""),
        ("package.json", "[]", ""),
        ("composer.json", '{"license": ["MIT", "Apache-2.0"]}', "MIT OR Apache-2.0"),
        ("Cargo.toml", '[package]\nlicense = "MIT OR Apache-2.0"', "MIT OR Apache-2.0"),
        ("Cargo.toml", '[package]\nlicense = {workspace = true}', ""),
        ("pyproject.toml", '[project]\nlicense = {file = "LICENSE"}', ""),
        ("pyproject.toml", '[project]\nlicense = {text = "Apache License 2.0"}', "Apache-2.0"),
        ("pyproject.toml", '[tool.poetry]\nlicense = "MIT"', "MIT"),
        ("pyproject.toml", '[project]\nclassifiers = ["License :: OSI Approved :: MIT License"]', "MIT"),
        ("pyproject.toml", '[project]\nclassifiers = ["License :: OSI Approved :: BSD License"]', UNKNOWN),
        ("setup.cfg", "[metadata]\nlicense = GPLv3", "GPL-3.0-only"),
        ("METADATA", "Name: a\nLicense-Expression: MIT OR ISC\n\nLicense: no", "MIT OR ISC"),
        ("PKG-INFO", "License: UNKNOWN\nClassifier: License :: OSI Approved :: Apache Software License",
         "Apache-2.0"),
        ("x.gemspec", "s.license = 'MIT'", "MIT"),
        ("x.gemspec", "s.licenses = ['Ruby', \"BSD-2-Clause\"]", "Ruby OR BSD-2-Clause"),
        ("other.json", '{"license": "MIT"}', ""),
    ],
)  # fmt: skip
def test_manifests(name, text, expected):
    assert manifests.declared(name, text) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("x = 1\n", ""),
        ("# SPDX-License-Identifier: GPL-2.0-only\nx = 1\n", "GPL-2.0-only"),
        ("/* SPDX-License-Identifier: MIT */\nint x;\n", "MIT"),
        ("<!-- SPDX-License-Identifier: MIT OR ISC -->\n", "MIT OR ISC"),
        ("// SPDX-License-Identifier: MIT\n// SPDX-License-Identifier: GPL-2.0-only\n", "MIT AND GPL-2.0-only"),
        ("# SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT\n",
         "(GPL-2.0 WITH Linux-syscall-note) OR MIT"),
        ("# SPDX-License-Identifier: my terms\n", UNKNOWN),
        ("# Proprietary and confidential. Unauthorized copying is prohibited.\nx = 1\n", UNKNOWN),
        ("# All rights reserved.\nx = 1\n", ""),
        ("# See the LICENSE file.\nx = 1\n", ""),
        ('x = "GNU General Public License"\n', ""),
        (
            "/*\n * This program is free software; you can redistribute it and/or modify\n"
            " * it under the terms of the GNU General Public License as published by\n"
            " * the Free Software Foundation; either version 2 of the License, or\n"
            " * (at your option) any later version.\n */\nint x;\n",
            "GPL-2.0-or-later",
        ),
    ],
)  # fmt: skip
def test_a_files_own_words_count(content, expected):
    assert checkouts.of_file(content) == expected


def test_lists_of_identifiers_are_canonical():
    for name in ("GPL-3.0", "GPL-3.0-only", "gpl-3.0-only"):
        assert licenses.allows("GPL-3.0", frozenset([name.lower()]))
        assert licenses.allows("GPL-3.0-or-later", frozenset([name.lower()]))
    assert not licenses.allows("GPL-3.0-only", frozenset(["gpl-3.0-or-later"]))
    assert licenses.allows(UNKNOWN, frozenset([UNKNOWN]))
