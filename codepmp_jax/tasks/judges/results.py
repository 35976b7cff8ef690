"""What tests see of a program: values that cannot answer for themselves.

Tests and the authors' harness compare with `==`, which a value of the program's own class may define. So:

- Values of types that come with Python or an installed package are seen as they are, where all that they hold is:
  numbers, texts, containers, matches, views, arrays. Iterators yield such values.
- Functions, and values of the program's own classes, are seen through a stand-in (`_StandIn`), which passes on calls,
  attributes and operators, and checks what comes back. Two values of own classes compare as the program says. One
  is equal to a plain value only where code of Python's says so, as for a namedtuple; where the program's own
  `__eq__` says so, the verdict is `execution.NOT_PLAIN`.

A type is Python's or a package's where no Python code can have made it, or where its code is in their folders.
"""

from __future__ import annotations

import array
import collections
import datetime
import decimal
import enum
import fractions
import functools
import operator
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_ATOMS: frozenset[type] = frozenset(
    {bool, int, float, complex, str, bytes, bytearray, range, slice, array.array, memoryview}
    | {type(None), type(...), type(NotImplemented), types.ModuleType}
    | {decimal.Decimal, fractions.Fraction, datetime.date, datetime.datetime, datetime.timedelta}
)
_COLLECTIONS: frozenset[type] = frozenset({list, tuple, set, frozenset, collections.deque})
_MAPPINGS: frozenset[type] = frozenset(
    {dict, collections.OrderedDict, collections.defaultdict, collections.Counter}
)

# Type flags that Python code cannot set or clear (CPython's object.h).
_HEAP_TYPE, _IMMUTABLE_TYPE = 1 << 9, 1 << 8
_flags = type.__dict__["__flags__"].__get__
_members = type.__dict__["__dict__"].__get__
_mro = type.__dict__["__mro__"].__get__
_LIBRARIES = tuple(
    {sysconfig.get_paths()[name] + "/" for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    | {"<frozen "}
)

_COMPARISONS = {
    f"__{name}__": getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")
}
# Methods that make a value and answer no question of a test.
_MAKERS = frozenset(
    f"__{name}__"
    for name in ["new", "init", "post_init", "init_subclass", "set_name", "class_getitem", "del"]
)
# Methods that a stand-in has in a form of its own, or leaves to Python: `in` looks at what `__iter__` yields.
_NOT_PASSED_ON = _MAKERS | {
    f"__{name}__"
    for name in [
        "class",
        "dict",
        "weakref",
        "getattribute",
        "getattr",
        "setattr",
        "delattr",
        "hash",
        "repr",
        "str",
        "contains",
        "subclasshook",
        "get",
        "set",
        "delete",
    ]
}
_C_METHODS = (
    types.WrapperDescriptorType
    | types.MethodDescriptorType
    | types.ClassMethodDescriptorType
    | types.BuiltinFunctionType
)


class NotPlainError(BaseException):
    """A value of the program's answers for itself."""


def checked(value: Any) -> Any:
    """The value as tests may see it. Raises NotPlainError where there is no such form."""
    kind = type(value)
    if type(kind) is not type and not _is_library(type(kind)):
        raise NotPlainError
    if kind in _ATOMS or kind in _KINDS:
        return value
    if kind in _COLLECTIONS:
        return _checked_collection(kind, value)
    if kind in _MAPPINGS:
        return _checked_mapping(value)
    if kind is types.CoroutineType:
        return _awaited(value)
    is_library = _is_library(kind)
    if issubclass(kind, type):
        return value if _is_library(value) else _stand_in(value)
    if is_library and kind.__module__ == "numpy":
        if kind is sys.modules["numpy"].ndarray and value.dtype.hasobject:
            _require_plain(value.ravel().tolist())
        return value
    if _has(kind, "__next__"):
        return map(checked, value)
    if callable(value):
        return _stand_in(value)
    if is_library or _is_plain(kind):
        _require_plain(_held(value))
        return value
    if not (_COLLECTIONS | _MAPPINGS).isdisjoint(_mro(kind)):
        _require_plain(_held(value))
    return _stand_in(value)


def _checked_collection(kind: type, value: Any) -> Any:
    is_same, parts = True, []
    for part in value:
        seen = checked(part)
        is_same = is_same and seen is part
        parts.append(seen)
    if is_same:
        return value
    return collections.deque(parts, value.maxlen) if kind is collections.deque else kind(parts)


def _checked_mapping(value: Any) -> Any:
    is_same, items = True, []
    for key, part in value.items():
        seen_key, seen = checked(key), checked(part)
        is_same = is_same and seen_key is key and seen is part
        items.append((seen_key, seen))
    if is_same:
        return value
    copy = value.copy()
    copy.clear()
    for key, part in items:
        copy[key] = part
    return copy


def _require_plain(values: Iterable[Any]) -> None:
    """Raises NotPlainError where one of the values is not seen as it is."""
    for value in values:
        if checked(value) is not value:
            raise NotPlainError


def _held(value: Any) -> list[Any]:
    """What a value of a package's type, or of a class without methods of its own, holds."""
    attributes = getattr(value, "__dict__", None) or {}
    held = [part for name, part in attributes.items() if not _is_special(str(name))]
    held += getattr(value, "args", ()) if issubclass(type(value), BaseException) else ()
    if isinstance(value, Mapping):
        held += [*value.keys(), *value.values()]
    elif hasattr(value, "to_numpy"):  # tables of pandas
        held.append(value.to_numpy())
    elif _has(type(value), "__iter__") and not isinstance(value, str | bytes | bytearray):
        held += value
    return held


async def _awaited(value: Any) -> Any:
    return checked(await value)


# --- whose type it is -----------------------------------------------------------------------------


def _is_library(kind: type) -> bool:
    """Whether a type is Python's or a package's."""
    flags = _flags(kind)
    if not flags & _HEAP_TYPE or flags & _IMMUTABLE_TYPE:
        return True
    members = _members(kind)
    module = sys.modules.get(str(members.get("__module__")))
    origin = getattr(getattr(module, "__spec__", None), "origin", None) or ""
    if not (origin.startswith(_LIBRARIES) or origin in ("built-in", "frozen")):
        return False
    if vars(module).get(kind.__name__) is not kind:
        return False
    return all(_is_library_code(name, member) for name, member in members.items())


def _is_library_code(name: str, member: Any) -> bool:
    """Whether a member of a class runs no code of the program's."""
    if isinstance(member, staticmethod | classmethod):
        member = member.__func__
    elif isinstance(member, property):
        member = member.fget
    elif isinstance(member, functools.cached_property):
        member = member.func
    if isinstance(member, types.FunctionType):
        return member.__code__.co_filename.startswith(_LIBRARIES)
    if name in _COMPARISONS:
        return member is None or isinstance(member, types.WrapperDescriptorType)
    return not callable(member) or isinstance(member, _C_METHODS) or _is_special(name) is False


def _is_special(name: str) -> bool:
    return name[:2] == name[-2:] == "__"


def _has(kind: type, name: str) -> bool:
    return any(name in _members(one) for one in _mro(kind))


def _own_methods(kind: type) -> set[str]:
    """Names of the methods and properties whose code is the program's."""
    return {
        name
        for one in _mro(kind)
        if not _is_library(one)
        for name, member in _members(one).items()
        if name not in _MAKERS and not _is_library_code(name, member)
    }


def _is_plain(kind: type) -> bool:
    """Whether a class of the program's only names a plain type, or parts or values of one: namedtuple, Enum."""
    bases = _ATOMS | _COLLECTIONS | _MAPPINGS | {enum.Enum}
    return not bases.isdisjoint(_mro(kind)) and not _own_methods(kind)


# --- stand-ins ------------------------------------------------------------------------------------

_CLASSES: dict[type, type] = {}
"""Class of the program's -> class of the stand-ins of its values."""
_KINDS: set[type] = set()
"""The classes of stand-ins."""


class _StandIn:
    """Passes on to a value of the program's, and checks what comes back."""

    __slots__ = ("_value",)

    def __getattr__(self, name: str) -> Any:
        return checked(getattr(_value_of(self), name))

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(_value_of(self), name, behind(value))

    def __delattr__(self, name: str) -> None:
        delattr(_value_of(self), name)

    def __hash__(self) -> int:
        return hash(_value_of(self))

    def __repr__(self) -> str:
        return str.__str__(repr(_value_of(self)))

    def __str__(self) -> str:
        return str.__str__(str(_value_of(self)))


_value_of = _StandIn.__dict__["_value"].__get__
_set_value = _StandIn.__dict__["_value"].__set__


def behind(value: Any) -> Any:
    """The value of the program's behind a stand-in, also within a list, tuple, set or dict; any other, as it is."""
    kind = type(value)
    if kind in _KINDS:
        return _value_of(value)
    if kind in (list, tuple, set, frozenset):
        parts = [behind(part) for part in value]
        return value if all(map(operator.is_, parts, value)) else kind(parts)
    if kind is dict:
        parts = {behind(key): behind(part) for key, part in value.items()}
        return value if all(map(operator.is_, parts.values(), value.values())) else parts
    return value


def _stand_in(value: Any) -> Any:
    kind = type(value)
    if kind not in _CLASSES:
        _CLASSES[kind] = _stand_in_class(kind)
        _KINDS.add(_CLASSES[kind])
    stand_in = object.__new__(_CLASSES[kind])
    _set_value(stand_in, value)
    return stand_in


def _stand_in_class(kind: type) -> type:
    own = _own_methods(kind)
    names = {
        name
        for one in _mro(kind)[:-1]
        for name, member in _members(one).items()
        if _is_special(name)
        and (callable(member) or isinstance(member, staticmethod | classmethod))
    } - _NOT_PASSED_ON
    if "__contains__" not in own and _has(kind, "__contains__"):
        names.add("__contains__")
    members: dict[str, Any] = {
        "__slots__": (),
        "__class__": property(lambda _: kind),
        "__hash__": _StandIn.__hash__,
        "__doc__": property(lambda self: checked(_value_of(self).__doc__)),
        "__module__": property(lambda self: checked(_value_of(self).__module__)),
        **{name: _method(name) for name in names},
        **{name: _comparison(name, name in own) for name in _COMPARISONS},
    }
    return type("_StandIn", (_StandIn,), members)


def _method(name: str) -> Callable[..., Any]:
    """A special method that passes on."""

    def method(self: Any, *arguments: Any, **named: Any) -> Any:
        value = _value_of(self)
        for one in _mro(type(value)):
            if name in _members(one):
                bound = _members(one)[name].__get__(value, type(value))
                found = bound(*behind(list(arguments)), **behind(named))
                return found if found is NotImplemented else checked(found)
        raise TypeError(name)

    return method


def _comparison(name: str, is_own: bool) -> Callable[[Any, Any], bool]:
    """A comparison that passes on, unless the program's code alone calls a plain value equal, or greater."""
    compare = _COMPARISONS["__eq__" if name == "__ne__" else name]

    def comparison(self: Any, other: Any) -> bool:
        is_plain = type(other) not in _KINDS and _is_library(type(other))
        found = bool(compare(_value_of(self), behind(other)))
        if found and is_own and is_plain:
            raise NotPlainError
        return not found if name == "__ne__" else found

    return comparison
