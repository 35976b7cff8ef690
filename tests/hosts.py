"""Hosts of a run on this machine: processes of launch/tpu_pod.py that find one another through jax.distributed."""

from __future__ import annotations

import contextlib
import json
import pathlib
import tempfile
import time
from collections.abc import Mapping, Sequence

from codepmp_jax.config import TrainConfig, presets
from tests.e2e.launching import command, environment
from tests.processes import LIMIT_SECONDS, Process, free_port

# Programs that compile fast rather than run fast.
_FAST_COMPILATION = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_force_host_platform_device_count="
)


class Hosts:
    """One process a config. As a context manager it ends them all."""

    def __init__(
        self,
        configs: Sequence[TrainConfig],
        cache: pathlib.Path,
        variables: Sequence[Mapping[str, str]] = (),
        num_devices: int = 2,
        late: Sequence[int] = (),
    ):
        """Starts them, but for those that come `late` (`start`). They share the compiled programs in `cache`;
        `variables` are more of each host's environment."""
        address = f"localhost:{free_port()}"
        self._stack = contextlib.ExitStack()
        folder = pathlib.Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._commands = []
        self._environments = []
        self._processes: dict[int, Process] = {}
        for host, config in enumerate(configs):
            saved = folder / f"{host}.json"
            saved.write_text(json.dumps(presets.to_json(config)), encoding="utf-8")
            self._commands.append(command("tpu_pod.py", "--config", saved))
            own = {
                "XLA_FLAGS": f"{_FAST_COMPILATION}{num_devices}",
                "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
                "JAX_COORDINATOR_ADDRESS": address,
                "JAX_NUM_PROCESSES": str(len(configs)),
                "JAX_PROCESS_ID": str(host),
                "JAX_COMPILATION_CACHE_DIR": str(cache),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            }
            self._environments.append(environment(**own, **(variables[host] if variables else {})))
            if host not in late:
                self.start(host)

    def start(self, host: int) -> None:
        """Starts a host that comes late."""
        process = Process(self._commands[host], self._environments[host])
        self._processes[host] = self._stack.enter_context(process)

    def __enter__(self) -> Hosts:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def processes(self) -> list[Process]:
        """Those that were started, in the order of hosts."""
        return [self._processes[host] for host in sorted(self._processes)]

    def wait_for(self, text: str) -> None:
        """Until the first host has logged this."""
        self.processes[0].until(lambda: text in self.processes[0].stderr)

    def wait(self, seconds: float = LIMIT_SECONDS) -> list[int]:
        """The exit statuses, at most `seconds` later."""
        deadline = time.monotonic() + seconds
        return [process.wait(deadline - time.monotonic()) for process in self.processes]

    def printed(self) -> list[str]:
        """What each host logged and printed."""
        return [process.stderr + process.stdout for process in self.processes]
