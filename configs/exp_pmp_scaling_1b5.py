"""Quality against the number of PMP pairs: decay branches of one long WSD run, each finetuned on three tasks.

    codepmp experiment --config exp_pmp_scaling_1b5 --output FOLDER --runs gs://BUCKET/exp \
        --inputs wsd=gs://BUCKET/pmp_1b5_wsd code=gs://BUCKET/pairs mathshepherd=gs://BUCKET/mathshepherd \
        reclor=gs://BUCKET/reclor logiqa2=gs://BUCKET/logiqa2

The paper's scaling curve (arXiv 2410.02229). `wsd` is a run with `--optimizer.schedule wsd
--checkpoint.keep-spaced-from 1000`, of some 1090 pairs a step; `code` are the pairs that it was trained on. A branch
starts from one of its checkpoints and decays; the tasks share it.

Hardware: 5 branches of pmp_1b5 and 45 cells of rm_mathshepherd_1b5, rm_reclor_1b5 and rm_logiqa2_1b5, each on any slice
that holds pmp_1b5. Expected cost beyond the WSD run, computed and not measured: branches of a tenth of their steps,
3.4 M pairs and 2e19 useful FLOPs; finetuning 5e18; 40 chip hours at 40 % of the peak of v5p.
"""

from codepmp_jax.config import ExperimentConfig

TASKS = ("mathshepherd", "reclor", "logiqa2")
PAIRS_A_STEP = 1090
# Those of keep_spaced_from that double.
STEPS = (1000, 2000, 4000, 8000, 16000)


def get_config() -> ExperimentConfig:
    """5 branches x 3 tasks x 3 seeds."""
    sizes = [f"{PAIRS_A_STEP * step}" for step in STEPS]
    return ExperimentConfig(
        output="runs/exp_pmp_scaling_1b5",
        axes=("seed=0,1,2", f"pmp_pairs={','.join(sizes)}", f"task={','.join(TASKS)}"),
        inputs=(
            "wsd=runs/pmp_1b5_wsd",
            "code=runs/pairs",
            *(f"{t}=runs/rm_data/{t}" for t in TASKS),
        ),
        texts=(
            *(f"pmp_pairs={n} step: {step}" for n, step in zip(sizes, STEPS, strict=True)),
            *(f"task={task} data: {{{task}}}" for task in TASKS),
        ),
        commands=(
            "codepmp train --decay-from {wsd}@{pmp_pairs.step} --workdir {runs}/branches/{pmp_pairs} "
            "--data.input {code}",
            "codepmp train --config rm_{task}_1b5 --workdir {run}/train --model.init-from "
            "{runs}/branches/{pmp_pairs} --data.input {task.data} --seed {seed}",
            "codepmp evaluate score --backend jax --model {run}/train --input {task.data} "
            "--output {cell}/scores.jsonl",
            "codepmp evaluate accuracy --pairs {task.data} --scores {cell}/scores.jsonl "
            "--output {cell}/accuracy",
        ),
        size="pmp_pairs",
        compare="",
    )
