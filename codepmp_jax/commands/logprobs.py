"""Log-probs of pairs under a model, which training compares a policy with.

    codepmp logprobs --config dpo_7b --model FOLDER|RUN --input PAIRS --output DIR

`--config` names the preset or saved config of the training that will read them, whose data settings they then have. The
same command resumes after a kill. On a pod, every host runs it.
"""

from __future__ import annotations

from codepmp_jax.config import LogProbsConfig, presets

COMMAND = (LogProbsConfig, "Log-probs of a model, to train policies with.")


def main() -> None:
    """Parses and computes."""
    config = presets.parse(*COMMAND)
    from codepmp_jax.logprobs import compute

    compute.run(config)
