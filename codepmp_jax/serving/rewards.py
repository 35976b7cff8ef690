"""Reward functions of the form that TRL's GRPOTrainer takes: `reward_funcs=remote_rewards("http://127.0.0.1:5000")`.

Prompts and completions are strings or conversations, and are written in the form that the reward model was trained on,
whatever template the policy has. The rewards are those of `evaluate score`.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.config import ScoreConfig
from codepmp_jax.evaluation.scorers.load import load_scorer
from codepmp_jax.serving.texts import TextReader, Turns, distinct
from codepmp_jax.text.forms import Refused

RewardFunction = Callable[..., list[float | None]]
"""(prompts, completions, further columns) -> a reward for each completion; TRL allows None, which is never given."""

KEY = "CODEPMP_API_KEY"
"""Environment variable with the server's API key."""

# Statuses after which the same request may succeed.
_LATER = (429, 502, 503, 504)
_TEXTS_PER_REQUEST = 256
_LONGEST_PAUSE = 10.0


def local_rewards(config: ScoreConfig) -> RewardFunction:
    """A reward function with the model `config.model` in this process.

    Raises UserError where there is none. The function raises UserError where a text cannot be scored, or a reward is not
    finite.
    """
    scorer = load_scorer(config)
    reader = TextReader(scorer.tokenizer, scorer.form, scorer.vocab_size)

    def reward(
        prompts: Sequence[Turns], completions: Sequence[Turns], **_: Any
    ) -> list[float | None]:
        try:
            rows, own = distinct(reader.answers(prompts, completions).rows)
        except Refused as error:
            raise UserError(f"{config.model}: {error}") from error
        rewards = np.zeros(len(rows), np.float32)
        for indices, values in scorer.rewards(rows):
            rewards[indices] = values
        require(
            bool(np.isfinite(rewards).all()),
            f"{config.model}: reward",
            "not finite",
            "must be finite",
            "the model's weights are damaged, or --scorer.dtype float32 is needed",
        )
        return rewards[own].tolist()

    return reward


def remote_rewards(
    url: str, key: str = "", seconds: float = 180.0, patience_seconds: float = 600.0
) -> RewardFunction:
    """A reward function that asks `codepmp serve` at `url`, with its API key if it has one.

    A request takes at most `seconds`. Where the server is full, restarts or does not answer, it is asked again for
    `patience_seconds`. The function raises UserError after that, and where the server refuses.
    """

    def reward(
        prompts: Sequence[Turns], completions: Sequence[Turns], **_: Any
    ) -> list[float | None]:
        rewards: list[float | None] = []
        for start in range(0, len(completions), _TEXTS_PER_REQUEST):
            part = slice(start, start + _TEXTS_PER_REQUEST)
            body = {"prompts": list(prompts[part]), "responses": list(completions[part])}
            rewards += _ask(f"{url.rstrip('/')}/get_reward", body, key, seconds, patience_seconds)
        return rewards

    return reward


def _ask(
    url: str, body: dict[str, Any], key: str, seconds: float, patience_seconds: float
) -> list[float]:
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    deadline = time.monotonic() + patience_seconds
    pause = 0.5
    while True:
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                return json.load(answer)["rewards"]
        except urllib.error.HTTPError as error:
            reason = f"{error.code}: {error.read().decode(errors='replace')[:500]}"
            may_succeed = error.code in _LATER
        # A connection that breaks off in the middle of an answer is no URLError.
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            reason, may_succeed = f"{type(error).__name__}: {error}", True
        if not may_succeed or time.monotonic() + pause > deadline:
            raise UserError(
                f"{url}: gave no rewards ({reason}). Remedy: see that `codepmp serve` runs there, and what it says."
            )
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
