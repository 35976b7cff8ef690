"""Names and licenses of folders."""

import pytest

from codepmp_jax.corpus.checkouts import Checkout, license_of, open_checkout

MIT = (
    "MIT License\n\nCopyright (c) 2020 A\n\nPermission is hereby granted, free of charge, to any person "
    "obtaining a copy\nof this software ... The above copyright notice and this permission notice shall be\n"
)
BSD = "Redistribution and use in source and binary forms, with or without modification\n"
GPL = "                    GNU GENERAL PUBLIC LICENSE\n                       Version 3, 29 June 2007\n"


def folder(tmp_path, url=None):
    (tmp_path / "shelf/.git").mkdir(parents=True)
    if url:
        config = f'[core]\n\tbare = false\n[remote "origin"]\n\turl = {url}\n\tfetch = +refs\n'
        (tmp_path / "shelf/.git/config").write_text(config)
    return tmp_path / "shelf"


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/ada/shelf.git",
        "https://user:secret@github.com/ada/shelf",
        "git@github.com:ada/shelf.git",
        "ssh://git@host:22/ada/shelf/",
    ],
)
def test_the_remote_gives_the_name_and_no_password(tmp_path, url):
    root = str(folder(tmp_path, url))
    assert open_checkout(root) == Checkout(root, "ada/shelf", "", True)


def test_without_a_remote_the_folder_gives_the_name(tmp_path):
    assert open_checkout(str(folder(tmp_path))).repository == "shelf"


def test_a_worktree_knows_its_remote(tmp_path):
    root = folder(tmp_path, "https://github.com/ada/shelf.git")
    (root / ".git/worktrees/w").mkdir(parents=True)
    (root / ".git/worktrees/w/commondir").write_text("../..\n")
    (tmp_path / "w").mkdir()
    (tmp_path / "w/.git").write_text(f"gitdir: {root}/.git/worktrees/w\n")
    assert open_checkout(str(tmp_path / "w")).repository == "ada/shelf"


@pytest.mark.parametrize(
    ("name", "text", "identifier"),
    [
        ("LICENSE", MIT, "MIT"),
        ("LICENSE.md", MIT.replace("The above copyright", ""), "MIT-0"),
        ("COPYING", GPL, "GPL-3.0"),
        ("licence.txt", BSD, "BSD-2-Clause"),
        ("LICENSE", BSD + "Neither the name of the author", "BSD-3-Clause"),
        ("LICENSE", "  Apache License\n    Version 2.0, January 2004\n", "Apache-2.0"),
        ("LICENSE", "SPDX-License-Identifier: EUPL-1.2\n" + MIT, "EUPL-1.2"),
        ("LICENSE", "All rights reserved.\n", ""),
        ("NOTICE", MIT, ""),
    ],
)
def test_common_licenses_are_known_by_their_words(tmp_path, name, text, identifier):
    (tmp_path / name).write_text(text)
    assert license_of(tmp_path) == identifier
