"""From a file to the texts that become sources: whole files, or functions and classes."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from codepmp_jax.config import CorpusConfig
from codepmp_jax.corpus import snippets
from codepmp_jax.corpus.files import File
from codepmp_jax.records.schema import content_id
from codepmp_jax.text import languages
from codepmp_jax.text.definitions import definitions, has_definitions


class Text(NamedTuple):
    """A text that may become a source."""

    content: str
    description: str
    name: str
    kind: str
    line: int
    normal_hash: str
    """Equal for texts that differ in layout only (Python definitions: in comments and docstring too)."""
    num_words: int = 0
    """Words that the author wrote as its description; 0 where name and signature are the description."""


class Unusable(ValueError):
    """A file gives no text; the reason."""


def texts_of(
    file: File, config: CorpusConfig, count_tokens: Callable[[str], int]
) -> Iterator[Text | snippets.Dropped]:
    """The file's texts in the order of their lines. Raises Unusable, or snippets.Unparsable for Python."""
    if config.unit == "definition":
        found = list(_definitions(file, config))
    else:
        # No token is shorter than a byte.
        if len(file.content.encode()) <= config.max_file_tokens or (
            count_tokens(file.content) <= config.max_file_tokens
        ):
            name = posixpath.basename(file.path)
            yield Text(file.content, "", name, "file", 1, layout_hash(file.content))
            return
        found = [text for text in _definitions(file, config) if text.kind == "function"]
        found = [_within(text, config, count_tokens) for text in found]
    if not found:
        raise Unusable("no definition")
    yield from found


def _within(
    text: Text | snippets.Dropped, config: CorpusConfig, count_tokens: Callable[[str], int]
) -> Text | snippets.Dropped:
    if isinstance(text, Text) and count_tokens(text.content) > config.max_file_tokens:
        return snippets.Dropped(text.name, text.kind, text.line, "too many tokens", text.content)
    return text


def _definitions(file: File, config: CorpusConfig) -> Iterator[Text | snippets.Dropped]:
    """The file's functions and classes; those that say less than `description.min_words` are dropped."""
    for text in _in_language(file, config):
        if isinstance(text, Text) and text.num_words < config.description.min_words:
            reason = "description.min_words"
            yield snippets.Dropped(text.name, text.kind, text.line, reason, text.content)
        else:
            yield text


def _in_language(file: File, config: CorpusConfig) -> Iterator[Text | snippets.Dropped]:
    if file.language == "python":
        for found in snippets.extract(file.content, config):
            if isinstance(found, snippets.Snippet):
                yield Text(
                    content=found.content,
                    description=found.description,
                    name=found.name,
                    kind=found.kind,
                    line=found.line,
                    normal_hash=found.normal_hash,
                    num_words=_num_words(found.description) if found.is_described else 0,
                )
            else:
                yield found
        return
    if not has_definitions(file.language):
        raise Unusable("no parser")
    try:
        found_definitions = list(definitions(file.content, file.language))
    except languages.SlowParseError as error:
        raise Unusable("slow to parse") from error
    for definition in found_definitions:
        name, kind, content, comment, line, is_parsable = definition
        fault = snippets.size_fault(content, config)
        if fault or not is_parsable:
            reason = fault or "not parsable on its own"
            yield snippets.Dropped(name, kind, line, reason, content)
            continue
        said = comment or f"{kind.capitalize()} {name}."
        yield Text(
            content=content,
            description=snippets.shorten(said, config.max_description_chars),
            name=name,
            kind=kind,
            line=line,
            normal_hash=layout_hash(content),
            num_words=_num_words(comment),
        )


def _num_words(text: str) -> int:
    return len(re.findall(r"\w+", text))


def layout_hash(content: str) -> str:
    """Equal for texts that differ in white space only."""
    return content_id("".join(content.split()))
