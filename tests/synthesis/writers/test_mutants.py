"""The writer of mutants."""

import ast
import collections
import random
import warnings
from typing import Any

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import MutantConfig, SynthesisConfig, WriterConfig
from codepmp_jax.records.schema import SourceFile
from codepmp_jax.synthesis.writers.mutants import MutantSampler, mutate, mutations, normal_form
from codepmp_jax.synthesis.writers.sampler import Request

CODE = '''
def largest(numbers, start=0):
    """The largest number from a place on."""
    best = None  # nothing yet
    for place in range(start, len(numbers)):
        if best is None or numbers[place] > best:
            best = numbers[place]
        elif not numbers[place:]:
            break
    total = max(best, 0) - 1
    return total
'''


def source(code: str = CODE) -> SourceFile:
    return SourceFile("s", code, "d", "n", "function", "python", "", "", "", 1)


def sample(count: int, code: str = CODE, seed: int = 0, numbers: tuple[int, ...] = (1, 2, 3)):
    requests = [Request(f"k/{n}", "", "d", source(code)) for n in range(count)]
    return MutantSampler(MutantConfig(numbers), seed).sample(requests)


def test_the_normal_form_has_neither_comments_nor_docstrings():
    assert normal_form(CODE).startswith("def largest(numbers, start=0):\n    best = None\n")
    assert normal_form("def f():\n    'Only this.'\n") == "def f():\n    pass"
    assert normal_form("'A module.'\nclass A:\n    'A class.'\n    x = 'text'\n") == (
        "class A:\n    x = 'text'"
    )
    assert normal_form(normal_form(CODE)) == normal_form(CODE)


def test_mutants_are_python_that_differs_and_is_laid_out_alike():
    author = normal_form(CODE)
    completions = sample(200)
    assert not any(completion.failure for completion in completions)
    texts = {completion.text for completion in completions}
    assert len(texts) > 130
    for text in texts:
        assert text != author
        assert normal_form(text) == text
        assert text.startswith("def largest(numbers, start=0):\n")


def test_no_mistakes_give_the_authors_code_in_the_layout_of_mutants():
    first, second = sample(2, numbers=(0,))
    assert first.text == second.text == normal_form(CODE)
    assert first.facts == {"sampler": "mutant", "seed": 0, "mistakes": []}
    assert sample(1, "def f(:", numbers=(0,))[0].failure == "not parsable"


def test_every_kind_of_mistake_is_made():
    found = collections.Counter(
        kind for completion in sample(500, numbers=(1,)) for kind in completion.facts["mistakes"]
    )
    kinds = {mutation.kind for mutation in mutations(ast.parse(normal_form(CODE)))}
    assert kinds == set(found)
    assert kinds == {
        "comparison",
        "operator",
        "exchanged operands",
        "dropped operand",
        "dropped operator",
        "constant",
        "variable",
        "exchanged arguments",
        "function",
        "dropped call",
        "off by one",
        "dropped bound",
        "negated condition",
        "jump",
        "returned value",
        "dropped statement",
    }


@pytest.mark.parametrize(
    ("code", "kind", "mutants"),
    [
        ("return a < b", "comparison", {"return a <= b", "return a > b"}),
        ("return a - b", "exchanged operands", {"return b - a"}),
        ("return 3", "constant", {"return 4", "return 2"}),
        ("return f(a, b)", "exchanged arguments", {"return f(b, a)"}),
        ("return a.lower()", "dropped call", {"return a"}),
        ("return a.lower()", "function", {"return a.upper()"}),
        ("return a[1:b]", "dropped bound", {"return a[:b]", "return a[1:]"}),
        ("return a", "returned value", {"return None", "return a + 1", "return a - 1"}),
        ("return a and b", "dropped operand", {"return a", "return b"}),
        ("return not a", "dropped operator", {"return a"}),
        ("return a if b else 0", "negated condition", {"return a if not b else 0"}),
        ("x = a\n    y = b", "exchanged statements", {"y = b\n    x = a"}),
        ("x = a\n    return b", "dropped statement", {"x = a", "return b"}),
    ],
)
def test_a_mistake_is_the_one_that_its_kind_says(code, kind, mutants):
    text = f"def f(a, b):\n    {code}"
    found = set()
    count = sum(mutation.kind == kind for mutation in mutations(ast.parse(text)))
    for place in range(count):
        tree = ast.parse(text)
        [m for m in mutations(tree) if m.kind == kind][place].apply()
        found.add(ast.unparse(tree))
    assert found == {f"def f(a, b):\n    {mutant}" for mutant in mutants}


def test_mutants_depend_on_seed_and_key_alone():
    assert sample(20) == sample(30)[:20]
    assert sample(20) != sample(20, seed=1)
    single = sample(20, numbers=(1,))
    assert all(len(completion.facts["mistakes"]) == 1 for completion in single)


def test_what_cannot_be_mutated_fails():
    (nothing,) = sample(1, "def f():\n    pass\n")
    assert (nothing.text, nothing.failure) == ("", "nothing to mistake")
    (broken,) = sample(1, "def f(:")
    assert (broken.text, broken.failure) == ("", "not parsable")


def test_mutants_that_python_warns_of_are_quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sample(200, "def f(x):\n    return all((a for a in x))[0](1)(2)\n")


def test_no_mistake_leaves_the_tree_as_it_is():
    tree = ast.parse("x = 1")
    assert mutate(tree, random.Random(0)) == ""
    assert ast.unparse(tree) == "x = 1"


def test_settings():
    with pytest.raises(UserError, match=r"mutant\.num_mistakes"):
        MutantConfig(())
    with pytest.raises(UserError, match=r"mutant\.num_mistakes = \(0, 1\): must not hold 0"):
        MutantConfig((0, 1))
    mutant = WriterConfig(sampler="mutant")
    author = WriterConfig(sampler="mutant", mutant=MutantConfig((0,)))
    refused: list[tuple[dict[str, Any], str]] = [
        ({"rejected": mutant}, "must both be mutant or neither"),
        ({"chosen": author}, "must both be mutant or neither"),
        ({"chosen": mutant, "rejected": mutant}, "must be 0 for chosen and more for rejected"),
        ({"chosen": author, "rejected": author}, "must be 0 for chosen and more for rejected"),
        ({"describe": mutant}, r"describe\.sampler = 'mutant'"),
    ]
    for writers, message in refused:
        with pytest.raises(UserError, match=message):
            SynthesisConfig(**writers)
    SynthesisConfig(chosen=author, rejected=mutant)
