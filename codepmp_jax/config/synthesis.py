"""SourceFile shards -> PreferencePair shards and candidates."""

from __future__ import annotations

import dataclasses
import re
from typing import Literal

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import Config, require_fraction, require_positive
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
class NgramConfig(Config):
    """The embedded weak writer: a token n-gram model that follows the author but errs at a rate."""

    order: int = 3
    """Tokens in an n-gram, the sampled one included."""
    rates: tuple[float, ...] = (0.1, 0.2, 0.4, 0.7, 1.0)
    """Probabilities of writing a token of its own; each pair draws one of them."""

    def __post_init__(self) -> None:
        require(self.order >= 2, "ngram.order", self.order, "must be at least 2", "try 3")
        require(
            len(self.rates) > 0 and all(0 < rate <= 1 for rate in self.rates),
            "ngram.rates",
            self.rates,
            "must be one or more numbers in (0, 1]",
            "try --rejected.ngram.rates 0.1 0.3 1.0",
        )


@dataclasses.dataclass(frozen=True)
class MutantConfig(Config):
    """The embedded writer of mutants: the author's Python with a few mistakes in its syntax tree."""

    num_mistakes: tuple[int, ...] = (1, 2, 3)
    """Mistakes in a text; each text draws one of these numbers."""

    def __post_init__(self) -> None:
        require(
            len(self.num_mistakes) > 0 and all(number > 0 for number in self.num_mistakes),
            "mutant.num_mistakes",
            self.num_mistakes,
            "must be one or more positive numbers",
            "try --writer.mutant.num-mistakes 1 2",
        )


@dataclasses.dataclass(frozen=True)
class SamplingConfig(Config):
    """How a model's next tokens are drawn, and where it stops."""

    temperature: float = 0.7
    """0 takes the most probable token."""
    top_p: float = 1.0
    """Smallest set of tokens, by probability, that is drawn from."""
    top_k: int = 0
    """Most probable tokens that are drawn from; 0 for all."""
    max_tokens: int = 1024
    """Longest reply, in tokens of the model."""
    stop: tuple[str, ...] = ()
    """Texts that end a reply, beside the model's own end; they are not part of it."""

    def __post_init__(self) -> None:
        require_positive("sampling.", self, "max_tokens")
        require_fraction("sampling.", self, "top_p")
        for name in ("temperature", "top_k"):
            value = getattr(self, name)
            require(value >= 0, f"sampling.{name}", value, "must not be negative", "try 0")


@dataclasses.dataclass(frozen=True)
class VllmConfig(Config):
    """The offline vLLM engine."""

    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Dtype of weights and activations; `auto` takes the checkpoint's, and 16 bits for a float32 one."""
    max_model_len: int | None = None
    """Longest prompt and reply together, in tokens; the model's own limit if not given. A longer prompt
    fails; a reply that meets the limit counts as cut off."""
    tensor_parallel: int = 1
    """GPUs that share one engine. More engines: --workers."""
    gpu_memory_utilization: float = 0.9
    """Share of a GPU's memory that the engine takes."""
    max_num_seqs: int | None = None
    """Replies written at a time; vLLM's own choice if not given."""
    enforce_eager: bool = False
    """Neither compile nor capture graphs: starts sooner, runs slower."""

    def __post_init__(self) -> None:
        require_positive("vllm.", self, "tensor_parallel", "gpu_memory_utilization")
        require_fraction("vllm.", self, "gpu_memory_utilization")
        for name in ("max_model_len", "max_num_seqs"):
            value = getattr(self, name)
            require(
                value is None or value > 0, f"vllm.{name}", value, "must be positive", "leave out"
            )


@dataclasses.dataclass(frozen=True)
class OpenAIConfig(Config):
    """Servers that speak OpenAI's protocol (vLLM, SGLang, llama.cpp, hosted ones)."""

    endpoints: tuple[str, ...] = ("http://localhost:8000/v1",)
    """Base URLs of servers of one model; requests are spread over those that answer."""
    concurrency: int = 64
    """Requests at a time to each endpoint, by each worker."""
    max_retries: int = 8
    """Times that a request is sent again, with growing pauses, before it counts as failed; shared among
    the endpoints."""
    timeout_seconds: float = 600.0
    """Longest wait for a reply."""
    api_key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; an unset one sends none."""

    def __post_init__(self) -> None:
        require_positive("openai.", self, "concurrency", "timeout_seconds")
        require(
            len(self.endpoints) > 0 and all("://" in url for url in self.endpoints),
            "openai.endpoints",
            self.endpoints,
            "must be one or more URLs",
            "e.g. http://localhost:8000/v1",
        )
        require(
            self.max_retries >= 0,
            "openai.max_retries",
            self.max_retries,
            "must not be negative",
            "0 gives up at once",
        )


@dataclasses.dataclass(frozen=True)
class WriterConfig(Config):
    """Who writes the texts of one pass, and what it is asked."""

    sampler: Literal["author", "ngram", "mutant", "vllm", "openai"] = "author"
    """`author` takes what the source's author wrote; `ngram` is the embedded weak writer; `mutant` makes
    mistakes in the author's Python, for problems whose tests judge them; `vllm` is the offline engine;
    `openai` any OpenAI-compatible server."""
    model: str = ""
    """Hugging Face folder or hub name (vllm), or the name that the servers know it by (openai)."""
    revision: str | None = None
    """Commit, tag or branch of a hub model. A commit makes a run repeatable."""
    template: str = WRITE_TEMPLATE
    """What the model is asked; may hold {language}, {code} and, after the description, {description}."""
    chat: Literal["auto", "always", "never"] = "auto"
    """Put the request into the model's chat template: where it has one, always, or never. Servers have
    no way to tell: for them `auto` is always."""
    extract: Literal["reply", "code"] = "reply"
    """Take the whole reply, or its first code block (the whole reply where it has none)."""
    sampling: SamplingConfig = SamplingConfig()
    ngram: NgramConfig = NgramConfig()
    mutant: MutantConfig = MutantConfig()
    vllm: VllmConfig = VllmConfig()
    openai: OpenAIConfig = OpenAIConfig()


def _check_writer(path: str, writer: WriterConfig) -> None:
    known = {"{language}", "{code}", "{description}"}
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


@dataclasses.dataclass(frozen=True)
class GateConfig(Config):
    """Which pairs are of use. A pair that breaks several rules is counted under the first one."""

    drop_cut_off: bool = True
    """Drop pairs with a text that reached its writer's max_tokens."""
    drop_refusals: bool = True
    """Drop pairs with a response that declines the task."""
    parsable: tuple[Literal["chosen", "rejected"], ...] = ()
    """Responses that must parse, where the language has a parser."""
    max_length_ratio: float = 0.0
    """Most that the longer response may be of the shorter one, in characters; 0 for no limit."""
    tokenizer: str = "embedded"
    """Tokenizer of the training, for what is identical once truncated; `embedded`, a folder or a hub name."""
    template: str = DataConfig().template
    """Text of a training row."""
    max_length: int = 1024
    """Tokens of a training row: pairs that are identical up to there are dropped."""

    def __post_init__(self) -> None:
        require_positive("gate.", self, "max_length")
        require(
            self.max_length_ratio == 0 or self.max_length_ratio >= 1,
            "gate.max_length_ratio",
            self.max_length_ratio,
            "must be 0 or at least 1",
            "0 is no limit; try 5",
        )


@dataclasses.dataclass(frozen=True)
class RayConfig(Config):
    """The cluster of `--engine ray` (extra `ray`)."""

    address: str | None = None
    """Cluster to join; the one that RAY_ADDRESS names, or one started on this machine, if not given."""
    max_workers: int | None = None
    """Most actors at a time: from `workers` up to here as the cluster has room; `workers` if not given."""
    gpus_per_worker: float | None = None
    """GPUs that an actor asks for; by default a vLLM writer's tensor_parallel where the cluster has GPUs."""


@dataclasses.dataclass(frozen=True)
class SynthesisConfig(Config):
    """SourceFile shards -> PreferencePair shards."""

    input: str = "runs/corpus"
    """Folder of SourceFile shards."""
    output: str = "runs/pairs"
    """Folder that receives the pair shards."""
    describe: WriterConfig = WriterConfig(template=DESCRIBE_TEMPLATE)
    chosen: WriterConfig = WriterConfig()
    rejected: WriterConfig = WriterConfig(sampler="ngram")
    gate: GateConfig = GateConfig()
    decontamination: DecontaminationConfig = DecontaminationConfig()
    engine: Literal["local", "ray"] = "local"
    """Where the passes run: processes of this machine, or actors of a Ray cluster. The pairs do not
    depend on it."""
    workers: int = 1
    """Processes or actors; with vLLM each has an engine and GPUs of its own."""
    ray: RayConfig = RayConfig()
    worker: str = "0/1"
    """I/N: of N commands on machines that share the output, this is the I-th, from 0, and takes every N-th
    shard. The last one to end writes the manifest."""
    report_pairs: int = 10_000
    """Train pairs, from the first, that the report's near-duplicate rates are over (extra `corpus`); 0 for
    none."""
    chunk_size: int = 512
    """Sources written at a time: what a kill can cost a worker."""
    seed: int = 0
    """Seed of the writers; a text depends only on it, its writer's settings and the source."""

    def __post_init__(self) -> None:
        require_positive("", self, "chunk_size", "workers")
        require(
            self.report_pairs >= 0,
            "report_pairs",
            self.report_pairs,
            "must not be negative",
            "0 is none",
        )
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
                getattr(self, name).sampler != "mutant",
                f"{name}.sampler",
                "mutant",
                "is for launch/candidates.py: in a pair its layout would tell it from the author's",
                "use ngram, vllm or openai",
            )
        parts = self.worker.split("/")
        require(
            len(parts) == 2
            and all(part.isdecimal() for part in parts)
            and int(parts[0]) < int(parts[1]),
            "worker",
            self.worker,
            "must be I/N with I from 0 to N - 1",
            "0/4, 1/4, 2/4 and 3/4 share the shards among four machines",
        )
        require(
            self.describe.sampler != "ngram",
            "describe.sampler",
            self.describe.sampler,
            "must not be ngram, which rewrites code",
            "use author, vllm or openai",
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
    """Problems of a benchmark, or held-out SourceFile shards -> Best-of-N candidates, one problem a line."""

    input: str = "runs/corpus"
    """JSONL file of problems, as launch/evaluate.py problems writes it; or folder of SourceFile shards, whose
    held-out split is used."""
    output: str = "runs/candidates.jsonl"
    """JSONL file that receives the problems with their candidates; counts come to lie beside it, in
    NAME.writing.json."""
    num_candidates: int = 16
    """Candidates a problem: all the writer's for a benchmark (with the sampler `mutant`, one is the author's
    code); for a source, the author's code and num_candidates - 1 texts of the writer."""
    max_problems: int | None = None
    """Most problems, from the first; all if not given."""
    template: str = ""
    """What a model is asked about a benchmark's problem, which is {prompt}; the task's own if not given.
    Sources are asked about with writer.template."""
    writer: WriterConfig = WriterConfig(sampler="ngram")
    chunk_size: int = 512
    """Texts asked for at a time, and at least those of one problem: what a kill can cost."""
    seed: int = 0
    """Seed of the writer."""

    def __post_init__(self) -> None:
        require_positive("", self, "chunk_size")
        _check_writer("writer", self.writer)
        require(
            self.max_problems is None or self.max_problems > 0,
            "max_problems",
            self.max_problems,
            "must be positive",
            "leave it out for all",
        )
        require(
            not self.template or "{prompt}" in self.template,
            "template",
            self.template,
            "must hold {prompt}",
            "leave it out for the task's own",
        )
        require(
            self.num_candidates >= 2,
            "num_candidates",
            self.num_candidates,
            "must be at least 2",
            "Best-of-N needs several",
        )
