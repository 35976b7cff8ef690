"""What a writer is asked."""

from __future__ import annotations

import ast
import re
import warnings

from codepmp_jax.config import WriterConfig
from codepmp_jax.records.schema import SourceFile, content_id
from codepmp_jax.synthesis.writers.sampler import Request

_PLACEHOLDER = re.compile(r"\{(language|code|signature|description)\}")


def make_request(key: str, writer: WriterConfig, source: SourceFile, description: str) -> Request:
    """The request for one text about `source`; `description` is empty while it is yet to be written."""
    values = {
        "language": lambda: source.language,
        "code": lambda: source.content,
        # Few templates hold it, and it takes a parse of the code.
        "signature": lambda: signature(source),
        "description": lambda: description,
    }
    prompt = _PLACEHOLDER.sub(lambda found: values[found[1]](), writer.template)
    return Request(key, prompt, description, source)


def signature(source: SourceFile) -> str:
    """The head of a function or class: of Python all that stands before its body, without comments; in other languages, and
    of what Python cannot read, the first line."""
    first, *_ = source.content.splitlines() or [""]
    if source.language != "python":
        return first
    try:
        with warnings.catch_warnings(action="ignore"):
            node, *_ = ast.parse(source.content).body or [None]
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return first
        node.body = [ast.Pass()]
        return ast.unparse(node).removesuffix("\n    pass")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return first


def template_version(template: str) -> str:
    """Short id of a template's text."""
    return content_id(template)[:12]
