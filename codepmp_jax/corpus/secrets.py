"""Keys, passwords and e-mail addresses in texts: found, and replaced or reason to drop the text.

After BigCode (StarCoder, arXiv 2305.06161, section 4; bigcode-project/bigcode-dataset, pii/): secrets by the
detectors of detect-secrets that know a secret by its form. Left out, as there, is the detector of words
such as `password`; also those that go by entropy, which take hashes and test data for keys (BigCode needed a
model of gibberish on top of them). Added are passwords in URLs and whole private keys.
"""

from __future__ import annotations

import bisect
import collections
import functools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import SecretsConfig

EMAIL = "E-mail Address"
PRIVATE_KEY = "Private Key"
PASSWORD = "Basic Auth Credentials"
# As in StarCoder's training data; the angle brackets keep a placeholder from being found again.
_PLACEHOLDERS = {EMAIL: "<EMAIL>", PASSWORD: "<PASSWORD>"}
_KEY_PLACEHOLDER = "<KEY>"


class _Finding(NamedTuple):
    start: int
    end: int
    kind: str


def clean(content: str, config: SecretsConfig) -> tuple[str | None, collections.Counter[str]]:
    """The text with placeholders for what is to be replaced, and the findings by kind; None for a text to drop.

    Kinds are detect-secrets' names, `Private Key` and `E-mail Address`; what is kept is not searched
    for. Cleaning a cleaned text changes nothing. Raises UserError where detect-secrets is not installed.
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


def _find(content: str, config: SecretsConfig) -> Iterator[_Finding]:
    """In order of precedence: where two overlap, the first one given counts."""
    if config.secrets != "keep":
        yield from _private_keys(content)
        yield from _secrets(content)
    if config.emails != "keep":
        yield from _emails(content)


def _apart(findings: Iterator[_Finding]) -> list[_Finding]:
    """Those that overlap none before them, in the order of their places."""
    kept: list[_Finding] = []
    for finding in findings:
        place = bisect.bisect(kept, finding)
        ends_before = place == 0 or kept[place - 1].end <= finding.start
        if ends_before and (place == len(kept) or finding.end <= kept[place].start):
            kept.insert(place, finding)
    return kept


# --- secrets --------------------------------------------------------------------------------------

# The modules of detect-secrets' detectors, and a word without which there is nothing to find, for those
# whose search is slow.
_DETECTORS = {
    "aws": "",
    "azure_storage_key": "",
    "basic_auth": "://",
    "cloudant": "cloudant",
    "discord": "",
    "github_token": "",
    "gitlab_token": "",
    "ibm_cloud_iam": "ibm",
    "ibm_cos_hmac": "ibm",
    "jwt": "",
    "mailchimp": "-us",
    "npm": "",
    "openai": "",
    "pypi_token": "",
    "sendgrid": "",
    "slack": "",
    "softlayer": "softlayer",
    "square_oauth": "",
    "stripe": "k_live_",
    "telegram_token": "",
    "twilio": "",
}
# Their group is the token's prefix, not the secret.
_WHOLE_MATCH = ("github_token", "gitlab_token")

# detect-secrets finds a token's header and payload.
_JSON_WEB_TOKEN = "JSON Web Token"
_SIGNATURE = re.compile(r"\.?[A-Za-z0-9_-]*")

# From the first marker to the last, over lines, also where each line is a string literal of its own; or, in
# a text that is cut off, the lines of base64 after the first marker.
_BASE64 = r"[A-Za-z0-9+/=]{40,}"
_KEY_BLOCK = re.compile(
    r"-----BEGIN (?P<kind>[A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?)-----"
    r"(?:(?P<body>(?:(?!-----BEGIN )[\s\S]){1,20000}?)-----END (?P=kind)-----"
    rf"|(?P<cut>[^\n]{{0,100}}(?:\n[^\n]{{0,100}}{_BASE64}[^\n]{{0,100}})+))"
    r"|PuTTY-User-Key-File-\d:(?P<putty>[\s\S]{1,20000}?)Private-(?:MAC|Hash): *[0-9a-f]+"
)


def _private_keys(content: str) -> Iterator[_Finding]:
    """Whole keys; the markers alone, as in code that reads keys, are none."""
    if "PRIVATE KEY" not in content and "PuTTY-" not in content:
        return
    for match in _KEY_BLOCK.finditer(content):
        body = match["body"] or match["cut"] or match["putty"]
        if re.search(_BASE64, body):
            yield _Finding(*match.span(), PRIVATE_KEY)


@functools.cache
def _patterns() -> list[tuple[str, str, int, re.Pattern[str]]]:
    """(word that must be there, kind, group of the secret, pattern) of the detectors."""
    import importlib

    try:
        from detect_secrets.plugins.base import RegexBasedDetector
    except ImportError as error:
        raise UserError(
            "secrets: the package detect-secrets is not installed. Remedy: install the extra `corpus`, or "
            "set secrets.secrets to keep."
        ) from error
    found = []
    for name, word in _DETECTORS.items():
        module = importlib.import_module(f"detect_secrets.plugins.{name}")
        (detector,) = (
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, RegexBasedDetector)
            and value is not RegexBasedDetector
        )
        denylist: Any = detector.denylist
        for pattern in denylist:
            group = 1 if pattern.groups and name not in _WHOLE_MATCH else 0
            found.append((word, str(detector.secret_type), group, pattern))
    return found


def _secrets(content: str) -> Iterator[_Finding]:
    patterns = _patterns()
    from detect_secrets.filters import heuristic

    lower = content.lower()
    for word, kind, group, pattern in patterns:
        if word in lower:
            for match in pattern.finditer(content):
                secret = match[group]
                if secret and not (
                    secret[0] in "$%{<"
                    or heuristic.is_templated_secret(secret)
                    or heuristic.is_sequential_string(secret)
                    or heuristic.is_potential_uuid(secret)
                ):
                    start, end = match.span(group)
                    if kind == _JSON_WEB_TOKEN:
                        rest = _SIGNATURE.match(content, end)
                        assert rest is not None
                        end = rest.end()
                    yield _Finding(start, end, kind)


# --- e-mail addresses -----------------------------------------------------------------------------

# A domain that is no attribute: `x@self.weight` is a product. Countries have two letters.
_DOMAIN = re.compile(
    r"@((?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}[A-Za-z0-9])?\.){1,8}"
    r"(?:[a-z]{2}|[A-Z]{2}|(?i:com|org|net|edu|gov|mil|int|info|biz|name|pro|aero|coop|museum|asia|app|blog"
    r"|cloud|club|dev|email|live|online|page|site|software|store|systems|tech|tools|top|work|world|xyz)))"
    r"(?![\w(\[-]|\.\w)"
)
_LOCAL = re.compile(r"[A-Za-z0-9._%+-]{0,63}[A-Za-z0-9_%+-]\Z")
_USER_OF_URL = re.compile(r"://[^\s/]*\Z")
# RFC 2606: nobody's.
_RESERVED = re.compile(r"(?:.*\.)?example\.(?:com|org|net|edu)", re.IGNORECASE)


def _emails(content: str) -> Iterator[_Finding]:
    """E-mail addresses but those of example.com and its like, git's (`git@github.com:...`) and users in URLs."""
    for match in _DOMAIN.finditer(content):
        before = content[max(0, match.start() - 64) : match.start()]
        local = _LOCAL.search(before)
        if local is None or _RESERVED.fullmatch(match[1]) or _USER_OF_URL.search(before):
            continue
        start = match.start() - len(local[0])
        if start > 0 and content[start - 1] == "\\":
            start += 1  # the letter of an escape: "\nme@..."
        if start < match.start() and content[start : match.start()] != "git":
            yield _Finding(start, match.end(), EMAIL)
