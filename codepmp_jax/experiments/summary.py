"""From the values of all cells to the experiment's report: means, differences, multipliers; JSON values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from codepmp_jax.config import ExperimentConfig, ResamplingConfig
from codepmp_jax.evaluation.statistics.resampling import percentile_interval
from codepmp_jax.experiments.multiplier import find_multiplier
from codepmp_jax.experiments.results import Evaluated, Family, families


def summarize(config: ExperimentConfig, found: Sequence[Evaluated]) -> dict[str, Any]:
    """`families`: points, differences and multipliers of each family of curves; `notes`: sentences.

    All intervals are 95 % percentile intervals over seeds and problems (of one seed: over problems).
    """
    made, notes = families(config, found)
    return {"families": [_summarize(config, family) for family in made], "notes": notes}


def _summarize(config: ExperimentConfig, family: Family) -> dict[str, Any]:
    return {
        "title": family.title,
        "evaluation": family.evaluation,
        "benchmark": family.benchmark,
        "figure": family.figure,
        "n": family.n,
        "facet": family.facet,
        "num_problems": len(family.crossed.counts),
        "num_left_out": family.num_left_out,
        "baselines": family.baselines,
        "is_shown": family.is_shown,
        "points": list(_points(family, config.resampling)),
        "differences": list(_differences(family, config.resampling)),
        "multipliers": list(_multipliers(family, config.resampling)),
    }


def _places(family: Family, first: int) -> Iterator[tuple[int, str, int, float | None]]:
    """Index and name of each value of compare from `first` on; index and number of each size."""
    for index, compared in [*enumerate(family.compared)][first:]:
        for place, size in enumerate(family.sizes):
            yield index, compared, place, float(size) if size else None


def _points(family: Family, resampling: ResamplingConfig) -> Iterator[dict[str, Any]]:
    """The mean of each value of compare at each size, over the seeds that it has."""
    for index, compared, place, size in _places(family, 0):
        column = family.column(index, place)
        there = family.crossed.is_there[column]
        if not there.any():
            continue
        part = family.crossed.part([column])
        samples = part.resampled_means(resampling.num_resamples, resampling.seed)
        low, high = percentile_interval(samples[:, 0])
        seeds = [seed for seed, is_there in zip(family.seeds, there, strict=True) if is_there]
        yield {
            "compared": compared,
            "size": size,
            "mean": float(part.means()[0]),
            "low": low,
            "high": high,
            "by_seed": dict(zip(seeds, part.by_seed()[0].tolist(), strict=True)),
        }


def _differences(family: Family, resampling: ResamplingConfig) -> Iterator[dict[str, Any]]:
    """How far each value of compare is above the first at each size, on the seeds that both have."""
    for index, compared, place, size in _places(family, 1):
        columns = [family.column(0, place), family.column(index, place)]
        if not family.crossed.is_there[columns].all(0).any():
            continue
        part = family.crossed.part(columns)
        first, second = part.means()
        samples = part.resampled_means(resampling.num_resamples, resampling.seed)
        low, high = percentile_interval(samples[:, 1] - samples[:, 0])
        yield {
            "compared": compared,
            "reference": family.compared[0],
            "size": size,
            "difference": float(second - first),
            "low": low,
            "high": high,
            "num_seeds": part.sums.shape[1],
        }


def _multipliers(family: Family, resampling: ResamplingConfig) -> Iterator[dict[str, Any]]:
    """The data multiplier of each value of compare over the first."""
    if not family.is_shown or len(family.sizes) < 2 or len(family.compared) < 2:
        return
    samples = family.crossed.resampled_means(resampling.num_resamples, resampling.seed)
    curves = samples.reshape(len(samples), len(family.compared), -1)
    means = family.crossed.means().reshape(len(family.compared), -1)
    num_seeds = family.crossed.is_there.sum(1).reshape(len(family.compared), -1)
    for index, compared in enumerate(family.compared[1:], start=1):
        found = find_multiplier(
            np.array(family.sizes, np.float64),
            means[0],
            means[index],
            curves[:, 0],
            curves[:, index],
            num_seeds=num_seeds[[0, index]],
            names=(family.compared[0], compared),
        )
        yield {
            "compared": compared,
            "reference": family.compared[0],
            "text": found.text(),
            **dataclasses.asdict(found),
        }
