"""TRL's losses, log-probs and gradients of padded pairs.

    python trl_dpo_trainer.py POLICY REFERENCE PAIRS.npz OUTPUT

POLICY and REFERENCE are Hugging Face folders; PAIRS.npz has input_ids, attention_mask and completion_mask (2N, L), the
chosen texts first. Writes OUTPUT/found.npz: logps (2N); of each case loss_NAME; of some, grad_NAME/TENSOR.
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
from trl_settings import BETA, GAMMA, LOSSES, SFT, SMOOTHING

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
    cases = {name: ([name], [1.0]) for name in LOSSES}
    cases["sigmoid_sft"] = (["sigmoid", "sft"], [1.0, SFT])
    for name, (types, weights) in cases.items():
        trainer.loss_types, trainer.loss_weights = types, weights
        model.zero_grad()
        logps.clear()
        loss = trainer._compute_loss(model, dict(inputs), return_outputs=False)
        loss.backward()
        found[f"loss_{name}"] = float(loss)
        for tensor, parameter in model.named_parameters():
            assert parameter.grad is not None
            found[f"grad_{name}/{tensor}"] = parameter.grad.numpy().copy()
    found["logps"] = np.concatenate(logps[-2:])
    lengths = inputs["completion_mask"][:, 1:].sum(1)
    average: Any = torch.from_numpy(found["logps"]) / lengths
    settings: Any = SimpleNamespace(
        beta=BETA,
        label_smoothing=SMOOTHING,
        simpo_gamma=GAMMA,
        loss_type="simpo",
        alpha=0.0,
        accelerator=SimpleNamespace(device="cpu"),
    )
    losses = CPOTrainer.cpo_loss(settings, *average.chunk(2))[0]
    found["loss_simpo"] = float(losses.mean())
    losses = ORPOTrainer.odds_ratio_loss(settings, *average.chunk(2))[0]
    found["loss_orpo"] = -float(losses.mean())
    np.savez(f"{output}/found.npz", **found)


if __name__ == "__main__":
    main()
