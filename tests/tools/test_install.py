"""uv takes the settings that pip has."""

from __future__ import annotations

import pathlib
import runpy

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / "tools" / "install.py"
INSTALL = runpy.run_path(str(SCRIPT), run_name="install")


@pytest.fixture
def pip_config(monkeypatch, tmp_path):
    """Settings of a file and of the environment, and no others."""
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\n"
        "find-links = /one\n    /two\n"
        "cert = /global.pem\n"
        "no-index = true\n"
        "[install]\n"
        "constraint = /constraints.txt\n"
        "cert = /install.pem\n"
        "[download]\n"
        "find-links = /three\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    for name in ("FIND_LINKS", "CERT", "CONSTRAINT", "EXTRA_INDEX_URL", "NO_INDEX"):
        monkeypatch.delenv(f"PIP_{name}", raising=False)
    return monkeypatch


def test_pip_finds_what_is_configured(pip_config):
    settings = INSTALL["pip_settings"]()
    assert settings["find-links"].split() == ["/one", "/two"]
    assert settings["cert"] == "/install.pem"
    pip_config.setenv("PIP_CERT", "/it's.pem")
    assert INSTALL["pip_settings"]()["cert"] == "/it's.pem"


def test_settings_become_variables_of_uv(pip_config):
    pip_config.setenv("PIP_EXTRA_INDEX_URL", "file:///one/simple https://two/simple")
    variables = INSTALL["uv_environment"](INSTALL["pip_settings"]())
    assert variables.pop("UV_INDEX_STRATEGY") == "unsafe-best-match"
    assert {name: variables[name] for name in variables if name != "UV_HTTP_TIMEOUT"} == {
        "UV_EXTRA_INDEX_URL": "file:///one/simple https://two/simple",
        "UV_FIND_LINKS": "/one,/two",
        "UV_CONSTRAINT": "/constraints.txt",
        "SSL_CERT_FILE": "/install.pem",
        "UV_NO_INDEX": "true",
    }
