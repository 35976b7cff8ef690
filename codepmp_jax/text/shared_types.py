"""The language of a file whose type several languages share: `.h`, `.m`, `.pl`, `.ts`, `.v` ...

Each type has rules in an order, a pattern and the language of the texts that it matches; where none matches, the
language is the one of the file type (`languages.language_of`). The method is GitHub Linguist's
(github-linguist/linguist, lib/linguist/heuristics.yml), the patterns are written for what the other language
cannot have. Some languages that they find are not among `known_languages` (`qt-translation`): such files are no
code of the type that their name tells. How often they are right: benchmarks/results/languages_table.md.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from codepmp_jax.text.languages import language_of

# Rules look at the beginning of a file; what is further behind settles nothing.
_HEAD = 32 << 10

# A C header may offer C++ what C does not see.
_C_COMMENTS = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_ONLY_CPP = re.compile(
    r"^[ \t]*#[ \t]*if(?:def[ \t]+|[ \t]+defined\W{0,3})__cplusplus\b.*?^[ \t]*#[ \t]*(?:endif|else)\b",
    re.DOTALL | re.MULTILINE,
)
_OBJECTIVE_C = (
    r"^\s*@(?:interface|implementation|protocol|class|property|end|import|synthesize|optional|required)\b",
    r"^\s*#[ \t]*import\s*[<\"].*\.h[>\"]",
    r"\bNS_(?:ASSUME_NONNULL_BEGIN|ENUM|OPTIONS|SWIFT_NAME)\b",
)
_CPP = (
    r"^\s*(?:inline\s+)?namespace\b\s*[\w:]*\s*\{?\s*$",
    r"\b(?:using\s+namespace|enum\s+class|friend\s+(?:class|struct)|typename\s+\w+\s*[,>=])",
    r"^\s*template\s*<",
    r"^\s*class\s+(?:[A-Z_]+\w*(?:\([^)]*\))?\s+)?\w+(?:\s+final)?\s*(?::[^:;]|\{|;|$)",
    r"^\s*(?:public|private|protected)(?:\s+(?:Q_)?(?:slots|SLOTS|signals))?\s*:(?!:)",
    r"^\s*(?:virtual|explicit|constexpr|mutable)\s+\w",
    r"^\s*using\s+\w+\s*=|^\s*using\s+[\w:]+::\w+\s*;",
    r"\bstd::\w|\boperator\s*(?:[-+*/=<>!&|^%~\[(]|new\b|delete\b|\w+\s*\()",
    r"\b(?:static|dynamic|reinterpret|const)_cast\s*<",
    r"\bconst\s+\w+(?:::\w+)*(?:<[^;()]*>)?\s*&\s*\w*\s*[,)=]",
    r"^\s*\w[\w\s*&<>:,]*\b\w+::~?\w+\s*\(",
    r"^[ \t]*~\w+\s*\(\s*(?:void)?\s*\)|\)\s*(?:const\s*)?(?:noexcept|override)\b|=\s*(?:default|delete)\s*;",
    r"^\s*#\s*include\s*<(?:algorithm|array|atomic|bitset|cassert|cmath|cstd\w+|cstring|deque|exception"
    r"|functional|initializer_list|iostream|istream|iterator|limits|list|map|memory|mutex|new|optional"
    r"|ostream|queue|set|sstream|stdexcept|string|string_view|thread|tuple|type_traits|typeinfo"
    r"|unordered_\w+|utility|variant|vector)>",
)
_XML = r"\A\s*<(?:\?xml|!DOCTYPE|!--)"

# File type -> (language, patterns, of which one must match), in the order of the search.
_RULES: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "bas": (("basic", (r"\A\s*\d+\s+[A-Z]",)),),
    "cls": (
        ("visual-basic", (r"^VERSION \d\.\d+ CLASS", r"^Attribute VB_\w+ =")),
        ("objectscript", (r"^Class [\w.%]+(?:\s+Extends\b|\s*\{|\s*$)",)),
        (
            "apex",
            (
                r"^\s*(?:@\w+\s+)?(?:public|private|global)\s+(?:[a-z]+\s+)*(?:class|interface|enum)\s+\w+",
            ),
        ),
    ),
    "cs": (("smalltalk", (r"![\w ]+methodsFor: *'", r"^\w+ subclass: #\w+")),),
    "ex": (
        ("euphoria", (r"^\s*end (?:function|procedure|for|while)\s*$", r"^include \S+\.e\s*$")),
    ),
    "f": (("forth", (r"^: \S+\s+\(.*--.*\)", r"^(?:: |variable |constant )\S+.*;\s*$")),),
    "fs": (
        (
            "forth",
            (
                r"^: \S",
                r"^\\ ",
                r"^\s*(?:\d+ )?(?:constant|variable|2variable|value|create) \S+\s*$",
            ),
        ),
        (
            "glsl",
            (
                r"^\s*#version\s+\d",
                r"\bvoid\s+main\s*\(\s*(?:void)?\s*\)",
                r"\bgl_[A-Z]\w+",
                r"^\s*(?:uniform|varying|attribute|precision)\s+\w+",
            ),
        ),
        ("filterscript", (r"^#pragma\s+(?:rs|version)\b",)),
    ),
    "h": (("objective-c", _OBJECTIVE_C), ("c++", _CPP)),
    "hh": (("hack", (r"\A(?:#![^\n]*\n)?<\?hh\b",)),),
    "lisp": (("newlisp", (r"^\(define \(", r"^\(context '")),),
    "m": (
        ("objective-c", (*_OBJECTIVE_C, r"^\s*#\s*include\s*[<\"]")),
        ("mercury", (r"^\s*:- (?:module|interface|import_module)\b",)),
        (
            "mathematica",
            (r"\A\s*\(\*", r"^\s*(?:BeginPackage|Begin|Needs|Module)\[", r"^\w+\[\w+_.*\]\s*:="),
        ),
        ("limbo", (r"^implement \w+;", r"^\w+\s*:\s*module\s*\{?\s*$")),
        ("mumps", (r"\A\w+\s+;", r"^\t(?:[sS](?:et)?|[qQ](?:uit)?|[nN](?:ew)?)\s")),
    ),
    "md": (
        (
            "gcc-machine-description",
            (r"^\(define_(?:insn|expand|split|attr|constants|mode_iterator)\b",),
        ),
    ),
    "ml": (
        (
            "standard-ml",
            (
                r"^\s*(?:structure|signature|functor)\s+\w+.*(?:=|:>)",
                r"^\s*fun\s+\w+[^=\n]*=",
                r"\bfn\s+[\w(){},\s]+=>",
            ),
        ),
    ),
    "mm": (("xml", (_XML, r"\A\s*<map\b")),),
    "php": (("hack", (r"\A(?:#![^\n]*\n)?<\?hh\b",)),),
    "pl": (
        ("raku", (r"^\s*use\s+v6\b", r"\A#!.*\b(?:raku|perl6)\b")),
        (
            "perl",
            (
                r"\A#!.*\bperl\b",
                r"^\s*use\s+(?:strict|warnings|vars|lib|utf8|v?5)\b",
                r"^\s*(?:use|require)\s+[\w:]+(?:\s+qw\b|\s*;|\s+['\"(])",
                r"^\s*(?:my|our|local)\s*[\s(][$@%]\w+",
                r"^\s*sub\s+\w+\s*(?:\([^)]*\)\s*)?\{?\s*$",
                r"^\s*package\s+\w+(?:::\w+)*\s*;",
            ),
        ),
        (
            "prolog",
            (
                r"^\s*:-\s*\w",
                r"^[a-z]\w*(?:\((?:[^()\n]|\([^()\n]*\))*\))?\s*(?::-|-->)",
                r"^[a-z]\w*\([^$@\n]*\)\.\s*(?:%.*)?$",
            ),
        ),
    ),
    "pm": (
        ("xpm", (r"\A\s*/\* XPM \*/",)),
        (
            "raku",
            (
                r"^\s*use\s+v6\b",
                r"^\s*unit\s+(?:module|class|role|package|grammar)\b",
                r"^(?:class|role|grammar|module)\s+\w[\w:-]*(?:\s+(?:is|does)\s+[\w:]+)*\s*\{",
            ),
        ),
    ),
    "pp": (
        (
            "pascal",
            (
                r"(?i)^\s*(?:unit|program|library)\s+\w+\s*[;(]",
                r"(?i)^\s*(?:interface|implementation)\s*$",
                r"(?i)^\s*end\s*[.;]\s*$",
                r"(?i)^\s*\{\$(?:mode|ifdef|define|include)\b",
            ),
        ),
        (
            "puppet",
            (
                r"^\s*(?:class|define|plan)\s+(?:::)?[a-z]\w*(?:::\w+)*\s*(?:\(|\{|inherits\b)",
                r"^\s*(?:function|type)\s+\w+(?:::\w+)+\s*[(=]",
                r"^\s*(?:include|require|contain)\s+::?\w",
                r"^\s*(?:include|contain)\s+'?[a-z]\w*(?:::\w+)*'?\s*$",
                r"^\s*(?:::)?[a-z]\w*(?:::\w+)*\s*\{\s*(?:['\"$\[].*:\s*$|default:\s*$)",
                r"^\s*\$[a-z]\w*\s*=",
                r"^\s*ensure\s*=>",
                r"^node\s+['\"]?[\w.-]+['\"]?\s*\{",
            ),
        ),
    ),
    "pro": (
        ("proguard", (r"^-(?:keep\w*|dont\w+|include|assumenosideeffects)\b",)),
        (
            "qmake",
            (
                r"^\s*(?:TEMPLATE|QT|SOURCES|HEADERS|CONFIG|TARGET|SUBDIRS|FORMS|INCLUDEPATH)\s*[-+*~]?=",
            ),
        ),
        (
            "idl",
            (
                r"(?i)^\s*(?:pro|function)\s+[\w:]+\s*(?:,|;|$|&)",
                r"(?i)^\s*compile_opt\b",
                r"\A\s*;[+-]",
            ),
        ),
    ),
    "r": (("rebol", (r"(?i)^\s*rebol\s*\[",)),),
    "rs": (
        ("renderscript", (r"^#pragma\s+(?:rs\b|version\s*\()",)),
        ("xml", (_XML,)),
    ),
    "sc": (
        (
            "supercollider",
            (
                r"^\s*\+?\s*[A-Z]\w*\s*(?::\s*[A-Z]\w*\s*)?\{\s*$",
                r"^\s*arg\s+\w+",
                r"\{\s*\|[\w\s,=.]+\|",
                r"^\s*\^\w",
            ),
        ),
    ),
    "scm": (("tree-sitter-query", (r"^\s*(?:\(\w+\)|\]|\"[^\"]*\")\s*@[\w.]+\s*$",)),),
    "sig": (("pgp-signature", (r"\A-----BEGIN PGP",)),),
    "sol": (("gerber", (r"\A(?:G04\b|%FS|M48\b)",)),),
    "ts": (("qt-translation", (_XML, r"\A\s*<TS\b")),),
    "tsx": (("xml", (_XML, r"\A\s*<tileset\b")),),
    "v": (
        (
            "coq",
            (
                r"\A\s*\(\*\*",
                r"^\s*(?:Proof|Qed|Defined|Admitted)\b[^;]*\.",
                r"^\s*(?:From\s+\S+\s+)?Require\s+(?:Import|Export)\b",
                r"^\s*(?:Lemma|Theorem|Definition|Fixpoint|Inductive|Corollary|Instance|Notation|Section|Module)\s+[\w\"']+",
                r"^\s*(?:Export|Import|Declare|Local|Global|Set|Unset|Hint)\s+[A-Z][^;]*\.\s*$",
            ),
        ),
        ("v", (r"^\s*(?:pub\s+)?fn\s+(?:\([^)]*\)\s*)?\w+\s*\(", r"^import \w+(?:\.\w+)*\s*$")),
    ),
}
_RULES["for"] = _RULES["f"]
_RULES["lsp"] = _RULES["lisp"]
_COMPILED = {
    file_type: tuple(
        (language, [re.compile(pattern, re.MULTILINE) for pattern in patterns])
        for language, patterns in rules
    )
    for file_type, rules in _RULES.items()
}


def possible_languages(path: str) -> frozenset[str]:
    """The languages that a file of this name may be in; empty where the name tells none."""
    by_name = language_of(path)
    if by_name is None:
        return frozenset()
    return frozenset((by_name, *(language for language, _ in _RULES.get(_file_type(path), ()))))


def language_of_text(path: str, text: str, written: str = "") -> str | None:
    """The language of a file by its name and, where languages share the type, its text.

    `written` is the language that a data set gives, in its name of `languages.language_name`: it holds where
    no rule finds another. None where neither tells a language.
    """
    file_type = _file_type(path)
    rules = _COMPILED.get(file_type, ())
    if rules and language_of(path) is not None:
        head = text[:_HEAD]
        if file_type == "h":
            head = _ONLY_CPP.sub("", _C_COMMENTS.sub("", head))
        for language, patterns in rules:
            if _any_matches(patterns, head):
                return language
    return written or language_of(path)


def _any_matches(patterns: Iterable[re.Pattern[str]], text: str) -> bool:
    return any(pattern.search(text) for pattern in patterns)


def _file_type(path: str) -> str:
    return posixpath.basename(path).lower().rpartition(".")[2]
