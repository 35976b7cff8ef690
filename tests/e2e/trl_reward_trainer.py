"""TRL's RewardTrainer on a converted folder, before and after a few steps.

    python trl_reward_trainer.py FOLDER PAIRS.jsonl OUTPUT

Prints one line of JSON: the evaluation before the first step, and the training losses.
"""

from __future__ import annotations

import json
import sys

from datasets import load_dataset
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer


def main() -> None:
    """Evaluates, trains, prints."""
    folder, pairs, output = sys.argv[1:]
    dataset = load_dataset("json", data_files=pairs, split="train", cache_dir=f"{output}/cache")
    config = RewardConfig(
        output_dir=output,
        max_steps=3,
        per_device_train_batch_size=4,
        per_device_eval_batch_size=4,
        learning_rate=1e-3,
        logging_steps=1,
        max_length=None,
        bf16=False,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        gradient_checkpointing=False,
        model_init_kwargs={"dtype": "float32"},
    )
    trainer = RewardTrainer(model=folder, args=config, train_dataset=dataset, eval_dataset=dataset)
    before = trainer.evaluate()
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    print(json.dumps({"before": before, "losses": losses}))


if __name__ == "__main__":
    main()
