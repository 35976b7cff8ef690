"""Keys and passwords in code: three detectors, and the second checks that all of their finds pass.

1. Forms (`FORMS`): of the common keys those that are known by their prefix, whatever stands behind them.
2. Kingfisher (package kingfisher-secret-scanner, MongoDB): the rules of betterleaks, the successor of gitleaks, and
   of Google's Veles, 488 of them, in one pass. It knows keys by their form, or by their form and a service's name in
   front, and passwords in URLs.
3. Entropy, where a key has no form: a random value that is given to a name which ends in `api_key`, `secret`,
   `token` or the like, or follows `Bearer`; and 40 characters of base64 near the id of an AWS key.

A find is a secret only if (second checks)

- it is no part of a word: neither a letter, a digit nor `_` stands next to it;
- it is one run of characters, without spaces, quotes and braces, that holds no template and no word of examples
  (`EXAMPLE`, `your-`, `xxxx`), and is no ascending sequence;
- it is random: its letters and digits change their class (lower case, upper case, digit) often enough, which those of
  names, words, dates and DNA do not;
- where it is hexadecimal or a UUID, the name in front is not that of a hash, a commit or an id.

Left alone are thus hashes, UUIDs, the checksums of lock files, public and publishable keys, the ids of clients and
accounts, and passwords that are words.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from codepmp_jax.cli.errors import UserError

PASSWORD = "password in a URL"


class Find(NamedTuple):
    """A secret in a text."""

    start: int
    end: int
    kind: str


def keys(content: str) -> Iterator[Find]:
    """The secrets; where two overlap, the first one counts. Raises UserError where the scanner is not installed."""
    yield from _formed(content)
    yield from _scanned(content)
    yield from _named(content)
    yield from _aws_pairs(content)


# --- second checks --------------------------------------------------------------------------------

_PLACEHOLDER = re.compile(
    r"example|sample|dummy|placeholder|changeme|change[-_]me|replace[-_]?(?:me|with)|redacted|your|insert|"
    r"xxxx|\*\*\*|\.\.\.|0{8}|1234567|abcdefg|ghijkl|deadbeef",
    re.IGNORECASE,
)
_TEMPLATE = re.compile(r"[\s\"'`<>{}]|\$\(\w+\)|\$[A-Z_]{3}|%\(|%s")
_HEXADECIMAL = re.compile(r"[0-9a-f-]+|[0-9A-F-]+")
# The end of the name that a hash is given to.
_HASH_NAME = re.compile(
    r"(?:hash|sha|sha-?\d+|md5|crc\d*|digest|checksum|integrity|fingerprint|thumbprint|commit|revision|rev|etag|"
    r"guid|uuid|nonce|salt|sum|oid|ref|(?<![a-z])id|[a-z]I[dD])s?[\"'\])]*\s*(?:=>|[:=(,]+)?\s*[bru]?[\"'`]?\Z",
    re.IGNORECASE,
)
_PASSWORD_WORDS = frozenset(
    [
        "pass",
        "password",
        "passwd",
        "pwd",
        "pw",
        "secret",
        "user",
        "username",
        "token",
        "admin",
        "root",
        "guest",
        "test",
        "foo",
        "bar",
    ]
)


def is_apart(content: str, start: int, end: int) -> bool:
    """Whether no letter, digit or `_` stands next to the place; the letter of an escape (`\\n`) may."""
    if end < len(content) and (content[end].isalnum() or content[end] == "_"):
        return False
    if start == 0 or not (content[start - 1].isalnum() or content[start - 1] == "_"):
        return True
    return content[start - 1] in "nrt" and start > 1 and content[start - 2] == "\\"


def is_random(value: str, least: float = 0.2) -> bool:
    """Whether the class of characters changes at `least` of the places, and no placeholder is in them.

    Of capitals and digits alone a quarter of it is enough: AWS' ids have few digits.
    """
    if _PLACEHOLDER.search(value):
        return False
    if value == value.upper():
        least /= 4
    kinds = [0 if c.islower() else 1 if c.isupper() else 2 for c in value if c.isalnum()]
    changes = sum(one != other for one, other in itertools.pairwise(kinds))
    return changes >= least * (len(kinds) - 1) and len(set(value)) >= 8


def _is_hash(content: str, start: int, value: str) -> bool:
    if not _HEXADECIMAL.fullmatch(value):
        return False
    return _HASH_NAME.search(content, max(0, start - 60), start) is not None


# --- the scanner ----------------------------------------------------------------------------------

# Not secret, or not the secret alone: ids and names, public keys, whole objects and files.
_SKIPPED = re.compile(
    r"(?<!access-key)-(?:id|name|username|url|host|domain|address|repository)(?:\.\d)?$|pub(?:lic)?-(?:api-)?(?:key|token)|"
    r"private-key$|secret-yaml|connection-string$|slack-webhook-url|service-account$|default-credentials|project-api-key|client-sdk-key|"
    r"mobile-sdk-key|public-api-token"
)
_CREDENTIAL_URI = "generic-credential-uri"


@functools.cache
def _scanner() -> Any:
    try:
        from kingfisher_sdk import Scanner
    except ImportError as error:
        raise UserError(
            "secrets: the package kingfisher-secret-scanner is not installed. Remedy: install the extra "
            "`corpus`, or set secrets.secrets to keep."
        ) from error
    return Scanner(base64=False)


def _scanned(content: str) -> Iterator[Find]:
    data = content.encode(errors="replace")
    found = _scanner().scan(data)
    is_ascii = len(data) == len(content)
    for one in found:
        kind = one.rule_id.partition(".")[2].rpartition("/")[2]
        if _SKIPPED.search(kind):
            continue
        place = one.location
        start, end = place["start_offset"], place["end_offset"]
        if not is_ascii:
            start, end = (
                len(data[:start].decode(errors="replace")),
                len(data[:end].decode(errors="replace")),
            )
        value = content[start:end]
        if kind == _CREDENTIAL_URI:
            if value.lower() not in _PASSWORD_WORDS and not _TEMPLATE.search(value):
                yield Find(start, end, PASSWORD)
        elif (
            is_apart(content, start, end)
            and is_random(value)
            and not _TEMPLATE.search(value)
            and not _is_hash(content, start, value)
        ):
            yield Find(start, end, kind)


# --- forms ----------------------------------------------------------------------------------------

# (kind, what a text without it does not hold, form; its group is the secret where it has one)
FORMS = (
    ("aws-access-key-id", "AKIA", r"AKIA[A-Z2-7]{16}"),
    ("aws-access-key-id", "ASIA", r"ASIA[A-Z2-7]{16}"),
    ("anthropic-api-key", "sk-ant-", r"sk-ant-[a-z]+\d\d-[\w-]{80,100}"),
    ("artifactory-api-key", "AKCp", r"AKCp[A-Za-z0-9]{68,70}"),
    (
        "braintree-access-token",
        "access_token$",
        r"access_token\$production\$([a-z0-9]{16}\$[0-9a-f]{32})",
    ),
    ("cloudinary-api-secret", "cloudinary://", r"cloudinary://\d+:([\w-]{20,40})@"),
    ("crates-io-api-key", "cio", r"cio[A-Za-z0-9]{32}"),
    ("discord-bot-token", ".", r"[MNO][A-Za-z\d_-]{23,25}\.[\w-]{6}\.[\w-]{27,38}"),
    ("gcp-api-key", "AIza", r"AIza[\w-]{35}"),
    ("github-token", "gh", r"gh[pousr]_[A-Za-z0-9]{36}"),
    ("github-token", "github_pat_", r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
    ("gitlab-token", "gl", r"gl(?:agent|cbt|dt|ffct|ft|imt|oas|pat|ptt|rt|soat)-[\w-]{20,}"),
    ("google-oauth-client-secret", "GOCSPX-", r"GOCSPX-[\w-]{28}"),
    ("google-oauth-token", "ya29.", r"ya29\.[\w-]{60,}"),
    ("google-oauth-token", "1//0", r"1//0[\w-]{60,}"),
    ("hubspot-token", "pat-", r"pat-(?:na|eu)\d-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    ("huggingface-token", "hf_", r"hf_[A-Za-z0-9]{34}"),
    ("new-relic-key", "NRAK-", r"NRAK-[A-Z0-9]{27}"),
    ("npm-token", "npm_", r"npm_[A-Za-z0-9]{36}"),
    ("openai-api-key", "T3BlbkFJ", r"sk-[\w-]*T3BlbkFJ[\w-]{20,}"),
    ("planetscale-token", "pscale_", r"pscale_(?:tkn|pw|oauth)_[\w.-]{32,64}"),
    ("postman-api-token", "PMAK-", r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}"),
    ("pypi-token", "pypi-AgE", r"pypi-AgE[\w-]{50,}"),
    ("sendgrid-api-token", "SG.", r"SG\.[\w-]{22}\.[\w-]{43}"),
    ("shopify-token", "shp", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    (
        "slack-webhook",
        "hooks.slack.com",
        r"hooks\.slack\.com/(?:services|workflows|triggers)/([\w/+]{40,60})",
    ),
    ("discord-webhook", "/api/webhooks/", r"/api/webhooks/(\d{16,20}/[\w-]{60,80})"),
    ("slack-token", "xox", r"xox[abeoprs]-[\w-]{20,}"),
    ("square-token", "sq0", r"sq0(?:atp|csp|idp)-[\w-]{22,43}"),
    ("stripe-key", "k_", r"[sr]k_(?:live|test|prod)_[A-Za-z0-9]{16,99}"),
    ("telegram-bot-token", ":AA", r"\d{8,10}:AA[\w-]{33}"),
)


@functools.cache
def _forms() -> list[tuple[str, str, re.Pattern[str]]]:
    return [(kind, word, re.compile(form)) for kind, word, form in FORMS]


def _formed(content: str) -> Iterator[Find]:
    for kind, word, form in _forms():
        if word in content:
            for match in form.finditer(content):
                start, end = match.span(form.groups)
                # One AWS id in 30 has no digit; nothing else looks like one.
                least = 0.0 if word == "AKIA" else 0.2
                if is_apart(content, start, end) and is_random(content[start:end], least):
                    yield Find(start, end, kind)


# --- entropy --------------------------------------------------------------------------------------

# The end of a name, in lower case, and what stands before it where it is `key`.
_NAME = re.compile(
    r"(?:secret|password|passwd|passphrase|token|credentials?|(?<![a-z])auth|_pat|(?:secret_)?key(?:_base)?)(?![a-z0-9_])"
)
_KEY_OF = re.compile(
    r"(?:api|auth|access|secret|private|encryption|signing|account|client|app|subscription|license|admin|master|"
    r"consumer|server|deploy|hmac|jwt|session|developer)[_.-]?\Z"
)
_VALUE = r"[\w+/=.~!@#$%^&*():-]"
# NAME = "value", NAME: "value", NAME("value"), and value= and elements of XML.
_QUOTED = re.compile(
    r"[\"'`]?\]?\)?(?:\s{0,3}(?::=|=>|=|:|,|\()\s{0,3}[a-zA-Z]{0,2}|\s+value=)"
    rf"(?P<quote>[\"'`])(?P<value>{_VALUE}{{10,256}})(?P=quote)"
)
_ELEMENT = re.compile(rf">(?P<value>{_VALUE}{{10,256}})</")
# NAME=value and NAME: value on a line of its own, without quotes.
_BARE = re.compile(r"(?:=|:[ ]|[ ]=[ ])(?P<value>[\w+/=~!@#$%^&*-]{10,256})[ \t]*$", re.MULTILINE)
_BARE_NAME = re.compile(r"\s*(?:export[ ]+|set[ ]+|ENV[ ]+|-[ ]+)?[\w.-]*")
_SHORTEST = 16
_HASHED = re.compile(r"md5|sha-?\d|blake|hash|digest|checksum|commit|revision|tree")
_HEADER = re.compile(rf"\b(?:Bearer|Basic)\s(?P<value>[\w+/=.~-]{{20,512}})(?!{_VALUE})")
_PUBLIC_NAME = re.compile(
    r"pub(?:lic|lishable)?[_.-]?(?:api[_.-]?)?\Z|csrf|xsrf|site[_.-]?\Z|next|last"
)


def _named(content: str) -> Iterator[Find]:
    lower = content.lower()
    if len(lower) != len(content):  # of a few letters the small one is longer
        lower = content
    for name in _NAME.finditer(lower):
        before = lower[max(0, name.start() - 30) : name.start()]
        if (name[0].startswith("key") and not _KEY_OF.search(before)) or _PUBLIC_NAME.search(
            before
        ):
            continue
        value = _QUOTED.match(content, name.end()) or _ELEMENT.match(content, name.end())
        least = 0.3
        if value is None:
            # An identifier may stand here: the value must be as random as what is drawn from 62 characters.
            value = _BARE.match(content, name.end())
            least = 0.45
            line = content.rfind("\n", 0, name.start()) + 1
            if value is None or not _BARE_NAME.fullmatch(content, line, name.end()):
                continue
        written = value["value"]
        if len(written) < _SHORTEST:
            # Passwords are short.
            least = 0.45
            if not name[0].startswith("pass"):
                continue
        is_hash = _HEXADECIMAL.fullmatch(written) and _HASHED.search(before)
        if not is_hash and _is_key(written, least):
            yield Find(*value.span("value"), "entropy")
    if "Bearer " in content or "Basic " in content:
        for match in _HEADER.finditer(content):
            if _is_key(match["value"], 0.3):
                yield Find(*match.span("value"), "entropy")


def _is_key(value: str, least: float) -> bool:
    """Whether a value without a form is random: digits and letters, mixed, and of no path or address."""
    if "://" in value or value[0] in "/.:@$%&#" or not re.search(r"\d", value):
        return False
    if _TEMPLATE.search(value):
        return False
    if _HEXADECIMAL.fullmatch(value):
        return len(value) >= 32 and "-" not in value and is_random(value)
    is_mixed = value != value.lower() and value != value.upper()
    return is_random(value, max(least, 0.4) if is_mixed else least)


_AWS_ID = re.compile(r"(?:AKIA|ASIA)[A-Z2-7]{16}")
_AWS_SECRET = re.compile(r"(?<![\w/+=-])[A-Za-z0-9/+]{40}(?![\w/+=-])")
_AWS_DISTANCE = 300


def _aws_pairs(content: str) -> Iterator[Find]:
    for match in _AWS_ID.finditer(content):
        if not is_apart(content, *match.span()) or not is_random(match[0], 0.0):
            continue
        low, high = max(0, match.start() - _AWS_DISTANCE), match.end() + _AWS_DISTANCE
        for secret in _AWS_SECRET.finditer(content, low, high):
            if not _HEXADECIMAL.fullmatch(secret[0]) and is_random(secret[0], 0.3):
                yield Find(*secret.span(), "aws-secret-access-key")
