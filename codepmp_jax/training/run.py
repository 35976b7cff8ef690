"""A run's data, mesh, optimizer and checkpoints; how it starts, saves and evaluates."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from codepmp_jax.checkpoint.checkpointer import Checkpointer, gather
from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.config import TrainConfig, presets
from codepmp_jax.data.batch import Batch
from codepmp_jax.data.loader import PairLoader
from codepmp_jax.data.one_pass import require_accepted
from codepmp_jax.devices import chips, sharding
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
from codepmp_jax.training.state import TrainState, abstract_state, init_state
from codepmp_jax.training.step import Sums, abstract_batch, eval_step
from codepmp_jax.training.telemetry import logger
from codepmp_jax.training.window import ResumeState, total_counts

# Records that are packed to find out how many a step takes.
_MEASURED_RECORDS = 4096

# The entry's name in checkpoints.
_RESUME_STATE = "carried"

# Settings that change how a run computes, but not what; they may change on resume.
_MAY_CHANGE_ON_RESUME = (
    "model.init_from",
    "model.remat",
    "model.attention",
    "model.attention_block",
    "data.input",
    "data.num_workers",
    "data.verify_shards",
    "data.cache",
    "data.cache_bytes",
)


def check_same_run(config: TrainConfig, saved: TrainConfig, source: str) -> None:
    """Raises UserError showing each difference in model, data, batch or seed from the saved config."""
    before = dict(presets.flatten(saved))
    changed = [
        f"{path} = {value!r} (checkpoint: {before[path]!r})"
        for path, value in presets.flatten(config)
        if path.startswith(("model.", "data.", "loss.objective", "seed", "global_batch_rows"))
        and path not in _MAY_CHANGE_ON_RESUME
        and value != before[path]
    ]
    if changed and not config.allow_config_change:
        raise UserError(
            f"{source}: was trained with other settings: {'; '.join(changed)}. Remedy: use another "
            "workdir, the old settings, or --allow-config-change."
        )


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


class Run:
    """A run's data, mesh, optimizer and checkpoints. Opening it checks that they fit together."""

    def __init__(self, config: TrainConfig):
        """Raises UserError, before any device work, where config, data and devices do not fit."""
        self.hosts = jax.process_count()
        self.chip = chips.chip_of(jax.devices()[0].device_kind)
        model = chips.resolve(config.model, config.data.max_length, self.chip)
        self.config = config = objectives.with_heads(dataclasses.replace(config, model=model))
        self.objective = objectives.build(config)
        require_same_on_all_hosts(self._prepare)
        self.checkpointer = Checkpointer(config.workdir, config.checkpoint)
        self.num_steps = self._total_steps()
        self.optimizer = optimizers.build(config.optimizer, self.num_steps)
        self.mesh = sharding.make_mesh(self.mesh_sizes)
        self.abstract = abstract_state(config.model, self.optimizer, self.mesh)
        self.checkpointer.require_room(self.abstract)
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
        self.tokenizer = Tokenizer.load(config.data.tokenizer)
        require(
            self.tokenizer.vocab_size <= config.model.vocab_size,
            "model.vocab_size",
            config.model.vocab_size,
            f"must hold the tokenizer's {self.tokenizer.vocab_size} tokens",
            "raise it, or use the tokenizer that belongs to the model",
        )
        self.train_pairs = self._open("train")
        heldout = self._open("heldout") if config.eval_pairs else None
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
            heldout_shards=[shard.sha256 for shard in heldout.shards] if heldout else [],
            tokenizer=hashlib.sha256(self.tokenizer.backend.to_str().encode()).hexdigest(),
        )

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
            state = init_state(config.model, self.optimizer, self.mesh, config.seed, load_params)
            return Start(0, state, ResumeState())
        source = f"{self.checkpointer.directory}/{step}"
        logger.info("restoring %s", source)
        saved = presets.from_json(type(config), self.checkpointer.restore_config(), source)
        check_same_run(config, saved, source)
        abstract = self.abstract
        restored = self.checkpointer.restore(abstract.params, (abstract.step, abstract.opt_state))
        require(
            restored.data["shards"] == self._shards() or config.allow_config_change,
            f"{source}: data.input",
            config.data.input,
            "must hold exactly the shards that the run was trained on",
            "give that data, another workdir, or --allow-config-change",
        )
        self.batches.restore(restored.data["streams"])
        logger.info("resuming %s at step %d of %d", source, step, self.num_steps)
        count, opt_state = restored.optimizer
        state = TrainState(count, restored.params, opt_state)
        return Start(step, state, ResumeState.from_json(restored.data[_RESUME_STATE]))

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
        """Starts to save what the run resumes from as the checkpoint of `step`.

        `data_state` is this host's; `metrics` are those of its evaluation, if it had one.
        """
        streams = [stream for host in gather(data_state) for stream in host]
        self.checkpointer.save(
            step,
            state.params,
            (state.step, state.opt_state),
            {"shards": self._shards(), "streams": streams, _RESUME_STATE: resume_state.to_json()},
            presets.to_json(self.config),
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
        for batch in self.heldout.batches:
            results.append(eval_step(params, to_devices(batch, self.mesh)))
            # One batch ahead of the devices: their memory holds no more, and a cut comes soon.
            jax.block_until_ready(results[-2:-1])
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
