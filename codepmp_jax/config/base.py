"""What all configs share: their base class, and types for settings with a bound."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import re
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast

from annotated_types import BaseMetadata, Ge, Gt, Le

from codepmp_jax.cli.errors import UserError

# Imported where it is used: a command line without a preset needs none of its 80 ms.
if TYPE_CHECKING:
    import pydantic


@dataclasses.dataclass(frozen=True)
class Rule:
    """A rule of one setting that no bound of annotated_types expresses, as metadata of its type."""

    holds: Callable[[Any], bool]
    """Whether a value, whose type is right, follows the rule."""
    text: str
    """The rule in the error message: "must ..."."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Checks the rule after pydantic's own checks of the type."""
        from pydantic_core import PydanticCustomError, core_schema

        def check(value: Any) -> Any:
            if not self.holds(value):
                raise PydanticCustomError("rule", "{text}", {"text": self.text})
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))


@dataclasses.dataclass(frozen=True)
class Remedy:
    """What the error message proposes, as metadata of a setting's type. Without it: the default value."""

    text: str
    """The proposal, without a full stop."""


@dataclasses.dataclass(frozen=True)
class OnlyWith:
    """Says that a setting means something only with some values of another one of its config, as metadata of its type.

    Where a command line changes that other setting to a further value, the preset's value of this one is dropped.
    """

    setting: str
    """The other setting's name."""
    values: tuple[str, ...]
    """The values with which it means something."""


PositiveInt = Annotated[int, Gt(0)]
NonNegativeInt = Annotated[int, Ge(0)]
PositiveFloat = Annotated[float, Gt(0)]
NonNegativeFloat = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
StorePath = Annotated[
    str,
    Rule(lambda path: "://" not in path or path.startswith("gs://"), "must be a path or gs://"),
    Remedy("mount the bucket and give the path"),
]

HubName = Annotated[
    str,
    Rule(lambda name: re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None, "must be OWNER/NAME"),
    Remedy("e.g. my-organisation/pmp-7b"),
]

DiskPath = Annotated[
    str,
    Rule(lambda path: "://" not in path, "must be a path on a disk"),
    Remedy("give a path on a disk, and copy between it and the bucket"),
]


def _is_date(text: str) -> bool:
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


Date = Annotated[
    str, Rule(_is_date, "must be a date YYYY-MM-DD"), Remedy("give one like 2024-07-26")
]


class Config:
    """Base of all configs: frozen dataclasses whose settings are checked on construction.

    The bounds of a setting are metadata of its type. `__post_init__` of a subclass adds the rules across
    settings, after `super().__post_init__()`.
    """

    # How pydantic reads JSON: an unknown entry is an error.
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}
    section: ClassVar[str] = ""
    """Dotted path of the config within a stage's; empty for a stage's own."""

    def __init_subclass__(cls, section: str | None = None) -> None:
        super().__init_subclass__()
        if section is not None:
            cls.section = section

    def __post_init__(self) -> None:
        """Raises UserError for the first setting that breaks a bound of its type."""
        for field in dataclasses.fields(cast(Any, self)):
            value = getattr(self, field.name)
            # Defaults are valid (tests/config): they are not worth loading pydantic.
            if value is not field.default and field.name in bounded(type(self)):
                _check(type(self), field.name, value)


@functools.cache
def bounded(config_type: type[Config]) -> dict[str, Any]:
    """The types of the settings that have bounds, by the settings' names."""
    hints = typing.get_type_hints(config_type, include_extras=True)
    return {
        name: hint
        for name, hint in hints.items()
        if any(isinstance(entry, BaseMetadata | Rule) for entry in metadata(hint))
    }


def _check(config_type: type[Config], name: str, value: Any) -> None:
    import pydantic

    try:
        _adapter(bounded(config_type)[name]).validate_python(value)
    except pydantic.ValidationError as error:
        raise UserError(broken_rule(config_type, error, name)) from None


@functools.cache
def _adapter(hint: Any) -> pydantic.TypeAdapter:
    import pydantic

    return pydantic.TypeAdapter(hint, config=pydantic.ConfigDict(strict=True, allow_inf_nan=False))


@functools.cache
def dependent(config_type: type[Any]) -> dict[str, OnlyWith]:
    """The settings that depend on another one of their config, by their names."""
    hints = typing.get_type_hints(config_type, include_extras=True)
    return {
        name: entry
        for name, hint in hints.items()
        for entry in metadata(hint)
        if isinstance(entry, OnlyWith)
    }


def metadata(hint: Any) -> list[Any]:
    """The metadata of a type and of the types that it is made of."""
    own = getattr(hint, "__metadata__", ())
    return [*own, *(entry for part in typing.get_args(hint) for entry in metadata(part))]


def broken_rule(config_type: type[Any], error: pydantic.ValidationError, *above: str) -> str:
    """Dotted path, value, rule and remedy of pydantic's first error in the entry `above` of a config."""
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, UserError):
        return str(cause)
    remedy = "see --help for what it takes"
    # What a union chose, "(NAME)", is no part of the path.
    loc = [*above, *(str(part) for part in first["loc"] if not str(part).startswith("("))]
    owner = config_type
    for part in loc:
        field = owner.__dataclass_fields__.get(part)
        if field is None:
            break
        if not dataclasses.is_dataclass(field.default):
            remedy = _remedy(owner, field)
            break
        owner = type(field.default)
    section = getattr(config_type, "section", "")
    path = ".".join([section] * bool(section) + loc) or config_type.__name__
    rule = re.sub(r"^\w+ should ", "must ", first["msg"])
    return f"{path} = {first['input']!r}: {rule}. Remedy: {remedy}."


def _remedy(owner: type[Any], field: dataclasses.Field[Any]) -> str:
    hint = typing.get_type_hints(owner, include_extras=True)[field.name]
    for entry in metadata(hint):
        if isinstance(entry, Remedy):
            return entry.text
    return "leave it out" if field.default is None else f"try {field.default!r}, the default"
