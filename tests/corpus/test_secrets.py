"""Secrets: the labelled table, planted ones in many places, idempotence; ordinary code is left alone."""

import ast
import collections
import pathlib
import random
import string
import sys
import sysconfig

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import SecretsConfig
from codepmp_jax.corpus.secrets import clean

REPLACE = SecretsConfig(secrets="replace", emails="replace")
DRAW = random.Random(0)


def letters(count, alphabet=string.ascii_letters + string.digits):
    return "".join(DRAW.choices(alphabet, k=count))


# Put together here, so that no scanner takes this file's text for secrets.
PLANTED = {
    "aws-access-key-id": [("key = '{}'", "AKIA" + letters(16, string.ascii_uppercase + "234567"))],
    "aws-secret-access-key": [('aws_secret_access_key = "{}"', letters(40))],
    "github-token": [("token: {},", "ghp_" + letters(36)), ("git clone {}", "gho_" + letters(36))],
    "jwt": [("Bearer {}", f"eyJ{letters(20)}.eyJ{letters(40)}.{letters(43)}")],
    "password in a URL": [("get('https://me:{}@host.org/x')", "hunter2")],
    "slack-token": [
        ("{}", f"xoxb-{letters(12, string.digits)}-{letters(12, string.digits)}-{letters(24)}")
    ],
    "stripe-key": [("x({});", "sk_live_" + letters(24))],
    "telegram-bot-token": [("bot('{}')", f"{letters(9, string.digits)}:AA{letters(33)}")],
    "entropy": [("app_secret = '{}'", letters(36)), ("APP_SECRET={}", letters(36))],
    "e-mail address": [
        ("__author__ = 'A. Nonymous <{}>'", "a.nonymous+code@gmail.com"),
        ("# mailto:{}, or not", "me@dept.univ-lyon1.fr"),
        ('print("From:\\n{}")', "ME@HOST.ORG"),
        ("({}).", "x_y%z@sub.sub.host.co.uk"),
    ],
}


def plant(template, secret):
    return f"import os\n\n{template.format(secret)}\nprint(os.name)\n"


@pytest.mark.parametrize(
    ("kind", "template", "secret"),
    [(kind, *planted) for kind, several in PLANTED.items() for planted in several],
)
def test_planted_secrets_are_replaced(kind, template, secret):
    text, found = clean(plant(template, secret), REPLACE)
    placeholder = {"e-mail address": "<EMAIL>", "password in a URL": "<PASSWORD>"}
    assert text == plant(template, placeholder.get(kind, "<KEY>"))
    assert found == {kind: 1}
    assert text is not None
    assert clean(text, REPLACE) == (text, {})
    drop = SecretsConfig(secrets="drop", emails="drop")
    assert clean(plant(template, secret), drop) == (None, {kind: 1})


@pytest.mark.parametrize("seed", range(3))
def test_of_the_labelled_table_nearly_all_is_found_and_nothing_else_changed(secrets_table, seed):
    lines = secrets_table.read(seed=seed)
    assert len(lines) > 250
    damaged = [line.text for line in lines if secrets_table.judge(line)[1]]
    assert damaged == []
    totals = secrets_table.totals(secrets_table.measure(lines))
    assert totals["recall"] >= 0.97


def test_inside_an_identifier_nothing_is_replaced(secrets_table):
    keys = [
        secret for line in secrets_table.read() if line.kind == "key" for secret in line.secrets
    ]
    words = [key for key in keys if key.isidentifier()]
    assert len(words) > 30
    for key in words:
        # Behind a key of no fixed length a letter may be its own.
        is_fixed = key.startswith(("AKIA", "ASIA", "gh", "hf_", "npm_", "r8_", "dop_v1_"))
        for code in (f"x{key} = 1", f"_{key}.y()", *[f"{key}_1 = 2"] * is_fixed):
            assert clean(code, REPLACE) == (code, {})


def test_code_with_cleaned_strings_parses(secrets_table):
    for line in secrets_table.read():
        for secret in line.secrets:
            code = f"def f(x):\n    return g(x, {secret!r}, key={secret!r})  # {secret!a}\n"
            ast.parse(clean(code, REPLACE)[0] or "")


BODY = [letters(64) for _ in range(5)]
BEGIN = "-----BEGIN {}PRIVATE KEY-----"
END = "-----END {}PRIVATE KEY-----"


@pytest.mark.parametrize(
    "key",
    [
        "\n".join([BEGIN.format("RSA "), *BODY, END.format("RSA ")]),
        "\n".join([BEGIN.format(""), "Proc-Type: 4,ENCRYPTED", "", *BODY, END.format("")]),
        "\\n".join([BEGIN.format("EC "), *BODY, END.format("EC ")]),
        '\\n"\n    "'.join([BEGIN.format("OPENSSH "), *BODY, END.format("OPENSSH ")]),
        "\n".join(["PuTTY-User-Key-File-2: ssh-rsa", *BODY, "Private-MAC: 0123456789abcdef"]),
    ],
)
def test_private_keys_are_replaced_whole(key):
    text, found = clean(f'KEY = """{key}"""\nx = 1\n', REPLACE)
    assert text == 'KEY = """<KEY>"""\nx = 1\n'
    assert found == {"private key": 1}


def test_a_private_key_that_is_cut_off_is_replaced_as_far_as_it_goes():
    text, found = clean("\n".join(["x = 1", BEGIN.format("RSA "), *BODY, "y = 2"]), REPLACE)
    assert text == "x = 1\n<KEY>\ny = 2"
    assert found == {"private key": 1}


def test_two_keys_are_two_and_markers_alone_are_none():
    key = "\n".join([BEGIN.format(""), *BODY, END.format("")])
    assert clean(f"{key}\nmiddle\n{key}", REPLACE) == ("<KEY>\nmiddle\n<KEY>", {"private key": 2})
    reader = f"start = text.find('{BEGIN.format('')}')\nend = text.find('{END.format('')}')\n"
    assert clean(reader, REPLACE) == (reader, {})


@pytest.mark.parametrize(
    "code",
    [
        "@functools.cache\ndef f(): ...",
        "y = x@self.weight\nz = a@b.T\nw = q@k.transpose(1, 2)\nv = m@n.mT",
        "someone@example.com, a@sub.example.org, user@localhost, root@host",
        "git clone git@github.com:owner/name.git",
        "https://user:{password}@host.org, https://user:$TOKEN@host.org, ftp://%s:%s@host",
        "image@2x.png, lodash@4.17.21, pkg@latest",
        "sha1 = 'da39a3ee5e6b4b0d3255bfef95601890afd80709'",
        "id = '123e4567-e89b-12d3-a456-426614174000'",
        "password = 'secret'",
        "x = y if a@b.T.in_place else c@self.id",
        "<EMAIL> <KEY> https://me:<PASSWORD>@host.org",
    ],
)
def test_ordinary_code_is_left_alone(code):
    assert clean(code, REPLACE) == (code, {})


def test_settings_are_independent():
    email, key = "me@host.org", PLANTED["github-token"][0][1]
    both = f"{email} {key}"
    assert clean(both, SecretsConfig()) == (both, {})
    assert clean(both, SecretsConfig(emails="replace")) == (f"<EMAIL> {key}", {"e-mail address": 1})
    assert clean(both, SecretsConfig(secrets="replace")) == (f"{email} <KEY>", {"github-token": 1})
    either = SecretsConfig(secrets="drop", emails="replace")
    assert clean(both, either) == (None, {"github-token": 1, "e-mail address": 1})
    assert clean(email, either) == ("<EMAIL>", {"e-mail address": 1})


def test_a_password_in_a_url_is_no_email_address():
    url = "https://me:hunter2@host.org/x"
    assert clean(url, SecretsConfig(emails="replace")) == (url, {})


def test_many_secrets_close_together_are_all_replaced():
    parts = [f"'sk_live_{letters(24)}'", f"'hf_{letters(34)}'", "'me@host.org'"]
    text, found = clean(" ".join(parts * 50), REPLACE)
    assert text == " ".join(["'<KEY>'", "'<KEY>'", "'<EMAIL>'"] * 50)
    assert sum(found.values()) == 150


def test_places_are_right_behind_letters_of_several_bytes():
    text, _ = clean(f"s = 'ä€𝄞'; stripe.api_key = 'sk_live_{letters(24)}'", REPLACE)
    assert text == "s = 'ä€𝄞'; stripe.api_key = '<KEY>'"


def test_the_standard_library_holds_no_keys_and_cleaning_it_again_changes_nothing():
    folder = pathlib.Path(sysconfig.get_path("stdlib"))
    found = collections.Counter()
    paths = [path for path in sorted(folder.glob("*.py")) if path.stat().st_size < 60_000]
    assert len(paths) > 100
    for path in paths:
        text, counts = clean(path.read_text(encoding="utf-8"), REPLACE)
        found += counts
        assert text is not None
        assert not counts or clean(text, REPLACE) == (text, {})
    assert set(found) <= {"e-mail address", "password in a URL"}
    assert found["e-mail address"] > 20
    assert found["password in a URL"] < 20


@pytest.mark.parametrize(
    ("module", "cached", "package", "other"),
    [
        (
            "kingfisher_sdk",
            "keys._scanner",
            "kingfisher-secret-scanner",
            SecretsConfig(emails="replace"),
        ),
        (
            "publicsuffixlist",
            "emails._suffixes",
            "publicsuffixlist",
            SecretsConfig(secrets="replace"),
        ),
    ],
)
def test_the_package_is_named_where_it_is_missing(monkeypatch, module, cached, package, other):
    from codepmp_jax.corpus import emails, keys

    loaded = {"keys._scanner": keys._scanner, "emails._suffixes": emails._suffixes}[cached]
    loaded.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"{package}.*extra `corpus`"):
        clean("'me@firma.gmbh'", REPLACE)
    loaded.cache_clear()
    assert clean("x", other) == ("x", {})
