"""OpenRLHF's own rollout of one turn, rewarded by a server and by a file with a reward function.

    python openrlhf_rewards.py FOLDER REWARD...

For an environment of OpenRLHF 0.11 (its agent alone: no deepspeed, ray or vllm). FOLDER has a tokenizer, from which a tiny
policy is made; each REWARD is what `--reward.remote_url` takes. Prints one line of JSON: for each REWARD the rollouts, all
made at the same time, with the response's text without special tokens.
"""

from __future__ import annotations

import asyncio
import json
import sys
from types import SimpleNamespace
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

PROMPTS = ["a b", "c", "d e f", "g"] * 4


class Engine:
    """A tiny random policy that samples, in the place of vLLM's engine."""

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        config = Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        self._policy: Any = Qwen2ForCausalLM(config)

    async def generate(self, tokens: list[int], params: Any, multi_modal_data: Any = None) -> Any:
        """One response, with its EOS where it has one, as vLLM's `RequestOutput`."""
        # Without pad tokens within a response, which only a random policy writes.
        rows = self._policy.generate(
            torch.tensor([tokens]),
            do_sample=True,
            top_k=0,
            max_new_tokens=params.max_tokens,
            suppress_tokens=[self._tokenizer.pad_token_id],
        )
        response = rows[0, len(tokens) :].tolist()
        reason = "stop" if response[-1] == self._tokenizer.eos_token_id else "length"
        output = SimpleNamespace(token_ids=response, finish_reason=reason, logprobs=None)
        return SimpleNamespace(outputs=[output])


def main() -> None:
    """Rolls out, prints."""
    from openrlhf.utils.agent import (  # pyright: ignore[reportMissingImports]
        SingleTurnAgentExecutor,
    )

    folder, *given = sys.argv[1:]
    torch.manual_seed(0)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    engine = Engine(tokenizer)

    async def rollouts(reward: str) -> list[dict[str, Any]]:
        executor = SingleTurnAgentExecutor([reward])
        params = SimpleNamespace(max_tokens=12, logprobs=None)
        # The prompt in the form of the tests' reward model; the label is the plain prompt.
        calls = [
            executor.execute(f"Q : {prompt} A :", prompt, params, 64, tokenizer, engine)
            for prompt in PROMPTS
        ]
        return await asyncio.gather(*calls)

    def told(rollout: dict[str, Any]) -> dict[str, Any]:
        ((start, stop),) = rollout["action_ranges"]
        return {
            "prompt": rollout["label"],
            "response": tokenizer.decode(
                rollout["observation_tokens"][start:stop], skip_special_tokens=True
            ),
            "is_truncated": rollout["truncated"],
            # A number in a list from a server, as OpenRLHF's own; a tensor of one from a file.
            "reward": torch.as_tensor(rollout["reward"]).tolist(),
            "score": torch.as_tensor(rollout["scores"]).tolist(),
            "logs": rollout["extra_logs"],
        }

    found = [[told(rollout) for rollout in asyncio.run(rollouts(reward))] for reward in given]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
