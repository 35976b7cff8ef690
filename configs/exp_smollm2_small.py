"""exp_smollm2 in a minute: the same stages and initialisations with a tiny language model of random weights.

    codepmp experiment --config exp_smollm2_small --parallel 2

`make replicate-small` runs it. Of a language model of a million parameters that has read a few hundred functions,
the figures mean nothing; they show that every stage works. Hardware: 2 CPU cores, a minute. Extras: torch, evaluation.
"""

from codepmp_jax.config import ExperimentConfig

TRAIN = (
    "codepmp train --config pmp_tiny --model.embed-dim 64 --model.mlp-dim 128 --model.num-layers 2 "
    "--model.head-dim 32 --checkpoint.every-steps 1000 --eval-pairs 0 --data.layout shared --data.row-length 256"
)
PRETRAIN = f"{TRAIN} --num-steps 10 --data.input {{output}}/code --data.max-length 128"


def get_config() -> ExperimentConfig:
    """4 initialisations at one size."""
    return ExperimentConfig(
        output="runs/exp_smollm2_small",
        axes=("task=syllogism", "seed=0", "init=base,pmp,lm,pmp_only", "pairs=60"),
        texts=(
            f"init=base start: {PRETRAIN} --loss.rm-coef 0 --workdir {{output}}/base",
            "init=base from: {output}/base",
            *(
                text
                for init, loss in (
                    ("pmp", ""),
                    ("lm", " --loss.rm-coef 0"),
                    ("pmp_only", " --loss.lm-coef 0"),
                )
                for text in (
                    f"init={init} start: {PRETRAIN}{loss} --model.init-from {{output}}/base "
                    f"--workdir {{output}}/init/{init}",
                    f"init={init} from: {{output}}/init/{init}",
                )
            ),
        ),
        commands=(
            "codepmp corpus --config corpus_stdlib --max-file-bytes 12000 --max-chars 240 "
            "--description.min-words 3 --output {output}/corpus",
            "codepmp synthesize --input {output}/corpus --output {output}/code --chosen.sampler mutant "
            "--chosen.mutant.num-mistakes 0 --rejected.sampler mutant",
            "codepmp evaluate problems --task reasoning_gym --puzzles.datasets {task} --puzzles.num-problems 100 "
            "--puzzles.num-candidates 2 --output {output}/{task}.jsonl",
            "codepmp rm-data --source candidates --paraphrases.no-near --input {output}/{task}.jsonl "
            "--output {output}/tasks/{task} --heldout-fraction 0.3",
            f"{PRETRAIN} --loss.rm-coef 0 --workdir {{output}}/base",
            "codepmp convert to-hf --run {output}/base --output {output}/smollm2",
            "codepmp evaluate baseline --baseline mean_likelihood --model {output}/smollm2 "
            "--input {output}/tasks/{task} --output {output}/baselines/{task}/mean_likelihood.jsonl",
            "codepmp evaluate baseline --baseline bag_of_tokens --model {output}/smollm2 "
            "--input {output}/tasks/{task} --max-pairs {pairs} --subset-seed {seed} "
            "--output {output}/baselines/{task}/bag_of_tokens/pairs={pairs}/seed={seed}.jsonl",
            "{init.start}",
            f"{TRAIN} --loss.lm-coef 0 --optimizer.weight-decay 0 --global-batch-rows 4 --num-epochs 2 "
            "--num-steps None --data.max-length 128 --model.init-from {init.from} --data.input {output}/tasks/{task} "
            "--data.max-pairs {pairs} --data.subset-seed {seed} --seed {seed} --workdir {run}/train",
            "codepmp evaluate score --backend jax --model {run}/train --input {output}/tasks/{task} "
            "--output {cell}/scores.jsonl",
            "codepmp evaluate accuracy --pairs {output}/tasks/{task} --scores {cell}/scores.jsonl "
            "--output {cell}/accuracy",
            "rm -rf {run}/train/checkpoints",
        ),
    )
