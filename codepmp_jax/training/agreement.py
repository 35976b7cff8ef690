"""What all hosts must agree on before they work together: settings, data, code. Else they would wait for one
another forever, or train on something that nobody meant."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax

import codepmp_jax
from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import TrainConfig, presets
from codepmp_jax.devices.together import together

_LIBRARIES = ("jaxlib", "optax", "flax", "orbax-checkpoint", "grain")
# What a host dumps to its own disk is its own.
_PER_HOST_FLAGS = ("--xla_dump_",)

# Where a host finds and keeps the data may be its own; that they are the same is compared by the shards.
_PER_HOST_SETTINGS = ("data.input", "data.mixture", "data.cache", "data.cache_bytes")


def code_version() -> dict[str, Any]:
    """Versions and flags of what computes, and the sha256 of this package's sources."""
    root = pathlib.Path(codepmp_jax.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return {
        "codepmp_jax": digest.hexdigest(),
        "jax": jax.__version__,
        **{name: importlib.metadata.version(name) for name in _LIBRARIES},
        # Of TPUs it names libtpu.
        "platform": jax.devices()[0].client.platform_version,
        **{name: _flags(name) for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")},
    }


def _flags(variable: str) -> list[str]:
    flags = os.environ.get(variable, "").split()
    return sorted(flag for flag in flags if not flag.startswith(_PER_HOST_FLAGS))


def facts_of(config: TrainConfig, **more: Any) -> dict[str, Any]:
    """What this host is about to do: each setting, versions, and `more`; JSON values."""
    settings = {
        name: value for name, value in presets.flatten(config) if name not in _PER_HOST_SETTINGS
    }
    return {**settings, **code_version(), **more}


def require_same_on_all_hosts(facts: Callable[[], dict[str, Any]]) -> None:
    """Compares what `facts` gives on each host. All hosts must call it.

    Raises UserError on every host: that of a host whose `facts` raised one, or one that names what
    differs and the hosts.
    """
    found = together(facts)
    first = found[0]
    differences = []
    for name in first:
        others = [host for host, theirs in enumerate(found) if theirs.get(name) != first[name]]
        if others:
            value = found[others[0]].get(name)
            hosts = ", ".join(map(str, others[:8])) + (" and more" if len(others) > 8 else "")
            differences.append(f"{name} = {value!r} on host {hosts}, {first[name]!r} on host 0")
    if differences:
        raise UserError(
            f"the hosts differ: {'; '.join(differences)}. Remedy: give every host the same command, code "
            "and data."
        )
