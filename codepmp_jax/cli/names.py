"""Names that a user chooses from: which there are, and the nearest to one that there is not."""

from __future__ import annotations

import difflib
import functools
import pathlib
import pkgutil
from collections.abc import Sequence

from codepmp_jax.cli.errors import require

_ROOT = pathlib.Path(__file__).parents[1]


@functools.cache
def modules_in(package: str) -> tuple[str, ...]:
    """Names of the modules of `codepmp_jax.<package>`, sorted, without importing one; subpackages are left out."""
    found = pkgutil.iter_modules([str(_ROOT / package)])
    return tuple(sorted(module.name for module in found if not module.ispkg))


def require_name(path: str, name: str, names: Sequence[str], remedy: str) -> None:
    """Raises UserError with the nearest of `names` unless `name` is one of them."""
    if name in names:
        return
    nearest = difflib.get_close_matches(name, names, n=1)
    hint = f" (nearest: {nearest[0]})" if nearest else ""
    rule = f"must be one of {', '.join(names)}{hint}"
    require(False, path, name, rule, remedy)
