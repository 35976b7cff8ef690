"""Readers: where source text comes from."""

from __future__ import annotations

import dataclasses
import io
import os
import pathlib
import platform
import sysconfig
import tokenize
from collections.abc import Sequence

from codepmp_jax.config import CorpusConfig
from codepmp_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Folder:
    """A folder of source files and what is known of all of them."""

    root: pathlib.Path
    repository: str
    license: str
    """SPDX identifier; empty where it is not known."""


class Undecodable(ValueError):
    """A file's bytes are no text in the encoding that it declares."""


def open_folder(config: CorpusConfig) -> Folder:
    """The folder that the config names: the interpreter's standard library if none.

    Raises UserError where it is no folder.
    """
    if config.input is None:
        root = pathlib.Path(sysconfig.get_path("stdlib"))
        return Folder(root, f"python/cpython@v{platform.python_version()}", "PSF-2.0")
    root = pathlib.Path(config.input)
    if not root.is_dir():
        raise UserError(
            f"input = {config.input!r}: is no folder. Remedy: give a folder of source files."
        )
    return Folder(root, root.resolve().name, "")


def list_files(root: pathlib.Path, exclude: Sequence[str]) -> list[pathlib.Path]:
    """Python files under `root` in the order of their paths; links to folders are not followed."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in exclude]
        found += [pathlib.Path(folder, name) for name in names if name.endswith(".py")]
    return sorted(found, key=lambda path: path.relative_to(root).parts)


def relative_path(path: pathlib.Path, root: pathlib.Path) -> str:
    """Path within the folder, with slashes; bytes of a name that are no text become `?`."""
    return path.relative_to(root).as_posix().encode(errors="replace").decode()


def read_python(path: pathlib.Path) -> str:
    """Text of a Python file in its declared encoding (PEP 263), lines ending in newlines.

    Raises OSError where it cannot be read and Undecodable where its bytes are no such text.
    """
    data = path.read_bytes()
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError) as error:
        raise Undecodable(str(error)) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
