"""The held-out records that a run is evaluated on: which ones, and what is known of them before the first step."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.config import CheckpointConfig, TrainConfig
from codepmp_jax.data import drops
from codepmp_jax.data.layouts import Layout
from codepmp_jax.data.one_pass import one_pass
from codepmp_jax.data.tokenized_item import Unit
from codepmp_jax.text.tokenization import Tokenizer
from codepmp_jax.training.telemetry import logger

# Of the sample. It does not follow the run's seed, so that runs with other seeds are evaluated on the same records.
_SEED = 0


def sample(num_records: int, config: TrainConfig) -> list[int]:
    """Indices of the records to evaluate on, ascending: all of them if they are at most eval_pairs."""
    if num_records <= config.eval_pairs or config.eval_sample == "first":
        return list(range(min(num_records, config.eval_pairs)))
    order = np.random.default_rng(_SEED).permutation(num_records)
    return sorted(order[: config.eval_pairs].tolist())


class Heldout:
    """The held-out records as batches, tokenized before the first step."""

    def __init__(
        self,
        records: Sequence[Any],
        tokenizer: Tokenizer,
        layout: Layout,
        config: TrainConfig,
    ):
        """Takes a sample of `records` (see `sample`), the same on all hosts.

        Raises UserError where there are records but none of the sample is kept.
        """
        self.num_records = len(records)
        indices = sample(len(records), config)
        # In memory, for they are few and read again and again.
        found = one_pass(
            [records[i] for i in indices],
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
        data, counts = config.data, found.counts
        dropped = drops.describe(counts, data)
        if found.refused:
            dropped += f" ({drops.describe_refused(found.refused, kind.noun)})"
        if indices and not found.batches:
            raise UserError(
                f"{data.input}: no held-out {kind.noun} is left to evaluate on, of {len(indices)}; {dropped}. Remedy: "
                f"{drops.remedy(counts, data, kind.noun)}; or set eval_pairs to 0."
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

    @property
    def columns(self) -> dict[str, int]:
        """What metrics.jsonl says of the records of an evaluation."""
        names = ("records", self.kind.unit, *drops.DROP_REASONS)
        return {f"heldout_{name}": self.counts[name] for name in names}

    @property
    def size(self) -> str:
        """What an evaluation is of, in words."""
        return self.kind.count(self.counts[self.kind.unit], self.counts["records"])


def require_best_metric(
    config: CheckpointConfig, metrics: Mapping[Unit, Iterable[str]], heldout: Heldout
) -> None:
    """Raises UserError where best_metric, which keep_best ranks by, is no metric that the evaluation measures.

    `metrics` are the names of what the objective's evaluation gives, by what they are means over.
    """
    if not heldout.batches:
        logger.warning(
            "checkpoint.keep_best = %d has no effect: the run is not evaluated", config.keep_best
        )
        return
    names = [
        f"eval_{name}" for unit, some in metrics.items() if heldout.counts[unit] for name in some
    ]
    nearest = difflib.get_close_matches(config.best_metric, names, n=1) or ["one of these"]
    require(
        config.best_metric in names,
        "checkpoint.best_metric",
        config.best_metric,
        f"must be a metric that the evaluation measures: {', '.join(sorted(names))}",
        f"set it to {nearest[0]}",
    )
