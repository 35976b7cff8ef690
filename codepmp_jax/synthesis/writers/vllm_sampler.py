"""The offline vLLM engine as a Sampler (extra `synthesis`)."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from typing import Any

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import WriterConfig
from codepmp_jax.records.schema import Completion
from codepmp_jax.synthesis.writers.model_folder import folder_settings
from codepmp_jax.synthesis.writers.prompts import Prompts
from codepmp_jax.synthesis.writers.replies import (
    ERROR,
    REFUSED,
    model_settings,
    request_seed,
    sampling_facts,
    to_completion,
)
from codepmp_jax.synthesis.writers.sampler import Request, Sampler


class VllmSampler(Sampler):
    """A language model in an engine of its own.

    A completion depends on the batch only as far as the engine's arithmetic does: sums of another order may
    turn a token that is nearly as probable as another one (vLLM's VLLM_BATCH_INVARIANT=1 excludes it
    on GPUs that support it).
    """

    retries = True

    def __init__(self, config: WriterConfig, seed: int):
        """Loads nothing yet."""
        self._config = config
        self._seed = seed
        self._engine: Any = None
        self._prompts: Any = None
        self._facts: dict[str, Any] = {}

    def settings(self) -> dict[str, Any]:
        """Model, revision or, of a local folder, fingerprint, chat, extract, sampling, dtype, longest text.

        Raises UserError where the model is a path, but no folder of a causal LM.
        """
        settings = model_settings(self._config, self._seed) | folder_settings(self._config.model)
        engine = self._config.vllm
        return settings | {"dtype": engine.dtype, "max_model_len": engine.max_model_len}

    def sample(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request, written together.

        Raises UserError where the model does not load or its engine dies. After any other error of the
        engine the next call begins with a new one.
        """
        found = {completion.key: completion for completion in self.stream(requests)}
        return [found[request.key] for request in requests]

    def stream(self, requests: Sequence[Request]) -> Iterator[Completion]:
        """The completions as they come. Raises as `sample` does, after what had come."""
        if self._engine is None:
            self._load()
        asked: list[tuple[Request, list[int]]] = []
        for one in self._prompts.encode_all(requests, self._max_model_len):
            if isinstance(one, Completion):
                yield one
            else:
                asked.append(one)
        try:
            yield from self._run(asked)
        except _import_vllm().v1.engine.exceptions.EngineDeadError as error:
            self.close()
            raise UserError(
                f"model = {self._config.model!r}: vLLM's engine died ({error}). Remedy: see its log; "
                "the same command takes up the work."
            ) from error
        except BaseException:
            # Its queue holds requests of a step, or of a stream, that was left in the middle.
            self.close()
            raise

    def _run(self, asked: Sequence[tuple[Request, list[int]]]) -> Iterator[Completion]:
        """The engine's completions of prompts, as tokens, and what it refuses."""
        waiting: dict[str, Request] = {}
        for request, tokens in asked:
            number, detail = self._enqueue(request, tokens)
            if detail:
                yield Completion(request.key, "", REFUSED, detail, num_prompt_tokens=len(tokens))
            else:
                waiting[number] = request
        # What LLM.wait_for_completion does, which gives nothing before all is done.
        engine = self._engine.llm_engine
        while engine.has_unfinished_requests():
            for output in engine.step():
                if output.finished:
                    yield self._completion(waiting.pop(output.request_id), output)
        for request in waiting.values():
            yield Completion(request.key, "", ERROR, "the engine gave no reply")

    def close(self) -> None:
        """Ends the engine and frees its memory."""
        if self._engine is None:
            return
        self._engine.llm_engine.engine_core.shutdown()
        self._engine = self._prompts = None
        gc.collect()
        _import_vllm().distributed.cleanup_dist_env_and_memory()

    @property
    def _max_model_len(self) -> int:
        return self._engine.model_config.max_model_len

    def _load(self) -> None:
        """Starts the engine. Raises UserError where vLLM is missing or does not load the model."""
        config, engine = self._config, self._config.vllm
        settings = self.settings()
        # The engine in this process, with which it ends: one in a process of its own outlives a kill -9
        # and holds the GPU. Workers of tensor parallelism, which are processes, end with the engine.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        vllm = _import_vllm()
        more: dict[str, Any] = {"max_num_seqs": engine.max_num_seqs} if engine.max_num_seqs else {}
        if vllm.platforms.current_platform.is_cpu():
            # For a prompt in chunks vLLM winds the request's random numbers back, which PyTorch cannot do
            # on a CPU.
            more["enable_chunked_prefill"] = False
        try:
            self._engine = vllm.LLM(
                config.model,
                revision=config.revision,
                tokenizer_revision=config.revision,
                runner="generate",
                dtype=engine.dtype,
                max_model_len=engine.max_model_len,
                tensor_parallel_size=engine.tensor_parallel,
                gpu_memory_utilization=engine.gpu_memory_utilization,
                enforce_eager=engine.enforce_eager,
                use_tqdm_on_load=False,
                **more,
            )
        except Exception as error:  # whatever vLLM, PyTorch or the hub say: one answer for all
            raise UserError(
                f"model = {config.model!r}: vLLM did not load it ({type(error).__name__}: {error}). "
                "Remedy: give a Hugging Face folder or hub name of a causal LM that vLLM supports, and "
                "settings (vllm.dtype, max_model_len, gpu_memory_utilization) that this machine holds."
            ) from error
        self._prompts = Prompts(self._engine.get_tokenizer(), config)
        commit = getattr(self._engine.model_config.hf_config, "_commit_hash", None)
        self._facts = {
            "sampler": "vllm",
            "model": settings["model"],
            "revision": settings["revision"] or commit or "",
            **sampling_facts(config),
        }

    def _enqueue(self, request: Request, tokens: list[int]) -> tuple[str, str]:
        """Hands a request to the engine; (its id in the outputs, what the engine has against it, if anything)."""
        sampling = self._config.sampling
        params = _import_vllm().SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            max_tokens=sampling.max_tokens,
            stop=list(sampling.stop),
            seed=request_seed(self._seed, request.key),
        )
        try:
            (number,) = self._engine.enqueue({"prompt_token_ids": tokens}, params, use_tqdm=False)
        except (_import_vllm().exceptions.VLLMClientError, ValueError, TypeError) as error:
            return "", repr(error) or "refused"
        # `7-1a2b3c4d` within the engine, `7` in its outputs.
        return number.partition("-")[0], ""

    def _completion(self, request: Request, output: Any) -> Completion:
        (reply,) = output.outputs
        return to_completion(
            self._config,
            request,
            reply.text,
            str(reply.finish_reason),
            len(reply.token_ids),
            len(output.prompt_token_ids),
            self._facts | {"seed": request_seed(self._seed, request.key)},
        )


def _import_vllm() -> Any:
    """The package. Raises UserError where it is missing."""
    try:
        import vllm  # pyright: ignore[reportMissingImports]
        import vllm.distributed  # pyright: ignore[reportMissingImports]
        import vllm.exceptions  # pyright: ignore[reportMissingImports]
        import vllm.platforms  # pyright: ignore[reportMissingImports]
        import vllm.v1.engine.exceptions  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            f"sampler = 'vllm': vLLM cannot be imported ({error}). Remedy: pip install "
            "'codepmp_jax[synthesis]', or on a CPU the packages of requirements-vllm.txt."
        ) from error
    return vllm
