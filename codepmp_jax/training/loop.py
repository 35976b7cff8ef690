"""The training run: restore or initialise, step, log, evaluate, save."""

from __future__ import annotations

import dataclasses
import itertools
import math
import pathlib
import time
from collections.abc import Callable, Iterable
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
_FREE = ("model.init_from", "model.remat", "data.num_workers", "data.verify_shards")


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
    return jax.tree.map(lambda array: jax.make_array_from_process_local_data(layout, array), batch)


@dataclasses.dataclass
class Window:
    """The steps since the last line of the log: their metrics, and how much work they were."""

    started: float = dataclasses.field(default_factory=time.perf_counter)
    steps: list[tuple[int, Any, dict[str, int]]] = dataclasses.field(default_factory=list)
    work: dict[str, float] = dataclasses.field(
        default_factory=lambda: dict.fromkeys(("pairs", "tokens", "padded_tokens", "flops"), 0.0)
    )

    def add(self, step: int, metrics: Any, facts: dict[str, int], batch: Batch) -> None:
        """Adds a step; `metrics` may still be on their way from the devices."""
        self.steps.append((step, metrics, facts))
        hosts = jax.process_count()
        self.work["pairs"] += len(batch.tokens) * hosts
        self.work["tokens"] += int(batch.token_mask.sum()) * hosts
        self.work["padded_tokens"] += batch.tokens.size * hosts

    def rows(self) -> list[dict[str, Any]]:
        """The steps' metrics as rows of metrics.jsonl; waits for the devices.

        Raises UserError naming the window's steps where a loss or gradient is not finite.
        """
        values = jax.device_get([metrics for _, metrics, _ in self.steps])
        seconds = time.perf_counter() - self.started
        peak = telemetry.peak_flops()
        speed = {
            "pairs_per_second": self.work["pairs"] / seconds,
            "tokens_per_second": self.work["tokens"] / seconds,
            "padded_tokens_per_second": self.work["padded_tokens"] / seconds,
            "mfu": None if peak is None else self.work["flops"] / seconds / peak,
        }
        rows = []
        for (step, _, facts), metrics in zip(self.steps, values, strict=True):
            row = {"step": step} | {name: float(value) for name, value in metrics.items()} | facts
            if not math.isfinite(row["loss"]) or not math.isfinite(row["grad_norm"]):
                raise UserError(
                    f"step {step}: loss {row['loss']}, gradient norm {row['grad_norm']}: not finite, "
                    f"in the steps {self.steps[0][0]} to {self.steps[-1][0]}. Remedy: lower "
                    "optimizer.learning_rate, or look at the pairs of these steps."
                )
            rows.append(row | speed)
        return rows


def evaluate(
    params: Params, batches: Iterable[Batch], step: Callable[[Params, Batch], Any], mesh: Mesh
) -> dict[str, float]:
    """Means over the pairs of all batches, named `eval_...`."""
    results = jax.device_get([step(params, to_devices(batch, mesh)) for batch in batches])
    weights = np.array([float(result.pop("num_pairs")) for result in results])
    names = results[0] if weights.sum() > 0 else ()
    return {
        f"eval_{name}": float(np.average([result[name] for result in results], weights=weights))
        for name in names
    }


def train(
    config: TrainConfig, load_params: Callable[[Params], Params] | None = None
) -> dict[str, Any]:
    """Runs or resumes the run in config.workdir until its last step; returns the last metrics.

    `load_params` fills the abstract parameters of a new run (see init_state). Raises UserError before
    any device work where config, data or checkpoint do not fit together.
    """
    sizes = sharding.check_mesh(config, jax.device_count())
    hosts, host = jax.process_count(), jax.process_index()
    require(
        config.global_batch_pairs // config.accumulation_steps % hosts == 0,
        "global_batch_pairs",
        config.global_batch_pairs,
        f"must give each of the {hosts} hosts whole parts",
        "pick a multiple of the number of hosts times accumulation_steps",
    )
    tokenizer = Tokenizer.load(config.data.tokenizer)
    require(
        tokenizer.vocab_size <= config.model.vocab_size,
        "model.vocab_size",
        config.model.vocab_size,
        f"must hold the tokenizer's {tokenizer.vocab_size} tokens",
        "raise it, or use the tokenizer that belongs to the model",
    )
    pairs = ShardedDataset(config.data.input, PreferencePair, "train", config.data.verify_shards)
    num_steps = total_steps(config, len(pairs))
    optimizer = optimizers.build(config.optimizer, num_steps)
    mesh = sharding.make_mesh(sizes)
    workdir = pathlib.Path(config.workdir)

    def loader(dataset: ShardedDataset, global_batch: int, repeat: bool) -> PairLoader:
        return PairLoader(
            dataset,
            tokenizer,
            config.data,
            batch_pairs=global_batch // hosts,
            seed=config.seed,
            process_index=host,
            process_count=hosts,
            repeat=repeat,
        )

    eval_batch = config.global_batch_pairs // config.accumulation_steps
    heldout = (
        ShardedDataset(config.data.input, PreferencePair, "heldout", config.data.verify_shards)
        if config.eval_pairs
        else None
    )
    checkpointer = Checkpointer(config.workdir, config.checkpoint)
    batches = loader(pairs, config.global_batch_pairs, repeat=True)
    abstract = abstract_state(config.model, optimizer, mesh)
    first_step = checkpointer.latest_step()
    if first_step is None:
        state = init_state(config.model, optimizer, mesh, config.seed, load_params)
        first_step = 0
        logger.info("starting at step 0 of %d", num_steps)
    else:
        source = f"{checkpointer.directory}/{first_step}"
        saved = presets.from_json(TrainConfig, checkpointer.restore_config(), source)
        check_same_run(config, saved, source)
        restored = checkpointer.restore(abstract.params, (abstract.step, abstract.opt_state))
        step, opt_state = restored.optimizer
        state = TrainState(step, restored.params, opt_state)
        batches.restore(restored.data[host])
        logger.info("resuming %s at step %d of %d", source, first_step, num_steps)
    if telemetry.is_main_process():
        write_json(workdir / "config.json", presets.to_json(config))
    num_params = sum(leaf.size for leaf in jax.tree.leaves(abstract.params))
    logger.info(
        "%.1f M parameters, %d pairs, mesh data %d x fsdp %d x tensor %d on %s",
        *(num_params / 1e6, len(pairs), *sizes, jax.devices()[0].device_kind),
    )

    def save(step: int, state: TrainState) -> None:
        checkpointer.save(
            step,
            state.params,
            (state.step, state.opt_state),
            checkpoint.gather(batches.state()),
            presets.to_json(config),
        )

    metrics_writer = telemetry.MetricsWriter(workdir, first_step)
    last: dict[str, Any] = {}
    with jax.set_mesh(mesh), progress(total=num_steps, initial=first_step, unit="step") as bar:
        step_shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
        train_step = jit_train_step(config, num_steps, step_shardings)
        jitted_eval = jax.jit(lambda params, batch: eval_step(params, batch, config))
        window = Window()
        for step in range(first_step + 1, num_steps + 1):
            batch = next(batches)
            state, metrics = train_step(state, to_devices(batch, mesh))
            facts = {f"data_{name}": count for name, count in batches.counts.items()}
            window.add(step, metrics, facts, batch)
            window.work["flops"] += hosts * train_flops(
                config.model, batch.token_mask, batch.response_mask[:, 0]
            )
            is_last = step == num_steps
            is_eval = is_last or step % config.eval_every_steps == 0
            is_save = is_last or checkpointer.should_save(step)
            if is_last or is_eval or is_save or step % config.log_every_steps == 0:
                rows = window.rows()
                if is_eval and heldout is not None:
                    held = loader(heldout, eval_batch, repeat=False)
                    few = itertools.islice(held, math.ceil(config.eval_pairs / eval_batch))
                    rows[-1] |= evaluate(state.params, few, jitted_eval, mesh)
                    logger.info(
                        "step %d: held-out pair loss %.4f, LM loss %.4f, accuracy %.3f",
                        *(step, rows[-1]["eval_pair_loss"], rows[-1]["eval_lm_loss"]),
                        rows[-1]["eval_accuracy"],
                    )
                for row in rows:
                    metrics_writer.write(row)
                last |= rows[-1]
                if is_save:
                    save(step, state)
                bar.set_postfix(loss=f"{last['loss']:.3f}", accuracy=f"{last['accuracy']:.3f}")
                bar.update(len(rows))
                window = Window()
    checkpointer.close()
    metrics_writer.close()
    return last
