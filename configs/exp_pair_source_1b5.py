"""Which code pairs teach most: PMP on pairs of different writers, each finetuned on two tasks.

    codepmp experiment --config exp_pair_source_1b5 --output FOLDER --runs gs://BUCKET/exp \
        --inputs base=Qwen/Qwen2-1.5B deepseek=gs://BUCKET/pairs_deepseek qwen25=gs://BUCKET/pairs_qwen25 \
        author=gs://BUCKET/pairs_author mathshepherd=gs://BUCKET/mathshepherd reclor=gs://BUCKET/reclor

The paper's ablation of the models that write chosen and rejected (arXiv 2410.02229): `deepseek` by
synth_deepseek_6b7_1b3, `qwen25` by synth_qwen25_coder, and `author` the author's code against a rewrite. All of them
train as many pairs as the smallest has; differences are from the first.

Hardware: 3 PMP runs of pmp_1b5 on 1 M pairs each and 18 cells of rm_mathshepherd_1b5 and rm_reclor_1b5, each on any
slice that holds pmp_1b5. Expected cost, computed and not measured: 3 M pairs and 2e19 useful FLOPs, 30 chip hours at
40 % of the peak of v5p.
"""

from codepmp_jax.config import ExperimentConfig

SOURCES = ("deepseek", "qwen25", "author")
TASKS = ("mathshepherd", "reclor")


def get_config() -> ExperimentConfig:
    """3 sources x 2 tasks x 3 seeds; the tasks and seeds share the PMP run of a source."""
    return ExperimentConfig(
        output="runs/exp_pair_source_1b5",
        axes=("seed=0,1,2", f"source={','.join(SOURCES)}", f"task={','.join(TASKS)}"),
        inputs=(
            "base=Qwen/Qwen2-1.5B",
            *(f"{name}=runs/pairs_{name}" for name in SOURCES),
            *(f"{task}=runs/rm_data/{task}" for task in TASKS),
        ),
        texts=(
            *(f"source={name} data: {{{name}}}" for name in SOURCES),
            *(f"task={task} data: {{{task}}}" for task in TASKS),
        ),
        commands=(
            "codepmp train --config pmp_1b5 --workdir {runs}/pmp/{source} --model.init-from {base} "
            "--data.input {source.data} --data.max-pairs 1000000",
            "codepmp train --config rm_{task}_1b5 --workdir {run}/train --model.init-from "
            "{runs}/pmp/{source} --data.input {task.data} --seed {seed}",
            "codepmp evaluate score --backend jax --model {run}/train --input {task.data} "
            "--output {cell}/scores.jsonl",
            "codepmp evaluate accuracy --pairs {task.data} --scores {cell}/scores.jsonl "
            "--output {cell}/accuracy",
        ),
        size="",
        compare="source",
    )
