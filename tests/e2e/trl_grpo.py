"""TRL's GRPOTrainer with a reward model in the process and the same one behind HTTP.

    python trl_grpo.py FOLDER URL OUTPUT

FOLDER has a tokenizer, from which a tiny policy is made. Prints one line of JSON: for each call of the two reward
functions, its rewards, and TRL's mean of them.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from codepmp_jax.config import ScoreConfig
from codepmp_jax.serving.rewards import RewardFunction, local_rewards, remote_rewards


def noted(function: RewardFunction, name: str, notes: dict[str, list[Any]]) -> Any:
    """The reward function under a name, which TRL's metrics have; its rewards are kept."""

    def reward(**given):
        rewards = function(**given)
        notes.setdefault(name, []).append(rewards)
        return rewards

    reward.__name__ = name
    return reward


def main() -> None:
    """Trains two steps, prints."""
    folder, url, output = sys.argv[1:]
    torch.manual_seed(0)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    policy = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    notes: dict[str, list[Any]] = {}
    config = GRPOConfig(
        output_dir=output,
        max_steps=2,
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=12,
        logging_steps=1,
        bf16=False,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        gradient_checkpointing=False,
    )
    trainer = GRPOTrainer(
        model=policy,
        reward_funcs=[
            noted(local_rewards(ScoreConfig(model=folder)), "local", notes),
            noted(remote_rewards(url), "remote", notes),
        ],
        args=config,
        train_dataset=Dataset.from_dict({"prompt": ["a b", "c d e", "f", "g h"]}),
        processing_class=tokenizer,
    )
    trainer.train()
    means = [
        [row[f"rewards/{name}/mean"] for name in ("local", "remote")]
        for row in trainer.state.log_history
        if "rewards/local/mean" in row
    ]
    print(json.dumps({**notes, "means": means}))


if __name__ == "__main__":
    main()
