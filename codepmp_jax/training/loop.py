"""The training run: restore or initialise, step, log, evaluate, save."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import math
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax

from codepmp_jax import checkpoint, chips, presets, sharding, telemetry
from codepmp_jax.checkpoint import Checkpointer
from codepmp_jax.config import TrainConfig
from codepmp_jax.data.batch import Batch
from codepmp_jax.data.loader import PairLoader, one_pass
from codepmp_jax.errors import UserError, require
from codepmp_jax.models.flops import train_flops
from codepmp_jax.models.preference import Params
from codepmp_jax.progress import progress
from codepmp_jax.records import PreferencePair
from codepmp_jax.shards import ShardedDataset, write_json
from codepmp_jax.telemetry import logger
from codepmp_jax.tokenization import Tokenizer
from codepmp_jax.training import optimizer as optimizers
from codepmp_jax.training.feed import Fed, Feed, to_devices
from codepmp_jax.training.state import TrainState, abstract_state, init_state
from codepmp_jax.training.step import eval_step, jit_train_step

# Records that are packed to find out how many a step takes.
_MEASURED_RECORDS = 4096

# Settings that change how a run computes, but not what; a run may go on with others.
_FREE = (
    *("model.init_from", "model.remat", "model.attention", "model.attention_block"),
    *("data.input", "data.num_workers", "data.verify_shards"),
)


def check_same_run(config: TrainConfig, saved: TrainConfig, source: str) -> None:
    """Raises UserError showing each difference in model, data, batch or seed from the saved config."""
    before = dict(presets.flatten(saved))
    changed = [
        f"{path} = {value!r} (checkpoint: {before[path]!r})"
        for path, value in presets.flatten(config)
        if path.startswith(("model.", "data.", "seed", "global_batch_rows"))
        and path not in _FREE
        and value != before[path]
    ]
    if changed and not config.allow_config_change:
        raise UserError(
            f"{source}: was trained with other settings: {'; '.join(changed)}. Remedy: use another "
            "workdir, the old settings, or --allow-config-change."
        )


@dataclasses.dataclass
class Window:
    """The steps since the last line of the log: their metrics, and how much work they were."""

    before: dict[str, int]
    """The data's counts before the first of them, of all hosts."""
    started: float = dataclasses.field(default_factory=time.perf_counter)
    steps: list[tuple[int, Any, dict[str, int]]] = dataclasses.field(default_factory=list)
    waited: float = 0.0

    def add(self, step: int, metrics: Any, fed: Fed) -> None:
        """Adds a step; `metrics` may still be on their way from the devices."""
        self.steps.append((step, metrics, fed.counts))
        self.waited += fed.waited

    def rows(self, config: TrainConfig) -> tuple[list[dict[str, Any]], dict[str, int]]:
        """The steps' metrics as rows of metrics.jsonl, and the counts after them; waits for the devices.

        Raises UserError naming the window's steps where a loss or gradient is not finite.
        """
        values = jax.device_get([metrics for _, metrics, _ in self.steps])
        seconds = time.perf_counter() - self.started
        counts = total_counts([counts for _, _, counts in self.steps])
        done = {name: n - self.before[name] for name, n in counts[-1].items()}
        peak = telemetry.peak_flops()
        flops = train_flops(
            config.model,
            tokens=done["useful_tokens"],
            keys=done["useful_keys"],
            labels=done["labels"],
            pairs=done["pairs"],
        )
        speed = {
            "pairs_per_second": done["pairs"] / seconds,
            "tokens_per_second": done["tokens"] / seconds,
            "padded_tokens_per_second": done["padded_tokens"] / seconds,
            "data_wait": self.waited / seconds,
            "mfu": None if peak is None else flops / seconds / peak,
        }
        rows = []
        for (step, _, _), metrics, before, data in zip(
            self.steps, values, [self.before, *counts], counts, strict=False
        ):
            row: dict[str, Any] = {"step": step}
            row |= {name: float(value) for name, value in metrics.items()}
            row |= {f"data_{name}": n for name, n in data.items()}
            row["fill"] = (data["tokens"] - before["tokens"]) / (
                data["padded_tokens"] - before["padded_tokens"]
            )
            if not math.isfinite(row["loss"]) or not math.isfinite(row["grad_norm"]):
                raise UserError(
                    f"step {step}: loss {row['loss']}, gradient norm {row['grad_norm']}: not finite, "
                    f"in the steps {self.steps[0][0]} to {self.steps[-1][0]}. Remedy: lower "
                    "optimizer.learning_rate, or look at the pairs of these steps."
                )
            rows.append(row | speed)
        return rows, counts[-1]


def total_counts(counts: list[dict[str, int]]) -> list[dict[str, int]]:
    """The counts of all hosts together, of each of some steps."""
    hosts = checkpoint.gather(counts)
    return [
        {name: sum(host[i][name] for host in hosts) for name in counts[i]}
        for i in range(len(counts))
    ]


class Run:
    """What a run works with: data, mesh, optimizer, checkpoints. Opening it checks that they fit."""

    def __init__(self, config: TrainConfig):
        """Raises UserError, before any device work, where config, data and devices do not fit."""
        self.hosts = jax.process_count()
        self.chip = chips.chip_of(jax.devices()[0].device_kind)
        self.config = config = chips.resolve(config, self.chip)
        self.mesh_sizes = sharding.check_mesh(
            config, jax.device_count(), sharding.count_slices(jax.devices())
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
        # In memory, for they are few and read again and again.
        self.heldout_pairs = (
            list(itertools.islice(self._open("heldout"), config.eval_pairs))
            if config.eval_pairs
            else []
        )
        self.batches = PairLoader(
            self.train_pairs,
            self.tokenizer,
            config.data,
            batch_rows=config.global_batch_rows,
            seed=config.seed,
            process_index=jax.process_index(),
            process_count=self.hosts,
        )
        self.num_steps = self._total_steps()
        self.optimizer = optimizers.build(config.optimizer, self.num_steps)
        self.mesh = sharding.make_mesh(self.mesh_sizes)
        self.abstract = abstract_state(config.model, self.optimizer, self.mesh)
        self.checkpointer = Checkpointer(config.workdir, config.checkpoint)

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
        self.batches.restore([state for host in checkpoint.gather(start) for state in host])
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
        """What the training data are, wherever they lie."""
        return [shard.sha256 for shard in self.train_pairs.shards]

    def _open(self, split: str) -> ShardedDataset:
        data = self.config.data
        return ShardedDataset(data.input, PreferencePair, split, data.verify_shards)

    def start(self, load_params: Callable[[Params], Params] | None) -> tuple[int, TrainState]:
        """(step, state) of the newest checkpoint, to which the data go forward too; or of a new run.

        Raises UserError where the checkpoint is of another run or cannot be restored.
        """
        config, step = self.config, self.checkpointer.latest_step()
        if step is None:
            logger.info("starting at step 0 of %d", self.num_steps)
            return 0, init_state(config.model, self.optimizer, self.mesh, config.seed, load_params)
        source = f"{self.checkpointer.directory}/{step}"
        saved = presets.from_json(TrainConfig, self.checkpointer.restore_config(), source)
        check_same_run(config, saved, source)
        abstract = self.abstract
        restored = self.checkpointer.restore(abstract.params, (abstract.step, abstract.opt_state))
        require(
            restored.data["shards"] == self._shards() or config.allow_config_change,
            f"{source}: data.input",
            config.data.input,
            "must hold the very shards that the run was trained on",
            "give that data, another workdir, or --allow-config-change",
        )
        self.batches.restore(restored.data["streams"])
        logger.info("resuming %s at step %d of %d", source, step, self.num_steps)
        count, opt_state = restored.optimizer
        return step, TrainState(count, restored.params, opt_state)

    def save(self, step: int, state: TrainState, data_state: list[dict[str, Any]]) -> None:
        """Starts to save state, data state (this host's) and config as the checkpoint of `step`."""
        streams = [stream for host in checkpoint.gather(data_state) for stream in host]
        self.checkpointer.save(
            step,
            state.params,
            (state.step, state.opt_state),
            {"shards": self._shards(), "streams": streams},
            presets.to_json(self.config),
        )

    @functools.cached_property
    def heldout_batches(self) -> list[Batch]:
        """This host's rows of the batches of the first eval_pairs held-out pairs."""
        batches, _ = one_pass(
            self.heldout_pairs,
            self.tokenizer,
            self.config.data,
            batch_rows=self.config.global_batch_rows // self.config.accumulation_steps,
            process_index=jax.process_index(),
            process_count=self.hosts,
        )
        return batches

    def evaluate(
        self, params: Params, eval_step: Callable[[Params, Batch], Any]
    ) -> dict[str, float]:
        """Means of eval_step's sums over the first eval_pairs held-out pairs, named `eval_...`."""
        if not self.heldout_pairs:
            return {}
        if not self.heldout_batches:
            raise UserError(
                f"{self.config.data.input}: no held-out pair is left to evaluate on. Remedy: raise "
                f"data.max_length ({self.config.data.max_length}), or set eval_pairs to 0."
            )
        results = jax.device_get(
            [eval_step(params, to_devices(batch, self.mesh)) for batch in self.heldout_batches]
        )
        sums = {name: float(sum(result[name] for result in results)) for name in results[0]}
        num_pairs, num_labels = sums.pop("num_pairs"), sums.pop("num_labels")
        return {
            f"eval_{name}": value / (max(num_labels, 1) if name == "lm_loss" else num_pairs)
            for name, value in sums.items()
        }

    def close(self) -> None:
        """Waits for the last checkpoint, ends the workers."""
        self.checkpointer.close()
        self.batches.close()


def train(
    config: TrainConfig, load_params: Callable[[Params], Params] | None = None
) -> dict[str, Any]:
    """Runs or resumes the run in config.workdir until its last step; returns the last metrics.

    `load_params` fills the abstract parameters of a new run (see init_state). Raises UserError before
    any device work where config, data, devices or checkpoint do not fit together, and where a loss is
    not finite.
    """
    workdir = pathlib.Path(config.workdir)
    last: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        run = stack.enter_context(contextlib.closing(Run(config)))
        config = run.config
        first_step, state = run.start(load_params)
        logger.info(
            "%.1f M parameters, %d pairs, mesh data %d x fsdp %d x tensor %d of %s",
            sum(leaf.size for leaf in jax.tree.leaves(run.abstract.params)) / 1e6,
            *(len(run.train_pairs), *run.mesh_sizes, jax.devices()[0].device_kind),
        )
        if telemetry.is_main_process():
            write_json(workdir / "config.json", presets.to_json(config))
            run.tokenizer.save(workdir / "tokenizer")
        writer = stack.enter_context(
            contextlib.closing(telemetry.MetricsWriter(workdir, first_step))
        )
        shardings = jax.tree.map(lambda leaf: leaf.sharding, run.abstract)
        options = chips.compiler_options(config, run.chip)
        train_step = jit_train_step(config, run.num_steps, shardings, options)
        jitted_eval = jax.jit(lambda params, batch: eval_step(params, batch, config))
        bar = stack.enter_context(
            progress(
                total=run.num_steps,
                initial=first_step,
                unit="step",
                disable=not telemetry.is_main_process(),
            )
        )
        stack.enter_context(jax.set_mesh(run.mesh))
        feed = Feed(run.batches, run.mesh)
        window = Window(total_counts([run.batches.counts])[0])
        for step in range(first_step + 1, run.num_steps + 1):
            fed = feed.take()
            state, metrics = train_step(state, fed.batch)
            is_last = step == run.num_steps
            if not is_last:
                feed.prefetch()
            window.add(step, metrics, fed)
            is_eval = is_last or step % config.eval_every_steps == 0
            is_save = is_last or step % config.checkpoint.every_steps == 0
            if not (is_eval or is_save or step % config.log_every_steps == 0):
                continue
            rows, counts = window.rows(config)
            if is_eval and config.eval_pairs:
                rows[-1] |= run.evaluate(state.params, jitted_eval)
                logger.info(
                    "step %d: held-out pair loss %.4f, LM loss %.4f, accuracy %.3f",
                    *(step, rows[-1]["eval_pair_loss"], rows[-1]["eval_lm_loss"]),
                    rows[-1]["eval_accuracy"],
                )
            for row in rows:
                writer.write(row)
            if is_save:
                run.save(step, state, fed.data_state)
            last |= rows[-1]
            figures = {"loss": f"{last['loss']:.3f}", "accuracy": f"{last['accuracy']:.3f}"}
            bar.set_postfix(figures, refresh=False)
            bar.update(len(rows))
            window = Window(counts)
    return last
