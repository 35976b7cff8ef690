"""From source code to a scored preference model: `make quickstart`, or `codepmp quickstart`.

Runs other commands one after the other, each as the user of a pod would type it, on the CPU.
"""

from __future__ import annotations

import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import time

from codepmp_jax.cli.errors import UserError
from codepmp_jax.cli.follower import follower
from codepmp_jax.config import QuickstartConfig, presets

COMMAND = (QuickstartConfig, "Every stage once, from source code to scores.")
# The run's commands, written first: a folder that holds this file is a quickstart's.
COMMANDS_FILE = "quickstart_commands.sh"


def make_commands(config: QuickstartConfig) -> dict[str, list[str]]:
    """Stage -> arguments of `codepmp`."""
    at = shlex.quote(config.output)
    source = "" if config.input is None else f"--input {shlex.quote(config.input)}"
    steps = "" if config.num_steps is None else f"--num-steps {config.num_steps}"
    seed = f"--seed {config.seed}"
    candidates, score = f"{at}/candidates.jsonl", f"evaluate score --model {at}/hf"
    commands = {
        "corpus": f"corpus --config corpus_stdlib {source} --output {at}/corpus {seed}",
        "pairs": f"synthesize --config synth_ngram --input {at}/corpus --output {at}/pairs {seed}",
        "candidates": f"candidates --config candidates_ngram --input {at}/corpus --output {candidates} {seed}",
        "training": f"train --config pmp_tiny --workdir {at}/train --data.input {at}/pairs {steps} {seed}",
        "conversion": f"convert to-hf --run {at}/train --output {at}/hf --verify",
        "pair scores": f"{score} --input {at}/pairs --output {at}/pair_scores.jsonl",
        "accuracy": f"evaluate accuracy --pairs {at}/pairs --scores {at}/pair_scores.jsonl --output {at}/accuracy",
        "candidate scores": f"{score} --input {candidates} --output {at}/candidate_scores.jsonl",
        "best-of-n": f"evaluate best-of-n --candidates {candidates} --scores {at}/candidate_scores.jsonl --output {at}/best_of_n",
    }
    return {name: shlex.split(command) for name, command in commands.items()}


def start_clean(output: pathlib.Path, commands: dict[str, list[str]]) -> None:
    """Removes what an earlier run left and writes down this one's commands."""
    if output.exists() and any(output.iterdir()) and not (output / COMMANDS_FILE).is_file():
        raise UserError(
            f"output = {str(output)!r}: holds something that no quickstart wrote. "
            "Remedy: give a new folder."
        )
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    lines = [shlex.join(["codepmp", *command]) for command in commands.values()]
    (output / COMMANDS_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def run_all(commands: dict[str, list[str]]) -> dict[str, float]:
    """Runs the commands in order; the seconds of each. Raises UserError at the first that fails."""
    seconds, environment = {}, {"JAX_PLATFORMS": "cpu"} | os.environ
    # Of this interpreter, and not of what lies in the working directory (-P).
    program = [sys.executable, "-P", "-m", "codepmp_jax"]
    for number, (name, command) in enumerate(commands.items(), start=1):
        stage = f"stage {number}/{len(commands)}: {name}"
        print(f"\n== {stage} ({sum(seconds.values()):.0f} s elapsed)")
        print(f"$ {shlex.join(['codepmp', *command])}", flush=True)
        started = time.monotonic()
        # Else it would write on where the next quickstart begins.
        status = subprocess.run(follower([*program, *command]), env=environment).returncode
        if status != 0:
            remedy = "mend that, try the command alone, then start again"
            raise UserError(f"{stage} ended with status {status}, see above. Remedy: {remedy}.")
        seconds[name] = time.monotonic() - started
    return seconds


def main() -> None:
    """Runs every stage, then prints and writes the summary."""
    config = presets.parse(*COMMAND)
    from codepmp_jax.evaluation.reports.summary import summarize, summary_table
    from codepmp_jax.files import output
    from codepmp_jax.files.json_files import write_json

    commands = make_commands(config)
    # The lock is beside the folder, which is removed first.
    with output.beside(config.output) as at:
        start_clean(at, commands)
        seconds = run_all(commands)
        summary = {
            **summarize(at),
            "seconds": round(sum(seconds.values()), 1),
            "seed": config.seed,
            "seconds_by_stage": {name: round(value, 1) for name, value in seconds.items()},
        }
        write_json(at / "summary.json", summary)
    print(f"\n{summary_table(summary)}\n")
    print(
        f"{summary['num_pairs']} pairs, {summary['seconds']:.0f} s; Hugging Face folder "
        f"{summary['hf_folder']}, plot {summary['plot']}, figures {at / 'summary.json'}"
    )
