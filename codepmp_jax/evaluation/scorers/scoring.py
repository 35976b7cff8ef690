"""Candidates or pairs -> scores.

    OUTPUT              a score a line, in the order of the input
    OUTPUT.meta.json    how they were made (scores.meta.json next to scores.jsonl)
    OUTPUT.partial/     the rewards so far, from which the same command resumes after a kill

Texts are written in the form that the model was trained on (codepmp_jax.text.forms), which is printed. An item that the
form refuses, or with a text that has no tokens, is left out; `accuracy` and `best-of-n` leave it out too. How many
there are, and why, is printed and in the meta file, as are the texts that were cut and the pairs that were rewritten.

Equal texts are scored once. A reward does not depend on the other texts, so that a run that was killed and resumes with
the texts that are left gives the same scores.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import json
import math
import pathlib
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import codepmp_jax
from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.cli.progress import progress
from codepmp_jax.config import ScoreConfig, presets
from codepmp_jax.evaluation.items import Items, digest, item_id_of, read_items
from codepmp_jax.evaluation.scorers.load import load_scorer
from codepmp_jax.evaluation.scorers.scorer import Scorer
from codepmp_jax.evaluation.scores import meta_path, read_meta, to_line
from codepmp_jax.files.journal import Journal, open_journal
from codepmp_jax.files.json_files import write_json
from codepmp_jax.records.schema import Problem, Score
from codepmp_jax.text.forms import Refused
from codepmp_jax.text.tokenization import EncodedText, Tokenizer

_ITEMS_AT_A_TIME = 256
_SHOWN_REASONS = 3


class Texts(NamedTuple):
    """Every text of a file as tokens, cut to the training's length."""

    keys: list[tuple[str, int]]
    """(item_id, index) of each text."""
    rows: list[np.ndarray]
    """The distinct rows of tokens."""
    row_of: list[int]
    """Text -> its row."""
    num_truncated: int
    """Texts cut on the right."""
    num_rewritten: int
    """Pairs of the other form than the model's."""
    refused: dict[str, str]
    """Item that has no rows here -> why."""

    def name(self, row: int) -> str:
        """The first text that is this row, for messages."""
        item_id, index = self.keys[self.row_of.index(row)]
        return f"{item_id}, text {index}"


def run(config: ScoreConfig) -> None:
    """Scores the input into the output, or says that it is done already.

    Raises UserError where model, input and output do not allow it, a text has no tokens, or a reward is not
    finite.
    """
    for name in ("model", "input", "output"):
        value = getattr(config, name)
        require(value != "", name, value, "must be given", f"add --{name} PATH")
    if config.backend == "torch":
        _score_items(config, load_scorer(config))
        return
    from codepmp_jax.devices import hosts

    hosts.join()
    with hosts.leaving_on_error():
        _score_items(config, load_scorer(config))


def _score_items(config: ScoreConfig, scorer: Scorer) -> None:
    items = read_items(config.input, config.split)
    if scorer.is_main:
        print(f"texts are written {scorer.form}")
    settings = {
        "backend": config.backend,
        **scorer.facts,
        "input_sha256": digest(config.input, config.split),
        **dataclasses.asdict(scorer.form),
    }
    if _is_done(config, settings, scorer):
        return
    texts = tokenize(items, scorer)
    if not texts.keys:
        item_id, reason = next(iter(texts.refused.items()))
        raise UserError(
            f"{config.input}: none of its {len(items)} items can be scored; {item_id}, {reason}. Remedy: give other "
            "items, or say with --texts.form how they are to be written."
        )
    with contextlib.ExitStack() as stack:
        journal = (
            stack.enter_context(open_journal(config.output, settings)) if scorer.is_main else None
        )
        rewards = scorer.agreed(_rewards_so_far(journal, len(texts.rows)))
        pending = np.flatnonzero(np.isnan(rewards))
        seconds = _score(scorer, texts, pending, rewards, journal)
        if journal is None:
            return
        lengths = [len(row) for row in texts.rows]
        num_scored = sum(lengths[row] for row in pending)
        meta = {
            "model": config.model,
            **settings,
            "config": presets.to_json(config),
            "kind": "problems" if isinstance(items[0], Problem) else "pairs",
            "num_items": len(items),
            "num_texts": len(texts.keys),
            "num_distinct": len(texts.rows),
            "num_truncated": texts.num_truncated,
            "num_rewritten": texts.num_rewritten,
            "num_refused": len(texts.refused),
            "refused": texts.refused,
            "num_tokens": sum(lengths[row] for row in texts.row_of),
            # Of this process: what one before it left, how many tokens it computed, and how fast it was.
            "num_resumed": len(texts.rows) - len(pending),
            "num_computed_tokens": scorer.num_computed,
            "seconds": round(seconds, 3),
            "tokens_per_second": round(num_scored / seconds, 1) if num_scored else None,
            "codepmp_jax": codepmp_jax.__version__,
        }
        write_json(meta_path(config.output), meta)
        journal.finish(
            to_line(Score(*key, float(rewards[row]), lengths[row]))
            for key, row in zip(texts.keys, texts.row_of, strict=True)
        )
    print(_summary(meta, config.output))


def _is_done(config: ScoreConfig, settings: dict[str, Any], scorer: Scorer) -> bool:
    """Whether the output is there with these settings. Raises UserError where it is there with others."""
    output = pathlib.Path(config.output)
    state = np.array(0)
    if scorer.is_main and output.exists():
        before = read_meta(output)
        state = np.array(1 if all(before.get(k) == v for k, v in settings.items()) else 2)
    state = int(scorer.agreed(state))
    require(
        state != 2,
        "output",
        config.output,
        "exists, and was not made by this command with this model, input and settings",
        "give another --output, or remove the file",
    )
    if state == 1 and scorer.is_main:
        print(f"{output}: was written before, by the same model, input and settings")
    return state == 1


def tokenize(items: Items, scorer: Scorer) -> Texts:
    """The rows of the items' texts, as the training makes them."""
    keys: list[tuple[str, int]] = []
    rows: dict[bytes, int] = {}
    row_of: list[int] = []
    refused: dict[str, str] = {}
    rewritten: set[str] = set()
    num_truncated = 0
    form, tokenizer = scorer.form, scorer.tokenizer
    labels = {"desc": "tokenizing", "unit": "item", "disable": not scorer.is_main}
    with progress(total=len(items), **labels) as bar:
        for start in range(0, len(items), _ITEMS_AT_A_TIME):
            some = items[start : start + _ITEMS_AT_A_TIME]
            texts = {}
            for item in some:
                try:
                    texts[item_id_of(item)] = form.texts(item, tokenizer)
                    if form.rewrites(item):
                        rewritten.add(item_id_of(item))
                except Refused as error:
                    refused[item_id_of(item)] = f"refused: {error}"
            flat = list(itertools.chain.from_iterable(texts.values()))
            encoded = iter(tokenizer.encode(flat, append_eos=form.append_eos))
            for item_id, its_texts in texts.items():
                its_rows = list(itertools.islice(encoded, len(its_texts)))
                reason = why_no_reward(its_rows, tokenizer, scorer.vocab_size)
                if reason is not None:
                    refused[item_id] = reason
                    continue
                for index, text in enumerate(its_rows):
                    num_truncated += len(text.tokens) > form.max_length
                    row = text.tokens[: form.max_length].tobytes()
                    keys.append((item_id, index))
                    row_of.append(rows.setdefault(row, len(rows)))
            bar.update(len(some))
    distinct = [np.frombuffer(row, np.int32) for row in rows]
    num_rewritten = len(rewritten - refused.keys())
    return Texts(keys, distinct, row_of, num_truncated, num_rewritten, refused)


def why_no_reward(
    texts: Sequence[EncodedText], tokenizer: Tokenizer, vocab_size: int
) -> str | None:
    """Why one of an item's texts cannot have a reward of a model with `vocab_size` embeddings; None if all can."""
    for index, text in enumerate(texts):
        if len(text.tokens) == 0:
            return f"text {index}: has no tokens"
        largest = int(text.tokens.max())
        if largest >= vocab_size:
            token = tokenizer.backend.id_to_token(largest)
            return f"text {index}: the model has no embedding for its token {token!r} ({largest})"
    return None


def _rewards_so_far(journal: Journal | None, num_rows: int) -> np.ndarray:
    """[R] float32; NaN where there is none yet."""
    rewards = np.full(num_rows, np.nan, np.float32)
    for line in journal.lines() if journal else ():
        row, reward = json.loads(line)
        rewards[row] = reward
    return rewards


def _score(
    scorer: Scorer,
    texts: Texts,
    pending: np.ndarray,
    rewards: np.ndarray,
    journal: Journal | None,
) -> float:
    """Fills in the rewards of the rows that are pending, and gives the seconds that took."""
    started = time.monotonic()
    sizes = np.array([len(row) for row in texts.rows])
    total = int(sizes.sum())
    labels = {"desc": "scoring", "unit": "tok", "unit_scale": True, "disable": not scorer.is_main}
    with progress(total=total, initial=total - int(sizes[pending].sum()), **labels) as bar:
        for indices, values in scorer.rewards([texts.rows[row] for row in pending]):
            done = pending[indices]
            for row, value in zip(done, values, strict=True):
                require(
                    math.isfinite(value),
                    f"{texts.name(int(row))}: reward",
                    float(value),
                    "must be finite",
                    "the model's weights are damaged, or try --scorer.dtype float32",
                )
            rewards[done] = values
            if journal is not None:
                journal.append(
                    json.dumps([int(row), float(value)])
                    for row, value in zip(done, values, strict=True)
                )
            bar.update(int(sizes[done].sum()))
    return time.monotonic() - started


def _summary(meta: dict[str, Any], output: str) -> str:
    notes = [f"{meta['num_texts']} texts of {meta['num_items']} {meta['kind']}"]
    if meta["num_distinct"] < meta["num_texts"]:
        notes.append(f"{meta['num_distinct']} distinct")
    if meta["num_truncated"]:
        notes.append(f"{meta['num_truncated']} cut to {meta['max_length']} tokens")
    if meta["num_rewritten"]:
        notes.append(f"{meta['num_rewritten']} pairs rewritten in the model's form")
    if meta["num_refused"]:
        reasons = collections.Counter(meta["refused"].values()).most_common(_SHOWN_REASONS)
        shown = "; ".join(f"{reason} ({count})" for reason, count in reasons)
        notes.append(f"{meta['num_refused']} {meta['kind']} left out ({shown})")
    if meta["num_resumed"]:
        notes.append(f"{meta['num_resumed']} by an earlier run")
    notes.append(
        f"{meta['num_tokens']} tokens ({meta['num_computed_tokens']} computed) in {meta['seconds']:.1f} s"
    )
    return f"{', '.join(notes)} -> {output}"
