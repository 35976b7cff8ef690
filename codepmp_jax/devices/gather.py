"""What the hosts of a run tell one another, by JAX's coordination service.

No device takes part: nothing compiles, whatever the size, and nothing waits for steps that are on their way.
"""

from __future__ import annotations

import itertools
import json
import zlib
from typing import Any

import jax
from jax._src import distributed

# A wait ends when a host is lost, with an error of the service, or by the watchdog; this is only what must be given.
_LIMIT_MS = 24 * 3600 * 1000

_numbers = itertools.count()


def gather(value: Any) -> list[Any]:
    """Every process's JSON value, in the order of processes; on every process. All must call it equally often."""
    if jax.process_count() == 1:
        return [value]
    contents = _exchange(zlib.compress(json.dumps(value).encode(), 1))
    return [json.loads(zlib.decompress(content)) for content in contents]


def _exchange(content: bytes) -> list[bytes]:
    """The contents of all processes, in their order."""
    client, number, own = distributed.global_state.client, next(_numbers), jax.process_index()
    assert client is not None
    folder = f"codepmp_jax/gather/{number}"
    client.key_value_set_bytes(f"{folder}/{own}", content)
    client.wait_at_barrier(folder, _LIMIT_MS)
    # All are here, so all have read what was before.
    if number:
        client.key_value_delete(f"codepmp_jax/gather/{number - 1}/{own}")
    found = client.key_value_dir_get_bytes(f"{folder}/")
    contents = {int(key.rpartition("/")[2]): theirs for key, theirs in found}
    return [contents[process] for process in range(jax.process_count())]
