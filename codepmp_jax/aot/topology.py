"""TPU slices by name, for the compiler, without the machines."""

from __future__ import annotations

import difflib
import importlib.util
from typing import Any

import jax
from jax.experimental import topologies

from codepmp_jax.cli.errors import UserError
from codepmp_jax.devices.chips import CHIPS, Chip, set_libtpu_flags
from codepmp_jax.devices.slices import NAMES


def describe(name: str, num_slices: int = 1) -> tuple[Chip, list[Any]]:
    """The chip, and the devices of `num_slices` slices of the topology `name`, e.g. `v5p:4x4x4`. libtpu starts with
    the flags that it has on a pod.

    Raises UserError where libtpu is not installed or does not start, and naming the nearest topologies where it
    knows none of that name.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UserError("libtpu is not installed. Remedy: pip install -e '.[tpu]'")
    chip = CHIPS.get(name.split(":")[0])
    if chip is None or chip.clock is None or ":" not in name:
        raise _unknown(name)
    set_libtpu_flags()
    slices = {"num_slices": num_slices} if num_slices > 1 else {}
    try:
        described = topologies.get_topology_desc(
            name, platform="tpu", **chip.topology_options, **slices
        )
    except jax.errors.JaxRuntimeError as error:
        # libtpu's word for a name that it refuses; any other is about the machine.
        if str(error).startswith("INVALID_ARGUMENT"):
            raise _unknown(name, str(error)) from error
        raise UserError(
            f"libtpu does not start: {error} Remedy: end the other program that uses it, or set "
            "ALLOW_MULTIPLE_LIBTPU_LOAD=1."
        ) from error
    return chip, described.devices


def _unknown(name: str, said: str = "") -> UserError:
    nearest = difflib.get_close_matches(name.lower(), NAMES, n=3, cutoff=0.4)
    return UserError(
        f"topology = {name!r}: no such slice{f' ({said})' if said else ''}. Remedy: give one like "
        f"{', '.join(nearest or ('v5e:4x4', 'v5p:4x4x4', 'v6e:16x16'))}."
    )
