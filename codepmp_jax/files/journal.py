"""A JSONL output that is written over hours and survives a kill: its lines are kept as they come.

OUTPUT.partial/settings.json    what the lines depend on
OUTPUT.partial/lines.jsonl      whole lines so far; the last one may be torn by a kill
OUTPUT.partial/replies.jsonl    a model's replies of which the next lines will be made (codepmp_jax.synthesis.kept)
OUTPUT                          all of them, once there are all
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator
from typing import Any

from codepmp_jax.files import output as outputs
from codepmp_jax.files import resume, storage


class Journal:
    """The lines of an output so far. Made by `open_journal`."""

    def __init__(self, output: pathlib.Path, folder: pathlib.Path):
        self._output = output
        self._folder = folder
        self.replies = folder / "replies.jsonl"
        """For what the next lines will be made of, which depends on the settings too."""
        self._path = folder / "lines.jsonl"
        self.num_lines = 0
        """Lines that are there."""
        with open(self._path, "a+b") as file:
            file.seek(0)
            end = 0
            for line in file:
                if line.endswith(b"\n"):
                    self.num_lines += 1
                    end += len(line)
            file.truncate(end)

    def append(self, lines: Iterable[str]) -> None:
        """Adds lines, without their ends, and has them on disk before it returns."""
        lines = list(lines)
        with storage.storage_errors(self._path, "written"), open(self._path, "ab") as file:
            file.write("".join(f"{line}\n" for line in lines).encode())
            file.flush()
            os.fsync(file.fileno())
        self.num_lines += len(lines)

    def lines(self) -> Iterator[str]:
        """The lines, in order."""
        with open(self._path, encoding="utf-8") as file:
            yield from file

    def finish(self, lines: Iterable[str] | None = None) -> None:
        """Gives the lines, or `lines` (without their ends) that were made from them, the output's name."""
        path = self._path
        with storage.storage_errors(self._output, "written"):
            if lines is not None:
                path = self._folder / "output.jsonl"
                with open(path, "w", encoding="utf-8") as file:
                    file.writelines(f"{line}\n" for line in lines)
                    file.flush()
                    os.fsync(file.fileno())
            path.replace(self._output)
            shutil.rmtree(self._folder)


@contextlib.contextmanager
def open_journal(output: str, settings: dict[str, Any]) -> Iterator[Journal]:
    """The journal of a JSONL output whose lines depend on `settings` (JSON values); held while it is open.

    Raises UserError that shows the difference where it was begun with other settings, and StoreError where it
    cannot be written (as the journal's methods do).
    """
    path = outputs.require_file(output)
    folder = path.with_name(path.name + ".partial")
    with contextlib.ExitStack() as stack:
        with storage.storage_errors(output, "written"):
            stack.enter_context(resume.hold(folder / ".lock"))
            journal = Journal(path, folder)
            if not journal.num_lines and not journal.replies.exists():
                # Nothing depends on the settings of a run that failed at its first line.
                (folder / resume.SETTINGS).unlink(missing_ok=True)
            resume.claim(folder, settings, f"give another output, or delete {folder} to begin anew")
        stack.enter_context(outputs.errors_of(output))
        yield journal
