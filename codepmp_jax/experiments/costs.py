"""What commands cost: pairs, tokens and FLOPs of training on pairs, and seconds by what finished commands took.

Tokens and FLOPs of a training command are extrapolated from a sample of its pairs, which is tokenized and packed as
the training does it. Seconds are a + b * pairs, with a, b >= 0 fitted to the finished runs of the same command of the
config (over all cells); b * pairs, as long as they all have as many pairs. One that a kill interrupted does not count.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable

import numpy as np
from scipy.optimize import nnls

from codepmp_jax.checkpoint import saved_settings
from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DataConfig, ModelConfig, TrainConfig, presets
from codepmp_jax.config.training import run_and_step
from codepmp_jax.experiments.grid import Plan, Step
from codepmp_jax.experiments.states import States
from codepmp_jax.files import storage
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.records.shards import ShardedDataset, read_manifest

_SAMPLE_PAIRS = 256


@dataclasses.dataclass(frozen=True)
class Work:
    """What a training command does; None where that cannot be known yet."""

    steps: float | None
    pairs: float | None
    tokens: float | None
    """Without padding."""
    flops: float | None
    """Useful ones (codepmp_jax.models.flops)."""


def work_of(step: Step, plan: Plan) -> Work | None:
    """The work of a training command; None for another one. Reads and tokenizes a sample of its pairs."""
    config = _training(step, plan)
    if config is None:
        return None
    num_pairs = _num_pairs(config.data)
    counts = _sample_counts(_shown(config.data))
    model = _model_of(step, plan)
    num_steps = None if config.num_steps is None else float(config.num_steps)
    if counts is None or config.loss.objective != "pmp":
        return Work(num_steps, None, None, None)
    per_row = counts["pairs"] / counts["rows"]
    kept = counts["pairs"] / counts["records"]
    if num_steps is not None:
        pairs = num_steps * config.global_batch_rows * per_row
    else:
        pairs = config.num_epochs * (num_pairs or 0) * kept
    per_pair = {name: counts[name] / counts["pairs"] for name in counts}
    flops = None
    if model is not None:
        from codepmp_jax.models.flops import train_flops

        has_labels = getattr(config.loss, "lm_coef", 1) > 0
        flops = train_flops(
            model,
            tokens=pairs * per_pair["useful_tokens"],
            keys=pairs * per_pair["useful_keys"],
            labels=pairs * per_pair["labels"] if has_labels else 0,
            pairs=pairs,
        )
    return Work(
        steps=num_steps or pairs / per_row / config.global_batch_rows,
        pairs=pairs,
        tokens=pairs * per_pair["useful_tokens"],
        flops=flops,
    )


def _training(step: Step, plan: Plan) -> TrainConfig | None:
    """The settings of a training command, with real paths."""
    if not isinstance(step.settings, TrainConfig) or step.command != "train":
        return None
    config, data = step.settings, step.settings.data
    data = dataclasses.replace(
        data, input=plan.real(data.input), tokenizer=plan.real(data.tokenizer)
    )
    source = config.model.init_from
    if source is not None and data.tokenizer == "embedded":
        folder = pathlib.Path(plan.real(source))
        for tokenizer in (folder / "tokenizer", folder):
            if (tokenizer / "tokenizer.json").is_file():
                data = dataclasses.replace(data, tokenizer=str(tokenizer))
                break
    if config.decay_from is not None:
        return _branch(config, data, plan.real(config.decay_from))
    return dataclasses.replace(config, data=data)


def _branch(config: TrainConfig, data: DataConfig, decay_from: str) -> TrainConfig:
    """A decay branch as a run of its own: RUN's settings, where they can be read, and as many steps as it decays."""
    run, step = run_and_step(decay_from)
    try:
        config = presets.from_json(TrainConfig, saved_settings.read(run, step), decay_from)
        data = dataclasses.replace(config.data, input=data.input)
    except UserError:
        pass
    given, fraction = config.optimizer.decay_steps, config.optimizer.decay_fraction
    steps = given or (math.ceil(step * fraction / (1 - fraction)) if fraction < 1 else None)
    return dataclasses.replace(config, data=data, num_steps=steps or None)


def _shown(data: DataConfig) -> DataConfig:
    """The settings that a sample depends on."""
    return dataclasses.replace(
        data, max_pairs=None, subset_seed=0, num_workers=0, verify_shards=False
    )


def _num_pairs(data: DataConfig) -> int | None:
    """Pairs of the train split that are trained on; None where there is no such folder yet, or for a mixture."""
    if data.mixture:
        return None
    try:
        found = read_manifest(data.input, PreferencePair)["splits"]["train"]["num_records"]
    except (UserError, KeyError):
        return None if data.max_pairs is None else data.max_pairs
    return min(found, data.max_pairs or found)


@functools.cache
def _sample_counts(data: DataConfig) -> dict[str, int] | None:
    """Counts of a sample as the loader counts, and its `rows`; None where pairs or tokenizer are not there yet."""
    from codepmp_jax.data.layouts import layout_of
    from codepmp_jax.data.one_pass import one_pass
    from codepmp_jax.text.tokenization import Tokenizer

    if data.mixture:
        return None
    try:
        pairs = ShardedDataset(data.input, PreferencePair, "train", verify=False)
        tokenizer = Tokenizer.load(data.tokenizer)
        chosen = np.random.default_rng(0).permutation(len(pairs))[:_SAMPLE_PAIRS]
        found = one_pass(
            [pairs[int(index)] for index in chosen],
            tokenizer,
            layout_of(data),
            batch_rows=1,
            process_index=0,
            process_count=1,
        )
    except UserError:
        return None
    counts = {**found.counts, "rows": len(found.batches)}
    return counts if counts["pairs"] else None


def _model_of(step: Step, plan: Plan) -> ModelConfig | None:
    """The dimensions that a training command trains; None where its source is not there yet."""
    config = _training(step, plan)
    assert config is not None
    model = config.model
    if model.init_from is None or config.decay_from is not None:
        return model
    for need in plan.needs(step):
        # Of several, the one that is trained from.
        if need.command == "train" and plan.real(model.init_from).startswith(str(need.output)):
            return _model_of(need, plan)
    source = plan.real(model.init_from)
    from codepmp_jax.checkpoint.newest import newest_config
    from codepmp_jax.conversion.hf_config import model_config
    from codepmp_jax.families import read_hf_config

    try:
        if (storage.to_path(source) / "checkpoints").is_dir():
            saved = newest_config(source)
            return None if saved is None else presets.from_json(TrainConfig, saved, source).model
        folder = pathlib.Path(source)
        if (folder / "config.json").is_file():
            return model_config(read_hf_config(folder), model, source)
    except UserError:
        return None
    # A hub name, or what --init base starts from: presets give the dimensions, too.
    return model if model != dataclasses.replace(ModelConfig(), init_from=model.init_from) else None


# --- seconds --------------------------------------------------------------------------------------


class Rates:
    """Seconds of commands, by what finished ones took."""

    def __init__(self, plan: Plan, states: States):
        self._plan = plan
        self._states = states
        self._pairs = {step.place: _pairs_of(step, plan) for step in plan.steps}

    def seconds(self, places: set[str]) -> float | None:
        """Seconds of the steps at these places one after the other; None where one's command has never ended."""
        fits = self._fits()
        total = 0.0
        for step in self._plan.steps:
            if step.place in places:
                if step.number not in fits:
                    return None
                total += fits[step.number](self._pairs[step.place])
        return total

    def _fits(self) -> dict[int, Callable[[float], float]]:
        """Number of a command of the config -> seconds by pairs."""
        found: dict[int, list[tuple[float, float]]] = collections.defaultdict(list)
        for step in self._plan.steps:
            state = self._states.read(step)
            if (
                state
                and state.status == "done"
                and state.is_whole
                and state.identity == step.identity
            ):
                found[step.number].append((self._pairs[step.place], state.seconds))
        return {number: _fit(points) for number, points in found.items()}


def _pairs_of(step: Step, plan: Plan) -> float:
    """A measure of a training command's size: pairs, or rows where num_steps is given; 0 for other commands."""
    config = _training(step, plan)
    if config is None:
        return 0.0
    num_steps = None if config.num_steps is None else float(config.num_steps)
    if num_steps is not None:
        return num_steps * config.global_batch_rows
    return config.num_epochs * (_num_pairs(config.data) or 0)


def _fit(points: list[tuple[float, float]]) -> Callable[[float], float]:
    """seconds = a + b * pairs, a and b not negative, by least squares."""
    pairs, seconds = np.array(points).T
    if len({*pairs.tolist()}) == 1:
        # Nothing tells a from b: rather too long for a larger run than as long as for a small one.
        size, mean = float(pairs[0]), float(seconds.mean())
        return lambda other: mean * other / size if size else mean
    scale = pairs.max()
    (a, b), _ = nnls(np.stack([np.ones_like(pairs), pairs / scale], 1), seconds)
    return lambda size: float(a + b * size / scale)
