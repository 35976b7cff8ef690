"""TRL's losses, log-probs and gradients of padded pairs.

    python trl_dpo_trainer.py POLICY REFERENCE PAIRS.npz OUTPUT

POLICY and REFERENCE are Hugging Face folders; PAIRS.npz has input_ids, attention_mask and completion_mask (2N, L), the
chosen texts first. Writes OUTPUT/found.npz: logps (2N); of each case loss_NAME and grad_NAME/TENSOR.
"""

from __future__ import annotations

import pathlib
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl_settings import BETA, GAMMA, LOSSES, REFERENCE_FREE, SFT, SMOOTHING

TOKENIZER = pathlib.Path(__file__).parents[3] / "codepmp_jax" / "text" / "assets" / "tokenizer"


def main() -> None:
    """Computes and writes."""
    policy, reference, pairs, output = sys.argv[1:]
    config = DPOConfig(
        output_dir=output,
        beta=BETA,
        label_smoothing=SMOOTHING,
        bf16=False,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        gradient_checkpointing=False,
    )
    model, frozen = (
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        for folder in (policy, reference)
    )
    trainer = DPOTrainer(
        model=model,
        ref_model=frozen,
        args=config,
        train_dataset=Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}]),
        processing_class=AutoTokenizer.from_pretrained(TOKENIZER),
    )
    inputs = {name: torch.from_numpy(array).long() for name, array in np.load(pairs).items()}
    found: dict[str, Any] = {}
    logps = []
    hooked: Any = trainer.accelerator.gather

    def gather(values: Any) -> Any:
        # Where the trainer gathers them for its metrics, the log-probs are what it computes its losses from.
        logps.append(values.detach().numpy().copy())
        return hooked(values)

    accelerator: Any = trainer.accelerator
    accelerator.gather = gather

    def note(name: str, loss: Any) -> None:
        model.zero_grad()
        loss.backward()
        found[f"loss_{name}"] = float(loss)
        for tensor, parameter in model.named_parameters():
            assert parameter.grad is not None
            found[f"grad_{name}/{tensor}"] = parameter.grad.numpy().copy()

    cases = {name: ([name], [1.0]) for name in LOSSES}
    cases["sigmoid_sft"] = (["sigmoid", "sft"], [1.0, SFT])
    for name, (types, weights) in cases.items():
        trainer.loss_types, trainer.loss_weights = types, weights
        logps.clear()
        note(name, trainer._compute_loss(model, dict(inputs), return_outputs=False))
    found["logps"] = np.concatenate(logps[-2:])
    settings: Any = SimpleNamespace(
        beta=BETA,
        label_smoothing=SMOOTHING,
        simpo_gamma=GAMMA,
        loss_type="simpo",
        alpha=0.0,
        accelerator=SimpleNamespace(device="cpu"),
    )
    mask = inputs.pop("completion_mask")
    inputs["labels"] = inputs["input_ids"].masked_fill(mask == 0, -100)
    for name in REFERENCE_FREE:
        # By the forward pass of DPOTrainer, which has patched the model.
        sums = model(**inputs, use_cache=False, fused_lm_head=True).log_probs.sum(1)
        chosen, rejected = (sums / mask[:, 1:].sum(1)).chunk(2)
        if name == "simpo":
            note(name, CPOTrainer.cpo_loss(settings, chosen, rejected)[0].mean())
        else:
            note(name, -ORPOTrainer.odds_ratio_loss(settings, chosen, rejected)[0].mean())
    np.savez(f"{output}/found.npz", **found)


if __name__ == "__main__":
    main()
