"""Orbax checkpoints of a run: parameters, optimizer state, data state and config, each an item.

WORKDIR/checkpoints/STEP/{params, optimizer, data, config, checksums.json}
WORKDIR/frozen/checkpoints/0/...: parameters that no step changes (LoRA), once; those of the steps lack them

While it is written, a checkpoint is called STEP.orbax-checkpoint-tmp, or in a bucket, which cannot rename, has no
commit_success.txt. One that is whole has the checksums of all its files, against which it is compared before a
run goes on from it.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import logging
import math
import pathlib
import sys
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint.checkpoint_managers import preservation_policy as policies

from codepmp_jax.checkpoint import param_store
from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.config import CheckpointConfig
from codepmp_jax.devices.gather import gather
from codepmp_jax.files import checksums, storage
from codepmp_jax.files.lock import Lock

FROZEN = "frozen"
_UNFINISHED = ".orbax-checkpoint-tmp"
# Files of Orbax that are written after the checksums; no restore needs what they say.
_WRITTEN_LAST = ("_CHECKPOINT_METADATA", "commit_success.txt")
# How TensorStore's errors begin when a disk or bucket fails.
_OF_STORE = (
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "RESOURCE_EXHAUSTED",
    "ABORTED",
    "INTERNAL",
    "UNKNOWN",
)

# With these in its path, Orbax and TensorStore write a checkpoint that they do not find again.
_MEANT_OTHERWISE = {*"*?[\\"}

logger = logging.getLogger("codepmp_jax")
# Orbax logs errors in each of its threads, and warns of a directory that is only read, as is meant.
logging.getLogger("absl").addFilter(storage.without_traceback)
logging.getLogger("absl").addFilter(lambda record: "is read only" not in record.getMessage())


class Restored(NamedTuple):
    """What a checkpoint holds."""

    params: Any
    optimizer: Any
    data: Any
    config: dict[str, Any]


def _meet(*, key: str, timeout_ms: int) -> None:
    """Orbax's barrier of all hosts, but for one whose save has just failed: that host raises the error at once.

    Orbax would have it wait for the others, which wait for what it has not written, until all give up ten minutes later.
    """
    error = sys.exception()
    if error is not None:
        raise error
    ocp.multihost.get_barrier_sync_fn()(key=key, timeout_ms=timeout_ms)


class _Manager(ocp.CheckpointManager):
    """Orbax's, without its own look at preemption."""

    def reached_preemption(self, step: int) -> bool:
        """False: the run saves when it has noticed one. Orbax would ask the same service with the number of the step,
        which then passes over the run's own calls, and no notice is heard again."""
        return False


class Checkpointer:
    """Saves in the background; a checkpoint appears under its step only when it is whole."""

    def __init__(self, workdir: str, config: CheckpointConfig | None = None):
        """Opens WORKDIR/checkpoints: with a config to save and restore, without one to restore.

        To save, it holds WORKDIR/.lock, so that one run at a time works there, and removes what a save that
        was cut off left behind, telling so. Raises UserError where another run holds the lock, where the workdir cannot
        be written, its path is one that Orbax takes for a pattern or its bucket's metadata may not be read, and where there
        is nothing to restore.
        """
        require(
            str(workdir).strip() != "", "workdir", workdir, "must not be empty", "give a folder"
        )
        self.directory = _absolute(workdir) / "checkpoints"
        require(
            config is None or not _MEANT_OTHERWISE & {*str(self.directory)},
            "workdir",
            str(self.directory.parent),
            f"must hold none of {' '.join(sorted(_MEANT_OTHERWISE))}, in which Orbax sees a pattern and not a name",
            "give another path, e.g. one with ( ) or =",
        )
        if storage.is_bucket(self.directory):
            storage.require_metadata(self.directory)
        self._config = config
        self._lock = None
        if config is None:
            with storage.storage_errors(self.directory, "read"):
                is_there = self.directory.is_dir()
            if not is_there:
                raise UserError(
                    f"{self.directory}: no such folder. Remedy: give the workdir of a training run."
                )
        elif jax.process_index() == 0:
            remedy = "wait for that run or stop it, or give another workdir"
            self._lock = Lock(self.directory.parent / ".lock", remedy)
            # Also where what this belongs to failed to open.
            self._release = weakref.finalize(self, self._lock.release)
        with storage.storage_errors(self.directory, "written" if config else "read"):
            self._manager = _Manager(
                self.directory,
                options=self._options(),
                item_names=("params", "optimizer", "data", "config"),
                item_handlers={
                    "params": param_store.handler(),
                    "optimizer": ocp.PyTreeCheckpointHandler(),
                    "data": ocp.JsonCheckpointHandler(),
                    "config": ocp.JsonCheckpointHandler(),
                },
            )
            if self._lock is not None:
                self._put_away_unfinished()
        self._unverified = {*self._manager.all_steps()}
        self._saving = 0
        self._after: concurrent.futures.Future[Any] | None = None
        self._saved: concurrent.futures.Future[None] | None = None
        self._waiter = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
        self._spaced_steps = {*config.spaced_steps()} if config else set()

    def _options(self) -> ocp.CheckpointManagerOptions:
        config = self._config
        if config is None:
            return ocp.CheckpointManagerOptions(read_only=True, create=False, save_interval_steps=0)
        keep: list[policies.PreservationPolicy] = [
            policies.LatestN(config.keep),
            policies.CustomSteps(config.spaced_steps()),
        ]
        if config.keep_every_steps is not None:
            keep.append(policies.EveryNSteps(config.keep_every_steps))
        if config.keep_best:
            keep.append(
                policies.BestN(
                    get_metric_fn=self._rank,
                    n=config.keep_best,
                    keep_checkpoints_without_metrics=False,
                )
            )
        return ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(keep),
            # Without it Orbax writes no metrics.
            best_fn=self._rank if config.keep_best else None,
            async_options=ocp.AsyncOptions(
                post_finalization_callback=self._write_checksums, barrier_sync_fn=_meet
            ),
        )

    def _rank(self, metrics: dict[str, float | None]) -> float:
        """Higher is better; lowest where it is not defined, or an earlier start, with other settings, did not measure
        it."""
        assert self._config is not None
        value = metrics.get(self._config.best_metric)
        if value is None:
            return -math.inf
        return value if self._config.best_is == "highest" else -value

    def _unfinished(self) -> list[epath.Path]:
        """Folders of checkpoints that are not whole."""
        if not self.directory.is_dir():
            return []
        whole = {*self._manager.all_steps()}
        return [
            path
            for path in self.directory.iterdir()
            if _UNFINISHED in path.name or (path.name.isdecimal() and int(path.name) not in whole)
        ]

    def _put_away_unfinished(self) -> None:
        for path in self._unfinished():
            num_bytes = sum(stored.num_bytes for stored in storage.files(path).values())
            said = (path, "the process that saved it ended before it was whole", num_bytes)
            if (path / checksums.CHECKSUMS).exists():
                # All of it but the sign that it is whole.
                aside = self._aside(f"{path.name.partition('.')[0]}.unfinished")
                logger.warning("%s: %s; its %d bytes are moved to %s", *said, aside)
                storage.move(path, aside)
            else:
                logger.warning("%s: %s; its %d bytes are removed", *said)
                path.rmtree()

    def _aside(self, name: str) -> epath.Path:
        """A path in the directory that is free."""
        names = itertools.chain([name], (f"{name}.{number}" for number in itertools.count(2)))
        return next(path for name in names if not (path := self.directory / name).exists())

    def _write_checksums(self) -> None:
        """Runs on the first host, in the background, when all hosts have written all, before it counts.

        Checks first that the names of all arrays can be read back.
        """
        if self._after is not None:
            self._after.result()
        step = str(self._saving)
        (folder,) = (
            path
            for path in self.directory.iterdir()
            if path.name == step or path.name.startswith(f"{step}{_UNFINISHED}")
        )
        for item in ("params", "optimizer"):
            missing = param_store.missing_arrays(folder / item) if (folder / item).exists() else []
            if missing:
                raise OSError(f"what was written cannot be read back: no {missing[0]} in {item}")
        checksums.write(folder, _WRITTEN_LAST)

    def _faults(self, step: int, items: Sequence[str]) -> list[str]:
        """What is wrong with a checkpoint's files; each host reads a part of them."""
        folder = self.directory / str(step)
        with storage.storage_errors(folder, "read"):
            own = checksums.faults(folder, items, jax.process_index(), jax.process_count())
        return sorted({fault for host in gather(own) for fault in host})

    def latest_step(self) -> int | None:
        """The newest whole checkpoint's step; None where there is none. All hosts must call it.

        One that is to be saved after is compared with its checksums, once. Raises UserError where it is
        damaged; with config.fall_back it is moved to STEP.damaged, and the one before is taken.
        """
        while True:
            step = self._manager.latest_step()
            if self._config is None or step is None or len({*gather(step)}) > 1:
                return step
            if step not in self._unverified:
                return step
            faults = self._faults(step, ("",))
            if not faults:
                self._unverified.discard(step)
                return step
            self._fall_back(step, faults)

    def _fall_back(self, step: int, faults: list[str]) -> None:
        assert self._config is not None
        folder = self.directory / str(step)
        before = max((s for s in self._manager.all_steps() if s < step), default=None)
        if before is None or not self._config.fall_back:
            raise _damaged(folder, faults, before)
        aside = self._aside(f"{step}.damaged")
        if jax.process_index() == 0:
            logger.warning(
                "%s Moved to %s; going back to step %d",
                _damaged(folder, faults, before),
                aside,
                before,
            )
            with storage.storage_errors(aside, "written"):
                storage.move(folder, aside)
        gather(None)
        self._manager.reload()

    def should_save(self, step: int) -> bool:
        """Whether a run saves after `step`, its last step apart.

        Raises UserError where the save before has failed.
        """
        if self._saved is not None and self._saved.done():
            self.wait()
        assert self._config is not None
        return step % self._config.every_steps == 0 or step in self._spaced_steps

    def require_room(self, state: Any) -> None:
        """Raises UserError where the disk has no room for a checkpoint of the (abstract) arrays of `state`.

        The new one is written before an old one makes room.
        """
        need = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
        room = storage.free_bytes(self.directory)
        if room is not None and room < need:
            raise UserError(
                f"{self.directory}: a checkpoint takes {need / 1e6:.0f} MB, but its disk has "
                f"{room / 1e6:.0f} MB left. Remedy: free some, or give a workdir on another disk or gs://."
            )

    def save(
        self,
        step: int,
        params: Any,
        optimizer: Any,
        data: Any,
        config: Any,
        metrics: Mapping[str, float | None] | None = None,
        after: concurrent.futures.Future[Any] | None = None,
    ) -> None:
        """Starts to save; returns when the arrays are copied, before they are written.

        `params` may hold param_store.Pieces. Without `optimizer` (None) a run cannot go on from the
        checkpoint, but another one can start from its parameters. `metrics` are those of the evaluation after
        this step, if it had one. The checkpoint does not count before `after`, on the first host, is done. Raises
        UserError where this save cannot start, or the one before has failed.
        """
        self.wait()
        assert self._config is not None
        if self._lock is not None:
            self._lock.check()
        if self._config.keep_best and metrics is not None:
            require(
                self._config.best_metric in metrics,
                "checkpoint.best_metric",
                self._config.best_metric,
                "must be a figure of the evaluation",
                f"one of {', '.join(metrics)}",
            )
        items = {} if optimizer is None else {"optimizer": ocp.args.PyTreeSave(optimizer)}
        self._saving, self._after = step, after
        with storage.storage_errors(self.directory / str(step), "written"):
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    params=param_store.save_args(params),
                    **items,
                    data=ocp.args.JsonSave(data),
                    config=ocp.args.JsonSave(config),
                ),
                metrics=None if metrics is None else {**metrics},
                force=True,
            )
        self._saved = self._waiter.submit(self._manager.wait_until_finished)

    def _whole(self, step: int | None, items: Sequence[str]) -> int:
        """The step, the newest by default. Raises UserError where there is none, or an item is damaged."""
        found = self.latest_step() if step is None else step
        if found is None or found not in self._manager.all_steps():
            there = ", ".join(map(str, self._manager.all_steps())) or "none"
            raise UserError(
                f"{self.directory / str(found)}: there is no such checkpoint; there are: {there}. Remedy: "
                "give one of them."
            )
        if found in self._unverified:
            faults = self._faults(found, [f"{item}/" for item in items])
            if faults:
                raise _damaged(self.directory / str(found), faults, None)
        return found

    def _restore(self, step: int | None, **items: Any) -> Any:
        found = self._whole(step, [*items])
        with storage.storage_errors(self.directory / str(found), "read"):
            try:
                return self._manager.restore(found, args=ocp.args.Composite(**items))
            except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
                # TensorStore's are ValueErrors too.
                if str(error).startswith(_OF_STORE):
                    raise
                raise UserError(
                    f"{self.directory / str(found)}: cannot be restored: {error} Remedy: train with the "
                    f"config of the checkpoint; of a LoRA run, copy the workdir with its folder {FROZEN}."
                ) from error

    def restore(self, params: Any, optimizer: Any, step: int | None = None) -> Restored:
        """The checkpoint of `step`, the newest by default, onto the abstract arrays' shardings.

        Optimizer state that `optimizer` lacks, of parameters that are not trained, is passed over. Raises UserError naming the checkpoint if it is not there or cannot be restored.
        """
        own, frozen = self._split(params, step)
        items = self._restore(
            step,
            params=param_store.restore_args(own),
            optimizer=param_store.restore_args(optimizer, partial_restore=True),
            data=ocp.args.JsonRestore(),
            config=ocp.args.JsonRestore(),
        )
        missing = [
            jax.tree_util.keystr(path, simple=True, separator=".")
            for path, leaf in jax.tree_util.tree_leaves_with_path(items.optimizer)
            if isinstance(leaf, jax.ShapeDtypeStruct)
        ]
        if missing:
            raise UserError(
                f"{self.directory}: the checkpoint holds no optimizer state {missing[0]}, nor "
                f"{len(missing) - 1} more. Remedy: train with the config of the checkpoint, or start a run "
                "with --model.init-from."
            )
        rest = self._frozen().restore_params(frozen) if frozen else {}
        whole = param_store.joined(params, items.params, rest)
        return Restored(whole, items.optimizer, items.data, items.config)

    def restore_params(self, params: Any, step: int | None = None) -> Any:
        """Only the parameters of a checkpoint, onto the abstract arrays' shardings."""
        own, frozen = self._split(params, step)
        found = self._restore(step, params=param_store.restore_args(own)).params
        rest = self._frozen().restore_params(frozen) if frozen else {}
        return param_store.joined(params, found, rest)

    def open_params(self, shapes: Any, step: int | None = None) -> Any:
        """The parameters of a checkpoint as a tree like `shapes` of arrays that are read where they are
        indexed (param_store.StoredArray)."""
        found = self._whole(step, ["params"])
        own, frozen = self._split(shapes, found)
        opened = param_store.open_params(str(self.directory / str(found) / "params"), own)
        rest = self._frozen().open_params(frozen) if frozen else {}
        return param_store.joined(shapes, opened, rest)

    def _frozen(self) -> Checkpointer:
        return Checkpointer(str(self.directory.parent / FROZEN))

    def _split(self, params: Any, step: int | None) -> tuple[Any, Any]:
        """(the parameters that the checkpoint itself holds, those that WORKDIR/frozen does)."""
        if not (self.directory.parent / FROZEN).is_dir():
            return params, {}
        folder = self.directory / str(self._whole(step, ["params"])) / "params"
        with storage.storage_errors(folder, "read"):
            held = param_store.array_names(folder)
        frozen = param_store.named(params).keys() - held
        return param_store.part(params, held), param_store.part(params, frozen)

    @classmethod
    def save_frozen(cls, workdir: str, params: Any, config: Any) -> None:
        """Saves parameters that no step changes; returns when they are written.

        All hosts must call it. What an earlier start left there is replaced: call it before the first save of a run.
        """
        folder = _absolute(workdir) / FROZEN
        if jax.process_index() == 0 and folder.exists():
            folder.rmtree()
        gather(None)
        checkpointer = cls(str(folder), CheckpointConfig())
        checkpointer.save(0, params, None, [], config)
        checkpointer.close()

    def restore_config(self, step: int | None = None) -> dict[str, Any]:
        """Only the config of a checkpoint, as JSON values."""
        return self._restore(step, config=ocp.args.JsonRestore()).config

    def restore_data(self, step: int | None = None) -> Any:
        """Only the data state of a checkpoint, as JSON values."""
        return self._restore(step, data=ocp.args.JsonRestore()).data

    def wait(self) -> None:
        """Waits until everything is written. Raises UserError where that fails; older checkpoints are whole."""
        if self._saved is not None:
            saved, self._saved = self._saved, None
            with storage.storage_errors(self.directory / str(self._saving), "written"):
                saved.result()

    def close(self) -> None:
        """Waits until everything is written, and lets other runs have the workdir."""
        try:
            self.wait()
            with storage.storage_errors(self.directory, "written"):
                self._manager.close()
        finally:
            self._waiter.shutdown()
            if self._lock is not None:
                self._release()


def _absolute(workdir: str) -> epath.Path:
    path = storage.to_path(workdir)
    return path if storage.is_bucket(path) else storage.to_path(pathlib.Path(path).absolute())


def _damaged(folder: epath.Path, faults: list[str], before: int | None) -> UserError:
    more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
    remedy = (
        "" if before is None else f"--checkpoint.fall-back goes back to step {before}; or "
    ) + "copy the checkpoint again from where it is whole"
    return UserError(f"{folder}: {faults[0]}{more}. Remedy: {remedy}.")
