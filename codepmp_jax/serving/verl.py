"""Reward functions of the form that verl takes, over `codepmp serve`:

    reward.custom_reward_function.path=pkg://codepmp_jax.serving.verl
    reward.custom_reward_function.name=compute_score
    +reward.custom_reward_function.reward_kwargs.url=http://127.0.0.1:5000

verl gives a function a response and the row's `extra_info`, but not the prompt: that must stand in `extra_info`, as a text
or as messages. Prompt and response are written in the form that the reward model was trained on. The contract is that of
verl 0.9 (verl/trainer/ppo/reward.py and verl/experimental/reward_loop/reward_manager).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from codepmp_jax.cli.errors import UserError
from codepmp_jax.serving.rewards import KEY, RewardFunction, remote_rewards
from codepmp_jax.serving.texts import Turns


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    url: str,
    prompt_key: str = "prompt",
    **_: Any,
) -> dict[str, float]:
    """The reward of a response, as verl's `score`. verl asks for many at a time, and the server scores them together.

    `url` is the server's, whose API key CODEPMP_API_KEY holds if it has one; `extra_info[prompt_key]` is the prompt. Raises
    UserError where it is not there, or the server gives no reward.
    """
    (reward,) = compute_scores(
        [data_source], [solution_str], [ground_truth], [extra_info], url=url, prompt_key=prompt_key
    )
    return {"score": reward}


def compute_scores(
    data_sources: Iterable[str],
    solution_strs: Sequence[str],
    ground_truths: Iterable[Any],
    extra_infos: Iterable[Mapping[str, Any] | None],
    *,
    url: str,
    prompt_key: str = "prompt",
    **_: Any,
) -> list[float]:
    """The rewards of a batch, for verl's `reward_manager=batch` (before 0.9); as `compute_score`."""
    prompts = [_prompt(info, prompt_key) for info in extra_infos]
    rewards = _rewards(url, os.environ.get(KEY, ""))(prompts, list(solution_strs))
    return [float(reward) for reward in rewards if reward is not None]


@functools.cache
def _rewards(url: str, key: str) -> RewardFunction:
    return remote_rewards(url, key)


def _prompt(info: Mapping[str, Any] | None, key: str) -> Turns:
    """The prompt of a row; messages may come as an array of numpy's, as Parquet is read."""
    found = None if info is None else info.get(key)
    if isinstance(found, str):
        return found
    messages = list(found) if isinstance(found, Iterable) else []
    if not messages or not all(isinstance(message, Mapping) for message in messages):
        raise UserError(
            f"extra_info.{key} = {found!r:.80}: must be the prompt, a text or messages. Remedy: write it into extra_info "
            "when the data set is made, or name its entry by reward_kwargs.prompt_key."
        )
    return [dict(message) for message in messages]
