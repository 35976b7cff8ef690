"""Other programs' commands."""

from __future__ import annotations

import dataclasses
import shlex
import subprocess

from codepmp_jax.cli.errors import UserError


def run(command: list[str], dry_run: bool = False) -> str:
    """Shows a command, runs it and gives what it prints; a dry run only shows it.

    Raises UserError where there is no such command or it fails.
    """
    print(f"$ {shlex.join(command)}", flush=True)
    if dry_run:
        return ""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError as error:
        raise UserError(f"{command[0]}: no such command. Remedy: install it.") from error
    if done.returncode:
        raise UserError(
            f"{command[0]} ended with status {done.returncode}, see above. Remedy: mend that, then run the "
            "same command again."
        )
    return done.stdout.strip()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a command."""

    status: int
    output: str
    said: str
    """What it wrote to stderr."""


def attempt(command: list[str], seconds: float) -> Outcome:
    """Runs a command that may fail, or hang: after `seconds` it is killed, and its status is 124.

    Raises UserError where there is no such command.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except FileNotFoundError as error:
        raise UserError(f"{command[0]}: no such command. Remedy: install it.") from error
    except subprocess.TimeoutExpired:
        return Outcome(124, "", f"no answer within {seconds:.0f} s")
    return Outcome(done.returncode, done.stdout.strip(), done.stderr.strip())
