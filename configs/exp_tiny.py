"""A whole experiment at a small size: a tiny PMP model against a random initialisation on puzzles of reasoning-gym.

    codepmp experiment --config exp_tiny --parallel 2

Pretrains a Qwen2 of 0.6 M parameters on code pairs of the n-gram writer, as the quickstart does, then finetunes it, and a
random one, on 40 to 360 right and wrong answers. It shows the path from pairs to the data multiplier; whether so small a
model carries anything over from code to arithmetic is not known beforehand. Hardware: 2 CPU cores, two minutes. Extras:
evaluation.
"""

from codepmp_jax.config import ExperimentConfig

MODEL = (
    "--config pmp_tiny --model.embed-dim 64 --model.mlp-dim 128 --model.num-layers 2 --model.head-dim 32 "
    "--checkpoint.every-steps 1000 --eval-pairs 0"
)


def get_config() -> ExperimentConfig:
    """2 seeds x 2 initialisations x 3 numbers of pairs."""
    return ExperimentConfig(
        output="runs/exp_tiny",
        axes=("seed=0,1", "init=random,pmp", "pairs=40,120,360"),
        texts=("init=random options:", "init=pmp options: --model.init-from {output}/pmp"),
        commands=(
            "codepmp corpus --config corpus_stdlib --max-file-bytes 12000 --max-chars 250 "
            "--output {output}/corpus",
            "codepmp synthesize --config synth_ngram --input {output}/corpus --output {output}/code",
            f"codepmp train {MODEL} --data.max-length 128 --num-steps 50 --data.input {{output}}/code "
            "--workdir {output}/pmp",
            "codepmp evaluate problems --task reasoning_gym --puzzles.datasets gcd count_bits "
            "--puzzles.num-problems 400 --puzzles.num-candidates 2 --output {output}/puzzles.jsonl",
            "codepmp rm-data --source candidates --input {output}/puzzles.jsonl --output {output}/pairs "
            "--heldout-fraction 0.5 --paraphrases.no-near",
            f"codepmp train {MODEL} --data.max-length 64 --loss.lm-coef 0 --optimizer.weight-decay 0 "
            "--global-batch-rows 8 --num-epochs 2 --num-steps None {init.options} "
            "--data.input {output}/pairs --data.max-pairs {pairs} --data.subset-seed {seed} --seed {seed} "
            "--workdir {cell}/train",
            "codepmp evaluate score --backend jax --model {cell}/train --input {output}/pairs "
            "--output {cell}/scores.jsonl",
            "codepmp evaluate accuracy --pairs {output}/pairs --scores {cell}/scores.jsonl "
            "--output {cell}/accuracy",
        ),
    )
