"""Texts of a file: definitions, or the whole file where it is short enough."""

import pytest

from codepmp_jax.config import CorpusConfig, DescriptionConfig
from codepmp_jax.corpus.files import File
from codepmp_jax.corpus.snippets import Dropped, Unparsable
from codepmp_jax.corpus.units import Text, Unusable, layout_hash, texts_of

PYTHON = (
    "class A:\n    def f(self):\n        '''Ones.'''\n        x = 1\n        return x\n\nx = 1\n"
)
C = "int x;\n\n// Adds.\nint add(int a) {\n  return a;\n}\n\nint one(void) { return 1; }\n"


def texts(content: str, path: str, language: str, **settings) -> list[Text | Dropped]:
    file = File(content, language, "a/b", path, "")
    return list(texts_of(file, CorpusConfig(**settings), lambda text: len(text.split())))


def test_definitions_of_python_are_snippets():
    shelf, method = texts(PYTHON, "src/a.py", "python")
    assert [text.name for text in (shelf, method)] == ["A", "A.f"]
    assert isinstance(method, Text)
    assert (method.description, method.line) == ("Ones.", 2)


def test_definitions_of_other_languages_have_their_comments():
    add, one = texts(C, "a.c", "c")
    assert add == Text(
        "int add(int a) {\n  return a;\n}",
        "Adds.",
        "add",
        "function",
        4,
        layout_hash("int add(int a) {\n  return a;\n}"),
        num_words=1,
    )
    bare = "int one(void) { return 1; }"
    assert one == Dropped("one", "function", 8, "too few lines", bare)
    (bare,) = texts("int f(int a) {\n  return\n    a;\n}\n", "a.c", "c")
    assert isinstance(bare, Text)
    assert bare.description == "Function f."


def test_a_function_with_an_error_is_dropped():
    (broken,) = texts("int f(int a) {\n  return ((;\n  x\n}\n", "a.c", "c")
    assert isinstance(broken, Dropped)
    assert broken.reason == "not parsable on its own"


@pytest.mark.parametrize(("limit", "is_whole"), [(13, True), (12, False)])
def test_a_file_is_whole_within_the_limit_and_its_functions_beyond(limit, is_whole):
    found = texts(PYTHON, "src/a.py", "python", unit="file", max_file_tokens=limit)
    if is_whole:
        assert found == [Text(PYTHON, "", "a.py", "file", 1, layout_hash(PYTHON))]
    else:
        assert [(text.name, text.kind) for text in found] == [("A.f", "function")]


def test_functions_beyond_the_limit_are_dropped():
    (found,) = texts(PYTHON, "src/a.py", "python", unit="file", max_file_tokens=3)
    content = "def f(self):\n    x = 1\n    return x"
    assert found == Dropped("A.f", "function", 2, "too many tokens", content)


@pytest.mark.parametrize(
    ("language", "content", "num_words"),
    [
        ("python", "def f(a):\n    '''Adds one to it.'''\n    b = a\n    return b\n", 4),
        ("python", "def f(a):\n    b = a\n    c = b\n    return c\n", 0),
        ("python", "def f(a):\n    ''''''\n    b = a\n    return b + 1\n", 0),
        ("c", "// Adds one to it.\nint f(int a) {\n  return a;\n}\n", 4),
        ("c", "int f(int a) {\n  return a;\n}\n", 0),
        ("c", "/* NOLINT */\nint f(int a) {\n  return a;\n}\n", 0),
    ],
)
def test_only_what_the_author_wrote_counts_as_description(language, content, num_words):
    for least in range(6):
        (found,) = texts(content, "src/a", language, description=DescriptionConfig(least))
        if least <= num_words:
            assert isinstance(found, Text)
            assert found.num_words == num_words
        else:
            assert isinstance(found, Dropped)
            assert found.reason == "description.min_words"
    (whole,) = texts(content, "src/a", language, unit="file", description=DescriptionConfig(9))
    assert whole.kind == "file"


def test_a_short_file_needs_no_parser():
    (found,) = texts("def f(:\n", "a.py", "python", unit="file")
    assert found.kind == "file"


@pytest.mark.parametrize(
    ("content", "language", "reason"),
    [
        ("x = 1\n", "python", "no definition"),
        ("int x;\n", "c", "no definition"),
        ("# Title\n", "markdown", "no parser"),
    ],
)
def test_a_file_without_texts_says_why(content, language, reason):
    with pytest.raises(Unusable, match=reason):
        texts(content, "a", language)
    with pytest.raises(Unusable, match=reason):
        texts(content, "a", language, unit="file", max_file_tokens=1)


def test_broken_python_is_unparsable():
    with pytest.raises(Unparsable):
        texts("def f(:\n", "a.py", "python")


def test_layout_does_not_count():
    assert layout_hash("int  x;\n\n") == layout_hash("int x;")
    assert layout_hash("int x;") != layout_hash("int y;")
