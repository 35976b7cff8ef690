"""From a writer's settings to its sampler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import WriterConfig
from codepmp_jax.records.schema import Completion
from codepmp_jax.synthesis.writers.mutants import MutantSampler
from codepmp_jax.synthesis.writers.ngram import NgramSampler
from codepmp_jax.synthesis.writers.sampler import Request, Sampler


class AuthorSampler(Sampler):
    """Writes what the source's author wrote: the description where there is none yet, then the code."""

    def settings(self) -> dict[str, Any]:
        """Its name."""
        return {"sampler": "author"}

    def sample(self, requests: Sequence[Request]) -> list[Completion]:
        """The author's words."""
        return [
            Completion(
                request.key,
                request.source.content if request.description else request.source.description,
                facts=self.settings(),
            )
            for request in requests
        ]


def make_sampler(writer: WriterConfig, corpus: str, seed: int) -> Sampler:
    """The sampler that `writer` names. The embedded weak writer learns from the train split of `corpus`."""
    if writer.sampler == "author":
        return AuthorSampler()
    if writer.sampler == "ngram":
        return NgramSampler(corpus, writer.ngram, seed)
    if writer.sampler == "mutant":
        return MutantSampler(writer.mutant, seed)
    if writer.sampler == "openai":
        from codepmp_jax.synthesis.writers.openai_sampler import OpenAISampler

        return OpenAISampler(writer, seed)
    if writer.sampler == "transformers":
        try:
            from codepmp_jax.synthesis.writers.transformers_sampler import TransformersSampler
        except ImportError as error:
            raise UserError(
                f"sampler = 'transformers': it cannot be imported ({error}). Remedy: pip install 'codepmp_jax[torch]'."
            ) from error
        return TransformersSampler(writer, seed)
    from codepmp_jax.synthesis.writers.vllm_sampler import VllmSampler

    return VllmSampler(writer, seed)
