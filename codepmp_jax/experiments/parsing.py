"""Settings of the commands of a grid, most of which differ in values only.

The command line's parser takes some 40 ms a command. Of commands that differ in the values of options only, it parses
one, and the others are that one with other values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import presets
from codepmp_jax.config.base import dependent

Form = tuple[str | None, ...]


class Parser:
    """Parses commands of codepmp, as `presets.parse` does."""

    def __init__(self) -> None:
        self._parsed: dict[tuple[type[Any], Form], tuple[Sequence[str], Any]] = {}
        self._same: dict[tuple[type[Any], tuple[str, ...]], Any] = {}

    def parse(self, config_type: type[Any], words: Sequence[str], prog: str) -> Any:
        """The settings. Raises UserError where the options are not accepted."""
        same = config_type, tuple(words)
        if same not in self._same:
            self._same[same] = self._find(config_type, words, prog)
        return self._same[same]

    def _find(self, config_type: type[Any], words: Sequence[str], prog: str) -> Any:
        key = config_type, _form(words)
        known = self._parsed.get(key)
        if known is not None:
            found = _with_values(known[1], known[0], words)
            if found is not None:
                return found
        try:
            settings = presets.parse(config_type, "", list(words), prog=prog)
        except SystemExit as error:
            raise UserError("is not accepted, see above. Remedy: correct the command.") from error
        self._parsed.setdefault(key, (words, settings))
        return settings


def _form(words: Sequence[str]) -> Form:
    """The words, with None for the single value of an option (but for --config)."""
    form: list[str | None] = []
    for index, word in enumerate(words):
        option = words[index - 1] if index else ""
        is_value = option.startswith("--") and option != "--config" and "=" not in option
        is_single = index + 1 == len(words) or words[index + 1].startswith("--")
        form.append(None if is_value and is_single and not word.startswith("--") else word)
    return tuple(form)


def _with_values(settings: Any, before: Sequence[str], words: Sequence[str]) -> Any:
    """`settings`, parsed from the words `before`, with the values of `words`; None where that is not so simple."""
    try:
        for index, (old, new) in enumerate(zip(before, words, strict=True)):
            if old != new:
                path = words[index - 1].removeprefix("--").replace("-", "_").split(".")
                settings = _replaced(settings, path, new)
    except (
        ValueError,
        AttributeError,
    ):  # UserError is one: of two values that depend on each other
        return None
    return settings


def _replaced(settings: Any, path: Sequence[str], word: str) -> Any:
    name, *rest = path
    old = getattr(settings, name)
    if rest:
        return dataclasses.replace(settings, **{name: _replaced(old, rest, word)})
    others = dependent(type(settings)).values()
    if type(old) not in (int, float, str) or any(only.setting == name for only in others):
        raise ValueError(name)
    if isinstance(old, str) and word in ("None", "True", "False"):
        raise ValueError(word)
    return dataclasses.replace(settings, **{name: type(old)(word)})
