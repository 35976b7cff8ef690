"""A grid of training runs with their evaluations: `codepmp experiment --config NAME`.

The same command goes on where it was, tries again what failed, and does what is new in a changed grid. Exits with 1
where a command failed, and with exit_codes.RESUME where it was asked to stop.
"""

from __future__ import annotations

import sys

from codepmp_jax.cli.exit_codes import RESUME
from codepmp_jax.config import ExperimentConfig, presets

COMMAND = (ExperimentConfig, "Runs a grid of training runs with their evaluations.")


def main() -> None:
    """Parses; runs and collects, or lists."""
    config = presets.parse(*COMMAND)
    from codepmp_jax.commands import main as commands
    from codepmp_jax.experiments import experiment

    stages = commands.all_settings()
    if config.dry_run:
        print(experiment.dry_run(config, stages))
        return
    outcome, report = experiment.run(config, stages)
    for family in report["families"]:
        for each in family["multipliers"]:
            why = f" ({each['reason']})" if each["reason"] else ""
            print(
                f"data multiplier of {each['compared']} over {each['reference']}, {family['title']}: "
                f"{each['text']}{why}"
            )
    print(
        f"{report['num_done']} of {report['num_cells']} cells done -> {config.output}/report.html"
    )
    if outcome.is_stopped:
        print("stopped; the same command goes on", file=sys.stderr)
        sys.exit(RESUME)
    if outcome.failed:
        print(
            f"{len(outcome.failed)} command(s) failed and {len(outcome.blocked)} need one of them; the same command "
            "tries them again",
            file=sys.stderr,
        )
        sys.exit(1)
