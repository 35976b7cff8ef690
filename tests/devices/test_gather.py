from __future__ import annotations

import json
import os
import sys

from codepmp_jax.devices.gather import gather
from tests.processes import Process, free_port

HOST = """
import json, sys
import jax
from jax._src import distributed

address, process = sys.argv[1:]
jax.distributed.initialize(address, 2, int(process), initialization_timeout=300)
from codepmp_jax.devices.gather import gather

compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda name, seconds, **more: name.endswith("backend_compile_duration") and compiled.append(name)
)
counts = {"tokens": 19_000_000_000 + int(process), "text": "é"}
assert gather(counts) == [{"tokens": 19_000_000_000 + i, "text": "é"} for i in range(2)]
for size in range(1, 1000, 37):
    own = [int(process)] * size
    assert gather(own) == [[i] * size for i in range(2)], size
left = distributed.global_state.client.key_value_dir_get_bytes("codepmp_jax/gather/")
print(json.dumps({"compiled": len(compiled), "left": len(left)}))
"""


def test_two_processes_exchange_texts_of_any_length_and_compile_nothing():
    """Of what was exchanged only the last stays with the service, which may not have forgotten it yet."""
    address = f"localhost:{free_port()}"
    env = os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    first, second = (
        Process([sys.executable, "-c", HOST, address, process], env) for process in range(2)
    )
    with first, second:
        for process in (first, second):
            done = process.finish()
            assert done.returncode == 0, done.stderr
            said = json.loads(done.stdout)
            assert said["compiled"] == 0
            assert said["left"] <= 4


def test_one_process_has_nothing_to_exchange():
    value = {"anything": object()}
    assert gather(value) == [value]
