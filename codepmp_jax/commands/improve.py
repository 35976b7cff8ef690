"""A policy that learns from its own judged programs: `codepmp improve --rounds 3`.

    codepmp improve --model FOLDER --problems problems.jsonl --heldout heldout.jsonl --training dpo_code_7b --rounds 3

The same command goes on where it was. Exits with 1 where a command failed or a round left no pairs, and with
exit_codes.RESUME where it was asked to stop.
"""

from __future__ import annotations

import sys

from codepmp_jax.cli.exit_codes import RESUME
from codepmp_jax.config import ImproveConfig, presets

COMMAND = (ImproveConfig, "Rounds of writing, judging and training a policy.")


def main() -> None:
    """Parses; runs and reports, or lists."""
    config = presets.parse(*COMMAND)
    from codepmp_jax.commands import main as commands
    from codepmp_jax.experiments import improve, improve_page

    stages = commands.all_settings()
    if config.dry_run:
        print(improve.dry_run(config, stages))
        return
    outcome, report = improve.run(config, stages)
    if report["policies"]:
        print(improve_page.table(report))
    print(f"{len(report['rounds'])} rounds have programs -> {config.output}/report.html")
    if outcome.is_stopped:
        print("stopped; the same command goes on", file=sys.stderr)
        sys.exit(RESUME)
    reasons = [row["reason"] for row in report["rounds"] if row["reason"]]
    if outcome.failed:
        print(*reasons, sep="\n", end="\n" if reasons else "", file=sys.stderr)
        print(
            f"{len(outcome.failed)} command(s) failed and {len(outcome.blocked)} need one of them; the same command "
            "tries them again",
            file=sys.stderr,
        )
        sys.exit(1)
