"""Keys, passwords and e-mail addresses in texts: found, and replaced or reason to drop the text.

What is searched for is what BigCode took out of StarCoder's data (arXiv 2305.06161, section 4), and its placeholders
are used. Which strings are secrets: keys.py; private keys: here; addresses: emails.py. Nothing inside a word is
replaced, and of a line nothing but the secret.
"""

from __future__ import annotations

import bisect
import collections
import re
from collections.abc import Iterator

from codepmp_jax.config import SecretsConfig
from codepmp_jax.corpus.emails import emails
from codepmp_jax.corpus.keys import PASSWORD, Find, keys

EMAIL = "e-mail address"
PRIVATE_KEY = "private key"
# As in StarCoder's training data; the angle brackets keep a placeholder from being found again.
_PLACEHOLDERS = {EMAIL: "<EMAIL>", PASSWORD: "<PASSWORD>"}
_KEY_PLACEHOLDER = "<KEY>"


def clean(content: str, config: SecretsConfig) -> tuple[str | None, collections.Counter[str]]:
    """The text with placeholders for what is to be replaced, and the findings by kind; None for a text to drop.

    Kinds are the scanner's rules, those of keys.py, `private key`, `password in a URL` and `e-mail address`;
    what is kept is not searched for. Cleaning a cleaned text changes nothing. Raises UserError where a package
    is missing.
    """
    counts: collections.Counter[str] = collections.Counter()
    # What is uncovered by a replacement is found in the next round.
    while findings := _apart(_find(content, config)):
        counts.update(finding.kind for finding in findings)
        for kind in counts:
            if (config.emails if kind == EMAIL else config.secrets) == "drop":
                return None, counts
        parts, end = [], 0
        for finding in findings:
            parts += [content[end : finding.start]]
            parts += [_PLACEHOLDERS.get(finding.kind, _KEY_PLACEHOLDER)]
            end = finding.end
        content = "".join([*parts, content[end:]])
    return content, counts


def _find(content: str, config: SecretsConfig) -> Iterator[Find]:
    """In order of precedence: where two overlap, the first one given counts."""
    if config.secrets != "keep":
        yield from _private_keys(content)
        yield from keys(content)
    if config.emails != "keep":
        yield from (Find(*place, EMAIL) for place in emails(content))


def _apart(findings: Iterator[Find]) -> list[Find]:
    """Those that overlap none before them, in the order of their places."""
    kept: list[Find] = []
    for finding in findings:
        place = bisect.bisect(kept, finding)
        ends_before = place == 0 or kept[place - 1].end <= finding.start
        if ends_before and (place == len(kept) or finding.end <= kept[place].start):
            kept.insert(place, finding)
    return kept


# --- private keys ---------------------------------------------------------------------------------

# From the first marker to the last, over lines, also where each line is a string literal of its own; or, in
# a text that is cut off, the lines of base64 after the first marker.
_BASE64 = r"[A-Za-z0-9+/=]{40,}"
_KEY_BLOCK = re.compile(
    r"-----BEGIN (?P<kind>[A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?)-----"
    r"(?:(?P<body>(?:(?!-----BEGIN )[\s\S]){1,20000}?)-----END (?P=kind)-----"
    rf"|(?P<cut>[^\n]{{0,100}}(?:\n[^\n]{{0,100}}{_BASE64}[^\n]{{0,100}})+))"
    r"|PuTTY-User-Key-File-\d:(?P<putty>[\s\S]{1,20000}?)Private-(?:MAC|Hash): *[0-9a-f]+"
)


def _private_keys(content: str) -> Iterator[Find]:
    """Whole keys; the markers alone, as in code that reads keys, are none."""
    if "PRIVATE KEY" not in content and "PuTTY-" not in content:
        return
    for match in _KEY_BLOCK.finditer(content):
        body = match["body"] or match["cut"] or match["putty"]
        if re.search(_BASE64, body):
            yield Find(*match.span(), PRIVATE_KEY)
