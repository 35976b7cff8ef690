"""Parquet and JSON Lines with the columns of published data sets."""

import gzip
import json
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from codepmp_jax.corpus import tables
from codepmp_jax.corpus.files import File, Rejected

LOCAL = fs.LocalFileSystem()
THE_STACK = {
    "content": "int x;\r\n",
    "lang": "C#",
    "max_stars_repo_name": "ada/shelf",
    "max_stars_repo_path": "src/x.cs",
    "max_stars_repo_licenses": ["MIT", "Apache-2.0"],
    "max_stars_count": 3,
}
STARCODER = {
    "max_stars_repo_path": "src/x.py",
    "max_stars_repo_name": "ada/shelf",
    "max_stars_count": 3,
    "id": "7",
    "content": "x = 1\n",
}


def write_lines(path: pathlib.Path, lines: list[bytes]) -> str:
    data = b"".join(line + b"\n" for line in lines)
    if path.name.endswith(".gz"):
        data = gzip.compress(data)
    if path.name.endswith(".zst"):
        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(data)
    else:
        path.write_bytes(data)
    return str(path)


def lines(path: str, start: int = 0, stop: int | None = None, max_bytes: int = 1000):
    if stop is None:
        stop = 0 if tables.is_compressed(path) else pathlib.Path(path).stat().st_size
    return list(tables.read_lines(LOCAL, path, "part/data.jsonl", start, stop, max_bytes))


def rows(path: str, groups: tuple[int, int] | None = None, max_bytes: int = 1000):
    start, stop = groups or (0, len(tables.row_group_bytes(LOCAL, path)))
    return list(tables.read_parquet(LOCAL, path, "data/python/a.parquet", start, stop, max_bytes))


@pytest.mark.parametrize("ending", tables.ENDINGS)
def test_both_data_sets_are_read_in_every_format(tmp_path, ending):
    name = str(tmp_path / f"data{ending}")
    assert tables.is_table(name)
    found = []
    for values in (THE_STACK, STARCODER):
        if ending == ".parquet":
            pq.write_table(pa.Table.from_pylist([values]), name)
            found += rows(name)
        else:
            found += lines(write_lines(pathlib.Path(name), [json.dumps(values).encode()]))
    assert found == [
        File("int x;\n", "c-sharp", "ada/shelf", "src/x.cs", "MIT,Apache-2.0", 3),
        File("x = 1\n", "python", "ada/shelf", "src/x.py", "", 3),
    ]


def test_without_path_and_language_the_folder_tells_the_language(tmp_path):
    name = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"content": ["x = 1\n", "y = 1\n"]}), name)
    assert rows(name) == [
        File("x = 1\n", "python", "", "data/python/a.parquet:0", ""),
        File("y = 1\n", "python", "", "data/python/a.parquet:1", ""),
    ]
    (found,) = lines(write_lines(tmp_path / "a.jsonl", [b'{"content": "x"}']))
    assert found == Rejected("part/data.jsonl:0", "language not known")


def test_rows_without_use_are_rejected_with_their_path(tmp_path):
    notebook = {"content": "{}", "path": "n.ipynb"}
    script = {"content": "x = 1", "path": "s.ipynb"}
    bad = [
        b"not json",
        b'["content"]',
        json.dumps({"content": None, "path": "none.py"}).encode(),
        json.dumps({"content": "x" * 1001, "path": "large.py"}).encode(),
        json.dumps({"content": "\ud800", "path": "half\ud800.py", "repo_name": "a/b"}).encode(),
        json.dumps(notebook).encode(),
        b"",
        json.dumps(script).encode(),
    ]
    *found, last = lines(write_lines(tmp_path / "a.jsonl", bad))
    rejects = [reject for reject in found if isinstance(reject, Rejected)]
    assert [(reject.path, reject.reason) for reject in rejects] == [
        ("part/data.jsonl:0", "damaged"),
        ("part/data.jsonl:9", "damaged"),
        ("none.py", "no content"),
        ("large.py", "too large"),
        ("half?.py", "undecodable"),
        ("n.ipynb", "no notebook"),
    ]
    assert rejects[4].repository == "a/b"
    assert last == File("x = 1", "jupyter-notebook", "", "s.ipynb", "")


def test_stretches_give_every_line_once(tmp_path):
    texts = [f"x = {'1' * (i * 7 % 40)}" for i in range(50)]
    name = write_lines(
        tmp_path / "a.jsonl",
        [json.dumps({"content": text, "path": "a.py"}).encode() for text in texts],
    )
    size = pathlib.Path(name).stat().st_size
    for width in (1, 30, 64, 1000, size):
        found = [
            file.content
            for start in range(0, size, width)
            for file in lines(name, start, min(start + width, size))
            if isinstance(file, File)
        ]
        assert found == texts


def test_row_groups_give_every_row_once(tmp_path):
    name = str(tmp_path / "a.parquet")
    table = pa.table({"content": [f"x = {i}" for i in range(500)], "path": ["a.py"] * 500})
    pq.write_table(table, name, row_group_size=70)
    assert len(tables.row_group_bytes(LOCAL, name)) == 8
    found = rows(name, (0, 3)) + rows(name, (3, 8))
    contents = [file.content for file in found if isinstance(file, File)]
    assert contents == table["content"].to_pylist()


def test_a_line_beyond_the_limit_is_skipped_unread(tmp_path):
    long = json.dumps({"content": "x" * 100_000, "path": "a.py"}).encode()
    short = json.dumps({"content": "x", "path": "b.py"}).encode()
    too_large, kept = lines(write_lines(tmp_path / "a.jsonl", [long, short]), max_bytes=100)
    assert isinstance(too_large, Rejected)
    assert too_large.reason == "too large"
    assert kept.path == "b.py"


@pytest.mark.parametrize("ending", [".jsonl.gz", ".jsonl.zst"])
def test_a_broken_archive_is_an_error_after_its_whole_rows(tmp_path, ending):
    rng_lines = [
        json.dumps({"content": f"x = {i * i * 7919 % 104729}", "path": f"{i}.py"}).encode()
        for i in range(9000)
    ]
    name = pathlib.Path(write_lines(tmp_path / f"a{ending}", rng_lines))
    name.write_bytes(name.read_bytes()[:-500])
    found: list[str] = []
    with pytest.raises(OSError, match="Truncated"):
        found.extend(file.path for file in tables.read_lines(LOCAL, str(name), "a", 0, 0, 1000))
    assert found == [f"{i}.py" for i in range(len(found))]
    assert found
    name.write_bytes(b"no archive at all")
    with pytest.raises(OSError, match=r".+"):
        lines(str(name))


def test_a_broken_parquet_is_an_error(tmp_path):
    name = tmp_path / "a.parquet"
    pq.write_table(pa.table({"content": ["x"] * 100}), str(name))
    name.write_bytes(name.read_bytes()[:-20])
    with pytest.raises((pa.ArrowException, OSError)):
        tables.row_group_bytes(LOCAL, str(name))


def test_a_table_without_content_is_said_to_be(tmp_path):
    name = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["x"]}), name)
    with pytest.raises(tables.Damaged, match="no column `content`; it has text"):
        tables.row_group_bytes(LOCAL, name)
    with pytest.raises(tables.Damaged, match="no column `content`"):
        lines(write_lines(tmp_path / "a.jsonl", [b'{"text": "x"}']))


@pytest.mark.parametrize("stars", [None, float("nan"), float("inf"), -5, "many"])
def test_stars_that_are_no_number_are_not_known(tmp_path, stars):
    row = json.dumps(THE_STACK | {"max_stars_count": stars}).encode()
    (file,) = lines(write_lines(tmp_path / "data.jsonl", [row]))
    assert isinstance(file, File)
    assert file.stars == -1
