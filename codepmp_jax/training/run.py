"""A run's data, mesh, optimizer and checkpoints; how it starts, saves and evaluates."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from codepmp_jax.checkpoint.checkpointer import Checkpointer, gather
from codepmp_jax.checkpoint.newest import newest_config
from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.config import TrainConfig, presets
from codepmp_jax.data.batch import Batch
from codepmp_jax.data.loader import PairLoader
from codepmp_jax.data.one_pass import require_accepted
from codepmp_jax.devices import chips, sharding
from codepmp_jax.files import notes, storage
from codepmp_jax.files.json_files import write_json
from codepmp_jax.files.staging import Cache
from codepmp_jax.models.preference import Params
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.records.shards import ShardedDataset
from codepmp_jax.text.tokenization import Tokenizer
from codepmp_jax.training import objectives
from codepmp_jax.training import optimizer as optimizers
from codepmp_jax.training.agreement import facts_of, require_same_on_all_hosts
from codepmp_jax.training.feed import to_devices
from codepmp_jax.training.heldout import Heldout, require_best_metric
from codepmp_jax.training.identity import check_same_content, check_same_run, describe_changes
from codepmp_jax.training.state import TrainState, abstract_state, frozen, init_state, trained
from codepmp_jax.training.step import Sums, abstract_batch, eval_step
from codepmp_jax.training.telemetry import is_main_process, logger
from codepmp_jax.training.window import ResumeState, total_counts

# Records that are packed to find out how many a step takes.
_MEASURED_RECORDS = 4096

# The entry's name in checkpoints.
_RESUME_STATE = "carried"


class Start(NamedTuple):
    """Where a run begins."""

    step: int
    state: TrainState
    resume_state: ResumeState


@jax.jit
def _is_finite(tree: Any) -> jax.Array:
    """Whether every number of the tree's float arrays is finite."""
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in floats]).all()


def today() -> str:
    """The day in UTC, so that it is the same on hosts in other time zones; hosts compare it as data.date."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


class Run:
    """A run's data, mesh, optimizer and checkpoints. Opening it checks that they fit together."""

    def __init__(self, config: TrainConfig):
        """Raises UserError, before any device work, where config, data and devices do not fit."""
        self.hosts = jax.process_count()
        self.chip = chips.chip_of(jax.devices()[0].device_kind)
        self.asked = objectives.with_heads(config)
        """The settings as they were given, which are saved: another start may be on another chip."""
        model = chips.resolve(self.asked.model, config.data.max_length, self.chip)
        self.config = config = dataclasses.replace(self.asked, model=model)
        require(
            not config.lora.is_on or model.init_from is not None,
            "lora.rank",
            config.lora.rank,
            "needs a model to adapt: without model.init_from the frozen one would be random",
            "give --model.init-from, or --lora.rank 0 to train the whole model",
        )
        saved = newest_config(config.workdir)
        saved_data = {} if saved is None else saved.get("data", {})
        self._saved_tokenizer = saved_data.get("tokenizer")
        self._saved_date = saved_data.get("date")
        self.objective = objectives.build(config)
        require_same_on_all_hosts(self._prepare)
        config = self.config
        self.checkpointer = Checkpointer(config.workdir, config.checkpoint)
        self.num_steps = self._total_steps()
        self.optimizer = optimizers.build(config.optimizer, self.num_steps)
        self.mesh = sharding.make_mesh(self.mesh_sizes)
        self.abstract = abstract_state(config, self.optimizer, self.mesh)
        to_save = self.abstract
        if config.lora.is_on and saved is not None:
            to_save = to_save._replace(params=trained(to_save.params, config))
        self.checkpointer.require_room(to_save)
        if config.checkpoint.keep_best:
            self._require_best_metric()

    def _prepare(self) -> dict[str, Any]:
        """Opens the data and checks what this host can check alone; what it is about to do."""
        config = self.config
        self.mesh_sizes = sharding.check_mesh(
            config.mesh,
            config.model,
            jax.device_count(),
            sharding.count_slices(jax.devices()),
            part_rows=config.global_batch_rows // config.accumulation_steps,
        )
        # With which the rows of a part divide over the hosts too.
        require(
            self.mesh_sizes[0] * self.mesh_sizes[1] % self.hosts == 0,
            "mesh.data * mesh.fsdp",
            self.mesh_sizes[0] * self.mesh_sizes[1],
            f"must be divisible by the number of hosts ({self.hosts}), each of which reads its own pairs",
            "lower mesh.tensor",
        )
        self.tokenizer = self._load_tokenizer()
        # Once: of a large vocabulary it takes about a second.
        self._tokenizer_parts = self.tokenizer.parts()
        config = self.config
        size, source = self.tokenizer.vocab_size, config.model.init_from
        require(
            size <= config.model.vocab_size,
            "model.vocab_size",
            config.model.vocab_size,
            f"must hold the {size} tokens of the tokenizer {config.data.tokenizer}",
            f"set it to {size}, or use a smaller tokenizer"
            if source is None
            else f"it is {source}'s, so use the tokenizer that belongs to that model, or first enlarge the model with "
            f"transformers' resize_token_embeddings({size})",
        )
        self.train_pairs = self._open("train")
        heldout = self._open("heldout") if config.eval_pairs else None
        self._heldout_shards = [shard.sha256 for shard in heldout.shards] if heldout else []
        layout = self.objective.layout()
        self.heldout = Heldout(heldout or [], self.tokenizer, layout, config)
        if config.data.refused_policy == "stop":
            index = jax.process_index()
            require_accepted(self.train_pairs, self.tokenizer, layout, index, self.hosts)
        self.batches = PairLoader(
            self.train_pairs,
            self.tokenizer,
            config.data,
            batch_rows=config.global_batch_rows,
            layout=layout,
            seed=config.seed,
            process_index=jax.process_index(),
            process_count=self.hosts,
        )
        return facts_of(
            config,
            train_shards=[shard.sha256 for shard in self.train_pairs.shards],
            heldout_shards=self._heldout_shards,
            tokenizer=self._tokenizer_parts,
        )

    def _load_tokenizer(self) -> Tokenizer:
        """The tokenizer of data.tokenizer; on resume that of the workdir, where the name is as before and no folder
        (it is on the hub, or gone)."""
        name, own = self.config.data.tokenizer, f"{self.config.workdir}/tokenizer"
        is_folder = name == "embedded" or storage.to_path(name).is_dir()
        if (
            name == self._saved_tokenizer
            and not is_folder
            and (storage.to_path(own) / "tokenizer.json").is_file()
        ):
            logger.info("tokenizer of %s, as %s is no folder", own, name)
            name = own
        return self._dated(Tokenizer.load(name))

    def _dated(self, tokenizer: Tokenizer) -> Tokenizer:
        """The tokenizer with the run's date, which goes into the run's settings where its chat template writes one."""
        data = self.config.data
        day = data.date or self._saved_date or (today() if tokenizer.writes_date else None)
        if day is None:
            return tokenizer
        if tokenizer.writes_date and data.date is None:
            logger.info("the chat template writes the date: %s throughout the run", day)
        data = dataclasses.replace(data, date=day)
        self.config = dataclasses.replace(self.config, data=data)
        self.asked = dataclasses.replace(
            self.asked, data=dataclasses.replace(self.asked.data, date=day)
        )
        return tokenizer.dated(datetime.date.fromisoformat(day))

    def _require_best_metric(self) -> None:
        """Raises UserError where the evaluation does not measure checkpoint.best_metric."""
        config = self.config
        with jax.set_mesh(self.mesh):
            metrics = jax.eval_shape(
                lambda params, batch: eval_step(params, batch, config),
                self.abstract.params,
                abstract_batch(config, self.mesh),
            )
        require_best_metric(config.checkpoint, metrics, self.heldout)

    def _total_steps(self) -> int:
        """num_steps, or the steps in num_epochs, by how many records the first batches take."""
        config, num_pairs = self.config, len(self.train_pairs)
        if config.num_steps is not None:
            return config.num_steps
        start, counts, batches = self.batches.state(), {"records": 0}, 0
        while counts["records"] < min(num_pairs, _MEASURED_RECORDS):
            next(self.batches)
            batches += 1
            counts = total_counts([self.batches.counts])[0]
        self.batches.restore([state for host in gather(start) for state in host])
        per_step = counts["records"] / batches
        logger.info(
            "a step takes %.1f pairs, %.1f %% of its tokens padding",
            counts["pairs"] / batches,
            100 * (1 - counts["tokens"] / counts["padded_tokens"]),
        )
        steps = math.floor(config.num_epochs * num_pairs / per_step)
        require(
            steps > 0,
            "global_batch_rows",
            config.global_batch_rows,
            f"must not take more pairs ({per_step:.0f} a step) than num_epochs ({config.num_epochs}) times "
            f"the {num_pairs} training pairs",
            "lower it, or give num_steps",
        )
        return steps

    def _shards(self) -> list[str]:
        """Checksums of the training shards, which do not depend on their path."""
        return [shard.sha256 for shard in self.train_pairs.shards]

    def _open(self, split: str) -> ShardedDataset:
        data = self.config.data
        return ShardedDataset(
            data.input,
            PreferencePair,
            split,
            data.verify_shards,
            cache=Cache(data.cache, data.cache_bytes),
            in_order=not data.shuffle,
        )

    def start(self, load_params: Callable[[Params], Params] | None) -> Start:
        """Restores the newest checkpoint and fast-forwards the data, or starts a new run.

        Raises UserError where the checkpoint is of another run or cannot be restored.
        """
        config, step = self.config, self.checkpointer.latest_step()
        # It differs where the workdir is not on a file system that all hosts share.
        require_same_on_all_hosts(lambda: {f"newest checkpoint in {config.workdir}": step})
        if step is None:
            logger.info("starting at step 0 of %d", self.num_steps)
            state = init_state(config, self.optimizer, self.mesh, load_params)
            if config.lora.is_on:
                unchanged = frozen(state.params, config)
                Checkpointer.save_frozen(config.workdir, unchanged, presets.to_json(self.asked))
            return Start(0, state, ResumeState())
        source = f"{self.checkpointer.directory}/{step}"
        logger.info("restoring %s", source)
        saved = self._with_old_defaults(self.checkpointer.restore_config(), source)
        check_same_run(self.asked, saved, source)
        require(
            config.num_steps is None or config.num_steps >= step,
            "num_steps",
            config.num_steps,
            f"must not lie before the checkpoint, which is of step {step}",
            f"give {step} or more, or another workdir",
        )
        content = self.checkpointer.restore_data()
        require(
            isinstance(content, dict),
            "workdir",
            config.workdir,
            "must not be a converted run, which has parameters only and cannot be resumed",
            f"give another workdir, and --model.init-from {config.workdir}",
        )
        content.setdefault("tokenizer", self._parts_in_workdir())
        check_same_content(config, self._shards(), self._tokenizer_parts, content, source)
        changes = describe_changes(self.asked, saved, self._heldout_shards, content.get("heldout"))
        for line in changes:
            logger.info("changed at step %d: %s", step, line)
            if is_main_process():
                notes.add(config.workdir, f"changed at step {step}: {line}")
        abstract = self.abstract
        restored = self.checkpointer.restore(abstract.params, (abstract.step, abstract.opt_state))
        self.batches.restore(restored.data["streams"])
        logger.info("resuming %s at step %d of %d", source, step, self.num_steps)
        count, opt_state = restored.optimizer
        state = TrainState(count, restored.params, opt_state)
        return Start(step, state, ResumeState.from_json(restored.data[_RESUME_STATE]))

    def _with_old_defaults(self, saved: dict[str, Any], source: str) -> TrainConfig:
        """The saved config; what an older version did without a setting for it stands as that setting."""
        if self.heldout.num_records > self.config.eval_pairs:
            saved = {"eval_sample": "first"} | saved
        return presets.from_json(TrainConfig, saved, source)

    def _parts_in_workdir(self) -> dict[str, str]:
        """Of the tokenizer in the workdir, with which a checkpoint of an older version was trained."""
        folder = f"{self.config.workdir}/tokenizer"
        try:
            return self._dated(Tokenizer.load(folder)).parts()
        except UserError as error:
            logger.warning("the run's tokenizer cannot be compared with its former one: %s", error)
            return self._tokenizer_parts

    def write_settings(self) -> None:
        """Writes config.json and tokenizer/ of the run; a former tokenizer that differs is kept beside it."""
        workdir = storage.to_path(self.config.workdir)
        write_json(workdir / "config.json", presets.to_json(self.asked))
        folder = workdir / "tokenizer"
        if (
            folder / "tokenizer.json"
        ).is_file() and self._parts_in_workdir() != self._tokenizer_parts:
            kept = next(
                path
                for number in itertools.count(1)
                if not (path := workdir / f"tokenizer.before{number}").exists()
            )
            storage.move(folder, kept)
            logger.warning(
                "%s: holds another tokenizer than before, which is kept as %s", folder, kept
            )
        self.tokenizer.save(folder)

    def check_finite(self, step: int, state: TrainState) -> None:
        """Raises UserError where a number of the state is not finite: a bad checkpoint may not take a good one's
        place."""
        require(
            bool(_is_finite(state)),
            f"step {step}: parameters and optimizer state",
            "NaN or infinite",
            "must be finite to be saved",
            "lower optimizer.learning_rate, and resume from the newest checkpoint",
        )

    def save(
        self,
        step: int,
        state: TrainState,
        data_state: list[dict[str, Any]],
        resume_state: ResumeState,
        metrics: dict[str, float] | None,
    ) -> None:
        """Starts to save what the run resumes from as the checkpoint of `step`, with LoRA without frozen parameters.

        `data_state` is this host's; `metrics` are those of its evaluation, if it had one.
        """
        streams = [stream for host in gather(data_state) for stream in host]
        of_step = trained(state.params, self.config) if self.config.lora.is_on else state.params
        self.checkpointer.save(
            step,
            of_step,
            (state.step, state.opt_state),
            {
                "shards": self._shards(),
                "heldout": self._heldout_shards,
                "tokenizer": self._tokenizer_parts,
                "streams": streams,
                _RESUME_STATE: resume_state.to_json(),
            },
            presets.to_json(self.asked),
            metrics,
        )

    def evaluate(
        self,
        params: Params,
        eval_step: Callable[[Params, Batch], Sums],
        is_cut: Callable[[], bool],
    ) -> dict[str, float] | None:
        """Means of eval_step's metrics over the held-out pairs, named `eval_...`, but for those over labels where there
        are none; and Heldout.columns.

        None where `is_cut`, asked after each batch, says to stop. Raises UserError where a mean is not finite.
        """
        if not self.heldout.batches:
            return {}
        results: list[Any] = []
        on_cpu = jax.default_backend() == "cpu"
        for batch in self.heldout.batches:
            results.append(eval_step(params, to_devices(batch, self.mesh)))
            # One batch ahead of the devices: their memory holds no more, and a cut comes soon. On CPUs none: the
            # threads of two programs may wait for each other in their collectives.
            jax.block_until_ready(results if on_cpu else results[:-1])
            if is_cut():
                return None
        results = jax.device_get(results)
        counts = self.heldout.counts
        means = {
            f"eval_{name}": float(sum(result[unit][name] for result in results)) / counts[unit]
            for unit, names in results[0].items()
            for name in names
            if counts[unit]
        }
        means = dict(sorted(means.items()))
        for name, value in means.items():
            require(
                math.isfinite(value),
                name,
                value,
                "must be finite",
                "lower optimizer.learning_rate, and resume from the newest checkpoint",
            )
        figures = ", ".join(f"{name} {mean:.4f}" for name, mean in means.items())
        logger.info("held out, %s: %s", self.heldout.size, figures)
        return means | self.heldout.columns

    def close(self) -> None:
        """Waits for the last checkpoint, ends the workers."""
        self.checkpointer.close()
        self.batches.close()
