"""Does training a policy on its own judged programs help? A tiny code model on generated tasks, before and after.

    codepmp experiment --config exp_policies_tiny --output FOLDER

A language model of 0.7 M parameters learns small programs. It writes 8 programs for each of 500 of the tasks that it has read;
a judge runs them, and a right one against a wrong one is a pair. From there the policies are trained: `before` is the
model as it was, `sft` has learnt the chosen programs only (the control), `dpo`, `target` (Target-DPO) and `mrpo` the
pairs, the last with `sft` as its second reference. Each writes 4 programs for each of 300 other tasks. A seed is that of
programs, pairs and trainings; the language model is one. The learning rates were chosen on 300 further tasks
(`--puzzles.seed 1`) with seed 0.

Hardware: 2 CPU cores. Expected cost: some 25 minutes of a core. Extras: torch, evaluation.
"""

from codepmp_jax.config import ExperimentConfig

TEXTS = "--data.template '{{prompt}}\n{{response}}' --data.max-length 112 --data.row-length 224"
ROWS = f"{TEXTS} --eval-pairs 0 --checkpoint.every-steps 100000 --log-every-steps 20"
BASE, PAIRS, SFT = "{output}/base", "{output}/pairs/{seed}", "{output}/sft/{seed}"
REFERENCES = "{output}/references/{seed}"
FROM_BASE = (
    f"{ROWS} --model.init-from {BASE} --data.input {PAIRS} --seed {{seed}} --num-steps None --num-epochs 2 "
    "--global-batch-rows 8"
)
OWN = f"{FROM_BASE} --workdir {{cell}}/train"
LM = (
    f"--config lm_tiny {ROWS} --model.embed-dim 64 --model.mlp-dim 192 --model.head-dim 32 --global-batch-rows 8 "
    f"--data.input {{output}}/code --num-steps 600 --loss.pair-texts chosen --workdir {BASE}"
)
ON_CHOSEN = (
    f"--config lm_tiny {FROM_BASE} --loss.pair-texts chosen --optimizer.learning-rate 3e-4 "
    f"--workdir {SFT}"
)
RATE = "--optimizer.learning-rate 1e-4"
TRAININGS = {
    "before": (LM, BASE),
    "sft": (ON_CHOSEN, SFT),
    "dpo": (
        f"--config dpo_tiny {OWN} {RATE} --loss.reference {REFERENCES}/base",
        "{cell}/train",
    ),
    "target": (
        f"--config target_dpo_tiny {OWN} {RATE} --loss.reference {REFERENCES}/base",
        "{cell}/train",
    ),
    "mrpo": (
        f"--config mrpo_tiny {OWN} {RATE} --loss.references {REFERENCES}/base {REFERENCES}/sft",
        "{cell}/train",
    ),
}
WRITE = (
    "--writer.sampler transformers --writer.transformers.dtype float32 --writer.sampling.temperature 1 "
    "--writer.sampling.max-tokens 72 --seed {seed}"
)


def get_config() -> ExperimentConfig:
    """5 seeds x 5 policies; all share the language model, and the policies of a seed its pairs."""
    return ExperimentConfig(
        output="runs/exp_policies_tiny",
        axes=("seed=0,1,2,3,4", f"policy={','.join(TRAININGS)}"),
        texts=tuple(
            text
            for name, (train, run) in TRAININGS.items()
            for text in (f"policy={name} train: {train}", f"policy={name} run: {run}")
        ),
        commands=(
            "codepmp evaluate problems --task small_programs --puzzles.num-problems 2400 "
            "--output {output}/problems.jsonl",
            "codepmp evaluate problems --task small_programs --puzzles.num-problems 300 --puzzles.seed 2 "
            "--puzzles.num-candidates 0 --output {output}/heldout.jsonl",
            "codepmp rm-data --source candidates --input {output}/problems.jsonl --output {output}/code "
            "--heldout-fraction 0 --paraphrases.no-near",
            f"codepmp train {LM}",
            f"codepmp convert to-hf --run {BASE} --output {{output}}/base_hf",
            "codepmp candidates --input {output}/problems.jsonl --max-problems 500 --num-candidates 8 "
            f"--writer.model {{output}}/base_hf {WRITE} "
            "--output {output}/written/{seed}.jsonl",
            "codepmp evaluate judge --input {output}/written/{seed}.jsonl "
            "--output {output}/judged/{seed}.jsonl",
            "codepmp rm-data --source candidates --input {output}/judged/{seed}.jsonl "
            f"--heldout-fraction 0 --paraphrases.no-near --max-pairs-per-problem 2 --output {PAIRS}",
            f"codepmp logprobs --config dpo_tiny {TEXTS} --model {BASE} --input {PAIRS} "
            f"--output {REFERENCES}/base",
            f"codepmp train {ON_CHOSEN}",
            f"codepmp logprobs --config dpo_tiny {TEXTS} --model {SFT} --input {PAIRS} "
            f"--output {REFERENCES}/sft",
            "codepmp train {policy.train}",
            "codepmp convert to-hf --run {policy.run} --output {cell}/hf",
            f"codepmp candidates --input {{output}}/heldout.jsonl --num-candidates 4 --writer.model {{cell}}/hf {WRITE} "
            "--output {cell}/written.jsonl",
            "codepmp evaluate judge --input {cell}/written.jsonl --output {cell}/judged.jsonl",
            "codepmp evaluate pass-at-k --policies {cell}/judged.jsonl --k 1 4 --output {cell}/programs",
        ),
        size="",
        compare="policy",
    )
