"""Quality against PMP pairs with SmolLM2-135M: decay branches of one WSD run, each finetuned on HumanEval's pairs.

    codepmp experiment --config exp_smollm2_scaling --inputs model=F/smollm2 code=F/code task=F/tasks/humaneval

F is the output of exp_smollm2, with its model, code and tasks. The run reads all 1957 code pairs once, some 12 a step, and
keeps its learning rate; a branch decays from one of its checkpoints in 10 steps. Hardware: as exp_smollm2. Expected cost:
two hours of a core.
"""

from codepmp_jax.config import ExperimentConfig


def get_config() -> ExperimentConfig:
    """4 branches x 1 seed; more by --axes seed=0,1,2 steps=40,80,120,160."""
    return ExperimentConfig(
        output="runs/exp_smollm2_scaling",
        axes=("seed=0", "steps=40,80,120,160"),
        inputs=(
            "model=runs/exp_smollm2/smollm2",
            "code=runs/exp_smollm2/code",
            "task=runs/exp_smollm2/tasks/humaneval",
        ),
        commands=(
            "codepmp train --config pmp_smollm2 --model.init-from {model} --data.input {code} "
            "--num-steps 161 --optimizer.warmup-steps 8 --optimizer.decay-steps 1 --checkpoint.every-steps 40 "
            "--checkpoint.keep-every-steps 40 --workdir {runs}/wsd",
            "codepmp train --decay-from {runs}/wsd@{steps} --optimizer.schedule wsd --optimizer.decay-steps 10 --data.input {code} "
            "--workdir {runs}/branches/{steps}",
            "codepmp train --config rm_smollm2 --model.init-from {runs}/branches/{steps} "
            "--data.input {task} --data.max-pairs 100 --data.subset-seed {seed} --seed {seed} "
            "--workdir {run}/train",
            "codepmp evaluate score --backend jax --model {run}/train --input {task} "
            "--output {cell}/scores.jsonl",
            "codepmp evaluate accuracy --pairs {task} --scores {cell}/scores.jsonl "
            "--output {cell}/accuracy",
            "rm -rf {run}/train/checkpoints",
        ),
        size="steps",
        compare="",
    )
