"""uv gets the settings that pip has."""

from __future__ import annotations

import pathlib
import runpy
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / "tools" / "packages.py"
PACKAGES = runpy.run_path(str(SCRIPT), run_name="packages")


def test_the_environment_overrides_sections_and_install_overrides_global():
    settings = PACKAGES["read_settings"](
        [
            ":env:.find-links='/wheels'",
            "global.cert='/global.pem'",
            "global.find-links='/elsewhere'",
            "install.cert='/install.pem'",
            "install.find-links='/else'",
            "download.index-url='https://not.ours'",
        ]
    )
    assert settings == {"find-links": "/wheels", "cert": "/install.pem"}


def test_settings_become_variables_of_uv():
    variables = PACKAGES["uv_variables"](
        {
            "extra-index-url": "file:///one/simple\nhttps://two/simple",
            "find-links": "/one /two",
            "constraint": "/constraints.txt",
            "cert": "/ca.pem",
            "disable-pip-version-check": "1",
        }
    )
    assert variables == {
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_INDEX": "file:///one/simple https://two/simple",
        "UV_FIND_LINKS": "/one,/two",
        "UV_CONSTRAINT": "/constraints.txt",
        "SSL_CERT_FILE": "/ca.pem",
    }


def test_pip_reports_its_settings_as_they_are_read(tmp_path):
    """The format of `pip config list`, which its manual does not promise."""
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nfind-links = /one\n    /two\n[install]\nno-index = true\n")
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        env={"PIP_CONFIG_FILE": str(config), "PIP_CERT": "/it's.pem"},
        capture_output=True,
        text=True,
        check=True,
    )
    settings = PACKAGES["read_settings"](listed.stdout.splitlines())
    variables = PACKAGES["uv_variables"](settings)
    assert variables["SSL_CERT_FILE"] == "/it's.pem"
    assert variables["UV_FIND_LINKS"] == "/one,/two"
    assert variables["UV_NO_INDEX"] == "true"


@pytest.mark.parametrize(
    ("uv", "arguments", "expected"),
    [
        (
            "/bin/uv",
            ["install", "x"],
            ["/bin/uv", "pip", "install", "--python", "e/bin/python", "x"],
        ),
        (
            None,
            ["uninstall", "x", "y"],
            [
                sys.executable,
                "-m",
                "pip",
                "--python",
                "e/bin/python",
                "uninstall",
                "--yes",
                "x",
                "y",
            ],
        ),
    ],
)
def test_pip_takes_the_place_of_uv(uv, arguments, expected):
    assert PACKAGES["make_command"](uv, "e", arguments) == expected
