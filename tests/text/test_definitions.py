"""Definitions: names, texts and descriptions of functions, on real snippets of 15 languages and by the rules.

`data/definitions/LANGUAGE.txt` holds 30 snippets a language from published packages (package, version and license on
the first line), each with the name, lines and description that a reader of the rules expects.
"""

import pathlib
import re
import textwrap
from typing import NamedTuple

import pytest

from codepmp_jax.config import CorpusConfig
from codepmp_jax.corpus.snippets import Snippet, extract
from codepmp_jax.text.definitions import definitions, has_definitions

DATA = pathlib.Path(__file__).parent / "data/definitions"
LANGUAGES = sorted(path.stem for path in DATA.glob("*.txt"))


class Case(NamedTuple):
    source: str
    text: str
    name: str
    first: int
    last: int
    description: str


def cases(language: str) -> list[Case]:
    found = []
    entries = re.split("^=== ", (DATA / f"{language}.txt").read_text(encoding="utf-8"), flags=re.M)
    for entry in entries[1:]:
        head, _, rest = entry.partition("\n")
        text, _, expected = rest.rpartition("\n--- ")
        line, _, description = expected.partition("\n")
        name, _, lines = line.rpartition(" ")
        first, last = map(int, lines.split("-"))
        found.append(Case(head, text + "\n", name, first, last, description.strip("\n")))
    return found


def functions(text: str, language: str) -> list[tuple[str, str, str, int]]:
    """(name, description, content, line) of each."""
    if language == "python":
        found = extract(text, CorpusConfig(min_lines=1))
        return [
            (one.name, one.description, one.content, one.line)
            for one in found
            if isinstance(one, Snippet) and one.kind == "function"
        ]
    return [
        (one.name, one.comment, one.content, one.line)
        for one in definitions(text, language)
        if one.kind == "function"
    ]


def test_there_are_30_snippets_of_each_of_15_languages():
    assert len(LANGUAGES) == 15
    assert {len(cases(language)) for language in LANGUAGES} == {30}


@pytest.mark.parametrize("language", LANGUAGES)
def test_real_functions_have_their_name_text_and_description(language):
    for case in cases(language):
        ((name, description, content, line),) = functions(case.text, language)
        assert (name, line, description) == (case.name, case.first, case.description), case.source
        lines = case.text.split("\n")[case.first - 1 : case.last]
        if language == "python":  # without its docstring
            rest = iter([one.strip() for one in lines])
            assert all(one.strip() in rest for one in content.split("\n")), case.source
            assert content.split("\n")[-1].strip() == lines[-1].strip(), case.source
        else:
            indent = len(lines[0]) - len(lines[0].lstrip())
            expected = [one[indent:] if not one[:indent].strip() else one for one in lines]
            assert content == "\n".join(expected).rstrip().rstrip(","), case.source


# Language, text, name -> description; every function of the text.
RULES = [
    (
        "javascript",
        """
        /** Starts. */
        app.listen = function listen(port) { return 1 };
        /** Adds. */
        exports.add = (a, b) => a + b;
        /** Full name. */
        Person.prototype.fullName = function () { return this.first };
        module.exports = {
          /** Closes. */
          close: function () { return 1 },
          /** Opens. */
          open(path) { return path },
          'q-r': async () => 1,
        };
        const store = { get() { return 1 } };
        class Shop extends Base {
          /** Puts. */
          put = (key) => { return key };
          static #hidden() { return 1 }
          get width() { return 1 }
        }
        const Tree = class { grow() { return 1 } };
        /** Default. */
        export default function (opts) { return opts }
        function* numbers(n) { yield n }
        a.b ||= function () { return 1 };
        run(function callback() { return 1 });
        (function now() { function inner() {} })();
        """,
        {
            "app.listen": "Starts.",
            "add": "Adds.",
            "Person.fullName": "Full name.",
            "close": "Closes.",
            "open": "Opens.",
            "q-r": "",
            "store.get": "",
            "Shop.put": "Puts.",
            "Shop.#hidden": "",
            "Shop.width": "",
            "Tree.grow": "",
            "default": "Default.",
            "numbers": "",
            "a.b": "",
            "inner": "",
        },
    ),
    (
        "typescript",
        """
        abstract class A<T> {
          private put = (k: T): void => { this.k = k };
          protected abstract q(): void;
          m(x: string): void;
          m(x: any) { return x }
        }
        namespace N { export function f(): void { return } }
        declare function h(): void;
        @Dec() export class B {
          /** In. */
          @In() f() { return 1 }
        }
        const a = () => 1, b = () => 2;
        """,
        {"A.put": "", "A.m": "", "f": "", "B.f": "In.", "a": "", "b": ""},
    ),
    (
        "kotlin",
        """
        class Shelf(val width: Int) {
          /** Grows. */
          @Test
          fun grow(): Int { return width }
          val area get() = width * 2
          constructor() : this(1) { print(1) }
          companion object { fun of() = 1 }
        }
        fun String.reverseWords(): String = this
        fun <T : Number> List<T?>.second(): T = this[1]
        operator fun Point?.plus(o: Point) = o
        fun `with spaces`() { print(1) }
        val twice = { x: Int -> x * 2 }
        """,
        {
            "Shelf.grow": "Grows.",
            "Shelf.area": "",
            "Shelf.constructor": "",
            "Shelf.of": "",
            "String.reverseWords": "",
            "List.second": "",
            "Point.plus": "",
            "with spaces": "",
            "twice": "",
        },
    ),
    (
        "rust",
        """
        /// Parses.
        #[must_use]
        #[cfg(unix)]
        pub fn parse() -> i32 { 1 }
        impl<T> fmt::Display for Shelf<T> {
            /// Writes
            /// it.
            // SAFETY: fine
            #[inline]
            fn fmt(&self) {}
        }
        impl From<u8> for &'a str { fn from(x: u8) {} }
        trait Q { fn d(&self) {} fn e(&self); }
        //! inner
        fn plain() {}
        """,
        {
            "parse": "Parses.",
            "Shelf.fmt": "Writes\nit.",
            "str.from": "",
            "Q.d": "",
            "plain": "inner",
        },
    ),
    (
        "go",
        """
        package a
        // Add adds.
        //
        //go:noinline
        func Add(a int) int { return a }
        //nolint:all
        func (s *S) W() { s.x() }
        func (s Map[K, V]) X() { s.x() }
        // handler of w.
        var handler = func(w int) { return }
        func extern(a int) int
        """,
        {"Add": "Add adds.", "S.W": "", "Map.X": "", "handler": "handler of w."},
    ),
    (
        "lua",
        """
        --- Adds.
        -- @see other
        function M.add(a) return a end
        function M:sub(a) return a end
        -- luacheck: ignore
        local function f() return 1 end
        M.mul = function(a) return a end
        local t = { open = function(x) return x end }
        M["x-y"] = function() return 1 end
        """,
        {"M.add": "Adds.", "M.sub": "", "f": "", "M.mul": "", "t.open": "", "M.x-y": ""},
    ),
    (
        "ruby",
        """
        # frozen_string_literal: true
        module Shop
          # First.
          def price(item)
            item
          end
          # Compares.
          def <=>(other); 1; end
          # Hidden.
          private def helper(a)
            a
          end
          def self.build!(x); x; end
          def name=(x); x; end
          class << self
            # rubocop:disable Metrics
            def many?; 1; end
          end
          # Makes.
          define_method(:made) { |x| x }
          SCOPE = lambda { |x| x }
          class A::B < C
            def ok? = 1
          end
        end
        """,
        {
            "Shop.price": "First.",
            "Shop.<=>": "Compares.",
            "Shop.helper": "Hidden.",
            "Shop.build!": "",
            "Shop.name=": "",
            "Shop.many?": "",
            "Shop.made": "Makes.",
            "Shop.SCOPE": "",
            "Shop.A.B.ok?": "",
        },
    ),
    (
        "swift",
        """
        extension Array where Element == Int {
          // MARK: - Sums
          /// Sums.
          @discardableResult
          func sum() -> Int { return 1 }
          init(w: Int) { self.w = w }
          deinit { print(1) }
          static func < (a: Shelf, b: Shelf) -> Bool { return true }
          subscript(i: Int) -> Int { return 1 }
          var half: Int { return 1 }
          var stored: Int = 1
        }
        prefix func - (a: A) -> A { a }
        protocol P { func q() }
        """,
        {
            "Array.sum": "Sums.",
            "Array.init": "",
            "Array.deinit": "",
            "Array.<": "",
            "Array.subscript": "",
            "Array.half": "",
            "-": "",
        },
    ),
    (
        "c++",
        """
        /** Orders. */
        inline bool operator<(const S& a) { return 1; }
        Shelf::~Shelf() { delete x; }
        /// Gets.
        template <typename T>
        T Box<T>::get(int i) const { return 1; }
        Shelf::operator bool() const { return 1; }
        template <class T> struct V {
          explicit V(int n) : n_(n) {}
          V() = default;
          T& operator[](int i) { return d[i]; }
        };
        int (*get_cb(int n))(int) { return 0; }
        extern "C" { void f() {} }
        EXPORT_API int API_CALL exported(int a) { return 1; }
        auto twice = [](int x) { return x; };
        void *operator new(size_t n) { return 0; }
        int declared(int a);
        """,
        {
            "operator<": "Orders.",
            "Shelf.~Shelf": "",
            "Box.get": "Gets.",
            "Shelf.operator bool": "",
            "V.V": "",
            "V.operator[]": "",
            "get_cb": "",
            "f": "",
            "exported": "",
            "twice": "",
            "operator new": "",
        },
    ),
    (
        "c",
        """
        /* Copyright 2020 Somebody. See LICENSE for the terms. */
        static int
        first(int a)
        { return a; }
        /* K and R. */
        int old(a, b)
        int a; int b;
        { return a; }
        int API_CALL main(void)
        { return 1; }
        /* NOLINTNEXTLINE */
        void f(void) { return; }
        """,
        {"first": "", "old": "K and R.", "main": "", "f": ""},
    ),
    (
        "c-sharp",
        """
        /// <summary>One <see cref="T:Shelf"/>.</summary>
        public class A<T> {
          /// <summary>
          /// Adds &lt;all&gt; to <paramref name="a"/>.
          /// </summary>
          /// <param name="a">The first.</param>
          /// <returns>The sum.</returns>
          /// <exception cref="Bad">If so.</exception>
          [Attr]
          public int Add(int a) { return a; }
          A() { x = 1; }
          ~A() { x = 1; }
          public static A operator +(A a, A b) { return a; }
          public static implicit operator int(A a) => 1;
          public int P { get { return 1; } }
          public int Auto { get; set; }
          public int this[int i] { get { return 1; } }
          abstract int None();
        }
        """,
        {
            "A.Add": "Adds <all> to a.\na: The first.\nReturns: The sum.\nRaises Bad: If so.",
            "A.A": "",
            "A.~A": "",
            "A.operator+": "",
            "A.operator int": "",
            "A.P": "",
            "A.this[]": "",
        },
    ),
    (
        "java",
        """
        class A {
          /**
           * Adds {@code a} to {@link Shelf#width the width}.
           * <p>
           * Uses <code>x</code> &amp; y:
           * <ul><li>one</li>
           * <li>two</li></ul>
           *
           * @param a the shelf
           * @author Ada
           * @since 1.2
           *     or so
           * @return the sum
           */
          @Override
          public <T> int add(int a) { return a; }
          /** {@inheritDoc} */
          int same() { return 1; }
          //noinspection unchecked
          int quiet() { return 1; }
          abstract void none();
          Runnable run = () -> { go(); };
        }
        """,
        {
            "A.add": "Adds a to the width.\n\nUses x & y:\n- one\n- two\n\n@param a the shelf\n@return the sum",
            "A.same": "",
            "A.quiet": "",
            "A.run": "",
        },
    ),
    (
        "php",
        """
        <?php
        /**
         * Adds.
         *
         * @param int $a
         * @package shop
         */
        #[Attr]
        function &f($a) { return $a; }
        abstract class A {
          // phpcs:ignore
          public function add($a) { return $a; }
          abstract function q();
        }
        enum E { public function l() { return 1; } }
        $x = fn($a) => 1;
        """,
        {"f": "Adds.\n\n@param int $a", "A.add": "", "E.l": "", "x": ""},
    ),
    (
        "perl",
        """
        package A;

        =head2 add

        Adds C<a> to B<b>.

        =cut

        sub add { return 1 }
        ## no critic
        sub quiet { return 1 }
        # Twice.
        my $twice = sub { 2 };
        """,
        {"add": "add\n\nAdds a to b.", "quiet": "", "twice": "Twice."},
    ),
    (
        "scala",
        """
        object A {
          /** Adds. */
          @inline def add(a: Int): Int = a
          override def +(o: A) = o
          def `x y` = 1
          def none: Int
        }
        """,
        {"A.add": "Adds.", "A.+": "", "A.x y": ""},
    ),
    (
        "shell",
        """
        #!/bin/sh
        # shellcheck disable=SC1
        add() { echo; }
        # Goes
        # on.
        function ns::g { :; }
        """,
        {"add": "", "ns::g": "Goes\non."},
    ),
    (
        "julia",
        '''
        """
            f(x)

        Doc.
        """
        function f(x)
            x
        end
        # Twice.
        g(x)::Int = x + 1
        function Base.show(io::IO, x::T) where T
            x
        end
        @inline function k(x) x end
        ''',
        {"f": "f(x)\n\nDoc.", "g": "Twice.", "Base.show": "", "k": ""},
    ),
]


@pytest.mark.parametrize(("language", "text", "expected"), RULES, ids=[case[0] for case in RULES])
def test_rules_of_names_and_descriptions(language, text, expected):
    found = functions(textwrap.dedent(text).lstrip("\n"), language)
    assert {name: description for name, description, _, _ in found} == expected
    assert all(content.strip() for _, _, content, _ in found)


@pytest.mark.parametrize(
    "comment",
    [
        "// eslint-disable-next-line no-console",
        "/* eslint-env node */",
        "// @ts-ignore",
        "// @ts-expect-error: wrong type",
        "// prettier-ignore",
        "/* istanbul ignore next */",
        "// tslint:disable-next-line",
        "//# sourceMappingURL=a.js.map",
        "/* Copyright (c) 2014 The Authors. All rights reserved. */",
        "// Copyright 2020 Somebody",
        "// SPDX-License-Identifier: MIT",
        "/*!\n * shop v1\n * (c) 2019 Ada\n * Released under the MIT License.\n */",
        "// Licensed under the Apache License, Version 2.0 (the License)",
        "/* Permission is hereby granted, free of charge, to any person */",
        "// ----------------------------------------",
        "// ==== Helpers ====",
        "// -*- mode: js -*-",
        "// vim: set ts=2:",
        "/** @private */",
        "/** @inheritdoc */",
        "//#region Helpers",
        "/* global describe, it */",
        "/* exported helper */",
    ],
)
def test_license_headers_and_words_to_tools_are_no_descriptions(comment):
    ((_, description, content, _),) = functions(
        f"{comment}\nfunction f() {{ return 1 }}\n", "javascript"
    )
    assert description == ""
    assert content == "function f() { return 1 }"
    # What the author says above them is found.
    both = f"/** Adds. */\n{comment}\nfunction f() {{ return 1 }}\n"
    assert functions(both, "javascript")[0][1] == "Adds."


@pytest.mark.parametrize(
    "comment",
    [
        "Returns the copyright notice of a book.",
        "Reads the license file and returns its text.",
        "Generates a region of the map.",
        "Ignores case, as eslint does.",
        "Global lookup of a name; see the terms.",
        "Type of the shelf: wide or narrow.",
        "Coding style is checked by the caller.",
        "Exported auxiliary functions",
        "global state of the shelf",
    ],
)
def test_descriptions_that_look_like_headers_are_kept(comment):
    code = "function f() { return 1 }\n"
    assert functions(f"// {comment}\n{code}", "javascript")[0][1] == comment
    assert functions(f"/**\n * {comment}\n */\n{code}", "javascript")[0][1] == comment


def test_lines_in_strings_keep_their_indentation():
    text = "class A {\n    f() {\n        return `one\n    two`\n    }\n}\n"
    assert functions(text, "javascript")[0][2] == "f() {\n    return `one\n    two`\n}"


def test_far_and_trailing_comments_are_not_taken():
    text = "int x; // trailing\nint f(void) { return 1; }\n/* far */\n\nint g(void) { return 1; }\n"
    assert [one[1] for one in functions(text, "c")] == ["", ""]


def test_python_is_not_asked_of_tree_sitter():
    assert not has_definitions("python")
