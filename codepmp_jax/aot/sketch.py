"""A step as the compiler's HLO passes leave it: what waits for what, in a fraction of the time of a compilation.

Most of a compilation is the generation of code, which gives the cycles. What comes before it decides on collectives and
what runs beside them, fusions and layouts; libtpu writes it to a folder, and the process is then ended. A sketch tells
which ways to compute a step are hopeless; only a whole compilation says which is fastest.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pathlib
import tempfile
from typing import Any

from codepmp_jax.aot import hlo, topology
from codepmp_jax.aot.attention import kernel_flops
from codepmp_jax.aot.check import check, compiler_error
from codepmp_jax.aot.links import coordinates
from codepmp_jax.aot.replay import replay
from codepmp_jax.aot.report import Report
from codepmp_jax.aot.workload import measure
from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import TrainConfig
from codepmp_jax.devices import chips, sharding
from codepmp_jax.files import resume
from codepmp_jax.training import objectives

# The scheduled module, and what libtpu writes as soon as it begins to generate code.
_MODULE, _BEGUN = "*-TLP-hlo.txt", "*-TLP-00-dedup*"
_POLL_SECONDS = 0.2


@dataclasses.dataclass(frozen=True)
class Sketch:
    """Times by estimate.py: to be compared with other sketches only."""

    step_ms: float
    waiting_ms: float


def sketch(config: TrainConfig, topology_name: str, num_slices: int) -> Sketch | Report:
    """The step of `config` as the HLO passes leave it, or the report of a compilation that ended before or soon after
    them: that of a step that does not fit. Raises UserError as `check` does."""
    with tempfile.TemporaryDirectory() as folder:
        spawn = multiprocessing.get_context("spawn")
        receiver, sender = spawn.Pipe(duplex=False)
        process = spawn.Process(
            target=_compile, args=(sender, folder, config, topology_name, num_slices), daemon=True
        )
        process.start()
        sender.close()
        try:
            while not receiver.poll(_POLL_SECONDS):
                if any(pathlib.Path(folder).glob(_BEGUN)):
                    return _read(pathlib.Path(folder), config, topology_name, num_slices)
            answer = receiver.recv()
        except EOFError:
            process.join()
            raise compiler_error(f"its process ended with status {process.exitcode}") from None
        finally:
            process.kill()
            process.join()
    if isinstance(answer, Exception):
        raise answer
    return answer


def _compile(sender: Any, folder: str, *arguments: Any) -> None:
    """In a process of its own: sends the report, or what went wrong."""
    resume.end_with_parent()
    given = os.environ.get("LIBTPU_INIT_ARGS", "")
    dump = f"--xla_jf_dump_to={folder} --xla_jf_dump_hlo_text=true"
    os.environ["LIBTPU_INIT_ARGS"] = f"{given} {dump}"
    try:
        sender.send(check(*arguments))
    except UserError as error:
        sender.send(error)
    except Exception as error:
        # Not every one of the compiler's errors can be sent as it is.
        sender.send(RuntimeError(f"{type(error).__name__}: {error}"))


def _read(folder: pathlib.Path, config: TrainConfig, topology_name: str, num_slices: int) -> Sketch:
    chip, devices = topology.describe(topology_name, num_slices)
    model = chips.resolve(config.model, config.data.max_length, chip)
    config = objectives.with_heads(dataclasses.replace(config, model=model))
    sizes = sharding.mesh_sizes(config.mesh, len(devices))
    row = measure(objectives.build(config).layout(), config.model)
    # The step is the largest of the modules, if there are several.
    path = max(folder.glob(_MODULE), key=lambda path: path.stat().st_size)
    profile = replay(
        hlo.parse(path.read_text(encoding="utf-8")),
        chip,
        lambda name, operands: kernel_flops(name, operands, row.scores_per_query),
        coordinates(sharding.make_mesh(sizes, devices).devices.flat),
        is_sketch=True,
    )
    return Sketch(1e3 * sum(profile.seconds.values()), 1e3 * profile.seconds["waiting"])
