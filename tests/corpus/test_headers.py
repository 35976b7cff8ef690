"""Heads of files: comments before the code, and imports."""

import pytest

from codepmp_jax.corpus.headers import header, without_header

CASES = [
    (
        "python",
        '#!/usr/bin/env python\n# Copyright 2020\n"""Doc."""\n\nimport a\nfrom b import (\n    c,\n    d,\n)\n',
        "def f(): return 1",
    ),
    (
        "java",
        "/*\n * License.\n */\npackage a.b;\n\nimport java.util.List;\nimport static a.B.*;\n",
        "class A { int b; }",
    ),
    (
        "go",
        '// License\n\npackage a\n\nimport (\n\t"fmt"\n\tx "y/z"\n)\nimport "os"\n',
        "func A() {}",
    ),
    (
        "javascript",
        "'use strict'\n/* License */\nimport a, { b } from 'c'\nimport {\n  d,\n} from 'e'\nconst f = require('f')\n",
        "let g = 1",
    ),
    ("rust", "// License\nuse std::{\n    fmt,\n    io,\n};\npub use a::b;\n", "fn a() {}"),
    ("c", "/* License */\n#include <a.h>\n#pragma once\n", "int a;"),
    ("c-sharp", "// License\nusing System;\nusing A = B.C;\n", "class A {}"),
    (
        "php",
        "<?php\n/* License */\nnamespace A\\B;\n\nuse C\\D;\nrequire_once 'a.php';\n",
        "class A {}",
    ),
    (
        "ruby",
        "# frozen_string_literal: true\n# License\nrequire 'a'\nrequire_relative 'b'\n",
        "class A; end",
    ),
    (
        "kotlin",
        '/* License */\n@file:Suppress("a")\n\npackage a.b\n\nimport c.d.*\n',
        "fun a() = 1",
    ),
    ("lua", '-- License\nlocal a = require("a")\n', "local b = 1"),
]


@pytest.mark.parametrize(("language", "head", "code"), CASES)
def test_only_code_is_left(language, head, code):
    assert without_header(head + code, language).strip() == code
    assert header(head + code, language)[0]


@pytest.mark.parametrize("content", ["", "import a\n", "# only a comment\n"])
def test_a_file_without_code_stays_whole(content):
    assert without_header(content, "python") == content


def test_code_before_the_first_comment_is_no_head():
    assert header("x = 1\n# a comment\n", "python") == ("", 0)
    assert without_header("x = 'import a'\ny = 2\n", "python") == "x = 'import a'\ny = 2\n"
