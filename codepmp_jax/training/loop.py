"""The training run: restore or initialise, step, log, evaluate, save."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from codepmp_jax import checkpoint, presets, sharding, telemetry
from codepmp_jax.checkpoint import Checkpointer
from codepmp_jax.config import TrainConfig
from codepmp_jax.data.batch import Batch
from codepmp_jax.data.loader import PairLoader
from codepmp_jax.errors import UserError, require
from codepmp_jax.models.flops import train_flops
from codepmp_jax.models.preference import Params
from codepmp_jax.progress import progress
from codepmp_jax.records import PreferencePair
from codepmp_jax.shards import ShardedDataset, write_json
from codepmp_jax.telemetry import logger
from codepmp_jax.tokenization import Tokenizer
from codepmp_jax.training import optimizer as optimizers
from codepmp_jax.training.state import TrainState, abstract_state, init_state
from codepmp_jax.training.step import eval_step, jit_train_step

# Settings that change how a run computes, but not what; a run may go on with others.
_FREE = (
    *("model.init_from", "model.remat"),
    *("data.input", "data.num_workers", "data.verify_shards"),
)


def check_same_run(config: TrainConfig, saved: TrainConfig, source: str) -> None:
    """Raises UserError showing each difference in model, data, batch or seed from the saved config."""
    before = dict(presets.flatten(saved))
    changed = [
        f"{path} = {value!r} (checkpoint: {before[path]!r})"
        for path, value in presets.flatten(config)
        if path.startswith(("model.", "data.", "seed", "global_batch_pairs"))
        and path not in _FREE
        and value != before[path]
    ]
    if changed and not config.allow_config_change:
        raise UserError(
            f"{source}: was trained with other settings: {'; '.join(changed)}. Remedy: use another "
            "workdir, the old settings, or --allow-config-change."
        )


def total_steps(config: TrainConfig, num_pairs: int) -> int:
    """num_steps, or the steps in num_epochs; pairs that will be dropped count as pairs here."""
    if config.num_steps is not None:
        return config.num_steps
    steps = math.floor(config.num_epochs * num_pairs / config.global_batch_pairs)
    require(
        steps > 0,
        "global_batch_pairs",
        config.global_batch_pairs,
        f"must not exceed num_epochs ({config.num_epochs}) times the {num_pairs} training pairs",
        "lower it, or give num_steps",
    )
    return steps


def to_devices(batch: Batch, mesh: Mesh) -> Batch:
    """This host's pairs as its part of the global batch."""
    layout = sharding.batch_sharding(mesh)

    def place(array: np.ndarray) -> jax.Array:
        # The whole shape, so that a mesh on which hosts would share their pairs is an error.
        shape = (jax.process_count() * len(array), *array.shape[1:])
        return jax.make_array_from_process_local_data(layout, array, shape)

    return jax.tree.map(place, batch)


@dataclasses.dataclass
class Window:
    """The steps since the last line of the log: their metrics, and how much work they were."""

    started: float = dataclasses.field(default_factory=time.perf_counter)
    steps: list[tuple[int, Any, dict[str, int]]] = dataclasses.field(default_factory=list)
    pairs: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    flops: float = 0.0

    def add(
        self, step: int, metrics: Any, batch: Batch, counts: dict[str, int], config: TrainConfig
    ) -> None:
        """Adds a step of this host's batch; `metrics` may still be on their way from the devices."""
        self.steps.append((step, metrics, counts))
        self.pairs += len(batch.tokens)
        self.tokens += int(batch.token_mask.sum())
        self.padded_tokens += batch.tokens.size
        self.flops += train_flops(config.model, batch.token_mask, batch.response_mask[:, 0])

    def rows(self) -> list[dict[str, Any]]:
        """The steps' metrics as rows of metrics.jsonl; waits for the devices.

        Raises UserError naming the window's steps where a loss or gradient is not finite.
        """
        values = jax.device_get([metrics for _, metrics, _ in self.steps])
        hosts = checkpoint.gather(
            {f"{step}/{name}": n for step, _, counts in self.steps for name, n in counts.items()}
        )
        # The hosts' batches are alike, so this host's rate stands for each.
        rate = jax.process_count() / (time.perf_counter() - self.started)
        peak = telemetry.peak_flops()
        speed = {
            "pairs_per_second": self.pairs * rate,
            "tokens_per_second": self.tokens * rate,
            "padded_tokens_per_second": self.padded_tokens * rate,
            "mfu": None if peak is None else self.flops * rate / peak,
        }
        rows = []
        for (step, _, counts), metrics in zip(self.steps, values, strict=True):
            row: dict[str, Any] = {"step": step}
            row |= {name: float(value) for name, value in metrics.items()}
            row |= {
                f"data_{name}": sum(host[f"{step}/{name}"] for host in hosts) for name in counts
            }
            if not math.isfinite(row["loss"]) or not math.isfinite(row["grad_norm"]):
                raise UserError(
                    f"step {step}: loss {row['loss']}, gradient norm {row['grad_norm']}: not finite, "
                    f"in the steps {self.steps[0][0]} to {self.steps[-1][0]}. Remedy: lower "
                    "optimizer.learning_rate, or look at the pairs of these steps."
                )
            rows.append(row | speed)
        return rows


class Run:
    """What a run works with: data, mesh, optimizer, checkpoints. Opening it checks that they fit."""

    def __init__(self, config: TrainConfig):
        """Raises UserError, before any device work, where config, data and devices do not fit."""
        self.config = config
        self.hosts = jax.process_count()
        self.mesh_sizes = sharding.check_mesh(config, jax.device_count())
        self.part_pairs = config.global_batch_pairs // config.accumulation_steps
        # With which the pairs of a part divide over the hosts too.
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
        self.num_steps = total_steps(config, len(self.train_pairs))
        self.optimizer = optimizers.build(config.optimizer, self.num_steps)
        self.mesh = sharding.make_mesh(self.mesh_sizes)
        self.abstract = abstract_state(config.model, self.optimizer, self.mesh)
        self.batches = self._loader(self.train_pairs, config.global_batch_pairs, repeat=True)
        self.checkpointer = Checkpointer(config.workdir, config.checkpoint)

    def _shards(self) -> list[str]:
        """What the training data are, wherever they lie."""
        return [shard.sha256 for shard in self.train_pairs.shards]

    def _open(self, split: str) -> ShardedDataset:
        data = self.config.data
        return ShardedDataset(data.input, PreferencePair, split, data.verify_shards)

    def _loader(
        self, pairs: Sequence[PreferencePair], global_batch: int, repeat: bool
    ) -> PairLoader:
        return PairLoader(
            pairs,
            self.tokenizer,
            self.config.data,
            batch_pairs=global_batch // self.hosts,
            seed=self.config.seed,
            process_index=jax.process_index(),
            process_count=self.hosts,
            repeat=repeat,
        )

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
        hosts = restored.data["hosts"]
        require(
            len(hosts) == self.hosts,
            f"{source}: number of hosts",
            self.hosts,
            f"must be {len(hosts)}, as when it was saved: each host goes on where it stood in "
            "the data",
            "resume on as many hosts, or start a new run with model.init_from = the old workdir",
        )
        self.batches.restore(hosts[jax.process_index()])
        logger.info("resuming %s at step %d of %d", source, step, self.num_steps)
        count, opt_state = restored.optimizer
        return step, TrainState(count, restored.params, opt_state)

    def save(self, step: int, state: TrainState) -> None:
        """Starts to save state, data state and config as the checkpoint of `step`."""
        self.checkpointer.save(
            step,
            state.params,
            (state.step, state.opt_state),
            {"shards": self._shards(), "hosts": checkpoint.gather(self.batches.state())},
            presets.to_json(self.config),
        )

    def evaluate(
        self, params: Params, eval_step: Callable[[Params, Batch], Any]
    ) -> dict[str, float]:
        """Means of eval_step's sums over the first eval_pairs held-out pairs, named `eval_...`."""
        if not self.heldout_pairs:
            return {}
        loader = self._loader(self.heldout_pairs, self.part_pairs, repeat=False)
        with contextlib.closing(loader):
            results = jax.device_get(
                [eval_step(params, to_devices(batch, self.mesh)) for batch in loader]
            )
        sums = {name: float(sum(result[name] for result in results)) for name in results[0]}
        num_pairs, num_labels = sums.pop("num_pairs"), sums.pop("num_labels")
        if num_pairs == 0:
            raise UserError(
                f"{self.config.data.input}: no held-out pair is left to evaluate on. Remedy: raise "
                f"data.max_length ({self.config.data.max_length}), or set eval_pairs to 0."
            )
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
        train_step = jit_train_step(config, run.num_steps, shardings)
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
        window = Window()
        for step in range(first_step + 1, run.num_steps + 1):
            batch = next(run.batches)
            state, metrics = train_step(state, to_devices(batch, run.mesh))
            window.add(step, metrics, batch, run.batches.counts, config)
            is_last = step == run.num_steps
            is_eval = is_last or step % config.eval_every_steps == 0
            is_save = is_last or step % config.checkpoint.every_steps == 0
            if not (is_eval or is_save or step % config.log_every_steps == 0):
                continue
            rows = window.rows()
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
                run.save(step, state)
            last |= rows[-1]
            figures = {"loss": f"{last['loss']:.3f}", "accuracy": f"{last['accuracy']:.3f}"}
            bar.set_postfix(figures, refresh=False)
            bar.update(len(rows))
            window = Window()
    return last
