"""A contestant of `dpo_step.py`: a process that trains DPO on the same pairs and cached references as the others.

python benchmarks/dpo_contestants.py NAME SETUP      (as step_contestants.py)
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from step_contestants import (
    MAX_LENGTH,
    OPTIMIZER,
    Contestant,
    Losses,
    Setup,
    draw_pairs,
    few_pairs,
    ours,
    peak_rss,
    serve,
    useful,
)

from codepmp_jax.config import DpoConfig, TrainConfig
from codepmp_jax.data.tokenized_item import SIDES
from codepmp_jax.data.tokenized_pair import TokenizedPair

LOSSES = ("dpo_loss", "grad_norm")
# Pairs of a micro batch: TRL's default.
MICRO_PAIRS = 8


def reference(pair: TokenizedPair) -> np.ndarray:
    """Cached log-probs of chosen and rejected (2,): about those of a model that has learnt nothing."""
    return np.array([-8.3 * len(at) for _, _, at in pair.labelled(SIDES)], np.float32)


def with_reference(pair: TokenizedPair) -> TokenizedPair:
    """The pair as a row of DPO needs it."""
    return dataclasses.replace(pair, companions={"reference": reference(pair)})


def trl(setup: Setup) -> Contestant:
    """TRL's DPOTrainer with precomputed references, its loss, clipping and AdamW; rows padded to the longest of a micro
    batch."""
    import torch
    from datasets import Dataset
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    from codepmp_jax.conversion.export import hf_tensors
    from codepmp_jax.conversion.hf_config import hf_config
    from codepmp_jax.models.preference import init_params
    from codepmp_jax.text.tokenization import Tokenizer

    torch.set_num_threads(os.cpu_count() or 1)
    tensors = dict(hf_tensors(TrainConfig(model=setup.model), init_params(setup.model, setup.seed)))
    tensors.pop("score.weight", None)
    model: Any = Qwen2ForCausalLM(Qwen2Config(**hf_config(setup.model, MAX_LENGTH)))
    model.load_state_dict({name: torch.tensor(np.array(array)) for name, array in tensors.items()})
    folder = tempfile.mkdtemp()
    Tokenizer.load("embedded").save(folder)
    trainer = DPOTrainer(
        model=model,
        # A copy, which is let go: its log-probs are cached.
        ref_model=Qwen2ForCausalLM(Qwen2Config(**hf_config(setup.model, MAX_LENGTH))),
        args=DPOConfig(
            output_dir=folder,
            bf16=False,
            use_cpu=True,
            report_to=[],
            disable_tqdm=True,
            gradient_checkpointing=False,
        ),
        train_dataset=Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}]),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )
    trainer.precompute_ref_logps, trainer.ref_model = True, None
    adamw = torch.optim.AdamW(
        model.parameters(),
        lr=OPTIMIZER.learning_rate,
        betas=(OPTIMIZER.beta1, OPTIMIZER.beta2),
        eps=OPTIMIZER.epsilon,
        weight_decay=OPTIMIZER.weight_decay,
    )

    def prepare(pairs: Sequence[TokenizedPair]) -> list[dict[str, Any]]:
        ordered = sorted(pairs, key=lambda pair: max(len(text) for text in pair.texts))
        groups = [ordered[i : i + MICRO_PAIRS] for i in range(0, len(ordered), MICRO_PAIRS)]
        return [batch_of(group) for group in groups]

    def batch_of(pairs: Sequence[TokenizedPair]) -> dict[str, Any]:
        texts = [pair.texts[side] for side in range(2) for pair in pairs]
        starts = [pair.label_starts[side] for side in range(2) for pair in pairs]
        shape = len(texts), max(map(len, texts))
        tokens, mask, completion = (np.zeros(shape, np.int64) for _ in range(3))
        for i, (text, start) in enumerate(zip(texts, starts, strict=True)):
            tokens[i, : len(text)] = text
            mask[i, : len(text)] = 1
            completion[i, start : len(text)] = 1
        chosen, rejected = np.stack([reference(pair) for pair in pairs]).T
        arrays = {
            "input_ids": tokens,
            "attention_mask": mask,
            "completion_mask": completion,
            "ref_chosen_logps": np.ascontiguousarray(chosen),
            "ref_rejected_logps": np.ascontiguousarray(rejected),
        }
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def train(batches: list[dict[str, Any]]) -> Losses:
        total, number = 0.0, sum(len(batch["ref_chosen_logps"]) for batch in batches)
        for batch in batches:
            share = len(batch["ref_chosen_logps"]) / number
            loss = trainer._compute_loss(model, dict(batch), return_outputs=False) * share
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), OPTIMIZER.clip_norm)
        adamw.step()
        adamw.zero_grad()
        return {"dpo_loss": total, "grad_norm": float(norm)}

    pairs, size = draw_pairs(setup), setup.step_pairs
    steps = [pairs[i : i + size] for i in range(0, len(pairs), size)]
    return Contestant(
        device_kind="cpu",
        version=f"torch {torch.__version__}",
        train=train,
        check=prepare(few_pairs(setup)),
        turns=[(prepare(group), useful(group)) for group in steps],
        peak_bytes=peak_rss,
    )


def in_jax(layout: Any) -> Callable[[Setup], Contestant]:
    """codepmp_jax's DPO step in a layout."""
    loss = DpoConfig(reference="cached")
    return lambda setup: ours(setup, layout, loss, LOSSES, with_reference)


CONTESTANTS: dict[str, Callable[[Setup], Contestant]] = {
    "trl": trl,
    "ours_padded": in_jax("padded"),
    "ours_packed": in_jax("packed"),
    "ours_shared": in_jax("shared"),
}

if __name__ == "__main__":
    serve(CONTESTANTS)
