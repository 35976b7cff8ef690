"""The console command `codepmp`: one subcommand for each step of the pipeline."""

from __future__ import annotations

import difflib
import importlib
import sys
from types import ModuleType

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import presets

# Stage -> its commands, in the order in which data passes through them.
STAGES = {
    "All stages at a small size": ("quickstart",),
    "Corpus": ("corpus", "train-tokenizer"),
    "Preference pairs": ("synthesize", "rm-data", "import-pairs", "export-pairs"),
    "Training": ("compile-check", "logprobs", "train"),
    "Conversion": ("convert to-hf", "convert to-peft", "convert from-hf", "convert from-gguf"),
    "Evaluation": (
        "evaluate problems",
        "candidates",
        "evaluate judge",
        "evaluate score",
        "evaluate baseline",
        "evaluate tokens",
        "evaluate accuracy",
        "evaluate best-of-n",
        "evaluate benchmark",
        "evaluate pass-at-k",
        "evaluate report",
    ),
    "Serving": ("serve",),
    "Experiments": ("experiment", "improve"),
    "Training on pods": ("supervise", "queued-resources", "gcluster", "jobset", "xpk"),
}


def command_module(name: str) -> ModuleType:
    """The module of a command, e.g. of `import-pairs`."""
    return importlib.import_module(f"codepmp_jax.commands.{name.replace('-', '_')}")


def settings_and_help(command: str) -> tuple[type, str]:
    """The config and the one line of help of a command as it stands in STAGES."""
    name, *subcommand = command.split()
    module = command_module(name)
    return module.COMMANDS[subcommand[0]] if subcommand else module.COMMAND


def all_settings() -> dict[str, type]:
    """The config of every command, by its name as it stands in STAGES."""
    return {name: settings_and_help(name)[0] for commands in STAGES.values() for name in commands}


def overview() -> str:
    """What `codepmp --help` prints: all commands by stage, in the data's order."""
    width = max(len(command) for commands in STAGES.values() for command in commands)
    lines = [
        "usage: codepmp COMMAND [--help] [OPTIONS]",
        "",
        "From source code to a scored reward model. Each command reads files that",
        "commands before it wrote.",
    ]
    for stage, commands in STAGES.items():
        lines += ["", f"{stage}:"]
        lines += [f"  {command:{width}}  {settings_and_help(command)[1]}" for command in commands]
    lines += ["", "Shell completion: codepmp --tyro-print-completion bash|zsh|fish"]
    return "\n".join(lines)


def run() -> None:
    """Runs the command that the first argument names."""
    name, *arguments = sys.argv[1:] or [""]
    if name in ("", "-h", "--help"):
        print(overview())
        sys.exit(0 if name else 2)
    entries = [command for commands in STAGES.values() for command in commands]
    if name == "--tyro-print-completion":
        from codepmp_jax.commands.completion import completion_script

        print(completion_script(" ".join(arguments), all_settings()))
        return
    names = list(dict.fromkeys(entry.split()[0] for entry in entries))
    if name not in names:
        # `score` is not a command, but `evaluate score` is.
        whole = {entry.split()[-1]: entry for entry in entries}
        nearest = difflib.get_close_matches(name, [*names, *whole], n=1)
        hint = f"did you mean {whole.get(nearest[0], nearest[0])}? " if nearest else ""
        raise UserError(f"codepmp {name}: no such command; {hint}there are {', '.join(names)}.")
    # From here on the command is what its script in launch/ is: a program with arguments of its own.
    sys.argv = [f"codepmp {name}", *arguments]
    command_module(name).main()


def main() -> None:
    """The entry point; a UserError becomes one line on stderr and its exit status."""
    presets.run(run)
