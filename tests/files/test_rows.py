"""Rows of the files of others."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.files.rows import parse_rows, read_bytes

ROWS = [{"a": 1, "b": "é"}, {"a": 2, "b": "x\ny"}]


def write_parquet(path):
    pq.write_table(pa.Table.from_pylist(ROWS), path)


FORMATS = {
    "lines": lambda path: path.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS)),
    "list": lambda path: path.write_text(json.dumps(ROWS, indent=2)),
    "gzip": lambda path: path.write_bytes(gzip.compress(json.dumps(ROWS).encode())),
    "bom": lambda path: path.write_text(json.dumps(ROWS), encoding="utf-8-sig"),
    "parquet": write_parquet,
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_rows(tmp_path, name):
    path = tmp_path / "file"
    FORMATS[name](path)
    assert parse_rows(read_bytes(path, "input"), path, "input") == ROWS


@pytest.mark.parametrize("data", [b"{", b"PAR1 no", b"\x1f\x8b no", b"\xff\xfe", b"[1, 2]"])
def test_what_is_neither_is_an_error_that_names_the_setting(tmp_path, data):
    with pytest.raises(UserError, match=r"^input: .*file: .*Remedy: "):
        parse_rows(data, tmp_path / "file", "input")


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"^input: .*nowhere: cannot be read \(No such file"):
        read_bytes(tmp_path / "nowhere", "input")
