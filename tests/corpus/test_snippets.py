"""Snippets: the author's text, dedented, parseable, without its docstring."""

import ast
import collections
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codepmp_jax.config import CorpusConfig
from codepmp_jax.corpus.snippets import Dropped, Snippet, Unparsable, extract

CONFIG = CorpusConfig(min_lines=2)


def snippets(text: str, config: CorpusConfig = CONFIG) -> dict[str, Snippet]:
    found = extract(textwrap.dedent(text), config)
    return {snippet.name: snippet for snippet in found if isinstance(snippet, Snippet)}


def drops(text: str, config: CorpusConfig = CONFIG) -> dict[str, int]:
    found = list(extract(textwrap.dedent(text), config))
    assert all(isinstance(drop, Dropped) for drop in found)
    return dict(collections.Counter(drop.reason for drop in found if isinstance(drop, Dropped)))


def test_docstring_becomes_the_description():
    found = snippets('''
        class Shelf:
            # What stands here
            @property
            def width(self, unit="cm"):  # not the docstring
                """Width of the shelf.

                    In centimetres.
                """

                x = 1  # one

                return x
    ''')["Shelf.width"]
    assert found.description == "Width of the shelf.\n\nIn centimetres."
    assert found.content == (
        '@property\ndef width(self, unit="cm"):  # not the docstring\n'
        "    x = 1  # one\n\n    return x"
    )
    assert (found.kind, found.line) == ("function", 4)


def test_name_and_signature_describe_code_without_docstring():
    found = snippets("""
        class Tree(Plant, metaclass=Kind):
            def grow(self, speed, /, *rings, water=1, **rest):
                return speed
        async def plant(seed):
            await seed
    """)
    assert found["Tree"].description == "Class Tree, derived from Plant."
    assert found["Tree.grow"].description == (
        "Method grow of class Tree with the parameters speed, rings, water, rest."
    )
    assert found["plant"].description == "Function plant with the parameters seed."


def test_nested_methods_are_found_and_closures_stay_inside():
    found = snippets("""
        if True:
            class A:
                class B:
                    def f(self):
                        def inner():
                            return 1
                        return inner
    """)
    assert list(found) == ["A", "A.B", "A.B.f"]
    assert found["A.B.f"].content.startswith("def f(self):\n    def inner():")


def test_dedent_keeps_strings_and_odd_comments():
    found = snippets('''
        class A:
            def f(self):
                text = """one
            two
        three"""
          # outdented
                return (text,
          1)
    ''')["A.f"]
    # The string's own lines are part of its value, as the author wrote it.
    original = ast.parse('text = """one\n    two\nthree"""').body[0]
    parsed = ast.parse(found.content).body[0]
    assert isinstance(parsed, ast.FunctionDef)
    assert ast.dump(parsed.body[0]) == ast.dump(original)
    assert "\n# outdented\n" in found.content


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ('def f(): """doc"""; return 1\n', "docstring beside code"),
        ('def f():\n    """doc"""\n', "nothing but a docstring"),
        ('def f():\n    """doc"""; x = 1\n    return x\n', "docstring beside code"),
        ("def f(): pass\n", "too few lines"),
        ("def f():\n" + "    x = 1\n" * 60, "too many lines"),
        ("def f():\n    return '" + "x" * 2000 + "'\n", "too many characters"),
    ],
)
def test_drops_are_counted_by_reason(code, reason):
    assert drops(code) == {reason: 1}


def test_limits_count_no_docstring():
    code = 'def f():\n    """' + "doc\n" * 100 + '    """\n    return 1\n'
    assert len(snippets(code, CorpusConfig(min_lines=2, max_lines=2, max_chars=30))) == 1


@pytest.mark.parametrize(
    "other",
    [
        "def f(a):\n    # say\n    return  a+1 # more\n",
        'def f(a):\n    """Docstring."""\n\n    return a + 1\n',
        "class A:\n        def f( a ):\n            return a + 1\n",
    ],
)
def test_normal_hash_ignores_layout_comments_and_docstring(other):
    (plain,) = snippets("def f(a):\n    return a + 1\n").values()
    *_, found = snippets(other).values()
    assert found.normal_hash == plain.normal_hash


@pytest.mark.parametrize(
    "other",
    [
        "def f(a):\n    return a + 2\n",
        "def g(a):\n    return a + 1\n",
        "def f(a):\n    if a:\n        x = 1\n    y = 2\n",
    ],
)
def test_normal_hash_knows_code_and_blocks_apart(other):
    known = [
        "def f(a):\n    return a + 1\n",
        "def f(a):\n    if a:\n        x = 1\n        y = 2\n",
    ]
    hashes = {found.normal_hash for code in known for found in snippets(code).values()}
    assert hashes.isdisjoint(found.normal_hash for found in snippets(other).values())


@pytest.mark.parametrize("text", ["def f(:\n", "x = 'a\0b'\n", "def f():\n\tx\n        y\n"])
def test_unparsable_text_is_said_to_be(text):
    with pytest.raises(Unparsable):
        list(extract(text, CONFIG))


@given(st.text(st.sampled_from("abc \n"), max_size=80), st.integers(1, 40))
def test_long_docstrings_are_cut_within_the_limit(docstring, limit):
    code = f'def f():\n    """{docstring}"""\n    return 1\n'
    config = CorpusConfig(min_lines=2, max_description_chars=limit)
    found = snippets(code, config)["f"]
    assert 0 < len(found.description) <= limit
    assert found.description == found.description.strip()
