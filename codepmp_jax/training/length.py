"""How many steps a run takes."""

from __future__ import annotations

import math
from collections.abc import Callable

from codepmp_jax.cli.errors import require
from codepmp_jax.config import TrainConfig
from codepmp_jax.data.item_kind import ItemKind
from codepmp_jax.data.loader import Loader
from codepmp_jax.devices.gather import gather
from codepmp_jax.training.telemetry import logger
from codepmp_jax.training.window import total_counts

# Records that are packed to find out how many a step takes.
_MEASURED_RECORDS = 4096


def records_per_step(num_records: int, batches: Loader) -> float:
    """How many records the first batches of num_records records take.

    All hosts must call it. `batches` are at the same place afterwards.
    """
    kind = batches.kind
    start, counts, number = batches.state(), {"records": 0}, 0
    while counts["records"] < min(num_records, _MEASURED_RECORDS):
        next(batches)
        number += 1
        counts = total_counts([batches.counts])[0]
    batches.restore([state for host in gather(start) for state in host])
    per_step = counts["records"] / number
    logger.info(
        "a step takes %.1f %s, %.1f %% of its tokens padding",
        counts[kind.unit] / number,
        kind.unit,
        100 * (1 - counts["tokens"] / counts["padded_tokens"]),
    )
    return per_step


def total_steps(
    config: TrainConfig, num_records: int, kind: ItemKind, per_step: Callable[[], float]
) -> int:
    """num_steps, or the steps in num_epochs of num_records records, of which a step takes `per_step`.

    Raises UserError where they make no step.
    """
    if config.num_steps is not None:
        return config.num_steps
    steps = math.floor(config.num_epochs * num_records / per_step())
    require(
        steps > 0,
        "global_batch_rows",
        config.global_batch_rows,
        f"must not take more {kind.noun}s ({per_step():.0f} a step) than num_epochs ({config.num_epochs}) times "
        f"the {num_records} training {kind.noun}s",
        "lower it, or give num_steps",
    )
    return steps
