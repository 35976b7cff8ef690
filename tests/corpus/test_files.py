"""From bytes to text: encodings, notebooks, limits."""

import json
import os

import pytest

from codepmp_jax.corpus.files import Rejected, as_text, decode, normalize, open_local
from codepmp_jax.corpus.notebooks import NotANotebook, code_cells


def cell(source, kind="code", **fields):
    return {"cell_type": kind, "source": source, **fields}


def test_encodings_are_those_that_the_file_declares():
    declared = "# -*- coding: latin-1 -*-\nx = 'café'\n"
    assert decode(declared.encode("latin-1"), "python", 100) == declared
    assert decode(b"\xef\xbb\xbfint x;\r\nint y;\r", "c", 100) == "int x;\nint y;\n"


@pytest.mark.parametrize(
    ("data", "language", "reason"),
    [
        (b"x = 'caf\xe9'\n", "python", "undecodable"),
        (b"# coding: no-such\n", "python", "undecodable"),
        (b"\xff\xfe\x00", "c", "undecodable"),
        ("x = 1\n".encode("utf-16"), "python", "undecodable"),
        (b"int x;\0\n", "c", "undecodable"),
        (b"x = '\0'\n", "python", "undecodable"),
        (b"<<<<<<< HEAD\nint x;\n=======\nint y;\n>>>>>>> other\n", "c", "merge conflict"),
        (b"a\r\n<<<<<<< .mine\r\nb\r\n=======\r\nc\r\n>>>>>>> .r2\r\n", "c", "merge conflict"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "c", "git lfs pointer"),
        (b"x" * 101, "c", "too large"),
        (b"not json", "jupyter-notebook", "no notebook"),
        (b'{"cells": [{"cell_type": "code"}]}', "jupyter-notebook", "no notebook"),
        (b'{"cells": {"a": 1}}', "jupyter-notebook", "no notebook"),
        (b"[" * 100_000, "jupyter-notebook", "no notebook"),
    ],
)
def test_what_is_no_text_is_rejected_with_its_reason(data, language, reason):
    found = decode(data, language, 100 if len(data) < 200 else 200_000)
    assert isinstance(found, Rejected)
    assert found.reason == reason
    assert found.detail


def test_surrogates_are_no_text():
    found = normalize("x = '\ud800'", "python", 100)
    assert isinstance(found, Rejected)
    assert found.reason == "undecodable"
    assert as_text("a\udcff.py") == "a?.py"


def test_a_notebook_is_its_code_cells_without_outputs():
    notebook = {
        "nbformat": 4,
        "cells": [
            cell("# Title", "markdown"),
            cell(["import x\n", "x.run()"], outputs=[{"text": "a million"}]),
            cell("   \n"),
            cell("\nprint(1)\n"),
        ],
    }
    assert code_cells(json.dumps(notebook)) == "import x\nx.run()\n\nprint(1)\n"


def test_an_old_notebook_keeps_its_cells_in_worksheets():
    cells = [
        {"cell_type": "code", "input": ["x = 1\n", "y"]},
        {"cell_type": "heading", "source": ""},
    ]
    assert code_cells(json.dumps({"nbformat": 3, "worksheets": [{"cells": cells}]})) == "x = 1\ny\n"


def test_a_list_is_no_notebook():
    with pytest.raises(NotANotebook, match="TypeError"):
        code_cells("[]")


@pytest.mark.parametrize(
    "text",
    [
        "Title\n=======\n\nMore\n=======\n",
        "print(1 <<<<<<< 2)\n=======\n>>>>>>> x\n",
        ">>>>>>> a\n=======\n<<<<<<< b\n",
        "<<<<<<<< eight\n========\n>>>>>>>> eight\n",
    ],
)
def test_what_looks_like_a_conflict_and_is_none_is_kept(text):
    assert normalize(text, "c", 100) == text


def test_many_beginnings_of_conflicts_take_no_time():
    text = "<<<<<<< a\n" * 100_000
    assert normalize(text, "c", len(text)) == text


def test_a_notebook_is_measured_without_its_outputs():
    outputs = [{"text": "1" * 1000}]
    small = json.dumps({"cells": [cell("x = 1", outputs=outputs)]}).encode()
    assert decode(small, "jupyter-notebook", 100) == "x = 1\n"
    large = json.dumps({"cells": [cell("x = 1\n" * 20)]}).encode()
    found = decode(large, "jupyter-notebook", 100)
    assert isinstance(found, Rejected)
    assert found.reason == "too large"
    huge = json.dumps({"cells": [cell("x = 1", outputs=outputs * 4)]}).encode()
    assert isinstance(decode(huge, "jupyter-notebook", 100), Rejected)


def test_special_files_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, "/dev/null"):
        with pytest.raises(OSError, match="is a"):
            open_local(path)
    (tmp_path / "file").write_bytes(b"x")
    with open_local(tmp_path / "file") as file:
        assert file.read() == b"x"
