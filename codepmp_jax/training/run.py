"""A run's data, mesh, optimizer and checkpoints; how it starts and saves."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import datetime
import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from codepmp_jax.checkpoint.checkpointer import Checkpointer
from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.config import DataConfig, TrainConfig, presets
from codepmp_jax.config.mixture import proportions
from codepmp_jax.data.loader import Loader
from codepmp_jax.data.log_probs import flat_shards
from codepmp_jax.data.mixture import Mixture, open_records, sha256_of_shards
from codepmp_jax.data.one_pass import require_accepted
from codepmp_jax.devices import chips, sharding
from codepmp_jax.devices.gather import gather
from codepmp_jax.files import notes, storage
from codepmp_jax.files.json_files import write_json
from codepmp_jax.models.preference import Params
from codepmp_jax.records.shards import ShardedDataset
from codepmp_jax.records.subset import Subset
from codepmp_jax.text.tokenization import Tokenizer
from codepmp_jax.training import branch as branches
from codepmp_jax.training import objectives
from codepmp_jax.training import optimizer as optimizers
from codepmp_jax.training.agreement import facts_of, require_same_on_all_hosts
from codepmp_jax.training.drop_log import log_epochs
from codepmp_jax.training.heldout import Heldout, require_best_metric
from codepmp_jax.training.identity import check_same_content, check_same_run, describe_changes
from codepmp_jax.training.length import records_per_step, total_steps
from codepmp_jax.training.state import TrainState, abstract_state, frozen, init_state, trained
from codepmp_jax.training.step import abstract_batch, evaluate_batch
from codepmp_jax.training.telemetry import is_main_process, logger
from codepmp_jax.training.window import ResumeState

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


def _chosen(
    records: ShardedDataset | Mixture, data: DataConfig
) -> ShardedDataset | Mixture | Subset:
    """The records of the train split that are trained on."""
    if data.max_pairs is None or isinstance(records, Mixture):
        return records
    return Subset(records, data.max_pairs, data.subset_seed)


class Run:
    """A run's data, mesh, optimizer and checkpoints. Opening it checks that they fit together."""

    def __init__(self, config: TrainConfig):
        """Raises UserError, before any device work, where config, data and devices do not fit."""
        self.hosts = jax.process_count()
        self.chip = chips.chip_of_device(jax.devices()[0])
        config, saved, self.branch = branches.begin(config)
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
        self._saved_tokenizer = None if saved is None else saved.data.tokenizer
        self._saved_date = None if saved is None else saved.data.date
        run = config.workdir if self.branch is None else self.branch.run
        self._tokenizer_folder = f"{run}/tokenizer"
        """The tokenizer of what the run resumes or, as a decay branch, starts from."""
        self.objective = objectives.build(config)
        require_same_on_all_hosts(self._prepare)
        self.checkpointer = Checkpointer(config.workdir, config.checkpoint)
        if config.decay_from is not None:
            assert saved is not None
            self._set_length(saved)
        config = self.config
        self.num_steps = self._total_steps(config)
        if isinstance(self.chosen_records, Mixture):
            num_records = self.num_steps * self._records_per_step
            log_epochs(self.chosen_records, self.objective.kind, num_records)
        optimizers.require_room(config.optimizer, self.num_steps)
        self.optimizer = optimizers.build(config.optimizer, self.num_steps)
        self.mesh = sharding.make_mesh(self.mesh_sizes)
        self.abstract = abstract_state(config, self.optimizer, self.mesh)
        to_save = self.abstract
        if config.lora.is_on and saved is not None and self.branch is None:
            to_save = to_save._replace(params=trained(to_save.params, config))
        self.checkpointer.require_room(to_save)
        if config.checkpoint.keep_best:
            self._require_best_metric()

    def _set_length(self, saved: TrainConfig) -> None:
        """Sets how long a decay branch takes, which begins or, with its own settings `saved`, resumes."""
        if self.branch is None:
            warmup = saved.optimizer.warmup_steps
            assert warmup is not None
        else:
            branch = self.branch
            # Before the steps of RUN are counted, which may need its data.
            self._checked = self._check_same(branch.checkpointer, branch.step, branch.source)
            total = self._total_steps(saved)
            warmup = branches.warmup_of(self.config, saved, total)
        self.config = branches.with_length(self.config, saved, warmup)
        self.asked = branches.with_length(self.asked, saved, warmup)

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
            f"must be divisible by the number of hosts ({self.hosts}), each of which reads its own rows",
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
        record_types = self.objective.kind.record_types
        self.train_records = open_records(config.data, "train", record_types)
        self._shards = sha256_of_shards(self.train_records)
        self.chosen_records = _chosen(self.train_records, config.data)
        """Those that are trained on."""
        heldout = open_records(config.data, "heldout", record_types) if config.eval_pairs else None
        self._heldout_shards = sha256_of_shards(heldout) if heldout else []
        beside = self.objective.open_data(
            config.data,
            flat_shards({"train": self._shards, "heldout": self._heldout_shards}),
            self._tokenizer_parts,
        )
        layout = self.objective.layout()
        self.heldout = Heldout(heldout or [], self.tokenizer, layout, config)
        if config.data.refused_policy == "stop":
            index = jax.process_index()
            require_accepted(self.chosen_records, self.tokenizer, layout, index, self.hosts)
        self.batches = Loader(
            self.chosen_records,
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
            train_shards=self._shards,
            proportions=proportions(config.data.sources),
            heldout_shards=self._heldout_shards,
            tokenizer=self._tokenizer_parts,
            beside=beside,
        )

    def _load_tokenizer(self) -> Tokenizer:
        """The tokenizer of data.tokenizer; on resume that of the workdir (of RUN, where a decay branch starts), where the
        name is as before and no folder (it is on the hub, or gone)."""
        name, own = self.config.data.tokenizer, self._tokenizer_folder
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
            found = jax.eval_shape(
                lambda params, batch: evaluate_batch(params, batch, config),
                self.abstract.params,
                abstract_batch(config, self.mesh),
            )
        names = [] if found.rewards is None else self.heldout.facts.names
        require_best_metric(config.checkpoint, found.sums, self.heldout, names)

    @functools.cached_property
    def _records_per_step(self) -> float:
        """How many records the first batches take."""
        return records_per_step(len(self.chosen_records), self.batches)

    def _total_steps(self, config: TrainConfig) -> int:
        """The steps of a run with these settings on the records that are trained on."""
        size, kind = len(self.chosen_records), self.objective.kind
        return total_steps(config, size, kind, lambda: self._records_per_step)

    def start(self, load_params: Callable[[Params], Params] | None) -> Start:
        """Restores the newest checkpoint, or that of decay_from, and fast-forwards the data; or starts a new run.

        Raises UserError where the checkpoint is of another run or cannot be restored.
        """
        config, step = self.config, self.checkpointer.latest_step()
        # It differs where the workdir is not on a file system that all hosts share.
        require_same_on_all_hosts(lambda: {f"newest checkpoint in {config.workdir}": step})
        if step is None and self.branch is not None:
            return self._start_branch(self.branch)
        if step is None:
            logger.info("starting at step 0 of %d", self.num_steps)
            state = init_state(config, self.optimizer, self.mesh, load_params)
            self._save_frozen(state.params)
            return Start(0, state, ResumeState())
        source = f"{self.checkpointer.directory}/{step}"
        logger.info("restoring %s", source)
        checked = self._check_same(self.checkpointer, step, source)
        require(
            config.num_steps is None or config.num_steps >= step,
            "num_steps",
            config.num_steps,
            f"must not lie before the checkpoint, which is of step {step}",
            f"give {step} or more, or another workdir",
        )
        self._note_changes(step, *checked)
        start = self._restore(self.checkpointer, step)
        logger.info("resuming %s at step %d of %d", source, step, self.num_steps)
        return start

    def _start_branch(self, branch: branches.Branch) -> Start:
        """The state, the place in the data and the losses of RUN@STEP."""
        logger.info("restoring %s", branch.source)
        self._note_changes(branch.step, *self._checked)
        start = self._restore(branch.checkpointer, branch.step)
        self._save_frozen(start.state.params)
        logger.info(
            "decaying from %s at step %d, to step %d", branch.source, branch.step, self.num_steps
        )
        # An evaluation that was cut off belongs to a row of RUN.
        return start._replace(
            resume_state=dataclasses.replace(start.resume_state, unevaluated=None)
        )

    def _save_frozen(self, params: Params) -> None:
        """Saves what no step of a LoRA run changes, before its first checkpoint."""
        if self.config.lora.is_on:
            unchanged = frozen(params, self.config)
            Checkpointer.save_frozen(self.config.workdir, unchanged, presets.to_json(self.asked))

    def _check_same(
        self, checkpointer: Checkpointer, step: int, source: str
    ) -> tuple[TrainConfig, Any]:
        """The settings of the checkpoint and its data state. Raises UserError where it is of another run."""
        saved = self._with_old_defaults(checkpointer.restore_config(step), source)
        others = () if checkpointer is not self.checkpointer else ("another workdir",)
        check_same_run(self.asked, saved, source, others)
        content = checkpointer.restore_data(step)
        folder = source.rpartition("/checkpoints/")[0]
        require(
            isinstance(content, dict),
            "workdir" if others else "decay_from",
            self.config.workdir if others else self.config.decay_from,
            "must not be a converted run, which has parameters only and cannot be resumed",
            f"give another workdir, and --model.init-from {folder}",
        )
        content.setdefault("tokenizer", self._parts_in(self._tokenizer_folder))
        check_same_content(
            self.config, self._shards, self._tokenizer_parts, content, source, others
        )
        return saved, content

    def _note_changes(self, step: int, saved: TrainConfig, content: Any) -> None:
        """A line in the log and in the notes for each setting that differs from the saved ones."""
        for line in describe_changes(
            self.asked, saved, self._heldout_shards, content.get("heldout")
        ):
            logger.info("changed at step %d: %s", step, line)
            if is_main_process():
                notes.add(self.config.workdir, f"changed at step {step}: {line}")

    def _restore(self, checkpointer: Checkpointer, step: int) -> Start:
        """What the checkpoint holds, with the data at its place."""
        abstract = self.abstract
        restored = checkpointer.restore(abstract.params, (abstract.step, abstract.opt_state), step)
        self.batches.restore(restored.data["streams"])
        count, opt_state = restored.optimizer
        state = TrainState(count, restored.params, opt_state)
        return Start(step, state, ResumeState.from_json(restored.data[_RESUME_STATE]))

    def _with_old_defaults(self, saved: dict[str, Any], source: str) -> TrainConfig:
        """The saved config; what an older version did without a setting for it stands as that setting."""
        if self.heldout.num_records > self.config.eval_pairs:
            saved = {"eval_sample": "first"} | saved
        return presets.from_json(TrainConfig, saved, source)

    def _parts_in(self, folder: str) -> dict[str, str]:
        """Of the tokenizer in a run's folder, with which a checkpoint of an older version was trained."""
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
        if (folder / "tokenizer.json").is_file() and self._parts_in(
            str(folder)
        ) != self._tokenizer_parts:
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
        metrics: dict[str, float | None] | None,
        logged: concurrent.futures.Future[Any] | None,
    ) -> None:
        """Starts to save what the run resumes from as the checkpoint of `step`, with LoRA without frozen parameters.

        `data_state` is this host's; `metrics` are those of its evaluation, if it had one. `logged` says when the log of
        its steps is written, on the first host: before that, no run goes on from the checkpoint.
        """
        streams = [stream for host in gather(data_state) for stream in host]
        of_step = trained(state.params, self.config) if self.config.lora.is_on else state.params
        self.checkpointer.save(
            step,
            of_step,
            (state.step, state.opt_state),
            {
                "shards": self._shards,
                "heldout": self._heldout_shards,
                "tokenizer": self._tokenizer_parts,
                "streams": streams,
                _RESUME_STATE: resume_state.to_json(),
            },
            presets.to_json(self.asked),
            metrics,
            logged,
        )

    def close(self) -> None:
        """Waits for the last checkpoint, ends the workers."""
        self.checkpointer.close()
        self.batches.close()
        if self.branch is not None:
            self.branch.close()
