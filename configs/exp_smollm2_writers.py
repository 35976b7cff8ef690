"""Which of exp_smollm2's writers is the stronger: SmolLM2 at its two temperatures on problems that are executed.

    codepmp experiment --config exp_smollm2_writers --inputs model=FOLDER/smollm2

`model` is the one that exp_smollm2 has converted into its output. The problems say the signature to both, so this
compares the temperatures only. Hardware: 2 CPU cores, 4 GiB of memory. Expected cost: some ten minutes a writer on
small_programs beside other work; on humaneval not measured. Extras: torch, evaluation.
"""

from codepmp_jax.config import ExperimentConfig

# As exp_smollm2 asks: a code block is open, and the model writes to the end of the block.
PROMPT = "<|im_start|>user\n{{prompt}}<|im_end|>\n<|im_start|>assistant\n```python\n"


def get_config() -> ExperimentConfig:
    """2 tasks x 2 writers, 2 programs a problem."""
    return ExperimentConfig(
        output="runs/exp_smollm2_writers",
        axes=("task=small_programs,humaneval", "writer=weak,strong"),
        inputs=("model=runs/exp_smollm2/smollm2",),
        texts=(
            "task=small_programs problems: --puzzles.num-problems 200 --puzzles.num-candidates 0",
            "task=small_programs tokens: 80",
            "task=humaneval problems:",
            "task=humaneval tokens: 200",
            "writer=weak temperature: 0.6",
            "writer=strong temperature: 0.2",
        ),
        commands=(
            "codepmp evaluate problems --task {task} {task.problems} --output {output}/{task}.jsonl",
            "codepmp candidates --input {output}/{task}.jsonl --num-candidates 2 --writer.sampler transformers "
            "--writer.model {model} --writer.chat never --writer.sampling.stop '```' "
            f"--template '{PROMPT}' --writer.sampling.temperature {{writer.temperature}} "
            "--writer.sampling.max-tokens {task.tokens} --writer.transformers.dtype float32 "
            "--writer.transformers.batch-rows 64 --output {cell}/programs.jsonl",
            "codepmp evaluate judge --input {cell}/programs.jsonl --output {cell}/judged.jsonl",
            "codepmp evaluate pass-at-k --policies {cell}/judged.jsonl --output {cell}/pass_at_k",
        ),
        size="",
        compare="writer",
        seed="",
    )
