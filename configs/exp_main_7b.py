"""Reward models from Qwen2-7B with and without PMP on four sets of preferences: the paper's main table.

    codepmp experiment --config exp_main_7b --output FOLDER --runs gs://BUCKET/exp \
        --inputs base=Qwen/Qwen2-7B pmp=gs://BUCKET/pmp_7b mathshepherd=gs://BUCKET/mathshepherd \
        reclor=gs://BUCKET/reclor logiqa2=gs://BUCKET/logiqa2 codeultrafeedback=gs://BUCKET/codeultrafeedback

Held-out pairwise accuracy (arXiv 2410.02229), by task, with paired differences. The folders are shards of `codepmp
rm-data`. Best-of-N at each number of MathShepherd pairs is exp_sample_efficiency_7b's.

Hardware: 24 cells of rm_mathshepherd_7b, rm_reclor_7b, rm_logiqa2_7b and rm_codeultrafeedback_7b, each on any slice
that holds pmp_7b. Expected cost, computed and not measured: about 360 000 pairs, 8e18 useful FLOPs, 12 chip hours at
40 % of the peak of v5p.
"""

from codepmp_jax.config import ExperimentConfig

TASKS = ("mathshepherd", "reclor", "logiqa2", "codeultrafeedback")


def get_config() -> ExperimentConfig:
    """4 tasks x 2 initialisations x 3 seeds."""
    return ExperimentConfig(
        output="runs/exp_main_7b",
        axes=("seed=0,1,2", f"task={','.join(TASKS)}", "init=base,pmp"),
        inputs=(
            "base=Qwen/Qwen2-7B",
            "pmp=runs/pmp_7b",
            *(f"{task}=runs/rm_data/{task}" for task in TASKS),
        ),
        texts=(
            "init=base options: --init base --model.base {base}",
            "init=pmp options: --init pmp --model.init-from {pmp}",
            *(f"task={task} data: {{{task}}}" for task in TASKS),
        ),
        commands=(
            "codepmp train --config rm_{task}_7b --workdir {run}/train {init.options} "
            "--data.input {task.data} --seed {seed}",
            "codepmp evaluate score --backend jax --model {run}/train --input {task.data} "
            "--output {cell}/scores.jsonl",
            "codepmp evaluate accuracy --pairs {task.data} --scores {cell}/scores.jsonl "
            "--output {cell}/accuracy",
        ),
        size="",
    )
