"""E-mail addresses in code: which `x@y.z` is one.

An address is `local@domain` where

1. the domain's last label is a top-level domain of the public suffix list (package publicsuffixlist), so that
   `image@2x.png`, `lodash@4.17.21`, `x@self.weight` and `root@host` are none; nor are a version and a file (`icon@3x.zip`);
2. it ends there: what a bracket or a call follows is code (`h@params.to(dtype)`);
3. it is nobody's account on a machine: the user of a URL (`ssh://git@host.org`), git's and rsync's
   `user@host:path`, the host that ssh and its like are given on the line;
4. it is no expression. Outside of quotes, `<>` and comments these are expressions: Kotlin's labels (`this@Outer.id`), a
   product with an attribute of `self`, a domain in mixed case, and an operand (`= a@b.in`, `f(k@v.name)`) whose names
   are identifiers, unless its top-level domain is one that attributes are not called by;
5. it is not reserved for examples (RFC 2606): example.com, example.org, example.net, example.edu.

Addresses that are written out (`me at host dot org`) are not searched for.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

from codepmp_jax.cli.errors import UserError

_DOMAIN = re.compile(
    r"@((?:[^\W_](?:[^\W_]|-){0,62}\.){1,8}(?:[^\W\d_]{2,24}|xn--[a-z0-9-]{2,59}))(?![\w(\[{@-]|\.\w)(?!:[\w/~])"
)
_LOCAL = re.compile(r"[\w.%+-]{0,63}[\w%+-]\Z")
_USER_OF_URL = re.compile(r"://[^\s/]*\Z")
_REMOTE = re.compile(r"\b(?:ssh|scp|sftp|rsync|mosh|ssh-copy-id|autossh|sshfs)\b[^\n'\"`]*\Z")
_RESERVED = re.compile(r"(?:.*\.)?example\.(?:com|org|net|edu)", re.IGNORECASE)
# A version, or a file's ending.
_VERSION = re.compile(r"\d+\.\d.*|\d.*\.(?:zip|mov)")

_LABELS = frozenset(("this", "super", "return", "break", "continue"))
_OBJECTS = frozenset(("self", "cls", "this", "super"))
# Top-level domains that no attribute is called by.
_PLAIN = frozenset(
    [
        "com",
        "org",
        "net",
        "edu",
        "gov",
        "mil",
        "de",
        "fr",
        "uk",
        "jp",
        "cn",
        "ru",
        "br",
        "eu",
        "ca",
        "au",
        "ch",
        "nl",
    ]
)
# Behind an operator, a keyword, or the bracket of a call or an index that is still open.
_OPERAND = re.compile(
    r"(?:[=?~\[]|\S\s*[+*/<>&|-]|\b(?:return|and|or|not|in|if|else|yield|await))\s*\Z|\w[(\[][^)\]]*[(\[,]\s*\Z"
    r"|\w[(\[]\s*\Z"
)
_SETTING = re.compile(r"\s*(?:export\s+)?[\w.-]+=\Z")
_COMMENT = re.compile(r"(?:^|\s)(?:#|//|/\*|\*|--|;|%|<!--)")


def emails(content: str) -> Iterator[tuple[int, int]]:
    """(start, end) of every address. Raises UserError where publicsuffixlist is not installed."""
    if "@" not in content:
        return
    for match in _DOMAIN.finditer(content):
        domain = match[1]
        line = content.rfind("\n", 0, match.start()) + 1
        before = content[max(line, match.start() - 400) : match.start()]
        local = _LOCAL.search(before)
        if local is None or not _is_domain(domain):
            continue
        start = match.start() - len(local[0])
        if start > 0 and content[start - 1] == "\\":
            start += 1  # the letter of an escape: "\nme@..."
        name = content[start : match.start()].lstrip(".")
        lead = before[: len(before) - len(name)]
        if not name or _USER_OF_URL.search(before) or _REMOTE.search(lead):
            continue
        is_enclosed = lead.endswith("<") and content.startswith(">", match.end())
        if is_enclosed or not _is_expression(lead, name, domain):
            yield match.start() - len(name), match.end()


def _is_domain(domain: str) -> bool:
    suffix = domain.rpartition(".")[2].lower()
    if suffix not in _PLAIN and _suffixes().publicsuffix(suffix) is None:
        return False
    return not (_RESERVED.fullmatch(domain) or _VERSION.fullmatch(domain))


def _is_expression(lead: str, name: str, domain: str) -> bool:
    """`lead` is the line before the address."""
    is_quoted = any(lead.count(quote) % 2 for quote in "\"'`")
    if is_quoted or _COMMENT.search(lead) or not name.isidentifier() or "-" in domain:
        return False
    if name in _LABELS or domain.partition(".")[0] in _OBJECTS:
        return True
    if domain not in (domain.lower(), domain.upper()):
        return True
    is_operand = _OPERAND.search(lead) is not None and not _SETTING.match(lead)
    return is_operand and domain.rpartition(".")[2].lower() not in _PLAIN


@functools.cache
def _suffixes() -> Any:
    try:
        from publicsuffixlist import PublicSuffixList
    except ImportError as error:
        raise UserError(
            "secrets: the package publicsuffixlist is not installed. Remedy: install the extra `corpus`, or "
            "set secrets.emails to keep."
        ) from error
    return PublicSuffixList(only_icann=True, accept_unknown=False)
