"""The language of files whose type several languages share."""

import pytest

from codepmp_jax.text.languages import language_of
from codepmp_jax.text.shared_types import _RULES, language_of_text, possible_languages

TEXTS = [
    ("h", "c", "#ifndef A_H\n#define A_H\nstruct a { int x; };\nint f(struct a *a, int b);\n#endif\n"),
    ("h", "c", '#ifdef __cplusplus\nextern "C" {\n#endif\nint f(void);\n#ifdef __cplusplus\n}\n#endif\n'),
    ("h", "c", "#if defined(__cplusplus)\nnamespace a {\nclass B;\n}\n#endif\nint f(void);\n"),
    ("h", "c", "/*\nclass of devices\ntemplate <for the rest>\n  public:\n*/\nint f(int class);\n"),
    ("h", "c", "// uses std::vector elsewhere\n#define MASK(a) (flags & a)\n#include <string.h>\n"),
    ("h", "c++", "#pragma once\nnamespace geo {\nint f();\n}\n"),
    ("h", "c++", "class Shape;\n"),
    ("h", "c++", "class EXPORT Shape : public Base\n{\n};\n"),
    ("h", "c++", "struct A {\n  virtual ~A() = default;\n};\n"),
    ("h", "c++", "#include <vector>\nint f(int);\n"),
    ("h", "c++", "int f(const Shape &shape);\n"),
    ("h", "c++", "template <typename T>\nT max(T a, T b);\n"),
    ("h", "c++", "using Index = int;\n"),
    ("h", "objective-c", "#import <Foundation/Foundation.h>\n@interface A : NSObject\n- (int)b;\n@end\n"),
    ("h", "objective-c", "@class A;\n@protocol B\n@end\n"),
    ("m", "objective-c", '#import "A.h"\n@implementation A\n- (int)b { return 1; }\n@end\n'),
    ("m", "matlab", "function y = f(x)\n% F doubles x.\ny = 2 * x;\nend\n"),
    ("m", "matlab", "## Octave\nfunction y = f(x)\n  y = 2 * x;\nendfunction\n"),
    ("m", "mathematica", "(* A package *)\nBeginPackage[\"A`\"]\nf[x_] := x^2\nEndPackage[]\n"),
    ("m", "mercury", ":- module a.\n:- interface.\n:- pred f(int::in) is semidet.\n"),
    ("mm", "objective-c", "#import <Foundation/Foundation.h>\nint main() { return 0; }\n"),
    ("mm", "xml", '<map version="1.0.1">\n<node TEXT="Plan"/>\n</map>\n'),
    ("ts", "typescript", "export function f<T>(x: T): T {\n  return x;\n}\n"),
    ("ts", "typescript", "const x = <TS>y;\n"),
    ("ts", "qt-translation", '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE TS>\n<TS version="2.1"/>\n'),
    ("ts", "qt-translation", '<!DOCTYPE TS><TS version="1.1">\n</TS>\n'),
    ("tsx", "tsx", "export const A = () => <div/>;\n"),
    ("tsx", "xml", '<?xml version="1.0"?>\n<tileset name="grass"/>\n'),
    ("pl", "perl", "#!/usr/bin/perl\nprint 1;\n"),
    ("pl", "perl", "use strict;\nmy $x = shift;\nprint \"a:-b\";\n"),
    ("pl", "perl", "sub f {\n    return $_[0];\n}\n"),
    ("pl", "prolog", ":- module(a, [f/1]).\nf(X) :- g(X).\n"),
    ("pl", "prolog", "parent(ann, bob).\ngrand(X, Y) :- parent(X, Z), parent(Z, Y).\n"),
    ("pl", "raku", "use v6;\nsay 1;\n"),
    ("pm", "perl", "package A::B;\nuse strict;\n1;\n"),
    ("pm", "raku", "unit module A;\nsub f is export { 1 }\n"),
    ("pm", "xpm", "/* XPM */\nstatic char *a[] = {\n"),
    ("pro", "prolog", "parent(ann, bob).\n"),
    ("pro", "qmake", "QT += core gui\nTARGET = shelf\nSOURCES += main.cpp\n"),
    ("pro", "idl", "pro plot_it, x, y\n  compile_opt idl2\n  plot, x, y\nend\n"),
    ("pro", "proguard", "-keep class a.b.** { *; }\n-dontwarn a.b.**\n"),
    ("cs", "c-sharp", "using System;\nclass A { }\n"),
    ("cs", "smalltalk", "!Shelf methodsFor: 'access'!\nwidth\n    ^width! !\n"),
    ("rs", "rust", "use std::fmt;\n\npub fn f() {}\n"),
    ("rs", "renderscript", "#pragma version(1)\n#pragma rs java_package_name(a.b)\n"),
    ("v", "verilog", "module add(input a, input b, output c);\n  assign c = a & b;\nendmodule\n"),
    ("v", "verilog", "(* blackbox *)\nmodule pll\n#(parameter A = 1)\n();\nendmodule\n"),
    ("v", "coq", "Require Import Arith.\nLemma a : forall n, n = n.\nProof. auto. Qed.\n"),
    ("v", "v", "module main\n\nfn main() {\n\tprintln('a')\n}\n"),
    ("fs", "f-sharp", "module A\n\nlet f x = x + 1\n"),
    ("fs", "forth", "\\ doubles\n: double ( n -- n ) 2 * ;\n"),
    ("fs", "glsl", "#version 330\nout vec4 color;\nvoid main() { color = vec4(1.0); }\n"),
    ("f", "fortran", "      subroutine f(x)\n      real x\n      end\n"),
    ("f", "forth", ": double ( n -- n ) 2 * ;\n"),
    ("ml", "ocaml", "let rec f x = match x with\n  | [] -> 0\n  | _ :: t -> 1 + f t\n"),
    ("ml", "standard-ml", "structure A = struct\n  fun f x = x + 1\nend\n"),
    ("pp", "pascal", "unit A;\ninterface\nfunction F(x: integer): integer;\nimplementation\nend.\n"),
    ("pp", "puppet", "class ntp (String $a) {\n  package { 'ntp':\n    ensure => installed,\n  }\n}\n"),
    ("cls", "tex", "\\NeedsTeXFormat{LaTeX2e}\n\\ProvidesClass{a}\n"),
    ("cls", "visual-basic", "VERSION 1.0 CLASS\nBEGIN\nEND\nAttribute VB_Name = \"A\"\n"),
    ("cls", "apex", "public with sharing class A {\n}\n"),
    ("sc", "scala", "object A {\n  def f(x: Int): Int = x + 1\n}\n"),
    ("sc", "supercollider", "Shelf : Object {\n\tvar width;\n\twidth { ^width }\n}\n"),
    ("ex", "elixir", "defmodule A do\n  def f(x), do: x\nend\n"),
    ("r", "r", "f <- function(x) x + 1\n"),
    ("r", "rebol", "REBOL [Title: \"A\"]\nprint 1\n"),
    ("php", "php", "<?php\necho 1;\n"),
    ("php", "hack", "<?hh\nfunction f(): int { return 1; }\n"),
    ("scm", "scheme", "(define (f x) (+ x 1))\n"),
    ("scm", "tree-sitter-query", "(identifier) @variable\n(comment) @comment\n"),
    ("md", "markdown", "# Title\n\nText.\n"),
    ("md", "gcc-machine-description", "(define_insn \"addsi3\"\n  [(set (match_operand 0))])\n"),
]  # fmt: skip


@pytest.mark.parametrize(("file_type", "language", "text"), TEXTS)
def test_the_text_tells_the_language(file_type, language, text):
    assert language_of_text(f"src/a.{file_type}", text) == language
    assert language in possible_languages(f"src/a.{file_type}")


@pytest.mark.parametrize("file_type", _RULES)
def test_without_a_sign_the_file_type_tells_the_language(file_type):
    path = f"a.{file_type}"
    assert language_of_text(path, "") == language_of(path) is not None


def test_a_type_of_one_language_is_not_looked_into():
    assert language_of_text("a.py", "use strict;\nmy $x;\n") == "python"
    assert possible_languages("a.py") == {"python"}
    assert language_of_text("a.unknown", "") is None
    assert possible_languages("a.unknown") == frozenset()


def test_a_data_sets_language_holds_where_no_rule_finds_another():
    assert language_of_text("a.h", "int x;\n", "c++") == "c++"
    assert language_of_text("a.h", "class A;\n", "c") == "c++"
    assert language_of_text("", "int x;\n", "c") == "c"
