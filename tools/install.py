"""`pip install ARGUMENTS` into a virtual environment, by uv where it can be had:

    .venv/bin/python tools/install.py VENV ARGUMENTS...

uv is that of the PATH, or pip installs it next to the running Python; where neither works, pip does the work. uv
does not read pip's settings (pip.conf, PIP_*): they are passed on, so that both take the same files.
"""

from __future__ import annotations

import ast
import os
import pathlib
import shutil
import subprocess
import sys

UV = "uv==0.13.9"
# pip's setting -> uv's variable, and what separates several values in it.
VARIABLES = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_EXTRA_INDEX_URL", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "constraint": ("UV_CONSTRAINT", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
    "no-index": ("UV_NO_INDEX", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
}
# pip's sections that count here; each overrides those before it.
SECTIONS = ("global", "install", ":env:")


def pip_settings() -> dict[str, str]:
    """pip's settings by name, as `pip install` sees them."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    found: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.partition(".")
        found.get(section, {})[name] = ast.literal_eval(value)
    return {name: value for settings in found.values() for name, value in settings.items()}


def uv_environment(settings: dict[str, str]) -> dict[str, str]:
    """Variables that make uv choose as pip does with these settings: the best version over all indexes."""
    variables = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    for name, (variable, separator) in VARIABLES.items():
        if values := settings.get(name, "").split():
            variables[variable] = separator.join(values)
    return variables


def find_uv() -> str | None:
    """The path of uv, which is installed where it is missing; None where that fails."""
    own = pathlib.Path(sys.executable).with_name("uv")
    found = shutil.which("uv") or (str(own) if own.exists() else None)
    if found is None:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", UV]
        if subprocess.run(pip).returncode == 0 and own.exists():
            found = str(own)
    return found


def main() -> int:
    """Installs; the installer's exit status."""
    venv, *arguments = sys.argv[1:]
    python = str(pathlib.Path(venv) / "bin" / "python")
    uv = find_uv()
    if uv is None:
        return subprocess.run([python, "-m", "pip", "install", *arguments]).returncode
    # uv compiles only if asked to, pip unless asked not to.
    if "--no-compile" in arguments:
        arguments.remove("--no-compile")
    else:
        arguments.append("--compile-bytecode")
    environment = uv_environment(pip_settings()) | os.environ
    command = [uv, "pip", "install", "--python", python, *arguments]
    return subprocess.run(command, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
