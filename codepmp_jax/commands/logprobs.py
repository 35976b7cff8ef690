"""Log-probs of pairs under a model, which training compares a policy with.

    codepmp logprobs --config dpo_7b --model FOLDER|RUN --input PAIRS --output DIR

`--config` names the preset or saved config of the training that will read them, whose data settings they then have. The
same command resumes after a kill. On a pod, every host runs it.
"""

from __future__ import annotations

import argparse

from codepmp_jax.config import LogProbsConfig, TrainConfig, presets

COMMAND = (LogProbsConfig, "Log-probs of a model, to train policies with.")


def parse() -> LogProbsConfig:
    """The command line, whose preset is one of `codepmp train`."""
    flags = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    flags.add_argument("--config")
    known, rest = flags.parse_known_args()
    if known.config is None:
        return presets.parse(*COMMAND, rest)
    training = presets.parse(TrainConfig, COMMAND[1], ["--config", known.config])
    default = LogProbsConfig(
        input=training.data.input,
        data=LogProbsConfig.data_of(training.data),
        dtype=training.model.compute_dtype,
        mesh=training.mesh,
    )
    return presets.parse(*COMMAND, rest, default=default)


def main() -> None:
    """Parses and computes."""
    config = parse()
    from codepmp_jax.logprobs import compute

    compute.run(config)
