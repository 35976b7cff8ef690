"""Held-out sources -> Best-of-N candidates: `python launch/candidates.py --config candidates_ngram`."""

from codepmp_jax import presets
from codepmp_jax.config import CandidatesConfig
from codepmp_jax.synthesis.candidates import write_candidates


def main() -> None:
    """Parses, writes, sums up."""
    config = presets.parse(CandidatesConfig, "Writes Best-of-N candidates for held-out sources.")
    report = write_candidates(config)
    print(
        f"{report.num_problems} problems with {config.num_candidates} candidates each, "
        f"{report.num_dropped} sources dropped -> {config.output}"
    )


if __name__ == "__main__":
    presets.run(main)
