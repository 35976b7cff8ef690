"""Inputs: folders, git checkouts, tables, local and in a bucket."""

import gzip
import json
import os
import pathlib
import socket
import subprocess

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
    file, link = read(tmp_path / "code")
    assert isinstance(file, File)
    assert link == Rejected("loop", "link to a folder", "is not followed")


def test_unreadable_files_are_rejected_by_path(tmp_path):
    write(tmp_path / "caf\udce9.py")
    write(tmp_path / "a.py", b"\xff")
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
        "other.jsonl": "unreadable",
    }
    assert [file.path for file in found if isinstance(file, File)] == ["caf?.py"]


def test_a_closed_folder_is_rejected(tmp_path, monkeypatch):
    write(tmp_path / "code/closed/a.py")
    write(tmp_path / "code/z.py")
    scandir = os.scandir

    def closed(path):  # chmod would not stop root
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    found, _ = read(tmp_path / "code")
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


# --- folders --------------------------------------------------------------------------------------


def test_no_entry_of_a_folder_ends_the_run(tmp_path):
    root = tmp_path / "code"
    write(root / "a.py")
    write(root / "caf\udce9/b\udce8.py")
    write(root / "linked.txt")
    (root / "itself").symlink_to("itself")
    (root / "one.py").symlink_to("two.py")
    (root / "two.py").symlink_to("one.py")
    (root / "gone").symlink_to(tmp_path / "nowhere")
    (root / "up").symlink_to(tmp_path)
    (root / "text").symlink_to("linked.txt")
    (root / "same.py").symlink_to("a.py")
    for name in ("fifo.py", "fifo.jsonl", "fifo.json", "LICENSE", "fifo.txt"):
        os.mkfifo(root / name)
    (root / "null.py").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as server:
        place = os.getcwd()
        os.chdir(root)  # a socket's name is short
        try:
            server.bind("socket.py")
        finally:
            os.chdir(place)
        found = read(root)
    rejects = {
        file.path: (file.reason, file.detail) for file in found if isinstance(file, Rejected)
    }
    assert {path: reason for path, (reason, _) in rejects.items()} == {
        **dict.fromkeys(("itself", "one.py", "two.py", "gone"), "unreadable"),
        "up": "link to a folder",
        **dict.fromkeys(
            ("fifo.py", "fifo.jsonl", "fifo.json", "null.py", "socket.py"), "not a file"
        ),
    }
    assert {rejects[f"{name}.py"][1] for name in ("fifo", "null", "socket")} == {
        "is a FIFO",
        "is a device",
        "is a socket",
    }
    assert [file.path for file in found if isinstance(file, File)] == [
        "a.py",
        "caf?/b?.py",
        "same.py",
    ]


def test_folders_are_read_at_any_depth(tmp_path):
    root = tmp_path / "code"
    root.mkdir()
    place = os.getcwd()
    try:
        os.chdir(root)
        # Beyond Python's recursion, and beyond the longest path that can be opened.
        for depth in range(2500):
            if depth % 100 == 0:
                write(pathlib.Path("b.py"))
            os.mkdir("a")
            os.chdir("a")
    finally:
        os.chdir(place)
    try:
        found = read(root)
    finally:
        subprocess.run(["rm", "-r", str(root)], check=True)
    rejects = [file for file in found if isinstance(file, Rejected)]
    assert all("name too long" in reject.detail for reject in rejects)
    assert 1 <= len(rejects) <= 2  # the first folder that is too deep, and perhaps a file beside it
    assert len(found) - len(rejects) >= 19


def test_what_vanishes_or_changes_after_the_listing_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "_PART_BYTES", 100)
    root = tmp_path / "code"
    for name in ("a.py", "b.py"):
        write(root / name)
    write_parquet(root / "c.parquet", 40, row_group_size=10)
    write_parquet(root / "d.parquet", 40, row_group_size=10)
    write(root / "e.jsonl", '{"content": "x = 1", "path": "e.py"}\n' * 20)
    config = CorpusConfig(input=str(root))
    source = readers.open_input(config)
    items = [item for part in readers.plan(source, config) for item in part]
    (root / "a.py").unlink()
    (root / "b.py").unlink()
    os.mkfifo(root / "b.py")
    (root / "c.parquet").unlink()
    write_parquet(root / "d.parquet", 3)
    write(root / "e.jsonl", '{"content": "x = 1", "path": "e.py"}\n')
    found = list(readers.read(items, source, config))
    rejects = [(file.path, file.reason) for file in found if isinstance(file, Rejected)]
    assert rejects[:3] == [
        ("a.py", "unreadable"),
        ("b.py", "unreadable"),
        ("c.parquet", "damaged"),
    ]
    assert {path.partition(" ")[0] for path, _ in rejects} == {
        *("a.py", "b.py", "c.parquet", "d.parquet", "e.jsonl")
    }
    assert len([file for file in found if isinstance(file, File)]) <= 4


def test_tables_whose_names_are_no_text_are_read(tmp_path):
    rows = '{"content": "x = 1", "path": "a.py"}\n'
    write(tmp_path / "t/\udce9.jsonl", rows)
    write(tmp_path / "t/\udce9.jsonl.gz", gzip.compress(rows.encode()))
    data = write_parquet(tmp_path / "a.parquet", 2).read_bytes()
    write(tmp_path / "t/\udce9.parquet", data)
    assert [file.path for file in read(tmp_path / "t")] == ["a.py", "a.py", "p0.py", "p1.py"]


@pytest.mark.parametrize("name", ["fifo.jsonl", "fifo", "link"])
def test_an_input_that_is_no_file_is_one_clear_error(tmp_path, name):
    if name == "link":
        (tmp_path / name).symlink_to(name)
    else:
        os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=r"input = .*(is a FIFO|cannot be read).*Remedy: "):
        read(tmp_path / name)


# --- data sets ------------------------------------------------------------------------------------


def test_json_files_are_tables_where_their_rows_are_code(tmp_path):
    code = {"content": "x = 1\n", "lang": "Python", "path": "a.py"}
    root = tmp_path / "data"
    write(root / "python/data.json", "\n".join(map(json.dumps, [code, code])))  # The Stack smol
    write(root / "rows.json", json.dumps([code] * 3, indent=2))
    write(root / "package.json", json.dumps({"name": "x", "content": "x"}, indent=2))
    write(root / "chat.json", json.dumps([{"role": "user", "content": "x"}]))
    write(root / "dataset_infos.json", json.dumps({"default": {"features": {}}}))
    assert [file.path for file in read(root)] == ["a.py"] * 5
    assert {file.path for file in read(root, languages=("json",)) if isinstance(file, File)} == {
        *("package.json", "chat.json", "dataset_infos.json")
    }


def test_the_tables_of_a_checkout_are_read_where_it_is_a_data_set(tmp_path):
    root = tmp_path / "the-stack-smol"
    url = "https://huggingface.co/datasets/bigcode/the-stack-smol"
    write(root / ".git/config", f'[remote "origin"]\n\turl = {url}\n')
    write_parquet(root / "data/python/train.parquet", 2)
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    write(root / "data/rust/train.parquet", pointer)
    write(root / "load.py", pointer)
    first, second, reject, script = read(root)
    assert (first.path, second.path) == ("p0.py", "p1.py")
    assert isinstance(reject, Rejected)
    assert reject.path == "data/rust/train.parquet"
    assert "Git LFS pointer" in reject.detail
    assert isinstance(script, Rejected)
    assert script.reason == "git lfs pointer"


def test_an_input_of_ids_alone_is_one_clear_error(tmp_path):
    columns = {
        "blob_id": ["ab"],
        "path": ["/a.py"],
        "src_encoding": ["UTF-8"],
        "language": ["Python"],
    }
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table(columns), str(tmp_path / "data/a.parquet"))
    for place in (tmp_path, tmp_path / "data/a.parquet"):
        with pytest.raises(UserError, match=r"no column `content`.*The Stack v2.*Remedy: "):
            read(place)


# --- languages ------------------------------------------------------------------------------------


def test_the_text_decides_where_languages_share_a_file_type(tmp_path):
    write(tmp_path / "shape.h", "namespace geo {\nclass Shape {\n public:\n  int w;\n};\n}\n")
    write(tmp_path / "shape.c", "int w;\n")
    write(tmp_path / "plain.h", "int w(void);\n")
    write(tmp_path / "de.ts", '<?xml version="1.0"?>\n<!DOCTYPE TS>\n<TS></TS>\n')
    write(tmp_path / "x.ts", "export const x = 1;\n")
    found = read(tmp_path, languages=("c++", "typescript"))
    assert [
        (file.path, file.language if isinstance(file, File) else (file.reason, file.detail))
        for file in found
    ] == [
        ("de.ts", ("other language", "qt-translation")),
        ("plain.h", ("other language", "c")),
        ("shape.h", "c++"),
        ("x.ts", "typescript"),
    ]
