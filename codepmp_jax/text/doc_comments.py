"""What the comments right before a function say of it: its description.

Which comment: the nearest documentation comment (`/** */`, `///`, `---`, POD, a string before a Julia function), else the nearest
plain one. Comments in a row on lines of their own are one comment, `/* */` is one by itself.

Never a description, whatever the language: copyright and license texts, and lines that talk to a tool
(`eslint-disable`, `noqa`, `@ts-ignore`, `go:build`, `rubocop:`, `MARK:`, modelines, `coding:`, shebangs; `_TO_TOOLS` is the list).

What is kept is the author's text, cleaned:

- comment signs, lines of stars and dashes, titles in them (`=== Helpers ===`), and the common indentation are taken off;
- block tags stay as they are written (`@param name the shelf`), but those that say nothing of what the code does
  (`@author`, `@since`, `@see`, ...; `_TAGS`) go, with their lines;
- inline tags become their text: `{@link Shelf#width the width}` -> `the width`, `\\\\c word` and `@p word` -> `word`;
  `@brief` and `{@inheritDoc}` go;
- HTML tags of Javadoc go (`<p>`, `<code>`, `<li>` becomes `-`), and entities become characters;
- C#'s XML: `<summary>` and `<remarks>` become paragraphs, `<param name="a">` becomes `a: ...`,
  `<returns>` `Returns: ...`, `<exception cref="E">` `Raises E: ...`, references their names.

Markdown (Rust, Swift, Go, Kotlin, Julia) stays.
"""

from __future__ import annotations

import html
import re
import textwrap

_TO_TOOLS = re.compile(
    r"^(?:"
    # JavaScript and TypeScript
    r"eslint\b|jshint\b|jslint\b|jscs:|tslint:|prettier-ignore|(?:istanbul|c8|v8) ignore|@ts-(?:ignore|nocheck|check|expect-error)"
    r"|@flow\b|\$Flow|@jsx\w*\s|@vite-ignore|webpack\w+:|[@#]__(?:PURE|INLINE|NOINLINE|NO_SIDE_EFFECTS)|biome-ignore|oxlint-"
    r"|deno-(?:lint|fmt)-|[#@] ?source(?:Mapping)?URL|(?-i:globals?|exported) [\w$]+(?:\s*[:,]\s*[\w$]+)*$"
    # Python
    r"|noqa\b|type: ?ignore|pylint:|mypy:|pyright:|flake8:|ruff:|isort:|fmt: ?(?:on|off|skip)|yapf:|pragma: ?no|nosec\b"
    # Ruby and shell
    r"|frozen_string_literal:|warn_indent:|shareable_constant_value:|typed: (?:true|false|strict|strong|ignore)|rubocop:|:(?:nodoc|startdoc|stopdoc):|shellcheck "
    # Go
    r"|go:\w+|\+build |nolint\b|lint:|export \w+$|#nosec"
    # C and C++
    r"|NOLINT|clang-(?:format|tidy)|cppcheck-|coverity\[|(?:LCOV|GCOV|GCOVR)_EXCL|IWYU pragma|PRINTFLIKE|ARGSUSED|FALLTHR"
    # Java, Kotlin, Scala, C#, Swift
    r"|noinspection\b|@formatter:|ktlint-|detekt:|language=|NOSONAR|NOPMD|CHECKSTYLE|spotless:|scala(?:style|fmt|fix):|ReSharper "
    r"|#?(?:end)?region\b|swiftlint:|swiftformat:|sourcery:|(?:MARK|FIXME|TODO|XXX|HACK)\s*:?\s*-?\s*$|MARK:"
    # PHP, Lua, Perl
    r"|phpcs:|@phpcs|@codingStandards|@(?:phpstan|psalm|phan)-|@codeCoverageIgnore|@noinspection|luacheck:|stylua:|selene:|(?:no|use) critic"
    # editors and version control
    r"|-\*-|vim?: ?|ex: ?set|kate: |(?:en)?coding[:=]|Local Variables:|\$(?:Id|Revision|Date|Author|Header)\b|!/"
    r")",
    re.IGNORECASE,
)
_LICENSE = re.compile(
    r"copyright\s+(?:\(c\)|©|&copy;|\d{4})|(?:\(c\)|©|&copy;)\s*(?:copyright\s*)?\d{4}|^\s*copyright\b.{0,80}\b(?:19|20)\d\d"
    r"|^\s*copyright (?:by|the)\b|SPDX-License-Identifier|\blicensed (?:to|under)\b.{0,80}\blicen[cs]e|all rights reserved"
    r"|permission is hereby granted|redistribution and use in source|this file is part of\b|is free software[;:,]"
    r"|use of this source code is governed by|(?:see|read) (?:the )?(?:accompanying )?(?:files? )?licen[cs]e\b.{0,40}(?:terms|details|information)"
    r"|the software is provided \W?as is|distributed under the\b.{0,40}\blicen[cs]e",
    re.IGNORECASE | re.MULTILINE,
)
_TAGS = frozenset(
    (
        "access api author authors authored category class classdesc constructor copyright "
        "covers dataProvider deprecated enum export exports extends file fileoverview "
        "filesource function group hide hideconstructor ignore implements inheritDoc inherits "
        "interface internal kind lends license local memberof memberOf method mixin mixes "
        "module name namespace override overview package private property-read property-write "
        "protected public readonly ref requires sealed see seealso since static subpackage "
        "suppress suppressWarnings synopsis template test todo token type typedef usage uses "
        "version virtual visibility yieldself "
    )
    .lower()
    .split()
)
_TAG = re.compile(r"^\s*[@\\](\w[\w-]*)")
_INLINE = re.compile(
    r"\{@(?:link|linkplain|linkcode|code|literal|value|plainlink|tutorial)\b\s*([^{}]*)\}"
)
_DOXYGEN = re.compile(r"(?<![\w@\\])[@\\](?:[cpabe]|em|ref)\s+(?=[\w:~`'\"])")
_HTML = re.compile(
    r"</?(?:p|b|i|em|strong|code|tt|pre|ul|ol|dl|dt|dd|br|hr|blockquote|h[1-6]|a|span|div|sup|sub|table|tr|td|th|var|kbd)"
    r"(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)
_SIGN = re.compile(r"^[ \t]*(///?/*(?:!|<(?=\s))?|--+(?!\[)|#+[':]?(?!\[)|%+|;+|!+[<>]?)")
_RULER = re.compile(r"[ \t]*([-=*#~+_/\\.:<>])\1{2,}[ \t]*")
# `=== Helpers ===`: what follows has this in common, it does not say what one function does.
_TITLE = re.compile(
    r"[ \t]*(?:[-=*#~+_]{3,})[ \t]*[^-=*#~+_].*?[-=*#~+_]{3,}[ \t]*$|[ \t]*[-=*#~+_]{4,}[ \t]*\w"
)
_DOCUMENTING = ("/**", "/*!", "///", "//!", "---", "=", '"', "#'", "(**", "--|")


def describe(comments: list[str], language: str) -> str:
    """The description in the comments that end right before a function, in their order; empty where there is none."""
    groups: list[list[str]] = []
    for comment in comments:
        sign = _sign(comment)
        if groups and sign and sign == _sign(groups[-1][-1]):
            groups[-1].append(comment)
        else:
            groups.append([comment])
    found = [
        ("\n".join(group), clean("\n".join(one.rstrip("\n") for one in group), language))
        for group in groups
    ]
    found = [(raw, text) for raw, text in reversed(found) if text]
    documenting = (text for raw, text in found if _is_documenting(raw))
    return next(documenting, found[0][1] if found else "")


def _sign(comment: str) -> str:
    """What starts a comment to the end of the line; empty for others."""
    match = _SIGN.match(comment)
    # `---` begins what `--` goes on with; of slashes three are another comment than two.
    return (match[1] if match[1].startswith("/") else match[1][0]) if match else ""


def _is_documenting(comment: str) -> bool:
    comment = comment.lstrip()
    is_ruler = comment.startswith(("////", "/***", "----", "/**/"))
    return comment.startswith(_DOCUMENTING) and not is_ruler


def clean(comment: str, language: str) -> str:
    """The text of a comment without signs and mark-up, see above; empty where it describes no code."""
    lines = _bare_lines(comment)
    lines = ["" if _RULER.fullmatch(line) or _TITLE.match(line) else line for line in lines]
    lines = [re.sub(r"[ \t]+[-=*#~+_]{4,}[ \t]*$", "", line) for line in lines]
    lines = [line for line in lines if not _TO_TOOLS.match(line.strip())]
    lines = _without_tags(lines)
    if _LICENSE.search("\n".join(lines)):
        return ""
    text = "\n".join(line.rstrip() for line in lines)
    if language == "c-sharp" or "<summary>" in text:
        text = _without_xml(text)
    text = re.sub(
        r"\{@inheritDoc\}|^\s*[@\\](?:inheritDoc|brief|short|details)\b[ \t]*",
        "",
        text,
        flags=re.I | re.M,
    )
    text = _INLINE.sub(lambda match: _label(match[1]), text)
    text = _DOXYGEN.sub("", text)
    if language in ("java", "scala", "kotlin", "php", "javascript", "typescript", "tsx"):
        text = html.unescape(
            _HTML.sub("", re.sub(r"[ \t]*<li>\s*", "- ", text.replace("</li>", "")))
        )
    text = re.sub(r"\n\s*\n\s*\n+", "\n\n", text).strip("\n")
    first, newline, rest = text.partition("\n")
    text = first.strip() + newline + rest
    return text.strip() if re.search(r"\w", text) else ""


def _label(reference: str) -> str:
    """`Shelf#width the width` -> `the width`, `Shelf#width` -> `Shelf#width`."""
    target, _, label = reference.strip().partition("|" if "|" in reference else " ")
    return (
        (label or target).strip()
        if re.fullmatch(r"[\w.#$()~:\[\]/,-]+", target)
        else reference.strip()
    )


def _bare_lines(comment: str) -> list[str]:
    """The comment's lines without its signs and common indentation."""
    text = comment.strip()
    if text.startswith(("/*", "(*", "<#", "--[", "{-", "=begin", '"', "'", "<!--")):
        text = re.sub(r'^(?:/\*+!?<?|\(\*+|<#|--\[=*\[|\{-\|?|=begin|"""|"|<!--)', "", text)
        text = re.sub(r'(?:\*+/|\*+\)|#>|(?:--)?\]=*\]|-\}|=end|"""|"|-->)$', "", text)
        first, *rest = text.split("\n")
        starred = [line for line in rest if line.strip()]
        if starred and all(line.lstrip().startswith("*") for line in starred):
            rest = [re.sub(r"^[ \t]*\*+(?!/) ?", "", line) for line in rest]
        return [first.strip(), *textwrap.dedent("\n".join(rest)).split("\n")]
    if text.startswith("="):  # POD
        lines = [
            re.sub(
                r"^=(?:head\d|item|over|back|pod|cut|begin|end|for|encoding)\b[ \t]*\d*", "", line
            )
            for line in text.split("\n")
        ]
        return [re.sub(r"[A-Z]<+\s?([^<>]*?)\s?>+", r"\1", line) for line in lines]
    lines = [
        re.sub(r"^[ \t]*(?:///*(?:!|<(?=\s))?|--+|#+[':]?|%+|;+|!+[<>]?)", "", line)
        for line in text.split("\n")
    ]
    return textwrap.dedent("\n".join(lines)).split("\n")


def _without_tags(lines: list[str]) -> list[str]:
    """The lines without the tags that describe no behaviour, and what continues them."""
    kept, is_dropped = [], False
    for line in lines:
        tag = _TAG.match(line)
        if tag:
            is_dropped = tag[1].lower() in _TAGS or "-" in tag[1]
        elif not line.strip():
            is_dropped = False
        if not is_dropped:
            kept.append(line)
    return kept


def _without_xml(text: str) -> str:
    """C#'s documentation as plain text."""

    def block(match: re.Match[str]) -> str:
        tag, attributes, inside = (
            match["tag"].lower(),
            match["attributes"],
            " ".join(match["inside"].split()),
        )
        of = re.search(r"(?:name|cref)\s*=\s*[\"'](?:\w:)?([^\"']*)", attributes or "")
        if not inside:
            return ""
        heads = {"returns": "Returns: ", "value": "Value: "}
        if tag in ("param", "typeparam"):
            return f"\n{of[1] if of else ''}: {inside}\n"
        if tag == "exception":
            return f"\nRaises {of[1] if of else ''}: {inside}\n"
        return f"\n{heads.get(tag, '')}{inside}\n" + ("\n" if tag in ("summary", "remarks") else "")

    text = re.sub(
        r"<(?:see|seealso|paramref|typeparamref)\b[^<>]*?(?:cref|name|langword|href)\s*=\s*[\"'](?:\w:)?([^\"']*)[\"'][^<>]*?(?:/>|>\s*</\w+>)",
        r"\1",
        text,
    )
    text = re.sub(r"<(?:see|seealso)\b[^<>]*>(.*?)</(?:see|seealso)>", r"\1", text, flags=re.DOTALL)
    text = re.sub(
        r"<inheritdoc\b[^<>]*/?>|</?(?:c|para|list|item|description|term|code|b|i|em|br|p)\b[^<>]*>",
        "",
        text,
    )
    text = re.sub(
        r"<(?P<tag>summary|remarks|param|typeparam|returns|value|exception|example|permission)\b(?P<attributes>[^<>]*)>(?P<inside>.*?)</(?P=tag)>",
        block,
        text,
        flags=re.DOTALL,
    )
    return html.unescape(re.sub(r"\n{2,}(?=\w+: |Raises )", "\n", text))
