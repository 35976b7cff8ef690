"""Names and licenses of folders."""

import pytest

from codepmp_jax.corpus import checkouts
from codepmp_jax.corpus.checkouts import Checkout, open_checkout


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
    ("url", "name"),
    [
        ("https://gitlab.com/group/subgroup/shelf.git", "group/subgroup/shelf"),
        ("git@gitlab.com:group/subgroup/shelf.git", "group/subgroup/shelf"),
        ("/srv/git/ada/shelf.git", "ada/shelf"),
        ("file:///srv/git/ada/shelf", "ada/shelf"),
        ("../ada/shelf", "ada/shelf"),
    ],
)
def test_groups_in_groups_belong_to_the_name(tmp_path, url, name):
    assert open_checkout(str(folder(tmp_path, url))).repository == name


def test_a_folder_of_a_checkout_belongs_to_it_unless_git_does_not_track_it(tmp_path):
    root = folder(tmp_path, "https://github.com/ada/shelf.git")
    (root / "LICENSE").write_text("SPDX-License-Identifier: MIT")
    for name in ("src/lib", "build"):
        (root / name).mkdir(parents=True)
    assert checkouts.around(root / "src/lib") == Checkout(str(root), "ada/shelf", "MIT", True)
    (root / "src/COPYING").write_text("SPDX-License-Identifier: ISC")
    found = checkouts.around(root / "src/lib")
    assert found is not None
    assert found.license == "ISC"
    (root / ".git/index").write_bytes(b"DIRC...src/lib/a.py...")
    assert checkouts.around(root / "src/lib") == found
    assert checkouts.around(root / "build") is None
    assert checkouts.around(root) is None


def test_the_nearest_license_above_a_file_counts(tmp_path):
    root = folder(tmp_path)
    outer = open_checkout(str(root))
    assert outer.license == ""
    (root / "deps").mkdir()
    (root / "deps/COPYING").write_text("SPDX-License-Identifier: GPL-2.0-only")
    inner = checkouts.enter(outer, str(root / "deps"), ["COPYING"])
    assert (inner.license, inner.repository) == ("GPL-2.0-only", "shelf")
    assert checkouts.enter(inner, str(root / "deps/a"), ["a.c"]) == inner
