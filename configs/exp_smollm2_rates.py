"""Which learning rate suits each initialisation of exp_smollm2: the same trials for each, on a validation split.

    codepmp experiment --config exp_smollm2_rates

It reads the output of exp_smollm2 (`--inputs` says where its parts are, if not in `runs/exp_smollm2`), whose models are
finetuned on HumanEval's train pairs. A third of their problems are set apart to validate on; its held-out problems are
not touched. Put the best rate of each into the texts `init=... rate:` of exp_smollm2. Hardware: as exp_smollm2.
Expected cost: 12 runs on 100 pairs, two and a half hours of a core.
"""

from codepmp_jax.config import ExperimentConfig

PRETRAINED = ("pmp", "lm", "pmp_only")


def get_config() -> ExperimentConfig:
    """4 initialisations x 3 rates."""
    return ExperimentConfig(
        output="runs/exp_smollm2_rates",
        axes=("rate=2e-5,5e-5,1e-4", "init=base,pmp,lm,pmp_only"),
        inputs=(
            "model=runs/exp_smollm2/smollm2",
            *(f"{init}=runs/exp_smollm2/init/{init}" for init in PRETRAINED),
            "task=runs/exp_smollm2/tasks/humaneval",
        ),
        texts=(
            "init=base from: {model}",
            *(f"init={init} from: {{{init}}}" for init in PRETRAINED),
        ),
        commands=(
            "codepmp export-pairs --input {task} --split train --output {output}/pairs.jsonl",
            "codepmp rm-data --source pairs --input {output}/pairs.jsonl --output {output}/pairs "
            "--heldout-fraction 0.33 --paraphrases.no-near",
            "codepmp train --config rm_smollm2 --model.init-from {init.from} --data.input {output}/pairs "
            "--data.max-pairs 100 --optimizer.learning-rate {rate} --workdir {run}/train",
            "codepmp evaluate score --backend jax --model {run}/train --input {output}/pairs "
            "--output {cell}/scores.jsonl",
            "codepmp evaluate accuracy --pairs {output}/pairs --scores {cell}/scores.jsonl "
            "--output {cell}/accuracy",
            "rm -rf {run}/train/checkpoints",
        ),
        size="rate",
        compare="init",
    )
