"""Parquet and JSON Lines with the columns of published data sets."""

import gzip
import json
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from codepmp_jax.corpus import json_tables, tables
from codepmp_jax.corpus.files import File, Rejected
from codepmp_jax.files import json_window

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
    return list(json_tables.read_lines(LOCAL, path, "part/data.jsonl", start, stop, max_bytes))


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
        for i in range(5000)
    ]
    name = pathlib.Path(write_lines(tmp_path / f"a{ending}", rng_lines))
    name.write_bytes(name.read_bytes()[:-500])
    found: list[str] = []
    with pytest.raises(OSError, match="Truncated"):
        found.extend(
            file.path for file in json_tables.read_lines(LOCAL, str(name), "a", 0, 0, 1000)
        )
    assert found == [f"{i}.py" for i in range(len(found))]
    assert found
    name.write_bytes(b"no archive at all")
    with pytest.raises(OSError, match=r".+"):
        lines(str(name))


def test_a_short_broken_archive_gives_its_rows(tmp_path):
    name = tmp_path / "a.jsonl.gz"
    rows = [
        json.dumps({"content": f"x = {i * i * 7919}", "path": f"{i}.py"}).encode()
        for i in range(400)
    ]
    write_lines(name, rows)
    name.write_bytes(name.read_bytes()[:-20])
    assert json_tables.kind_of(LOCAL, str(name)) == "lines"
    found: list[str] = []
    with pytest.raises(OSError, match="Truncated"):
        found.extend(
            file.path for file in json_tables.read_lines(LOCAL, str(name), "a", 0, 0, 1000)
        )
    assert len(found) > 200


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
        json_tables.kind_of(LOCAL, write_lines(tmp_path / "a.jsonl", [b'{"text": "x"}']))


@pytest.mark.parametrize("stars", [None, float("nan"), float("inf"), -5, "many"])
def test_stars_that_are_no_number_are_not_known(tmp_path, stars):
    row = json.dumps(THE_STACK | {"max_stars_count": stars}).encode()
    (file,) = lines(write_lines(tmp_path / "data.jsonl", [row]))
    assert isinstance(file, File)
    assert file.stars == -1


# --- bad rows -------------------------------------------------------------------------------------

GOOD = {"content": "x = 1\n", "path": "good.py"}
BAD = [
    (b'{"path": "a.py"}', "no content"),
    (b'{"content": null, "path": "a.py"}', "no content"),
    (b'{"content": 7, "path": "a.py"}', "no content"),
    (b'{"content": ["x"], "path": "a.py"}', "no content"),
    (b'{"content": "x = 1", "path": "a.py"', "damaged"),
    (b'{"content": "caf\xe9", "path": "a.py"}', "damaged"),
    (b'{"content": "\\ud800", "path": "a.py"}', "undecodable"),
    (b'{"content": "x\\u0000", "path": "a.py"}', "undecodable"),
    (b'{"content": ' + b"9" * 5000 + b"}", "damaged"),
    (b"[" * 50_000, "damaged"),
    (b"null", "damaged"),
    (
        b'{"content": "<<<<<<< a\\nx\\n=======\\ny\\n>>>>>>> b\\n", "path": "a.py"}',
        "merge conflict",
    ),
    (b'{"content": "<issue_start><issue_comment>x", "path": "a.py"}', "no source file"),
]


@pytest.mark.parametrize(("row", "reason"), BAD, ids=[str(i) for i in range(len(BAD))])
@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_a_bad_row_is_a_reject_and_the_rest_is_read(tmp_path, row, reason, ending):
    good = json.dumps(GOOD).encode()
    first, reject, last = lines(write_lines(tmp_path / f"a{ending}", [good, row, good]))
    assert first == last == File("x = 1\n", "python", "", "good.py", "")
    assert isinstance(reject, Rejected)
    assert reject.reason == reason
    assert reject.detail
    assert reject.path in ("a.py", f"part/data.jsonl:{len(good) + 1}")


def array(path: pathlib.Path, data: bytes, max_bytes: int = 1000):
    path.write_bytes(data)
    assert json_tables.kind_of(LOCAL, str(path)) == "array"
    return list(json_tables.read_array(LOCAL, str(path), "data.json", max_bytes))


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_arrays_give_every_row_at_any_chunk(tmp_path, monkeypatch, indent, chunk):
    monkeypatch.setattr(json_window, "CHUNK", chunk)
    rows = [{"content": f"x = '}}, {{\"é{i}'\n", "path": f"{i}.py"} for i in range(20)]
    data = json.dumps(rows, indent=indent, ensure_ascii=False).encode()
    for mark in (b"", b"\xef\xbb\xbf", b"\n "):
        found = array(tmp_path / "a.json", mark + data)
        assert [file.content for file in found if isinstance(file, File)] == [
            row["content"] for row in rows
        ]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_damaged_array_gives_its_other_rows(tmp_path, indent):
    rows = [{"content": f"x = {i}", "path": f"{i}.py"} for i in range(5)]
    data = json.dumps(rows, indent=indent).encode()
    whole = [file.path for file in array(tmp_path / "a.json", data)]
    assert whole == [f"{i}.py" for i in range(5)]
    cut = array(tmp_path / "a.json", data[:-12])
    assert [file.path for file in cut[:4]] == whole[:4]
    assert [file.reason for file in cut[4:] if isinstance(file, Rejected)] == ["damaged"]
    broken = array(tmp_path / "a.json", data.replace(b'"x = 2"', b"x = 2"))
    assert [file.path for file in broken if isinstance(file, File)] == [*whole[:2], *whole[3:]]
    assert [file.reason for file in broken if isinstance(file, Rejected)] == ["damaged"]
    latin = array(tmp_path / "a.json", data.replace(b"x = 2", b"\xe9 = 2"))
    assert [file.reason for file in latin if isinstance(file, Rejected)] == ["undecodable"]


def test_text_that_is_no_utf8_in_parquet_is_decoded_or_rejected(tmp_path):
    name = str(tmp_path / "a.parquet")
    latin = b"/* Author: Jos\xe9 */\nint x;\n"
    contents = [b"int y;\n", latin, b"\xff\x81 \x9d\n", "// café\n".encode()]
    binary = pa.array(contents, pa.binary())
    for content in (binary, pa.Array.from_buffers(pa.string(), 4, binary.buffers())):
        licenses = pa.array([["MIT"]] * 4)
        columns = {"content": content, "path": [f"{i}.c" for i in range(4)], "licenses": licenses}
        pq.write_table(pa.table(columns), name)
        first, second, reject, last = rows(name)
        assert first == File("int y;\n", "c", "", "0.c", "MIT")
        assert isinstance(second, File)
        assert second.content == latin.decode("latin-1")
        assert isinstance(reject, Rejected)
        assert (reject.path, reject.reason) == ("2.c", "undecodable")
        assert isinstance(last, File)
        assert last.content == "// café\n"


def test_a_damaged_row_group_is_one_reject(tmp_path):
    name = tmp_path / "a.parquet"
    table = pa.table({"content": [f"x = {i * 7919}\n" for i in range(90)], "path": ["a.py"] * 90})
    pq.write_table(table, str(name), row_group_size=30, use_dictionary=False, compression="zstd")
    data = bytearray(name.read_bytes())
    column = pq.ParquetFile(str(name)).metadata.row_group(1).column(0)
    for i in range(column.data_page_offset, column.data_page_offset + column.total_compressed_size):
        data[i] ^= 0x55
    name.write_bytes(data)
    found = rows(str(name))
    rejects = [file for file in found if isinstance(file, Rejected)]
    assert [(reject.path, reject.reason) for reject in rejects] == [
        ("data/python/a.parquet:30", "damaged")
    ]
    assert "rows 30 to 59" in rejects[0].detail
    assert len(found) == 61


# --- data sets ------------------------------------------------------------------------------------

# Columns as the data sets' cards list them, without those that are not used.
LAYOUTS = {
    "the-stack-smol": {
        "content": "x = 1\n",
        "lang": "Python",
        "repository_name": "ada/shelf",
        "path": "src/x.py",
        "licenses": ["MIT"],
        "size": 6,
    },
    "github-code": {
        "code": "x = 1\n",
        "repo_name": "ada/shelf",
        "path": "src/x.py",
        "language": "Python",
        "license": "MIT",
    },
    "codeparrot-clean": {
        "repo_name": "ada/shelf",
        "path": "src/x.py",
        "copies": "1",
        "content": "x = 1\n",
        "license": "MIT",
    },
    "CodeSearchNet": {
        "repo": "ada/shelf",
        "path": "src/x.py",
        "original_string": "x = 1\n",
        "language": "python",
        "code": "x=1",
        "code_tokens": ["x", "=", "1"],
        "license": "MIT",
    },
    "code_search_net": {
        "repository_name": "ada/shelf",
        "func_path_in_repository": "src/x.py",
        "whole_func_string": "x = 1\n",
        "language": "python",
        "func_code_string": "x=1",
        "license": "MIT",
    },
    "commitpack": {
        "old_file": "src/x.py",
        "new_file": "src/x.py",
        "old_contents": "x = 0\n",
        "new_contents": "x = 1\n",
        "lang": "Python",
        "license": "MIT",
        "repos": "ada/shelf",
    },
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_published_layouts_are_read(tmp_path, name):
    row = LAYOUTS[name]
    wanted = [File("x = 1\n", "python", "ada/shelf", "src/x.py", "MIT")]
    assert lines(write_lines(tmp_path / "a.jsonl", [json.dumps(row).encode()])) == wanted
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.Table.from_pylist([row]), path)
    assert rows(path) == wanted


def test_markers_are_used_where_there_is_no_column(tmp_path):
    text = "<reponame>ada/shelf<filename>src/x.rs<gh_stars>10-100\nfn x() {}\n<|endoftext|>"
    marked, columned = lines(
        write_lines(
            tmp_path / "a.jsonl",
            [
                json.dumps({"content": text}).encode(),
                json.dumps({"content": text, "repo_name": "b/c", "path": "y.rs"}).encode(),
            ],
        )
    )
    assert marked == File("fn x() {}\n", "rust", "ada/shelf", "src/x.rs", "")
    assert columned == File("fn x() {}\n", "rust", "b/c", "y.rs", "")


def test_starcoders_notebooks_are_their_code_cells(tmp_path):
    text = (
        "<jupyter_start><jupyter_text># Title<jupyter_code>x = 1\n<jupyter_output><empty_output>"
        "<jupyter_code>y = 2<jupyter_output>2"
    )
    name = write_lines(tmp_path / "a.jsonl", [json.dumps({"content": text}).encode()])
    folder = "jupyter-structured-clean-dedup/a.jsonl"
    stop = pathlib.Path(name).stat().st_size
    (found,) = json_tables.read_lines(LOCAL, name, folder, 0, stop, 1000)
    assert isinstance(found, File)
    assert (found.content, found.language) == ("x = 1\n\ny = 2\n", "jupyter-notebook")


def test_the_text_decides_against_the_column_where_types_are_shared(tmp_path):
    texts = {
        "de.ts": ("TypeScript", '<?xml version="1.0"?><TS/>', "qt-translation"),
        "a.h": ("C", "class A {\n public:\n};\n", "c++"),
        "b.h": ("C++", "int b(void);\n", "c++"),
        "c.py": ("Python", "x = 1\n", "python"),
    }
    data = [
        json.dumps({"content": text, "path": path, "lang": lang}).encode()
        for path, (lang, text, _) in texts.items()
    ]
    found = lines(write_lines(tmp_path / "a.jsonl", data))
    assert [file.language for file in found if isinstance(file, File)] == [
        language for _, _, language in texts.values()
    ]
