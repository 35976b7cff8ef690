"""What is asked."""

import dataclasses

import pytest

from codepmp_jax.config import WriterConfig
from codepmp_jax.config.synthesis import DESCRIBE_TEMPLATE
from codepmp_jax.records.schema import SourceFile
from codepmp_jax.synthesis.prompts import make_request, template_version

SOURCE = SourceFile(
    "id", "f({description}, {})\n", "Calls f.", "f", "file", "c", "r", "f.c", "MIT", 1
)


def test_placeholders_are_filled_once_and_other_braces_stay():
    writer = WriterConfig(template="{language} {description} {x: 1} {code}")
    request = make_request("key", writer, SOURCE, "a {code} task")
    assert request.prompt == "c a {code} task {x: 1} f({description}, {})\n"
    assert (request.key, request.description, request.source) == ("key", "a {code} task", SOURCE)


@pytest.mark.parametrize(
    ("language", "content", "expected"),
    [
        ("python", "def f(x):\n    # secret\n    return x\n", "def f(x):"),
        (
            "python",
            "@cache\ndef f(\n    x: int,  # secret\n) -> int: return x\n",
            "@cache\ndef f(x: int) -> int:",
        ),
        ("python", "class A(B):\n    @property\n    def f(self): return 1\n", "class A(B):"),
        ("python", "print 1\nprint 2\n", "print 1"),
        ("python", "x = 1\n", "x = 1"),
        ("c", "int f(int x) {\n    return x;\n}\n", "int f(int x) {"),
        ("python", "", ""),
    ],
)
def test_the_signature_says_nothing_of_the_body(language, content, expected):
    source = dataclasses.replace(SOURCE, language=language, content=content)
    writer = WriterConfig(template="{signature}")
    assert make_request("key", writer, source, "").prompt == expected


def test_default_templates_ask_for_what_the_pass_needs():
    describe = make_request("key", WriterConfig(template=DESCRIBE_TEMPLATE), SOURCE, "")
    assert SOURCE.content in describe.prompt
    write = make_request("key", WriterConfig(), SOURCE, "Do it.")
    assert "Do it." in write.prompt
    assert SOURCE.content not in write.prompt


def test_template_version_changes_with_its_text():
    assert template_version("a") == template_version("a") != template_version("b")
