"""launch/synthesize.py with the tests' sampler for every model: LOG SECONDS, then its own arguments."""

import pathlib
import sys

from codepmp_jax.config import SynthesisConfig, presets
from codepmp_jax.synthesis import passes
from codepmp_jax.synthesis.pairs import synthesize
from codepmp_jax.synthesis.writers.samplers import AuthorSampler
from tests.synthesis.writers.fakes import Slow

log, seconds, *arguments = sys.argv[1:]
# At import, since worker processes import this file too.
passes.make_sampler = lambda writer, corpus, seed: (
    AuthorSampler() if writer.sampler == "author" else Slow(pathlib.Path(log), float(seconds))
)


def main() -> None:
    synthesize(presets.parse(SynthesisConfig, "Writes pairs slowly.", arguments))


if __name__ == "__main__":
    presets.run(main)
