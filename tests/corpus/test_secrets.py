"""Secrets: planted ones are found and replaced, idempotently; ordinary code is left alone."""

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
    "AWS Access Key": [
        ("key = '{}'", "AKIA" + letters(16, string.ascii_uppercase + string.digits)),
        ('aws_secret_access_key = "{}"', letters(40)),
    ],
    "GitHub Token": [("token: {}", "ghp_" + letters(36)), ("git clone {}", "gho_" + letters(36))],
    "GitLab Token": [("T = '{}'", "glpat-" + letters(20))],
    "JSON Web Token": [("Bearer {}", f"eyJ{letters(20)}.eyJ{letters(40)}.{letters(43)}")],
    "Basic Auth Credentials": [("get('https://me:{}@host.org/x')", "hunter2")],
    "Slack Token": [("{}", "xoxb-" + "123456789012-" * 2 + letters(24, string.ascii_lowercase))],
    "Stripe Access Key": [("x({});", "sk_live_" + letters(24))],
    "OpenAI Token": [("'{}'", f"sk-{letters(20)}T3BlbkFJ{letters(20)}")],
    "SendGrid API Key": [("'{}'", f"SG.{letters(22)}.{letters(43)}")],
    "PyPI Token": [("'{}'", "pypi-AgEIcHlwaS5vcmc" + letters(80))],
    "Telegram Bot Token": [("bot('{}')", f"123456789:{letters(35)}")],
    "Twilio API Key": [("'{}'", "SK" + letters(32, string.hexdigits.lower()[:16]))],
    "Mailchimp Access Key": [("'{}'", letters(32, string.hexdigits.lower()[:16]) + "-us12")],
    "NPM tokens": [("//registry.npmjs.org/:_authToken={}", "npm_" + letters(36))],
    "IBM Cloud IAM Key": [("ibm_cloud_api_key = '{}'", letters(44))],
    "SoftLayer Credentials": [("softlayer_key = '{}'", letters(64, string.digits + "abcdef"))],
    "E-mail Address": [
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
    placeholder = {"E-mail Address": "<EMAIL>", "Basic Auth Credentials": "<PASSWORD>"}
    assert text == plant(template, placeholder.get(kind, "<KEY>"))
    assert found == {kind: 1}
    assert text is not None
    assert clean(text, REPLACE) == (text, {})
    drop = SecretsConfig(secrets="drop", emails="drop")
    assert clean(plant(template, secret), drop) == (None, {kind: 1})


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
    assert found == {"Private Key": 1}


def test_a_private_key_that_is_cut_off_is_replaced_as_far_as_it_goes():
    text, found = clean("\n".join(["x = 1", BEGIN.format("RSA "), *BODY, "y = 2"]), REPLACE)
    assert text == "x = 1\n<KEY>\ny = 2"
    assert found == {"Private Key": 1}


def test_two_keys_are_two_and_markers_alone_are_none():
    key = "\n".join([BEGIN.format(""), *BODY, END.format("")])
    assert clean(f"{key}\nmiddle\n{key}", REPLACE) == ("<KEY>\nmiddle\n<KEY>", {"Private Key": 2})
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
        "<EMAIL> <KEY> https://me:<PASSWORD>@host.org",
    ],
)
def test_ordinary_code_is_left_alone(code):
    assert clean(code, REPLACE) == (code, {})


def test_settings_are_independent():
    email, key = "me@host.org", PLANTED["GitHub Token"][0][1]
    both = f"{email} {key}"
    assert clean(both, SecretsConfig()) == (both, {})
    assert clean(both, SecretsConfig(emails="replace")) == (f"<EMAIL> {key}", {"E-mail Address": 1})
    assert clean(both, SecretsConfig(secrets="replace")) == (f"{email} <KEY>", {"GitHub Token": 1})
    either = SecretsConfig(secrets="drop", emails="replace")
    assert clean(both, either) == (None, {"GitHub Token": 1, "E-mail Address": 1})
    assert clean(email, either) == ("<EMAIL>", {"E-mail Address": 1})


def test_a_password_in_a_url_is_no_email_address():
    url = "https://me:hunter2@host.org/x"
    assert clean(url, SecretsConfig(emails="replace")) == (url, {})


def test_many_secrets_close_together_are_all_replaced():
    parts = [
        secret for planted in PLANTED.values() for template, secret in planted if template == "'{}'"
    ]
    text, found = clean(" ".join([*parts, "me@host.org"] * 50), REPLACE)
    assert text == " ".join([*["<KEY>"] * len(parts), "<EMAIL>"] * 50)
    assert sum(found.values()) == 50 * (len(parts) + 1)


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
    assert set(found) <= {"E-mail Address", "Basic Auth Credentials"}
    assert found["E-mail Address"] > 20
    assert found["Basic Auth Credentials"] < 20


def test_the_package_is_named_where_it_is_missing(monkeypatch):
    from codepmp_jax.corpus import secrets

    secrets._patterns.cache_clear()
    monkeypatch.setitem(sys.modules, "detect_secrets.plugins.base", None)
    with pytest.raises(UserError, match=r"detect-secrets.*extra `corpus`"):
        clean("x", REPLACE)
    secrets._patterns.cache_clear()
    assert clean("x", SecretsConfig(emails="replace")) == ("x", {})
