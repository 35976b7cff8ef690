"""Whether a start resumes the run that was saved, and what it changes.

A run is its content: model, seed, batch, what forms its rows, and the sha256 of its training shards and of the parts
of its tokenizer; of a mixture, the shards and the proportion of each source, by its name. Paths are not: the same
shards and the same tokenizer may be elsewhere. What a run is may
change with allow_config_change only; every other setting may, and each that does is a line of the log and of
WORKDIR/notes.txt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.config import TrainConfig, presets
from codepmp_jax.config.mixture import proportions

_OF_THE_RUN = (
    "init",
    "model.",
    "data.",
    "lora.",
    "loss.objective",
    "loss.pair_texts",
    "seed",
    "global_batch_rows",
)
Shards = list[str] | Mapping[str, Any]
"""The sha256 of shards: a list, or of a mixture one by each source's name."""

# Settings below these that change how a run computes or where it finds its content, but not what it is.
_MAY_CHANGE_ON_RESUME = (
    "model.init_from",
    "model.base",
    "model.remat",
    "model.attention",
    "model.attention_block",
    "model.mlp_hidden",
    "data.input",
    "data.tokenizer",
    "data.num_workers",
    "data.verify_shards",
    "data.cache",
    "data.cache_bytes",
)

# Settings that the arrays or the data state of a checkpoint are of: allow_config_change cannot change them.
_FIXED = (
    *(f"model.{name}" for name in ("family", "vocab_size", "embed_dim", "mlp_dim", "num_layers")),
    *(
        f"model.{name}"
        for name in ("num_heads", "num_kv_heads", "head_dim", "tie_embeddings", "heads")
    ),
    "lora.rank",
    "lora.targets",
    "data.num_streams",
)


def changed_settings(config: TrainConfig, saved: TrainConfig) -> dict[str, tuple[Any, Any]]:
    """Setting -> (saved, now) of all that differ; None stands for one that the saved config does not have."""
    before = dict(presets.flatten(saved))
    return {
        path: (before.get(path), value)
        for path, value in presets.flatten(config)
        if value != before.get(path)
    }


_OTHERS = ("another workdir",)
"""Ways out of a mistake beside the old settings."""


def _use(*ways: str) -> str:
    *first, last = ways
    return f"{', '.join(first)}{',' * (len(first) > 1)} or {last}" if first else last


def _mix(config: TrainConfig) -> dict[str, int]:
    """How many records of each source are drawn: what a mixture is but for its folders."""
    return proportions(config.data.sources)


def check_same_run(
    config: TrainConfig, saved: TrainConfig, source: str, others: Sequence[str] = _OTHERS
) -> None:
    """Raises UserError showing each difference in model, data, batch or seed from the saved config.

    With allow_config_change only where the checkpoint's arrays or data state would not fit. `others` are proposed in
    place of the old settings.
    """
    changed = {
        path: f"{path} = {now!r} (checkpoint: {before!r})"
        for path, (before, now) in changed_settings(config, saved).items()
        if path.startswith(_OF_THE_RUN)
        and path not in _MAY_CHANGE_ON_RESUME
        # A run of an older version wrote the date of each start, and did not say what it began as.
        and not (path in ("data.date", "init") and before is None)
        and not (path == "data.mixture" and _mix(config) == _mix(saved))
    }
    is_fixed = not changed.keys().isdisjoint(_FIXED)
    if is_fixed or (changed and not config.allow_config_change):
        raise UserError(
            f"{source}: was trained with other settings: {'; '.join(changed.values())}. Remedy: use "
            f"{_use(*others, 'the old settings', *([] if is_fixed else ['--allow-config-change']))}."
        )


def check_same_content(
    config: TrainConfig,
    shards: Shards,
    tokenizer: Mapping[str, str],
    saved: Mapping[str, Any],
    source: str,
    others: Sequence[str] = _OTHERS,
) -> None:
    """Raises UserError where training shards or tokenizer are not those of the checkpoint's data state `saved`.

    `shards` are sha256, and so are the values of `tokenizer`, by part (Tokenizer.parts).
    """
    require(
        saved["shards"] == shards or config.allow_config_change,
        f"{source}: data.{'mixture' if config.data.mixture else 'input'}",
        config.data.mixture or config.data.input,
        "must hold exactly the shards that the run was trained on",
        f"give {_use('that data', *others, '--allow-config-change')}",
    )
    run = source.rpartition("/checkpoints/")[0]
    differing = sorted(
        name
        for name in saved["tokenizer"].keys() | tokenizer.keys()
        if saved["tokenizer"].get(name) != tokenizer.get(name)
    )
    require(
        not differing or config.allow_config_change,
        f"{source}: data.tokenizer",
        config.data.tokenizer,
        f"must be the tokenizer that the run was trained with, but differs in its {', '.join(differing)}",
        f"give {_use(f'{run}/tokenizer', *others, '--allow-config-change')}",
    )


def describe_changes(
    config: TrainConfig, saved: TrainConfig, heldout: Shards, saved_heldout: Shards | None
) -> list[str]:
    """A line for each setting that differs from the saved one, and for other held-out records.

    `heldout` is the sha256 of the held-out shards; `saved_heldout` too, or None where that is not known.
    """
    lines = [
        f"{path}: {before!r} -> {now!r}"
        for path, (before, now) in changed_settings(config, saved).items()
    ]
    if saved_heldout is not None and saved_heldout != heldout:
        lines.append(
            f"held-out pairs: shards {_short(saved_heldout)} -> {_short(heldout)}; eval_... before and after are of "
            "different pairs"
        )
    return lines


def _short(shards: Shards) -> str:
    if isinstance(shards, Mapping):
        return "; ".join(f"{name}: {_short(some)}" for name, some in shards.items()) or "none"
    return ", ".join(sha256[:12] for sha256 in shards) or "none"
