"""verl's reward functions: called as verl 0.9 calls them, over a server that gives lengths as rewards."""

from __future__ import annotations

import numpy as np
import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.serving.verl import compute_score, compute_scores
from tests.serving.test_rewards import Server, server  # noqa: F401

MESSAGES = [{"role": "user", "content": "Hi."}]


@pytest.fixture
def answers(server: Server, monkeypatch) -> Server:  # noqa: F811
    monkeypatch.setenv("CODEPMP_API_KEY", "secret")
    return server


@pytest.mark.parametrize(
    ("info", "prompt"),
    [
        ({"prompt": "Hi.", "num_turns": None, "rollout_reward_scores": {}}, "Hi."),
        ({"prompt": MESSAGES}, MESSAGES),
        ({"prompt": np.array(MESSAGES, dtype=object)}, MESSAGES),
    ],
)
def test_a_response_is_scored_with_its_prompt(answers, info, prompt):
    given = {"data_source": "gsm8k", "solution_str": "four", "ground_truth": "4"}
    assert compute_score(**given, extra_info=info, url=answers.url) == {"score": 4.0}
    body = {"prompts": [prompt], "responses": ["four"]}
    assert answers.asked == [("/get_reward", "Bearer secret", body)]


def test_a_batch_is_asked_for_at_once(answers):
    found = compute_scores(
        data_sources=np.array(["a", "b"]),
        solution_strs=["x", "yyy"],
        ground_truths=[None, None],
        extra_infos=np.array([{"question": "A?"}, {"question": "B?"}]),
        url=answers.url,
        prompt_key="question",
    )
    assert found == [1.0, 3.0]
    assert [body["prompts"] for _, _, body in answers.asked] == [["A?", "B?"]]


@pytest.mark.parametrize("info", [None, {}, {"prompt": 7}, {"prompt": ["Hi."]}])
def test_a_row_without_its_prompt_is_one_error(info):
    with pytest.raises(UserError, match=r"extra_info\.prompt = .*Remedy: write it"):
        compute_score("a", "b", "c", info, url="http://127.0.0.1:1")


def test_a_server_that_refuses_is_an_error(answers):
    answers.statuses = [400]
    with pytest.raises(UserError, match="gave no rewards"):
        compute_score("a", "b", "c", {"prompt": "d"}, url=answers.url)
