"""How many MathShepherd pairs a PMP model saves: accuracy and Best-of-N from 500 to 40 000 pairs, base against PMP.

    codepmp experiment --config exp_sample_efficiency_7b --output FOLDER --runs gs://BUCKET/exp \
        --inputs base=Qwen/Qwen2-7B pmp=gs://BUCKET/pmp_7b data=gs://BUCKET/mathshepherd \
        gsm8k=gsm8k_judged.jsonl math=math_judged.jsonl

The curve behind the paper's claim (arXiv 2410.02229), and its data multiplier. `data` are the shards of `codepmp
rm-data`, `gsm8k` and `math` judged candidates. Both initialisations train on the same pairs: a subset by seed, in which
each smaller one is contained.

Hardware: 42 cells of rm_mathshepherd_7b, each on any slice that holds pmp_7b; `--launcher` puts the words that start a
command on all hosts of a slice before it. Expected cost, computed and not measured: training 471 000 pairs, about
1e19 useful FLOPs; scoring 256 candidates for 1319 + 500 problems in each cell, about 9e19. At 40 % of the peak of v5p,
some 150 chip hours.
"""

from codepmp_jax.config import ExperimentConfig

SCORE = "codepmp evaluate score --backend jax --model {run}/train"


def get_config() -> ExperimentConfig:
    """2 initialisations x 7 numbers of pairs x 3 seeds; a whole seed comes first."""
    return ExperimentConfig(
        output="runs/exp_sample_efficiency_7b",
        axes=(
            "seed=0,1,2",
            "init=base,pmp",
            "pairs=500,1000,2000,5000,10000,20000,40000",
        ),
        inputs=(
            "base=Qwen/Qwen2-7B",
            "pmp=runs/pmp_7b",
            "data=runs/rm_data/mathshepherd",
            "gsm8k=runs/gsm8k_judged.jsonl",
            "math=runs/math_judged.jsonl",
        ),
        texts=(
            "init=base options: --init base --model.base {base}",
            "init=pmp options: --init pmp --model.init-from {pmp}",
        ),
        commands=(
            "codepmp train --config rm_mathshepherd_7b --workdir {run}/train {init.options} "
            "--data.input {data} --data.max-pairs {pairs} --data.subset-seed {seed} "
            "--seed {seed}",
            f"{SCORE} --input {{data}} --output {{cell}}/scores.jsonl",
            "codepmp evaluate accuracy --pairs {data} --scores {cell}/scores.jsonl "
            "--output {cell}/accuracy",
            f"{SCORE} --input {{gsm8k}} --output {{cell}}/gsm8k_scores.jsonl",
            "codepmp evaluate best-of-n --candidates {gsm8k} --scores {cell}/gsm8k_scores.jsonl "
            "--output {cell}/gsm8k",
            f"{SCORE} --input {{math}} --output {{cell}}/math_scores.jsonl",
            "codepmp evaluate best-of-n --candidates {math} --scores {cell}/math_scores.jsonl "
            "--output {cell}/math",
        ),
    )
