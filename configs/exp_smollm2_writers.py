"""PMP on pairs by writers of unequal skill, as in the paper, next to exp_smollm2's: SmolLM2 against a worse SmolLM2.

    codepmp experiment --config exp_smollm2_writers --inputs exp=FOLDER

`exp` is the output of exp_smollm2, with its model and tasks. For the shorter of its functions `chosen` is written with
the signature at a temperature of 0.2, `rejected` without it at 0.9. Whether the first is the stronger writer is measured on
HumanEval, whose problems show the signature to both, so by temperature alone:

    codepmp evaluate pass-at-k --policies FOLDER/weak_judged.jsonl FOLDER/strong_judged.jsonl

Hardware: as exp_smollm2. Expected cost: not measured. Extras: torch, evaluation.
"""

from codepmp_jax.config import ExperimentConfig

# Two names that a synthesis and `candidates` give to their writers.
WRITER = (
    "--{name}.sampler transformers --{name}.model {{exp}}/smollm2 --{name}.extract code "
    "--{name}.sampling.temperature {temperature} --{name}.sampling.max-tokens {tokens} "
    "--{name}.transformers.dtype bfloat16 --{name}.transformers.batch-rows 64"
)
STRONG, WEAK = 0.2, 0.9
WITH_SIGNATURE = (
    "--chosen.template 'Complete this {{language}} code. Answer with the code alone, in one code block.\n\n"
    '{{signature}}\n    """{{description}}"""\''
)
TASK = "{exp}/tasks/humaneval"
BASELINE = "codepmp evaluate baseline --model {exp}/smollm2 --input {output}/code --baseline"


def writer(name: str, temperature: float, tokens: int) -> str:
    """The options of a writer."""
    return WRITER.format(name=name, temperature=temperature, tokens=tokens)


def get_config() -> ExperimentConfig:
    """One initialisation, three sizes, one seed."""
    return ExperimentConfig(
        output="runs/exp_smollm2_writers",
        axes=("task=humaneval", "seed=0", "init=pmp_writers", "pairs=25,100,400"),
        inputs=("exp=runs/exp_smollm2",),
        commands=(
            "codepmp corpus --config corpus_stdlib --max-chars 140 --max-description-chars 120 "
            "--description.min-words 3 --decontamination.human-eval --output {output}/corpus",
            f"codepmp synthesize --input {{output}}/corpus --output {{output}}/code {writer('chosen', STRONG, 200)} "
            f"{WITH_SIGNATURE} {writer('rejected', WEAK, 200)}",
            f"{BASELINE} bag_of_tokens --max-pairs 800 --output {{output}}/bag_of_tokens.jsonl",
            f"{BASELINE} mean_likelihood --output {{output}}/mean_likelihood.jsonl",
            *(
                command
                for name, temperature in (("strong", STRONG), ("weak", WEAK))
                for command in (
                    f"codepmp candidates --input {{exp}}/humaneval.jsonl {writer('writer', temperature, 200)} "
                    f"--num-candidates 2 --output {{output}}/{name}.jsonl",
                    f"codepmp evaluate judge --input {{output}}/{name}.jsonl "
                    f"--output {{output}}/{name}_judged.jsonl",
                )
            ),
            "codepmp train --config pmp_smollm2 --data.input {output}/code --data.max-pairs 800 "
            "--model.init-from {exp}/smollm2 --workdir {output}/init/pmp",
            "codepmp train --config rm_smollm2 --model.init-from {output}/init/pmp "
            f"--data.input {TASK} --data.max-pairs {{pairs}} --data.subset-seed {{seed}} --seed {{seed}} "
            "--workdir {run}/train",
            f"codepmp evaluate score --backend jax --model {{run}}/train --input {TASK} "
            "--output {cell}/scores.jsonl",
            f"codepmp evaluate accuracy --pairs {TASK} --scores {{cell}}/scores.jsonl --output {{cell}}/accuracy",
        ),
    )
