"""Quality against pretraining pairs with SmolLM2-135M: decay branches of a WSD run, each finetuned on HumanEval's pairs.

    codepmp experiment --config exp_smollm2_scaling --inputs model=F/smollm2 code=F/code task=F/tasks/humaneval

F is the output of exp_smollm2, with its model, code and tasks. A run reads all 1957 code pairs once, some 12 a step, and
keeps its learning rate; a branch decays from one of its checkpoints in 10 steps, so the four have seen 574, 1031, 1490
and 1959 pairs. `lm` reads the same batches with the LM loss on the chosen code alone. Hardware: as exp_smollm2, with 20
GiB of disk. Expected cost: an hour of a core for each of the two runs with its branches, and 12 minutes a cell.
"""

from codepmp_jax.config import ExperimentConfig


def get_config() -> ExperimentConfig:
    """2 losses x 3 seeds x 4 branches."""
    return ExperimentConfig(
        output="runs/exp_smollm2_scaling",
        axes=("init=lm,pmp", "seed=0,1,2", "steps=40,80,120,160"),
        inputs=(
            "model=runs/exp_smollm2/smollm2",
            "code=runs/exp_smollm2/code",
            "task=runs/exp_smollm2/tasks/humaneval",
        ),
        commands=(
            "codepmp train --config {init}_smollm2 --model.init-from {model} --data.input {code} "
            "--num-steps 161 --optimizer.warmup-steps 8 --optimizer.decay-steps 1 --checkpoint.every-steps 40 "
            "--checkpoint.keep-every-steps 40 --workdir {runs}/{init}/wsd",
            "codepmp train --decay-from {runs}/{init}/wsd@{steps} --optimizer.schedule wsd --optimizer.decay-steps 10 "
            "--data.input {code} --workdir {runs}/{init}/branches/{steps}",
            "codepmp train --config rm_smollm2 --model.init-from {runs}/{init}/branches/{steps} "
            "--data.input {task} --data.max-pairs 100 --data.subset-seed {seed} --seed {seed} "
            "--workdir {run}/train",
            "codepmp evaluate score --backend jax --model {run}/train --input {task} "
            "--output {cell}/scores.jsonl",
            "codepmp evaluate accuracy --pairs {task} --scores {cell}/scores.jsonl "
            "--output {cell}/accuracy",
            "rm -rf {run}/train/checkpoints",
        ),
        size="steps",
        compare="init",
    )
