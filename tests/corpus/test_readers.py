"""Inputs: folders, git checkouts, tables, local and in a bucket."""

import json
import os
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import CorpusConfig
from codepmp_jax.corpus import readers
from codepmp_jax.corpus.files import File, Rejected
from tests.gcs import Bucket


def read(place, **settings) -> list[File | Rejected]:
    config = CorpusConfig(input=str(place), **settings)
    source = readers.open_input(config)
    # As from the plan on disk.
    plan = json.loads(json.dumps(list(readers.plan(source, config))))
    items = [readers.Item(*item) for part in plan for item in part]
    return list(readers.read(items, source, config))


def write(path: pathlib.Path, data: str | bytes = "x = 1\n") -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def write_parquet(path: pathlib.Path, number: int = 3, **options) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "content": [f"x = {i}\n" for i in range(number)],
            "path": [f"p{i}.py" for i in range(number)],
        }
    )
    pq.write_table(table, str(path), **options)
    return path


def test_the_standard_library_stands_in_for_no_input():
    config = CorpusConfig()
    source = readers.open_input(config)
    first = next(readers.plan(source, config))
    assert source.license == "PSF-2.0"
    assert source.repository.startswith("python/cpython@v3.")
    assert [item.name for item in first[:2]] == ["__future__.py", "__hello__.py"]


def test_files_come_in_the_order_of_their_paths(tmp_path):
    for name in (
        "b/a.py",
        "b.py",
        "b/a/z.py",
        "a.py",
        "b-c/d.py",
        "test/no.py",
        "notes.txt",
        "a.c",
    ):
        write(tmp_path / "code" / name)
    write(tmp_path / "code/LICENSE", "SPDX-License-Identifier: EUPL-1.2")
    found = read(tmp_path / "code")
    # By name at every level, a folder's files where its name stands.
    assert [file.path for file in found] == ["a.py", "b/a/z.py", "b/a.py", "b-c/d.py", "b.py"]
    assert {(file.repository, file.license) for file in found if isinstance(file, File)} == {
        ("code", "EUPL-1.2")
    }


def test_languages_are_chosen_by_file_type(tmp_path):
    for name in ("a.py", "b.c", "c.h", "d.rs", "Makefile", "e.txt"):
        write(tmp_path / name)
    assert [file.path for file in read(tmp_path, languages=("C", "rust"))] == ["b.c", "c.h", "d.rs"]
    assert len(read(tmp_path, languages=())) == 5


def test_checkouts_in_a_folder_keep_their_names_and_licenses(tmp_path):
    for name in ("one", "two"):
        config = f'[remote "origin"]\n\turl = https://github.com/ada/{name}.git\n'
        write(tmp_path / name / ".git/config", config)
        write(tmp_path / name / ".git/hooks/a.py")
        write(tmp_path / name / "src/a.py")
        write_parquet(tmp_path / name / "fixtures/data.parquet")
    write(tmp_path / "one/COPYING", "SPDX-License-Identifier: MIT")
    write(tmp_path / "z.py")
    assert [(file.repository, file.path) for file in read(tmp_path)] == [
        ("ada/one", "src/a.py"),
        ("ada/two", "src/a.py"),
        (tmp_path.name, "z.py"),
    ]
    assert [file.license for file in read(tmp_path) if isinstance(file, File)] == ["MIT", "", ""]


def test_the_license_is_the_files_own_or_of_the_nearest_folder(tmp_path):
    write(tmp_path / "LICENSE", "SPDX-License-Identifier: MIT")
    write(tmp_path / "a.py")
    write(tmp_path / "b.py", "# SPDX-License-Identifier: ISC\nx = 1\n")
    write(tmp_path / "deps/COPYING", "SPDX-License-Identifier: GPL-2.0-only")
    write(tmp_path / "deps/src/c.py")
    found = {file.path: file.license for file in read(tmp_path) if isinstance(file, File)}
    assert found == {"a.py": "MIT", "b.py": "ISC", "deps/src/c.py": "GPL-2.0-only"}


def test_links_to_folders_are_not_followed(tmp_path):
    write(tmp_path / "code/a.py")
    (tmp_path / "code/loop").symlink_to(tmp_path / "code")
    assert len(read(tmp_path / "code")) == 1


def test_unreadable_files_are_rejected_by_path(tmp_path):
    write(tmp_path / "caf\udce9.py")
    write(tmp_path / "a.py", b"\xff\xfe")
    write(tmp_path / "large.py", "x" * 101)
    write(tmp_path / "n.ipynb", "[]")
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere")
    (tmp_path / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    write_parquet(tmp_path / "cut.parquet")
    data = (tmp_path / "cut.parquet").read_bytes()
    write(tmp_path / "cut.parquet", data[:-10])
    write(tmp_path / "other.jsonl", '{"text": "x"}')
    write(tmp_path / "empty.jsonl", "")
    found = read(tmp_path, languages=("python", "jupyter-notebook"), max_file_bytes=100)
    rejects = {file.path: file.reason for file in found if isinstance(file, Rejected)}
    assert rejects == {
        "a.py": "undecodable",
        "large.py": "too large",
        "n.ipynb": "no notebook",
        "gone.py": "unreadable",
        "gone.jsonl": "unreadable",
        "cut.parquet": "unreadable",
        "other.jsonl": "damaged",
    }
    assert [file.path for file in found if isinstance(file, File)] == ["caf?.py"]


def test_a_closed_folder_is_rejected(tmp_path, monkeypatch):
    write(tmp_path / "code/closed/a.py")
    scandir = os.scandir

    def closed(path):  # chmod would not stop root
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    (found,) = read(tmp_path / "code")
    assert isinstance(found, Rejected)
    assert (found.path, found.reason) == ("closed", "unreadable")


def test_tables_are_cut_into_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "_PART_BYTES", 1000)
    write_parquet(tmp_path / "a.parquet", 300, row_group_size=20)
    lines = [json.dumps({"content": f"y = {i}\n", "path": f"l{i}.py"}) for i in range(200)]
    write(tmp_path / "b.jsonl", "\n".join(lines))
    config = CorpusConfig(input=str(tmp_path))
    plan = list(readers.plan(readers.open_input(config), config))
    assert len(plan) > 10
    assert [file.path for file in read(tmp_path)] == [
        *(f"p{i}.py" for i in range(300)),
        *(f"l{i}.py" for i in range(200)),
    ]


def test_rows_in_other_languages_are_rejected(tmp_path):
    rows = [{"content": "x", "lang": lang, "path": f"{lang}.x"} for lang in ("Python", "C++", "Go")]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    python, *others = read(path)
    assert isinstance(python, File)
    assert [(other.path, other.reason) for other in others if isinstance(other, Rejected)] == [
        ("C++.x", "other language"),
        ("Go.x", "other language"),
    ]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("none", None, "is not there"),
        ("code.py", b"x = 1\n", "neither a folder nor a table"),
        ("a.parquet", b"PAR1 no more", "cannot be read"),
        ("a.jsonl.gz", b"no archive", "cannot be read"),
        ("a.jsonl.zst", b"no archive", "cannot be read"),
        ("a.jsonl", b'{"text": "x"}', "has no column `content`"),
    ],
)
def test_an_input_given_by_name_is_one_clear_error(tmp_path, name, data, message):
    if data is not None:
        write(tmp_path / name, data)
    with pytest.raises(UserError, match=f"input = .*{message}.*Remedy: "):
        read(tmp_path / name)


@pytest.mark.parametrize("place", ["nowhere://bucket/code", "gs://?x"])
def test_an_address_of_no_store_is_a_user_error(place):
    with pytest.raises(UserError, match=r"input = .*Remedy: "):
        read(place)


@pytest.fixture
def address(bucket: Bucket):
    """Address by which pyarrow finds an object of the bucket."""
    place = bucket.server.removeprefix("http://")
    return lambda path: f"gs://anonymous@code/{path}?scheme=http&endpoint_override={place}"


def test_a_bucket_is_read_like_a_folder(bucket, address, tmp_path):
    names = ["b/a.py", "b.py", "a.py", "test/no.py", "b/c.txt"]
    for name in names:
        write(tmp_path / "code" / name)
        bucket.put(f"code/{name}", b"x = 1\n")
    for name, options in (("t/a.parquet", {"row_group_size": 7}), ("t/b.parquet", {})):
        path = write_parquet(tmp_path / "code" / name, 20, **options)
        bucket.put(f"code/{name}", path.read_bytes())
    path = write(tmp_path / "code/t/c.jsonl", '{"content": "z", "path": "z.py"}\n')
    bucket.put("code/t/c.jsonl", path.read_bytes())
    remote, local = read(address("code")), read(tmp_path / "code")
    assert remote == local
    assert len(local) == 44
    assert read(address("code/t/a.parquet")) == read(tmp_path / "code/t/a.parquet")


def test_an_address_without_data_is_a_user_error(address):
    with pytest.raises(UserError, match="is not there"):
        read(address("nothing"))
