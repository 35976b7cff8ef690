"""Which of exp_smollm2's writers is the stronger: SmolLM2 at its two temperatures on problems that are executed.

    codepmp experiment --config exp_smollm2_writers --inputs exp=FOLDER

`exp` is the output of exp_smollm2, with its model. The problems say the signature to both, so this compares the
temperatures only. Hardware: 2 CPU cores, 4 GiB of memory. Expected cost: a quarter of an hour of two cores a task. Extras: torch,
evaluation.
"""

from codepmp_jax.config import ExperimentConfig

# As exp_smollm2 asks: a code block is open, and the model writes to the end of the block.
PROMPT = "<|im_start|>user\n{{prompt}}<|im_end|>\n<|im_start|>assistant\n```python\n"


def programs(name: str, temperature: float) -> tuple[str, str]:
    """The commands that write a writer's programs, and judge them."""
    return (
        "codepmp candidates --input {output}/{task}.jsonl --num-candidates 2 --writer.sampler transformers "
        "--writer.model {exp}/smollm2 --writer.chat never --writer.sampling.stop '```' "
        f"--template '{PROMPT}' --writer.sampling.temperature {temperature} --writer.sampling.max-tokens 160 "
        "--writer.transformers.dtype float32 --writer.transformers.batch-rows 64 "
        f"--output {{cell}}/{name}_programs.jsonl",
        f"codepmp evaluate judge --input {{cell}}/{name}_programs.jsonl --output {{cell}}/{name}.jsonl",
    )


def get_config() -> ExperimentConfig:
    """2 tasks, 2 programs a problem of each writer."""
    return ExperimentConfig(
        output="runs/exp_smollm2_writers",
        axes=("task=small_programs,humaneval",),
        inputs=("exp=runs/exp_smollm2",),
        texts=(
            "task=small_programs problems: --puzzles.num-problems 200 --puzzles.num-candidates 0",
            "task=humaneval problems:",
        ),
        commands=(
            "codepmp evaluate problems --task {task} {task.problems} --output {output}/{task}.jsonl",
            *programs("weak", 0.6),
            *programs("strong", 0.2),
            "codepmp evaluate pass-at-k --policies {cell}/weak.jsonl {cell}/strong.jsonl --output {cell}/pass_at_k",
        ),
        size="",
        compare="",
        seed="",
    )
