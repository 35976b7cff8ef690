"""Which learning rate suits each initialisation: the same budget of trials for base and PMP.

    codepmp experiment --config exp_learning_rate_7b --output FOLDER --runs gs://BUCKET/exp \
        --inputs base=Qwen/Qwen2-7B pmp=gs://BUCKET/pmp_7b data=gs://BUCKET/mathshepherd_validation

`data` are pairs whose held-out split is no test set: what is chosen on a test set is too good on it. The paper's rate
for MathShepherd is 3e-7.

Hardware: 10 cells of rm_mathshepherd_7b on 5000 pairs, each on any slice that holds pmp_7b. Expected cost, computed and
not measured: 50 000 pairs, 1e18 useful FLOPs, 2 chip hours at 40 % of the peak of v5p.
"""

from codepmp_jax.config import ExperimentConfig


def get_config() -> ExperimentConfig:
    """2 initialisations x 5 learning rates, one seed."""
    return ExperimentConfig(
        output="runs/exp_learning_rate_7b",
        axes=("init=base,pmp", "learning_rate=1e-7,3e-7,1e-6,3e-6,1e-5"),
        inputs=(
            "base=Qwen/Qwen2-7B",
            "pmp=runs/pmp_7b",
            "data=runs/rm_data/mathshepherd_validation",
        ),
        texts=(
            "init=base options: --init base --model.base {base}",
            "init=pmp options: --init pmp --model.init-from {pmp}",
        ),
        commands=(
            "codepmp train --config rm_mathshepherd_7b --workdir {run}/train {init.options} "
            "--data.input {data} --data.max-pairs 5000 "
            "--optimizer.learning-rate {learning_rate}",
            "codepmp evaluate score --backend jax --model {run}/train --input {data} "
            "--output {cell}/scores.jsonl",
            "codepmp evaluate accuracy --pairs {data} --scores {cell}/scores.jsonl "
            "--output {cell}/accuracy",
        ),
        size="learning_rate",
        compare="",
    )
