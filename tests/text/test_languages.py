"""Languages: names of files, parsers, functions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codepmp_jax.text import languages
from codepmp_jax.text.definitions import definitions, has_definitions
from codepmp_jax.text.languages import is_parsable, language_name, language_of

# Language -> text, qualified names of its definitions, names in order.
SAMPLES = {
    "c": ("int *add(int a, int b) {\n  return a;\n}\nstatic void f(void) {}\n", "add f"),
    "c++": (
        "namespace n {\nclass Shelf {\n public:\n  int width() { return 1; }\n};\nstruct A *g;\n"
        "template <typename T>\nT id(T x) { return x; }\nvoid Shelf::deep() {}\n}\n",
        "Shelf Shelf.width id Shelf.deep",
    ),
    "c-sharp": ("class A {\n  public int Add(int a) { return a; }\n  A() {}\n}\n", "A A.Add A.A"),
    "cuda": ("__global__ void k(int *a) { a[0] = 1; }\n", "k"),
    "fortran": (
        "function f(x)\n  f = x\nend function f\nsubroutine s(x)\nend subroutine s\n",
        "f s",
    ),
    "go": ("package a\n\nfunc Add(a int) int {\n\treturn a\n}\nfunc (s *S) W() {}\n", "Add S.W"),
    "java": ("class A {\n  public int add(int a) {\n    return a;\n  }\n}\n", "A A.add"),
    "javascript": (
        "export const add = (a) => {\n  return a\n}\nconst b = 1\nfunction f() {}\n"
        "class A { g() { const h = () => 1; return h } }\n",
        "add f A A.g",
    ),
    "julia": ("function f(x)\n  x\nend\n", "f"),
    "kotlin": ("class A {\n  fun add(a: Int): Int { return a }\n}\n", "A A.add"),
    "lua": ("function M.add(a)\n  return a\nend\nlocal function f() end\n", "M.add f"),
    "objective-c": ("@implementation A\n- (int)add:(int)a { return a; }\n@end\n", "add"),
    "perl": ("sub add { my ($a) = @_; return $a; }\n", "add"),
    "php": ("<?php\nclass A {\n  public function add($a) { return $a; }\n}\n", "A A.add"),
    "powershell": ("function Get-X {\n  $a = 1\n}\n", "Get-X"),
    "ruby": ("class A\n  def add(a)\n    a\n  end\n  def self.b; end\nend\n", "A A.add A.b"),
    "rust": (
        "fn add(a: i32) -> i32 { a }\nimpl W for Bar<T> {\n    fn w(&self) -> i32 { 1 }\n}\n",
        "add Bar Bar.w",
    ),
    "scala": ("object A {\n  def add(a: Int): Int = a\n}\n", "A A.add"),
    "shell": ("add() {\n  echo $1\n}\nfunction f { :; }\n", "add f"),
    "solidity": ("contract A {\n  function f(uint a) public { a; }\n}\n", "A A.f"),
    "swift": ("class A {\n  func add(a: Int) -> Int { return a }\n}\n", "A A.add"),
    "tsx": ("const A = (p: P) => { return <div/> }\n", "A"),
    "typescript": ("export function add(a: number): number {\n  return a\n}\n", "add"),
}


@pytest.mark.parametrize(
    ("path", "language"),
    [
        ("src/a.py", "python"),
        ("A.PY", "python"),
        ("a.b/c.d.ipynb", "jupyter-notebook"),
        ("x/Dockerfile", "dockerfile"),
        ("x/CMakeLists.txt", "cmake"),
        ("a.h", "c"),
        ("a.hpp", "c++"),
        ("a.cs", "c-sharp"),
        ("a.txt", None),
        ("py", None),
        ("folder.py/README", None),
    ],
)
def test_language_of_a_file(path, language):
    assert language_of(path) == language


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Python", "python"),
        ("C#", "c-sharp"),
        ("Jupyter Notebook", "jupyter-notebook"),
        ("C++", "c++"),
    ],
)
def test_names_of_data_sets_are_the_names_of_files(written, name):
    assert language_name(written) == name
    assert name in languages.known_languages()


def test_every_language_with_functions_has_a_sample():
    with_functions = set(filter(has_definitions, languages._GRAMMARS))
    assert with_functions == {*SAMPLES, "jupyter-notebook"}
    assert set(languages._GRAMMARS) <= set(languages.known_languages())


@pytest.mark.parametrize("language", sorted(SAMPLES))
def test_functions_are_found_and_named(language):
    text, names = SAMPLES[language]
    assert is_parsable(text, language) is True
    found = list(definitions(text, language))
    assert [definition.name for definition in found] == names.split()
    for definition in found:
        assert definition.content.split("\n")[0] in text.split("\n")[definition.line - 1]


@pytest.mark.parametrize("language", sorted(languages._GRAMMARS))
def test_every_grammar_is_there(language):
    assert (is_parsable("", language) is None) == (language == "jupyter-notebook")


@pytest.mark.parametrize(
    ("language", "broken"),
    [
        ("python", "def f(:\n"),
        ("python", "x = 'a\0b'\n"),
        ("python", "print 'two'\n"),
        ("c", "int f( {\n"),
        ("java", "class { }}"),
        ("javascript", "function (\n"),
        ("go", "func {\n"),
        ("json", '{"a": }'),
    ],
)
def test_broken_text_is_not_parsable(language, broken):
    assert is_parsable(broken, language) is False


def test_a_language_without_a_parser_is_not_judged():
    assert is_parsable("anything", "restructuredtext") is None
    assert is_parsable("%pip install x\n", "jupyter-notebook") is None
    assert list(definitions("def f(): pass\n", "restructuredtext")) == []


def test_comments_and_indentation():
    text = (
        "class A {\n    // far\n\n    /** Adds.\n     *\n     * Well.\n     */\n    int add() {\n"
        "        return 1;\n    }\n}\n"
    )
    *_, add = definitions(text, "java")
    assert add.comment == "Adds.\n\nWell."
    assert add.content == "int add() {\n    return 1;\n}"
    (go,) = definitions("package a\n\n// Add\n// adds.\nfunc Add() {}\n", "go")
    assert go.comment == "Add\nadds."


def test_cells_with_shell_lines_still_give_their_functions():
    cells = "%pip install x\n!ls\n\nclass A:\n    def f(self):\n        return 1\n\n@dec\ndef g():\n    pass\n"
    found = list(definitions(cells, "jupyter-notebook"))
    assert [definition.name for definition in found] == ["A", "A.f", "g"]
    assert found[1].content == "def f(self):\n    return 1"
    assert found[2].content == "@dec\ndef g():\n    pass"


def test_deep_nesting_is_no_error():
    deep = "(" * 100_000
    assert is_parsable(deep, "python") is False
    assert is_parsable(deep, "javascript") is False
    nested = "namespace a {" * 20_000 + "int f() {}" + "}" * 20_000
    assert [definition.name for definition in definitions(nested, "c++")] == ["f"]


@given(st.sampled_from(sorted(SAMPLES)), st.text(max_size=200))
def test_any_text_is_taken(language, text):
    assert is_parsable(text, language) in (True, False)
    for definition in definitions(text, language):
        assert definition.line >= 1
