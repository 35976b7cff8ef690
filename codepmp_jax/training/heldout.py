"""The held-out records that a run is evaluated on: which ones, what is known of them before the first step, and the
evaluation."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.config import CheckpointConfig, TrainConfig
from codepmp_jax.data import drops
from codepmp_jax.data.batch import Batch
from codepmp_jax.data.layouts import Layout
from codepmp_jax.data.mixture import Mixture
from codepmp_jax.data.one_pass import one_pass
from codepmp_jax.data.tokenized_item import Unit
from codepmp_jax.models.preference import Params
from codepmp_jax.text.tokenization import Tokenizer
from codepmp_jax.training import figures
from codepmp_jax.training.feed import rows_of_all_hosts, to_devices
from codepmp_jax.training.objectives.objective import Objective
from codepmp_jax.training.step import Evaluated
from codepmp_jax.training.telemetry import logger

# Of the sample. It does not follow the run's seed, so that runs with other seeds are evaluated on the same records.
_SEED = 0


def sample(num_records: int, config: TrainConfig, most: int | None = None) -> list[int]:
    """Indices of the records to evaluate on, ascending: all of them if they are at most eval_pairs, or `most`."""
    most = config.eval_pairs if most is None else most
    if num_records <= most or config.eval_sample == "first":
        return list(range(min(num_records, most)))
    order = np.random.default_rng(_SEED).permutation(num_records)
    return sorted(order[:most].tolist())


def even_parts(sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """How many records of each source to evaluate on: `total` together, equally many of each, but for sources that have
    fewer, whose rest the others share."""
    parts: dict[str, int] = {}
    for name in sorted(sizes, key=lambda name: (sizes[name], name)):
        parts[name] = min(sizes[name], (total - sum(parts.values())) // (len(sizes) - len(parts)))
    return parts


def sample_of(records: Sequence[Any], config: TrainConfig) -> list[int]:
    """Indices of the records to evaluate on, ascending; of a mixture, a sample of each source."""
    if not isinstance(records, Mixture):
        return sample(len(records), config)
    indices, before = [], 0
    parts = even_parts(records.sizes, config.eval_pairs)
    for name, size in records.sizes.items():
        indices += [before + i for i in sample(size, config, parts[name])]
        before += size
    return indices


class Heldout:
    """The held-out records as batches, tokenized before the first step."""

    def __init__(
        self,
        records: Sequence[Any],
        tokenizer: Tokenizer,
        layout: Layout,
        config: TrainConfig,
    ):
        """Takes a sample of `records` (see `sample_of`), the same on all hosts.

        Raises UserError where there are records but none of the sample is kept.
        """
        self.num_records = len(records)
        indices = sample_of(records, config)
        sampled = [records[i] for i in indices]
        # In memory, for they are few and read again and again.
        found = one_pass(
            sampled,
            tokenizer,
            layout,
            batch_rows=config.global_batch_rows // config.accumulation_steps,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        self.batches = found.batches
        """This host's rows of them; none where there are no records."""
        self.counts = found.counts
        """Of all hosts together (packing.count_names), and `records`, the size of the sample."""
        self.kind = kind = layout.kind
        self._numbers, self._places = found.numbers, None
        records_of_items = [record for record, _ in found.items]
        if isinstance(records, Mixture):
            sources = records.sources
            groups = [sources[indices[i]] for i in records_of_items]
        else:
            subsets = (getattr(sampled[i], "subset", "") for i in records_of_items)
            groups = figures.group_names(subsets)
        lengths = figures.response_lengths(found.items.values(), kind.num_texts)
        self.facts = figures.ItemFacts(groups, lengths)
        """Of the items, in their order."""
        data, counts = config.data, found.counts
        dropped = drops.describe(counts, data)
        if found.refused:
            dropped += f" ({drops.describe_refused(found.refused, kind.noun)})"
        if indices and not found.batches:
            raise UserError(
                f"{', '.join(data.folders)}: no held-out {kind.noun} is left to evaluate on, of {len(indices)}; {dropped}. "
                f"Remedy: {drops.remedy(counts, data, kind.noun)}; or set eval_pairs to 0."
            )
        if indices:
            how = "the first" if config.eval_sample == "first" else "a sample"
            # Few records make a poor measure, which is easily overlooked.
            log = logger.warning if 2 * counts[kind.unit] < len(indices) else logger.info
            log(
                "held out: evaluating on %s%s%s",
                self.size,
                f", {how} of {len(records)}" if len(indices) < len(records) else "",
                f"; {dropped}" if dropped else "",
            )
        elif config.eval_pairs:
            logger.warning("held out: no %ss; the run is not evaluated", kind.noun)
        if isinstance(records, Mixture) and indices:
            self._log_sources(list(records.parts))
        elif figures.OTHERS in groups:
            logger.info(
                "held out: figures of the %d largest subsets; of all others together as %s",
                figures.MAX_GROUPS,
                figures.OTHERS,
            )

    def _log_sources(self, names: Sequence[str]) -> None:
        """Says how many items there are of each source, and warns where there are none."""
        sizes, unit = self.facts.group_sizes, self.kind.unit
        missing = [name for name in names if name not in sizes]
        if missing:
            logger.warning(
                "held out: no %s of %s, which is not evaluated", unit, ", ".join(missing)
            )
        each = ", ".join(f"{size} of {name}" for name, size in sizes.items())
        logger.info("held out, %s by source: %s", unit, each)

    @property
    def columns(self) -> dict[str, int]:
        """What metrics.jsonl says of the records of an evaluation."""
        unit, sizes = self.kind.unit, self.facts.group_sizes
        names = ("records", unit, *drops.DROP_REASONS)
        columns = {f"heldout_{name}": self.counts[name] for name in names}
        return columns | {f"heldout_{unit}/{group}": size for group, size in sizes.items()}

    def figures(self, rewards: Sequence[np.ndarray], mesh: Mesh) -> dict[str, float | None]:
        """The figures of the pairs, by the rewards (B, M, 2) of each batch, which all hosts have. All hosts must call
        it."""
        if self._places is None:
            # Which pair is at which place of the global batch: the mesh may order the hosts' rows in its own way.
            whole = [rows_of_all_hosts(part, mesh) for part in self._numbers]
            self._places = np.concatenate([part.ravel() for part in whole])
        is_pair = self._places >= 0
        of_places = np.concatenate([np.reshape(part, (-1, 2)) for part in rewards])
        ordered = np.zeros((self.counts[self.kind.unit], 2), of_places.dtype)
        ordered[self._places[is_pair]] = of_places[is_pair]
        return figures.compute(self.facts, ordered)

    def evaluate(
        self,
        params: Params,
        evaluate_batch: Callable[[Params, Batch], Evaluated],
        objective: Objective,
        mesh: Mesh,
        is_cut: Callable[[], bool],
    ) -> dict[str, float | None] | None:
        """Means of the objective's metrics over the items, but for those over labels where there are none, the
        objective's figures of them, and the figures of the pairs' rewards (training/figures.py), all named `eval_...`;
        and `columns`.

        None where `is_cut`, asked after each batch, says to stop. Raises UserError where a mean is not finite.
        """
        if not self.batches:
            return {}
        results: list[Any] = []
        on_cpu = jax.default_backend() == "cpu"
        for batch in self.batches:
            results.append(evaluate_batch(params, to_devices(batch, mesh)))
            # One batch ahead of the devices: their memory holds no more, and a cut comes soon. On CPUs none: the
            # threads of two programs may wait for each other in their collectives.
            jax.block_until_ready(results if on_cpu else results[:-1])
            if is_cut():
                return None
        results = jax.device_get(results)
        means = {
            name: float(sum(result.sums[unit][name] for result in results)) / self.counts[unit]
            for unit, names in results[0].sums.items()
            for name in names
            if self.counts[unit]
        }
        means |= objective.figures(means)
        means = {f"eval_{name}": value for name, value in sorted(means.items())}
        for name, value in means.items():
            require(
                math.isfinite(value),
                name,
                value,
                "must be finite",
                "lower optimizer.learning_rate, and resume from the newest checkpoint",
            )
        line = ", ".join(f"{name} {mean:.4f}" for name, mean in means.items())
        logger.info("held out, %s: %s", self.size, line)
        row: dict[str, float | None] = {**means, **self.columns}
        rewards = [result.rewards for result in results if result.rewards is not None]
        if rewards:
            found = self.figures(rewards, mesh)
            logger.info("held out: %s", figures.describe(self.facts, found))
            row |= {f"eval_{name}": value for name, value in found.items()}
        return row

    @property
    def size(self) -> str:
        """What an evaluation is of, in words."""
        return self.kind.count(self.counts[self.kind.unit], self.counts["records"])


def require_best_metric(
    config: CheckpointConfig,
    metrics: Mapping[Unit, Iterable[str]],
    heldout: Heldout,
    figures: Iterable[str] = (),
) -> None:
    """Raises UserError where best_metric, which keep_best ranks by, is no metric that the evaluation measures.

    `metrics` are the names of what the objective's evaluation gives, by what they are means over; `figures` those of
    what it says of the rewards.
    """
    if not heldout.batches:
        logger.warning(
            "checkpoint.keep_best = %d has no effect: the run is not evaluated", config.keep_best
        )
        return
    names = [
        f"eval_{name}" for unit, some in metrics.items() if heldout.counts[unit] for name in some
    ] + [f"eval_{name}" for name in figures]
    nearest = difflib.get_close_matches(config.best_metric, names, n=1) or ["one of these"]
    require(
        config.best_metric in names,
        "checkpoint.best_metric",
        config.best_metric,
        f"must be a metric that the evaluation measures: {', '.join(sorted(names))}",
        f"set it to {nearest[0]}",
    )
