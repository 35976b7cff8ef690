"""Where passes run: processes of this machine, or actors of a Ray cluster.

Both map a worker over the shards. A worker is made where it runs, keeps its sampler from shard to shard,
and leaves its results on disk, so that it makes no difference who did what, or how often it was killed.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import multiprocessing
import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from codepmp_jax.cli import streams
from codepmp_jax.cli.errors import StoreError, UserError, WorkerLostError, disk_error
from codepmp_jax.config import SynthesisConfig
from codepmp_jax.files import resume
from codepmp_jax.synthesis.passes import ShardId


class Worker(Protocol):
    """What is mapped over shards."""

    def __call__(self, shard: ShardId) -> None:
        """Does the shard's work, or what is left of it."""
        ...

    def close(self) -> None:
        """Lets go of what the worker holds."""
        ...


MakeWorker = Callable[[], Worker]


def run(
    config: SynthesisConfig, make_worker: MakeWorker, todo: Sequence[ShardId], gpus: int
) -> None:
    """Maps a worker over the shards, each of which uses `gpus` GPUs where there are any.

    `make_worker` is picklable. Raises UserError where a worker process dies, or what a worker raises.
    """
    if not todo:
        return
    if config.engine == "ray":
        _run_on_ray(config, make_worker, todo, gpus)
    elif config.workers == 1:
        worker = make_worker()
        try:
            for shard in todo:
                worker(shard)
        finally:
            worker.close()
    else:
        _run_in_processes(config, make_worker, todo, gpus)


# --- processes of this machine --------------------------------------------------------------------

_worker: Worker | None = None


def _run_in_processes(
    config: SynthesisConfig, make_worker: MakeWorker, todo: Sequence[ShardId], gpus: int
) -> None:
    context = multiprocessing.get_context("spawn")
    places = context.Queue()
    for place in range(config.workers):
        places.put(place)
    pool = concurrent.futures.ProcessPoolExecutor(
        min(config.workers, len(todo)),
        mp_context=context,
        initializer=_start,
        initargs=(make_worker, places, gpus),
    )
    with pool:
        futures = [pool.submit(_work, shard) for shard in todo]
        try:
            for future in concurrent.futures.as_completed(futures):
                future.result()
        except BaseException as error:
            # What the others are at is lost up to a chunk each; waiting for their shards may take hours.
            for process in multiprocessing.active_children():
                process.kill()
            if not isinstance(error, concurrent.futures.process.BrokenProcessPool):
                raise
            raise WorkerLostError(
                f"workers = {config.workers}: a worker process died (out of memory, or killed). Remedy: "
                "run the same command again, which goes on where it was; with fewer workers if memory is "
                "short."
            ) from error


def _start(make_worker: MakeWorker, places: Any, gpus: int) -> None:
    """Makes the process's worker, on GPUs of its own, and ends with the command that started it."""
    global _worker
    streams.guard()
    resume.end_with_parent()
    if gpus:
        place = places.get()
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        devices = visible.split(",") if visible else [str(i) for i in range((place + 1) * gpus)]
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(devices[place * gpus : (place + 1) * gpus])
    _worker = make_worker()


def _work(shard: ShardId) -> None:
    assert _worker is not None
    _worker(shard)


# --- actors of a Ray cluster ----------------------------------------------------------------------


class _Actor:
    """A worker as Ray Data calls it: a row in, a row out."""

    def __init__(self, make_worker: MakeWorker):
        self._worker = make_worker()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        self._worker(ShardId(row["split"], int(row["number"]), int(row["num_shards"])))
        return row


def _run_on_ray(
    config: SynthesisConfig, make_worker: MakeWorker, todo: Sequence[ShardId], gpus: int
) -> None:
    """Ray Data restarts dead actors and gives their shards to others, which go on where those were."""
    ray = _import_ray()
    if not ray.is_initialized():
        ray.init(address=config.ray.address, log_to_driver=False, logging_level="warning")
    settings = config.ray
    has_gpus = ray.cluster_resources().get("GPU", 0) > 0
    asked = settings.gpus_per_worker
    num_gpus = asked if asked is not None else (gpus if has_gpus else 0)
    most = min(settings.max_workers or config.workers, len(todo))
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.raise_original_map_exception = True
    context.execution_no_progress_timeout_s = -1  # a shard may take hours
    rows = ray.data.from_items(
        [dataclasses.asdict(shard) for shard in todo], override_num_blocks=len(todo)
    ).map(
        _Actor,
        fn_constructor_args=(make_worker,),
        compute=ray.data.ActorPoolStrategy(
            min_size=min(config.workers, most), max_size=most, max_tasks_in_flight_per_actor=1
        ),
        num_cpus=0 if num_gpus else 1,
        num_gpus=num_gpus or None,
    )
    try:
        for _ in rows.iter_rows():
            pass
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, OSError):
            cause = disk_error(cause, config.output)
        if isinstance(cause, UserError):
            # Behind its first line stand Ray's own remarks.
            kind = StoreError if isinstance(cause, StoreError) else UserError
            raise kind(str(cause).splitlines()[0]) from error
        raise


def _import_ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UserError(
            f"engine = 'ray': ray is not installed ({error}). Remedy: pip install 'codepmp_jax[ray]'."
        ) from error
    return ray
