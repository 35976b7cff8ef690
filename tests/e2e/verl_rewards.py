"""verl's own reward manager, with the reward function that it loads, over a server of rewards.

    python verl_rewards.py FOLDER URL

For an environment of verl 0.9. FOLDER has a tokenizer. Prints one line of JSON: the scores of verl's tensor, and of the
same prompts and responses asked for directly.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf  # pyright: ignore[reportMissingImports]
from transformers import PreTrainedTokenizerFast

from codepmp_jax.serving.rewards import remote_rewards

PROMPTS, RESPONSES = ["a b", "c", "d e f"], ["g h", "i", "k l m n"]


def main() -> None:
    """Scores, prints."""
    from verl import DataProto  # pyright: ignore[reportMissingImports]
    from verl.trainer.ppo.reward import load_reward_manager  # pyright: ignore[reportMissingImports]

    folder, url = sys.argv[1:]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    config = OmegaConf.create(
        {
            "reward": {
                "custom_reward_function": {
                    "path": "pkg://codepmp_jax.serving.verl",
                    "name": "compute_score",
                    "reward_kwargs": {"url": url},
                },
                "reward_manager": {"source": "register", "name": "naive"},
            }
        }
    )

    async def scores() -> list[dict[str, Any]]:
        manager = load_reward_manager(config, tokenizer)
        return await asyncio.gather(*(manager.run_single(row(*pair)) for pair in pairs))

    def row(prompt: str, response: str) -> Any:
        tokens = torch.tensor([tokenizer.encode(response, add_special_tokens=False)])
        return DataProto.from_dict(
            {"responses": tokens, "attention_mask": torch.ones_like(tokens)},
            non_tensors={
                "data_source": np.array(["test"], dtype=object),
                "reward_model": np.array([{"ground_truth": ""}], dtype=object),
                "extra_info": np.array([{"prompt": prompt}], dtype=object),
            },
        )

    pairs = list(zip(PROMPTS, RESPONSES, strict=True))
    found = [answer["reward_score"] for answer in asyncio.run(scores())]
    print(json.dumps({"verl": found, "direct": remote_rewards(url)(PROMPTS, RESPONSES)}))


if __name__ == "__main__":
    main()
