"""A published row, read with checks."""

from __future__ import annotations

from typing import Any


class LeftOut(Exception):
    """A row that cannot be used here, for the reason that it gives: `need numpy, which is not installed`."""


class Row:
    """A row as its authors published it. Raises ValueError where a value is missing or of another type."""

    def __init__(self, values: dict[str, Any]):
        self.values = values

    def has(self, name: str) -> bool:
        """Whether there is anything under `name`."""
        return self.values.get(name) not in (None, "")

    def text(self, *names: str) -> str:
        """The text under the first of the names that the row has."""
        for name in names:
            if self.has(name):
                value = self.values[name]
                if not isinstance(value, str):
                    raise ValueError(f"{name} is no text but {value!r}")
                return value
        raise ValueError(f"lacks {' and '.join(names)}")

    def written(self, name: str) -> str:
        """A text that may be empty, as some that models wrote are."""
        value = self.values.get(name)
        if not isinstance(value, str):
            raise ValueError(f"{name} is no text but {value!r}")
        return value

    def texts(self, name: str, may_be_empty: bool = False) -> tuple[str, ...]:
        """The texts of a list; one that is not empty, unless it may be."""
        value = self.values.get(name)
        if (
            not isinstance(value, list)
            or not (value or may_be_empty)
            or not all(isinstance(v, str) for v in value)
        ):
            raise ValueError(f"{name} is no list of texts but {value!r}")
        return tuple(value)

    def identifier(self, name: str) -> str:
        """A number or text that names the row."""
        value = self.values.get(name)
        if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
            raise ValueError(f"{name} is no identifier but {value!r}")
        return str(value)

    def index(self, name: str, size: int) -> int:
        """An index into a list of `size` entries, from 0; published as a number or in digits."""
        value = self.values.get(name)
        digits = value if isinstance(value, str) else str(value)
        if isinstance(value, bool) or not digits.isdecimal() or int(digits) >= size:
            raise ValueError(f"{name} is none of 0 to {size - 1} but {value!r}")
        return int(digits)
