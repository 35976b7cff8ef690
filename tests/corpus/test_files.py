"""From bytes to text: encodings, notebooks, limits."""

import json

import pytest

from codepmp_jax.corpus.files import Rejected, as_text, decode, normalize
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
