"""Runs a pip command on an environment, by uv: `python tools/packages.py .venv install -r requirements.txt`.

uv takes the settings that pip has here (indexes, links, constraints, certificates), so that both find the same files.
It is installed next to this Python where there is none. pip does the work where uv cannot be installed, and with
INSTALLER=pip.
"""

from __future__ import annotations

import ast
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence

# pip's setting -> uv's variable, and what uv has between several values.
VARIABLES = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "no-index": ("UV_NO_INDEX", " "),
    "constraint": ("UV_CONSTRAINT", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
}


def read_settings(lines: Iterable[str]) -> dict[str, str]:
    """Setting -> value, from the lines of `pip config list`: SECTION.NAME='VALUE'.

    A variable of the environment overrides the section [install], which overrides [global].
    """
    ranks = {"global": 0, "install": 1, ":env:": 2}
    found: dict[str, tuple[int, str]] = {}
    for line in lines:
        key, _, value = line.partition("=")
        section, _, name = key.partition(".")
        name = name.lstrip(".")
        if section in ranks and (name not in found or ranks[section] > found[name][0]):
            found[name] = (ranks[section], ast.literal_eval(value))
    return {name: value for name, (_, value) in found.items()}


def uv_variables(settings: Mapping[str, str]) -> dict[str, str]:
    """uv's variables that say what pip's settings say."""
    # As pip does: the best file of all indexes, not of the first that has the package.
    variables = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    for name, (variable, separator) in VARIABLES.items():
        if settings.get(name):
            variables[variable] = separator.join(settings[name].split())
    return variables


def find_uv() -> str | None:
    """uv's program, installed next to this Python where there is none; None where that fails."""
    if os.environ.get("INSTALLER") == "pip":
        return None
    scripts = sysconfig.get_path("scripts")
    path = os.pathsep.join([scripts, os.environ.get("PATH", "")])
    if shutil.which("uv", path=path) is None:
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "uv"])
    uv = shutil.which("uv", path=path)
    if uv is None:
        print("uv cannot be installed: pip takes its place", file=sys.stderr)
    return uv


def make_command(uv: str | None, environment: str, arguments: Sequence[str]) -> list[str]:
    """What runs pip's `arguments`, of which the first is `install` or `uninstall`, on an environment."""
    python = str(pathlib.Path(environment) / "bin" / "python")
    action, *rest = arguments
    if uv is not None:
        return [uv, "pip", action, "--python", python, *rest]
    options = {"install": ["--no-compile"], "uninstall": ["--yes"]}[action]
    return [sys.executable, "-m", "pip", "--python", python, action, *options, *rest]


def main() -> int:
    """The command's exit status."""
    environment, *arguments = sys.argv[1:]
    uv = find_uv()
    variables = {}
    if uv is not None:
        listed = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        variables = uv_variables(read_settings(listed.stdout.splitlines()))
    command = make_command(uv, environment, arguments)
    # uv's own variables, where they are set, override pip's settings.
    return subprocess.run(command, env=variables | os.environ).returncode


if __name__ == "__main__":
    sys.exit(main())
