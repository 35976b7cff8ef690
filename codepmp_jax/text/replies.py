"""What a model's reply holds: its text, its program, or a refusal. Synthesis, candidates and judges read by one rule.

The text of a reply is what is left without the model's thoughts, without marks of a turn's begin and end and what follows
the end (`tasks.judges.replies`), with the line ends of Unix.

The program in it, of a given language, is the first of these that is there. Blocks are read as the judges read them
(`tasks.judges.code_blocks`): fences in a program, as in a docstring, do not end its block.

1. All of the text, where it is Python, or holds no block.
2. The last complete block of the language that parses. Blocks that define something come before those that do not (example
   calls, output) or define tests, and blocks whose fence names the language before those whose fence names none.
3. The last complete block of the language, then its last block: what is wrong there is the gate's matter.
4. The last block of another name that parses in the language, by a parser.

A reply whose blocks are all of other languages holds no program: its text is empty.
"""

from __future__ import annotations

import ast
import re
import warnings

from codepmp_jax.tasks.judges.code_blocks import Block, fenced_blocks, marked_parts
from codepmp_jax.tasks.judges.replies import without_reasoning
from codepmp_jax.text import languages
from codepmp_jax.text.definitions import definitions, has_definitions

# Openings of replies that decline the task, or ask for what it lacks; code does not begin so.
_REFUSAL = re.compile(
    r"""[\s*]*(?:(?:oh|hi|hello|well|thank\s+you[^.!\n]*)[,.!]\s*)?(?:
    (?:i['’]?m|i\s+am|we['’]?re|we\s+are)\s+(?:(?:very|really|so|deeply|truly|terribly)\s+)*
        (?:sorry|afraid|unable|not\s+(?:able|comfortable|allowed|permitted|going\s+to)|programmed|designed\s+to)\b
  | (?:i['’]?m|i\s+am)\s+(?:just|only|merely)?\s*an?\s+(?:ai|language|large\s+language)\b
  | (?:sorry|apologies|unfortunately|regrettably)\s*[,.!—–-]
  | sorry\s+(?:but|for|to|about)\b
  | (?:my|sincere|please\s+accept\s+my)\s+(?:sincere\s+)?apolog(?:y|ies)\b
  | (?:i|we)\s+(?:(?:sincerely|must|do|have\s+to|would\s+like\s+to|want\s+to|need\s+to|deeply)\s+)*
        (?:apologi[sz]e|regret|decline|refuse)\b
  | (?:i|we)\s+(?:can(?:no|['’])t|can\s+not|cannot|won['’]t|will\s+not|could(?:n['’]t|\s+not)|would\s+not|
        (?:do\s+not|don['’]t)(?=\s+(?:feel|think\s+(?:i|it)|have|know|see|help|assist|provide|write|generate|create))|
        must\s+not|may\s+not|am\s+unable)\s+
        (?:\w+\s+){0,2}?(?:help|assist|provide|write|fulfil\w*|generate|create|comply|complete|have|answer|do\s+that|
        do\s+this|process|support|offer|give|produce|engage|continue|see|access|feel|discuss|be\s+able|respond|solve|
        implement|in\s+good\s+conscience)\b
  | as\s+an?\s+(?:ai|artificial|language|large\s+language|responsible|ethical)\b
  | (?:it|this)\s+(?:is|would\s+be)\s+(?:not\s+(?:possible|appropriate|ethical)|impossible|inappropriate|unethical)\s+
        (?:for\s+me|to\s+(?:provide|write|assist|help))
  | no\s+(?:code|description)\s+(?:was|is|has\s+been)\s+(?:provided|given|included)
  | (?:could|can|would)\s+you\s+(?:please\s+)?(?:provide|share|paste|clarify|give)\b[^.\n]*\?
  | please\s+(?:provide|share|paste)\s+(?:me\s+)?(?:with\s+)?(?:the|your|more)\b[^.\n]*\b(?:you|i\s+can|me)\b
  | (?:it\s+(?:seems|looks|appears)\s+(?:like|that)?\s*)(?:you|the\s+(?:code|description|message))\b[^.\n]{0,60}
        \b(?:missing|not\s+(?:provided|included)|n['’]t\s+(?:provided|included)|forgot)
  | (?:很?抱歉|对不起|不好意思)[，,。！]?
  | (?:作为一个?|我是一个?)(?:ai|人工智能|语言模型)
  | 我(?:无法|不能|没有办法)
  | (?:申し訳|すみません|죄송)
  | (?:lo\s+siento|je\s+suis\s+désolée?|es\s+tut\s+mir\s+leid|lamento|desculpe)\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)
_PYTHON = ("python", languages.NOTEBOOK)
# Languages whose names models take for one another.
_KIN = (
    {"c", "c++", "cuda", "objective-c"},
    {"javascript", "typescript", "tsx"},
    {*_PYTHON},
    {"html", "css", "javascript", "php"},
    {"shell", "makefile", "dockerfile"},
)
# What fences name that is no program.
_NO_PROGRAM = frozenset(
    [
        "text",
        "txt",
        "plaintext",
        "plain",
        "output",
        "console",
        "log",
        "stdout",
        "stderr",
        "result",
        "markdown",
        "md",
        "diff",
        "patch",
        "mermaid",
        "http",
        "csv",
        "ini",
        "toml",
        "env",
        "none",
        "pycon",
        "terminal",
        "cmd",
    ]
)
_ALIASES = {
    "cmd": "batchfile",
    "md": "markdown",
    "py": "python",
    "python2": "python",
    "python3": "python",
    "ipython": "python",
    "js": "javascript",
    "node": "javascript",
    "nodejs": "javascript",
    "golang": "go",
    "objc": "objective-c",
    "objectivec": "objective-c",
    "sh": "shell",
    "bash": "shell",
    "zsh": "shell",
    "console": "shell",
    "pwsh": "powershell",
    "vb": "visual-basic",
    "docker": "dockerfile",
    "make": "makefile",
    "assembly": "assembly",
    "nasm": "assembly",
    "delphi": "pascal",
    "lisp": "common-lisp",
}


def text_of(reply: str) -> str:
    """The text of a reply, by the rule above, without empty lines around it. A reply without marks stays as it is, but for
    the line ends."""
    unix = reply.replace("\r\n", "\n")
    text = without_reasoning(unix)
    if text == unix:
        return text
    return re.sub(r"\A(?:[ \t]*\n)+", "", text).rstrip()


def program_of(reply: str, language: str) -> str:
    """The program in a reply, by the rule above, without line ends behind it; empty where there is none."""
    text = text_of(reply)
    if language in _PYTHON and languages.is_parsable(text, "python"):
        return text

    def is_whole(code: str) -> bool:
        return languages.is_parsable(code, language) is not False

    blocks = fenced_blocks(text, is_whole)
    if not blocks and language in _PYTHON:
        blocks = [Block(part) for part in marked_parts(text) if part.strip()]
    if not blocks:
        # Fences around nothing, or none.
        return "" if _FENCE.search(text) else text
    names = [_names(block.info, language) for block in blocks]
    own = [
        (_rank(block, name is True, language), place)
        for place, (block, name) in enumerate(zip(blocks, names, strict=True))
        if name is not False
    ]
    if own:
        return blocks[max(own)[1]].code.strip("\n")
    parsed = [block for block in blocks if languages.is_parsable(block.code, language)]
    return parsed[-1].code.strip("\n") if parsed else ""


def is_refusal(text: str) -> bool:
    """Whether a reply's text declines the task, or asks for what it lacks, judged by its first words."""
    return _REFUSAL.match(text) is not None


def _rank(block: Block, is_named: bool, language: str) -> tuple[bool, ...]:
    """The last block of the greatest rank is the program, by rules 2 and 3."""
    parses = languages.is_parsable(block.code, language) is not False
    is_program = parses and _defines(block.code, language)
    return block.is_closed and parses, block.is_closed, is_program, is_named


def _names(info: str, language: str) -> bool | None:
    """Whether a fence's words name the language, or one like it; None where they name none."""
    word = re.split(r"[\s{:,(=]", info.strip().strip("{.").casefold(), maxsplit=1)[0]
    if word in _NO_PROGRAM:
        return word in (language, *(k for k, v in _ALIASES.items() if v == language))
    name = languages.language_name(word)
    name = _ALIASES.get(name, name)
    if name not in languages.known_languages():
        found = languages.language_of(f"a.{word}")
        if found is None:
            return None
        name = found
    return name == language or any({name, language} <= kin for kin in _KIN)


def _defines(code: str, language: str) -> bool:
    """Whether a block that parses defines a function or class that is no test; always, where no parser tells."""
    if language in _PYTHON:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                body = ast.parse(code).body
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                return False
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        names = [node.name for node in body if isinstance(node, kinds)]
    elif has_definitions(language):
        names = [found.name for found in definitions(code, language)]
    else:
        return True
    return any(not name.rpartition(".")[2].casefold().startswith("test") for name in names)
