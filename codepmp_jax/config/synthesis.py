"""SourceFile shards -> PreferencePair shards and candidates."""

from __future__ import annotations

import dataclasses
import re
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, MinLen

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import (
    Config,
    DiskPath,
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Remedy,
    Rule,
)
from codepmp_jax.config.corpus import DecontaminationConfig
from codepmp_jax.config.data import DataConfig

DESCRIBE_TEMPLATE = """\
Read this {language} code:

```{language}
{code}
```

Write the task that it solves, for a programmer who has not seen it: what it does, what it takes and
gives back, the names and formats that matter, and edge cases. Write no code.
"""
WRITE_TEMPLATE = """\
Write {language} code for this task. Answer with the code alone, in one code block.

{description}
"""


@dataclasses.dataclass(frozen=True)
class NgramConfig(Config, section="ngram"):
    """The embedded weak writer: a token n-gram model that follows the author but errs at a given rate."""

    order: Annotated[int, Ge(2)] = 3
    """Tokens per n-gram, including the sampled one."""
    rates: Annotated[
        tuple[Annotated[float, Gt(0), Le(1)], ...],
        MinLen(1),
        Remedy("try --rejected.ngram.rates 0.1 0.3 1.0"),
    ] = (0.1, 0.2, 0.4, 0.7, 1.0)
    """Probabilities of sampling a token instead of copying the author's; each pair draws one of them."""


@dataclasses.dataclass(frozen=True)
class MutantConfig(Config, section="mutant"):
    """The embedded writer of mutants: the author's Python with a few mistakes in its syntax tree."""

    num_mistakes: Annotated[
        tuple[NonNegativeInt, ...], MinLen(1), Remedy("try --writer.mutant.num-mistakes 1 2")
    ] = (1, 2, 3)
    """Numbers of mistakes per text; each text draws one of them. 0 alone gives the author's code in the layout of the
    mutants, against which a pair can set one of them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            0 not in self.num_mistakes or set(self.num_mistakes) == {0},
            "mutant.num_mistakes",
            self.num_mistakes,
            "must not hold 0 among other numbers: such a text would be the author's code, and no mutant",
            "give 0 alone, or numbers from 1",
        )

    @property
    def is_author(self) -> bool:
        """Whether the texts are the author's code, laid out as mutants are."""
        return set(self.num_mistakes) == {0}


@dataclasses.dataclass(frozen=True)
class SamplingConfig(Config, section="sampling"):
    """How a model's next tokens are sampled, and where it stops."""

    temperature: NonNegativeFloat = 0.7
    """Sampling temperature; 0 always takes the most probable token."""
    top_p: Fraction = 1.0
    """Sample from the smallest set of most probable tokens whose probabilities add up to this; 1 for all."""
    top_k: NonNegativeInt = 0
    """Sample from this many most probable tokens; 0 for all."""
    max_tokens: PositiveInt = 1024
    """Maximum length of a reply, in tokens of the model."""
    stop: tuple[str, ...] = ()
    """Texts that end a reply, in addition to the model's own end token. They are not part of the reply."""


@dataclasses.dataclass(frozen=True)
class VllmConfig(Config, section="vllm"):
    """The offline vLLM engine."""

    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Dtype of weights and activations; `auto` uses the checkpoint's, but 16 bits for a float32 checkpoint."""
    max_model_len: PositiveInt | None = None
    """Maximum length of prompt and reply together, in tokens; by default the model's own limit. A longer prompt fails;
    a reply that reaches the limit counts as cut off."""
    tensor_parallel: PositiveInt = 1
    """Number of GPUs that share one engine. --workers sets the number of engines."""
    gpu_memory_utilization: Annotated[float, Gt(0), Le(1)] = 0.9
    """Share of a GPU's memory that the engine uses."""
    max_num_seqs: PositiveInt | None = None
    """Maximum number of replies generated at a time; by default vLLM's own choice."""
    enforce_eager: bool = False
    """Neither compile nor capture CUDA graphs: starts sooner, runs slower."""


@dataclasses.dataclass(frozen=True)
class TransformersConfig(Config, section="transformers"):
    """A causal LM of transformers, in the process itself."""

    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Dtype of weights and activations; `auto` uses the checkpoint's."""
    batch_rows: PositiveInt = 256
    """Number of replies generated at a time. Fewer take less memory."""


@dataclasses.dataclass(frozen=True)
class OpenAIConfig(Config, section="openai"):
    """Servers that speak OpenAI's protocol (vLLM, SGLang, llama.cpp, hosted ones)."""

    endpoints: Annotated[
        tuple[Annotated[str, Rule(lambda url: "://" in url, "must be a URL")], ...],
        MinLen(1),
        Remedy("e.g. http://localhost:8000/v1"),
    ] = ("http://localhost:8000/v1",)
    """Base URLs of servers of the same model. Requests are spread over those that answer."""
    concurrency: PositiveInt = 64
    """Maximum number of concurrent requests of each worker to each endpoint."""
    max_retries: Annotated[NonNegativeInt, Remedy("0 gives up at once")] = 8
    """Maximum number of retries of a request over all endpoints, with growing pauses, before it counts as failed."""
    timeout_seconds: PositiveFloat = 600.0
    """Maximum time to wait for a reply, in seconds."""
    max_wait_seconds: Annotated[NonNegativeFloat, Remedy("0 does not wait")] = 3600.0
    """Maximum time to wait for a server that refuses requests for its rate limit or quota (statuses 429, 402 and 529), in
    seconds since its last answer. After that the run ends, and the same command resumes it. Pauses are as long as
    the server asks for, else 1 s, 2 s, 4 s and so on up to 60 s."""
    omit: tuple[Literal["seed", "temperature", "top_p", "max_tokens"], ...] = ()
    """Parameters not to send, for servers that refuse them. Without `seed` a text cannot be written again."""
    max_tokens_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """Name under which the servers take sampling.max_tokens."""
    api_key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the API key; if it is unset, no key is sent."""


@dataclasses.dataclass(frozen=True)
class WriterConfig(Config):
    """The writer of one pass's texts, and its prompt."""

    sampler: Literal["author", "ngram", "mutant", "vllm", "transformers", "openai"] = "author"
    """Who writes. `author`: the text that the source's author wrote. `ngram`: the embedded weak writer. `mutant`: the
    author's Python with mistakes, or in the same layout without. `vllm`: the offline vLLM engine. `transformers`: a model
    in the process itself, for small models. `openai`: any OpenAI-compatible server."""
    model: str = ""
    """Hugging Face folder or hub name (vllm, transformers), or the model's name on the servers (openai)."""
    revision: str | None = None
    """Commit, tag or branch of a hub model; by default the hub's. A commit makes a run repeatable."""
    template: str = WRITE_TEMPLATE
    """Prompt; may contain {language}, {code}, {signature} (what stands before the body) and, in the passes after the
    description, {description}."""
    chat: Literal["auto", "always", "never"] = "auto"
    """Put the prompt into the model's chat template: if it has one, always, or never. For servers, where this cannot be
    seen, `auto` is `always`."""
    enable_thinking: bool | None = None
    """Whether a reasoning model thinks before it answers: `enable_thinking` of its chat template; by default the
    template's own choice. Thoughts are never part of a text."""
    extract: Literal["reply", "code"] = "reply"
    """Part of the reply to use, without thoughts and marks of a turn's end: all of it, or the program, which is the last
    complete code block of the source's language that parses (the whole reply if it has no block)."""
    sampling: SamplingConfig = SamplingConfig()
    ngram: NgramConfig = NgramConfig()
    mutant: MutantConfig = MutantConfig()
    vllm: VllmConfig = VllmConfig()
    transformers: TransformersConfig = TransformersConfig()
    openai: OpenAIConfig = OpenAIConfig()


def _check_writer(path: str, writer: WriterConfig) -> None:
    known = {"{language}", "{code}", "{signature}", "{description}"}
    found = set(re.findall(r"\{\w*\}", writer.template))
    require(
        found <= known,
        f"{path}.template",
        writer.template,
        f"may hold {', '.join(sorted(known))}, not {', '.join(sorted(found - known))}",
        "use those names",
    )
    require(
        writer.sampler in ("author", "ngram", "mutant") or bool(writer.model),
        f"{path}.model",
        writer.model,
        f"must be given for the sampler {writer.sampler}",
        "give a Hugging Face folder or hub name, or the server's name for it",
    )
    require(
        writer.enable_thinking is None or writer.chat != "never",
        f"{path}.enable_thinking",
        writer.enable_thinking,
        f"is a setting of the chat template, which {path}.chat = 'never' leaves out",
        "leave out one of the two",
    )


@dataclasses.dataclass(frozen=True)
class GateConfig(Config, section="gate"):
    """Which pairs are kept. A pair that breaks several rules is counted under the first one."""

    drop_cut_off: bool = True
    """Drop pairs with a text that reached its writer's max_tokens."""
    drop_refusals: bool = True
    """Drop pairs with a response that declines the task."""
    parsable: tuple[Literal["chosen", "rejected"], ...] = ()
    """Responses that must parse, if the language has a parser."""
    max_length_ratio: Annotated[
        float,
        Rule(lambda ratio: ratio == 0 or ratio >= 1, "must be 0 or at least 1"),
        Remedy("0 is no limit; try 5"),
    ] = 0.0
    """Maximum ratio of the longer response's length to the shorter one's, in characters; 0 for no limit."""
    tokenizer: str = "embedded"
    """Tokenizer of the training: `embedded`, a folder or a hub name. Pairs that are identical once truncated are
    dropped."""
    template: str = DataConfig().template
    """Text of a training row, for that comparison."""
    max_length: PositiveInt = 1024
    """Length to which that comparison truncates texts, in tokens; as data.max_length in training."""


@dataclasses.dataclass(frozen=True)
class RayConfig(Config):
    """The cluster of `--engine ray` (extra `ray`)."""

    address: str | None = None
    """Address of the cluster to join; by default that of RAY_ADDRESS, or else a cluster started on this machine."""
    max_workers: int | None = None
    """Maximum number of actors; the cluster's free resources decide between `workers` and this. By default
    `workers`."""
    gpus_per_worker: float | None = None
    """GPUs that each actor requests; by default a vLLM writer's tensor_parallel if the cluster has GPUs."""


def _is_share(worker: str) -> bool:
    parts = worker.split("/")
    return (
        len(parts) == 2
        and all(part.isdecimal() for part in parts)
        and int(parts[0]) < int(parts[1])
    )


@dataclasses.dataclass(frozen=True)
class SynthesisConfig(Config):
    """SourceFile shards -> PreferencePair shards."""

    input: str = "runs/corpus"
    """Folder of SourceFile shards."""
    output: DiskPath = "runs/pairs"
    """Folder to write the pair shards to."""
    describe: WriterConfig = WriterConfig(template=DESCRIBE_TEMPLATE)
    chosen: WriterConfig = WriterConfig()
    rejected: WriterConfig = WriterConfig(sampler="ngram")
    gate: GateConfig = GateConfig()
    decontamination: DecontaminationConfig = DecontaminationConfig()
    engine: Literal["local", "ray"] = "local"
    """Where the passes run: in processes of this machine, or in actors of a Ray cluster. The pairs do not depend on
    it."""
    workers: PositiveInt = 1
    """Number of processes or actors. With vLLM each has its own engine and GPUs."""
    ray: RayConfig = RayConfig()
    worker: Annotated[
        str,
        Rule(_is_share, "must be I/N with I from 0 to N - 1"),
        Remedy("0/4, 1/4, 2/4 and 3/4 share the shards among four machines"),
    ] = "0/1"
    """I/N: this command is number I, from 0, of N commands on machines that share the output, and processes every N-th
    shard. The last one to finish writes the manifest."""
    report_pairs: Annotated[NonNegativeInt, Remedy("0 reports no rates")] = 10_000
    """Number of train pairs, from the first, in the report's near-duplicate rates (extra `corpus`); 0 for none."""
    chunk_size: PositiveInt = 512
    """Number of sources written at a time, which is the most work of an embedded writer that a kill loses. Of models'
    replies it loses those in flight."""
    seed: int = 0
    """Seed of the writers. A text depends only on the seed, its writer's settings and the source."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.ray.max_workers is None or self.ray.max_workers >= self.workers,
            "ray.max_workers",
            self.ray.max_workers,
            f"must be at least workers ({self.workers})",
            "leave it out for a fixed number of actors",
        )
        for name in ("describe", "chosen", "rejected"):
            _check_writer(name, getattr(self, name))
        require(
            self.describe.sampler != "mutant",
            "describe.sampler",
            "mutant",
            "must not be mutant, which rewrites code",
            "use author, vllm, transformers or openai",
        )
        mutants = [writer for writer in (self.chosen, self.rejected) if writer.sampler == "mutant"]
        require(
            len(mutants) != 1,
            "chosen.sampler, rejected.sampler",
            (self.chosen.sampler, self.rejected.sampler),
            "must both be mutant or neither: mutants lose comments and layout, which would tell the two apart",
            "give --chosen.sampler mutant --chosen.mutant.num-mistakes 0 for the author's code in their layout",
        )
        require(
            not mutants or (self.chosen.mutant.is_author and not self.rejected.mutant.is_author),
            "chosen.mutant.num_mistakes, rejected.mutant.num_mistakes",
            (self.chosen.mutant.num_mistakes, self.rejected.mutant.num_mistakes),
            "must be 0 for chosen and more for rejected: a mutant may be as good as another",
            "give --chosen.mutant.num-mistakes 0",
        )
        require(
            self.describe.sampler != "ngram",
            "describe.sampler",
            self.describe.sampler,
            "must not be ngram, which rewrites code",
            "use author, vllm, transformers or openai",
        )
        require(
            "{description}" not in self.describe.template,
            "describe.template",
            self.describe.template,
            "must not hold {description}, which comes out of this pass",
            "use {code} and {language}",
        )


@dataclasses.dataclass(frozen=True)
class CandidatesConfig(Config):
    """Problems of a benchmark, or held-out SourceFile shards -> Best-of-N candidates, one problem per line."""

    input: str = "runs/corpus"
    """JSONL file of problems, as written by launch/evaluate.py problems; or a folder of SourceFile shards, whose
    held-out split is used."""
    output: DiskPath = "runs/candidates.jsonl"
    """JSONL file to write the problems with their candidates to; counts are written next to it, in
    NAME.writing.json."""
    num_candidates: Annotated[int, Ge(2), Remedy("Best-of-N needs several")] = 16
    """Number of candidates per problem. For a benchmark all are the writer's (with the sampler `mutant`, one is the
    author's code); for a source, one is the author's code and the others are the writer's."""
    max_problems: Annotated[PositiveInt, Remedy("leave it out for all")] | None = None
    """Maximum number of problems, from the first; by default all."""
    template: Annotated[
        str,
        Rule(lambda template: not template or "{prompt}" in template, "must hold {prompt}"),
        Remedy("leave it out for the task's own"),
    ] = ""
    """Prompt for a benchmark's problem, which stands for {prompt}; by default the task's own. Sources use
    writer.template instead."""
    writer: WriterConfig = WriterConfig(sampler="ngram")
    chunk_size: PositiveInt = 512
    """Number of texts written at a time, but at least those of one problem. A kill loses the replies of models that are in
    flight."""
    seed: int = 0
    """Seed of the writer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_writer("writer", self.writer)
