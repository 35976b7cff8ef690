"""What a writer is asked."""

from __future__ import annotations

import re

from codepmp_jax.config import WriterConfig
from codepmp_jax.records.schema import SourceFile, content_id
from codepmp_jax.synthesis.writers.sampler import Request

_PLACEHOLDER = re.compile(r"\{(language|code|description)\}")


def make_request(key: str, writer: WriterConfig, source: SourceFile, description: str) -> Request:
    """The request for one text about `source`; `description` is empty while it is yet to be written."""
    values = {
        "language": source.language,
        "code": source.content,
        "description": description,
    }
    prompt = _PLACEHOLDER.sub(lambda found: values[found[1]], writer.template)
    return Request(key, prompt, description, source)


def template_version(template: str) -> str:
    """Short id of a template's text."""
    return content_id(template)[:12]
