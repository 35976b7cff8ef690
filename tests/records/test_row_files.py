"""Rows of files: JSON lines and arrays, whole and broken."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codepmp_jax.cli.errors import UserError
from codepmp_jax.files import json_window
from codepmp_jax.records import row_files
from codepmp_jax.records.row_files import ALL_ENDINGS, MalformedRow, find_files, read_rows

ROWS = [{"a": 1}, {"b": "é 🙂 ] , [ }"}, {"c": [{"d": None}]}, 5, "x", [], 12345]


def values(path):
    return [(row.number, row.value) for row in read_rows(path)]


@pytest.mark.parametrize("name", ["rows.json", "rows.txt", "rows.json.gz", "rows.txt.gz"])
@pytest.mark.parametrize("indent", [None, 2, "array of lines"])
@pytest.mark.parametrize("bom", ["", "\ufeff", " \n"])
def test_arrays_and_lines(tmp_path, monkeypatch, name, indent, bom):
    text = json.dumps(
        ROWS, indent=None if indent == "array of lines" else indent, ensure_ascii=False
    )
    if indent == "array of lines":
        text = "".join(json.dumps(row) + "\n" for row in ROWS)
    data = (bom + text).encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    for chunk in (1, 3, 1 << 20):
        monkeypatch.setattr(json_window, "CHUNK", chunk)
        first = 2 if indent == "array of lines" and bom == " \n" else 1
        assert values(path) == [*enumerate(ROWS, start=first)]


@given(
    st.lists(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5)),
    st.integers(1, 30),
)
def test_any_array_is_read_in_chunks_of_any_size(rows, chunk):
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".json") as file, pytest.MonkeyPatch.context() as patch:
        file.write(json.dumps(rows).encode())
        file.flush()
        patch.setattr(json_window, "CHUNK", chunk)
        assert [row.value for row in read_rows(row_files.pathlib.Path(file.name))] == rows


def test_a_row_with_two_entries_of_one_name(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text('[{"a": 1, "a": 2}, {"b": 1}]')
    first, second = read_rows(path)
    assert isinstance(first.value, MalformedRow)
    assert second.value == {"b": 1}


@pytest.mark.parametrize(
    "text",
    ['[{"a": 1}, {"b"', '[{"a": 1}', '[{"a": 1} {"b": 2}]', '[{"a": 1}, nope]', '[{"a": 1},'],
)
def test_an_array_that_breaks_off_names_the_last_row(tmp_path, text):
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"rows\.json: cannot be read after row 1"):
        list(read_rows(path))


def test_an_array_that_is_not_utf8(tmp_path):
    path = tmp_path / "rows.json"
    path.write_bytes(b'["\xff"]')
    with pytest.raises(UserError, match=r"cannot be read after row 0 .*utf-8"):
        list(read_rows(path))


def test_other_endings_are_found_if_asked_for(tmp_path):
    for name in ("b.json", "a.jsonl", "c.txt", "d.md"):
        (tmp_path / name).write_text("")
    assert [file.name for file in find_files(str(tmp_path))] == ["a.jsonl"]
    named = [file.name for file in find_files(str(tmp_path), ALL_ENDINGS)]
    assert named == ["a.jsonl", "b.json", "c.txt"]
    assert row_files.names_not_read(str(tmp_path), ALL_ENDINGS) == ["d.md"]
