"""Names that a user chooses from: which there are, and the nearest to one that there is not."""

from __future__ import annotations

import difflib
import functools
import pathlib
import pkgutil
from collections.abc import Iterable

from codepmp_jax.cli.errors import require

_ROOT = pathlib.Path(__file__).parents[1]


@functools.cache
def modules_in(package: str) -> tuple[str, ...]:
    """Names of the modules of `codepmp_jax.<package>`, sorted, without importing one; subpackages are left out."""
    found = pkgutil.iter_modules([str(_ROOT / package)])
    return tuple(sorted(module.name for module in found if not module.ispkg))


def require_name(
    path: str, name: str, names: Iterable[str], remedy: str = "give one of these names"
) -> None:
    """Raises UserError unless `name` is one of `names`; the remedy is the nearest of them, where one is near."""
    names = tuple(names)
    nearest = difflib.get_close_matches(name, names, n=1)
    require(
        name in names,
        path,
        name,
        f"must be one of {', '.join(names)}",
        f"give {nearest[0]}, the nearest of these names" if nearest else remedy,
    )
