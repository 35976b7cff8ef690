"""The sources of a mixture, as `data.mixture` names them: NAME=FOLDER:WEIGHT."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Annotated, NamedTuple

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import Remedy, Rule

# The folder may hold = and :, as in gs://BUCKET/pairs: the name ends at the first =, the weight begins at the last :.
_ENTRY = re.compile(
    r"(?P<name>[A-Za-z0-9_.-]+)=(?P<folder>.+):(?P<weight>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
)
# Weights are rounded to this part of the smallest one, so that shares are ratios of integers, as Grain mixes.
_PARTS = 100
_MAX_RATIO = 1e6


class Source(NamedTuple):
    """A source of a mixture."""

    name: str
    """By which metrics and the log call it."""
    folder: str
    """Of its shards, a path or gs://."""
    weight: float
    """Its share of the records that are drawn, in proportion to the other sources' weights."""


def _parse(entry: str) -> Source | None:
    """The source; None where the entry does not follow the rule of MixtureEntry."""
    match = _ENTRY.fullmatch(entry)
    if match is None:
        return None
    source = Source(match["name"], match["folder"], float(match["weight"]))
    is_path = "://" not in source.folder or source.folder.startswith("gs://")
    return source if is_path and 0 < source.weight < float("inf") else None


MixtureEntry = Annotated[
    str,
    Rule(
        lambda entry: _parse(entry) is not None,
        "must be NAME=FOLDER:WEIGHT: a name of letters, digits, _, . and -, a path or gs://, and a number above 0",
    ),
    Remedy("e.g. --data.mixture math=runs/math:2 code=gs://BUCKET/code:1"),
]


@functools.cache
def sources_of(entries: tuple[str, ...]) -> tuple[Source, ...]:
    """The sources that valid entries name, in the order of their names."""
    return tuple(sorted(source for entry in entries if (source := _parse(entry)) is not None))


def require_sources(entries: tuple[str, ...]) -> None:
    """Raises UserError where two sources have one name or one folder, or weights are too far apart."""
    sources = sources_of(entries)
    for what, values, remedy in (
        ("name", [source.name for source in sources], "rename one of them"),
        (
            "folder",
            [source.folder.rstrip("/") for source in sources],
            "name it once, with the sum of the weights",
        ),
    ):
        twice = sorted(value for value in set(values) if values.count(value) > 1)
        require(
            not twice,
            "data.mixture",
            entries,
            f"must not have two sources of one {what} ({', '.join(twice)})",
            remedy,
        )
    weights = [source.weight for source in sources]
    require(
        not sources or max(weights) / min(weights) <= _MAX_RATIO,
        "data.mixture",
        entries,
        f"must have weights of which the largest is at most {_MAX_RATIO:.0f} times the smallest",
        "leave a source out that is drawn so rarely, or raise its weight",
    )


def proportions(sources: Sequence[Source]) -> dict[str, int]:
    """How many records of each source come in sum(proportions) records of the mixture, by the sources' names.

    They are the weights in hundredths of the smallest one, rounded: a share is exact to half a percent of itself.
    """
    smallest = min((source.weight for source in sources), default=1.0)
    return {source.name: round(source.weight / smallest * _PARTS) for source in sources}
