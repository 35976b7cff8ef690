"""Which modules a package holds."""

from __future__ import annotations

import functools
import pathlib
import pkgutil

_ROOT = pathlib.Path(__file__).parents[1]


@functools.cache
def modules_in(package: str) -> tuple[str, ...]:
    """Names of the modules of `codepmp_jax.<package>`, sorted, without importing one; subpackages are left out."""
    found = pkgutil.iter_modules([str(_ROOT / package)])
    return tuple(sorted(module.name for module in found if not module.ispkg))
