"""Work that each host does alone and all must have done before they go on: the error of one is that of all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import jax

from codepmp_jax.cli.errors import StoreError, UserError, WorkerLostError
from codepmp_jax.devices.gather import gather

_KINDS = {kind.status: kind for kind in (UserError, StoreError, WorkerLostError)}


def together(work: Callable[[], Any]) -> list[Any]:
    """What `work` gives on each host, JSON values, in the order of hosts. All hosts must call it.

    Where it raises a UserError on a host, every host raises one of the same exit status that names the first such
    host: else the others would wait for it until it counts as lost. `work` may not wait for other hosts itself.
    """
    try:
        own: dict[str, Any] = {"value": work()}
    except UserError as error:
        if jax.process_count() == 1:
            raise
        own = {"error": str(error), "status": error.status}
    found = _gathered(own)
    for host, theirs in enumerate(found):
        if "error" in theirs:
            raise _KINDS[theirs["status"]](f"host {host}: {theirs['error']}")
    return [theirs["value"] for theirs in found]


def _gathered(own: dict[str, Any]) -> list[dict[str, Any]]:
    """As `gather`. Mostly all hosts say the same at length, of which they then exchange a digest only."""
    text = json.dumps(own, sort_keys=True)
    digests = gather(hashlib.sha256(text.encode()).hexdigest())
    return gather(own) if len({*digests}) > 1 else [json.loads(text) for _ in digests]
