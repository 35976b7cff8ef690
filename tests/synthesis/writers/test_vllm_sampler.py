"""The sampler around a stub of vLLM; tests/e2e/test_vllm.py runs the engine itself."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import sys
import types
from typing import Any

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import SamplingConfig, VllmConfig, WriterConfig
from codepmp_jax.records.schema import SourceFile
from codepmp_jax.synthesis.writers.model_folder import fingerprint
from codepmp_jax.synthesis.writers.sampler import Request
from codepmp_jax.synthesis.writers.vllm_sampler import VllmSampler

SOURCE = SourceFile("s", "x = 1", "d", "x", "file", "python", "r", "p", "mit", 1)
BOS = 1


class EngineDeadError(Exception):
    pass


class Tokenizer:
    """A token for each character; BOS in front unless told otherwise."""

    bos_token_id = BOS
    chat_template: str | None = "<s>user: ...assistant:"

    def apply_chat_template(self, messages, tokenize, add_generation_prompt, **settings):
        assert not tokenize
        assert add_generation_prompt
        ((role, content),) = [(message["role"], message["content"]) for message in messages]
        if "no role" in content or "no role" in str(self.chat_template):
            raise ValueError("roles must alternate")
        return f"<s>{role}: {content} assistant:{json.dumps(settings) if settings else ''}"

    def encode(self, text, add_special_tokens):
        head = [BOS] if add_special_tokens else []
        if text.startswith("<s>"):
            head, text = [*head, BOS], text.removeprefix("<s>")
        return [*head, *(ord(letter) for letter in text)]


class LLM:
    """Replies with the prompt's tokens as text, and does as the prompt says."""

    made: list[LLM] = []  # noqa: RUF012
    chat_template: str | None = Tokenizer.chat_template

    def __init__(self, model, **options):
        if "broken" in model:
            raise ValueError("cannot open it")
        self.options = options
        self.queue: dict[str, tuple[list[int], Any]] = {}
        self.num_requests = 0
        self.is_shut = False
        self.max_queue = 0
        self.model_config = types.SimpleNamespace(
            max_model_len=options["max_model_len"] or 64,
            hf_config=types.SimpleNamespace(_commit_hash="c0ffee"),
        )
        self.llm_engine = types.SimpleNamespace(
            engine_core=types.SimpleNamespace(shutdown=self.shut),
            has_unfinished_requests=lambda: bool(self.queue),
            step=self.step,
        )
        LLM.made.append(self)

    def shut(self):
        self.is_shut = True

    def get_tokenizer(self):
        tokenizer = Tokenizer()
        tokenizer.chat_template = self.chat_template
        return tokenizer

    def enqueue(self, prompt, params, use_tqdm):
        assert not use_tqdm
        tokens = prompt["prompt_token_ids"]
        if "refuse" in text_of(tokens):
            raise ValueError("not this one")
        if "dead" in text_of(tokens):
            raise EngineDeadError("died")
        self.num_requests += 1
        self.queue[str(self.num_requests)] = tokens, params
        return [f"{self.num_requests}-1a2b3c4d"]

    def step(self):
        """Ends the newest request, and shows the others unfinished."""
        self.max_queue = max(self.max_queue, len(self.queue))
        queue = dict(self.queue)
        self.queue.popitem()
        texts = [text_of(tokens) for tokens, _ in queue.values()]
        if any("die" in text for text in texts):
            raise EngineDeadError("died")
        if any("stumble" in text for text in texts):
            raise RuntimeError("stumbled")
        return [
            types.SimpleNamespace(
                request_id=number,
                finished=number not in self.queue,
                prompt_token_ids=tokens,
                outputs=[
                    types.SimpleNamespace(
                        text=f"{text}|{params.seed}",
                        token_ids=[1, 2, 3],
                        finish_reason=next(
                            (word for word in ("length", "error") if word in text), "stop"
                        ),
                    )
                ],
            )
            for (number, (tokens, params)), text in zip(queue.items(), texts, strict=True)
        ]


def text_of(tokens: list[int]) -> str:
    return "".join("BOS " if token == BOS else chr(token) for token in tokens)


@pytest.fixture(autouse=True)
def vllm(monkeypatch) -> types.ModuleType:
    modules = {
        name: types.ModuleType(name)
        for name in (
            "vllm",
            "vllm.distributed",
            "vllm.exceptions",
            "vllm.platforms",
            "vllm.v1",
            "vllm.v1.engine",
            "vllm.v1.engine.exceptions",
        )
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    stub: Any = modules["vllm"]
    stub.LLM, stub.SamplingParams = LLM, types.SimpleNamespace
    stub.distributed.cleanup_dist_env_and_memory = lambda: None
    stub.v1.engine.exceptions.EngineDeadError = EngineDeadError
    stub.exceptions.VLLMClientError = KeyError
    stub.platforms.current_platform = types.SimpleNamespace(is_cpu=lambda: False)
    LLM.made.clear()
    for name in ("VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_LOGGING_LEVEL"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return stub


def sampler(seed: int = 0, **settings: Any) -> VllmSampler:
    return VllmSampler(WriterConfig(**{"sampler": "vllm", "model": "hub/model", **settings}), seed)


def requests(*prompts: str) -> list[Request]:
    return [Request(f"key {prompt}", prompt, "d", SOURCE) for prompt in prompts]


def test_the_engine_starts_with_the_first_sample_and_once():
    one = sampler(
        revision="abc",
        vllm=VllmConfig(dtype="bfloat16", max_model_len=99, max_num_seqs=5, enforce_eager=True),
    )
    one.settings()
    one.close()
    assert not LLM.made
    one.sample(requests("a"))
    one.sample(requests("b"))
    (engine,) = LLM.made
    expected = {
        "revision": "abc",
        "tokenizer_revision": "abc",
        "dtype": "bfloat16",
        "max_model_len": 99,
        "max_num_seqs": 5,
        "enforce_eager": True,
        "tensor_parallel_size": 1,
        "gpu_memory_utilization": 0.9,
        "runner": "generate",
    }
    assert expected.items() <= engine.options.items()
    one.close()
    assert engine.is_shut
    one.sample(requests("c"))
    assert len(LLM.made) == 2


@pytest.mark.parametrize("is_cpu", [True, False])
def test_prompts_are_not_chunked_on_a_cpu(vllm, is_cpu):
    """There vLLM fails on chunks of requests with seeds: 'CPU Generator does not use offset'."""
    platform: Any = types.SimpleNamespace(is_cpu=lambda: is_cpu)
    vllm.platforms.current_platform = platform
    sampler().sample(requests("a"))
    assert LLM.made[0].options.get("enable_chunked_prefill") == (False if is_cpu else None)


@pytest.mark.parametrize("tensor_parallel", [1, 2])
def test_the_engine_is_in_this_process(tensor_parallel):
    sampler(vllm=VllmConfig(tensor_parallel=tensor_parallel)).sample(requests("a"))
    assert os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert LLM.made[0].options["tensor_parallel_size"] == tensor_parallel
    assert os.environ["VLLM_LOGGING_LEVEL"] == "WARNING"


def test_sampling_parameters_and_seeds(monkeypatch):
    params = []
    enqueue = LLM.enqueue

    def spy(self, prompt, given, use_tqdm):
        params.append(given)
        return enqueue(self, prompt, given, use_tqdm)

    monkeypatch.setattr(LLM, "enqueue", spy)
    sampling = SamplingConfig(temperature=0.5, top_p=0.9, top_k=3, max_tokens=17, stop=("E",))
    one = sampler(sampling=sampling)
    first, second = one.sample(requests("a", "b"))
    (alone,) = one.sample(requests("b"))
    assert vars(params[0]) == {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "max_tokens": 17,
        "stop": ["E"],
        "seed": first.facts["seed"],
    }
    assert alone == second
    assert first.facts["seed"] != second.facts["seed"]
    assert sampler(seed=1).sample(requests("a"))[0].facts["seed"] != first.facts["seed"]
    assert first.facts == {
        "sampler": "vllm",
        "model": "hub/model",
        "revision": "c0ffee",
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "max_tokens": 17,
        "stop": ["E"],
        "seed": first.facts["seed"],
    }


def prompt_seen(one: VllmSampler, prompt: str) -> str:
    return one.sample(requests(prompt))[0].text.rpartition("|")[0]


@pytest.mark.parametrize(
    ("chat", "template", "prompt", "expected"),
    [
        ("auto", "t", "a", "BOS user: a assistant:"),
        ("always", "t", "a", "BOS user: a assistant:"),
        ("never", "t", "a", "BOS a"),
        ("auto", None, "a", "BOS a"),
        ("never", None, "<s>a", "BOS a"),
    ],
)
def test_chat_templates_and_a_single_bos(monkeypatch, chat, template, prompt, expected):
    monkeypatch.setattr(LLM, "chat_template", template)
    assert prompt_seen(sampler(chat=chat), prompt) == expected


def test_a_chat_template_that_is_missing(monkeypatch):
    monkeypatch.setattr(LLM, "chat_template", None)
    with pytest.raises(UserError, match=r"chat = 'always'.*no chat template"):
        sampler(chat="always").sample(requests("a"))


def test_thoughts_are_a_setting_of_the_chat_template(monkeypatch):
    monkeypatch.setattr(LLM, "chat_template", "{% if enable_thinking %}")
    assert prompt_seen(sampler(), "a") == "BOS user: a assistant:"
    one = sampler(enable_thinking=False)
    assert prompt_seen(one, "a") == 'BOS user: a assistant:{"enable_thinking": false}'
    assert one.settings()["enable_thinking"] is False
    assert "enable_thinking" not in sampler().settings()
    monkeypatch.setattr(LLM, "chat_template", "t")
    with pytest.raises(
        UserError, match=r"enable_thinking = True: the chat template .* not know it"
    ):
        sampler(enable_thinking=True).sample(requests("a"))


def test_a_template_that_raises_costs_its_request_and_no_engine():
    one = sampler()
    first, second, third = one.sample(requests("a", "no role", "b"))
    assert (first.failure, second.failure, third.failure) == ("", "request refused", "")
    assert "roles must alternate" in second.detail
    one.sample(requests("no role again"))
    assert len(LLM.made) == 1


def test_a_template_that_always_raises_is_one_error(monkeypatch):
    monkeypatch.setattr(LLM, "chat_template", "no role")
    with pytest.raises(UserError, match=r"chat = 'auto'.*fails on any prompt"):
        sampler().sample(requests("a", "b"))


def test_completions_come_before_all_are_done():
    stream = sampler().stream(requests("a", "b", "die"))
    with pytest.raises(UserError, match="engine died"):
        list(stream)
    came = []
    for completion in sampler().stream(requests("a", "b", "c")):
        came.append(completion.key)
        if len(came) == 2:
            break
    assert came == ["key c", "key b"]
    # What was left in its queue must not come with the next requests.
    assert LLM.made[-1].is_shut


def test_failures_are_the_requests_own():
    one = sampler(chat="never", vllm=VllmConfig(max_model_len=16))
    prompts = ("a", "x" * 15, "refuse", "x" * 14, "error", "length")
    completions = one.sample(requests(*prompts))
    assert [completion.key for completion in completions] == [f"key {p}" for p in prompts]
    assert [completion.failure for completion in completions] == [
        "",
        "prompt too long",
        "request refused",
        "",
        "error",
        "",
    ]
    assert completions[1].detail == "16 tokens of 16"
    assert "not this one" in completions[2].detail
    last = completions[-1]
    assert (last.finish_reason, last.num_prompt_tokens, last.num_tokens) == ("length", 7, 3)
    assert LLM.made[0].max_queue == 4


def test_a_code_block_is_extracted():
    text = (
        sampler(chat="never", extract="code").sample(requests("Sure:\n```\nx = 1\n```\n"))[0].text
    )
    assert text == "x = 1"


def test_after_an_error_of_a_step_a_new_engine_goes_on():
    one = sampler()
    with pytest.raises(RuntimeError, match="stumbled"):
        one.sample(requests("a", "stumble"))
    assert LLM.made[0].is_shut
    assert one.sample(requests("a"))[0].text
    assert len(LLM.made) == 2


@pytest.mark.parametrize("prompt", ["dead", "die"])
def test_a_dead_engine_stops_the_work(prompt):
    one = sampler()
    with pytest.raises(UserError, match=r"engine died.*takes up the work"):
        one.sample(requests("a", prompt))
    assert LLM.made[0].is_shut


def test_what_does_not_load_is_one_error():
    with pytest.raises(UserError, match=r"model = 'hub/broken': vLLM did not load it \(ValueError"):
        sampler(model="hub/broken").sample(requests("a"))


def test_without_vllm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(UserError, match=r"codepmp_jax\[synthesis\]"):
        sampler().sample(requests("a"))


# --- folders --------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    config = {"architectures": ["Qwen2ForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(bytes(3 << 20))
    return tmp_path


def test_a_folders_settings_hold_its_fingerprint(folder):
    settings = sampler(model=str(folder)).settings()
    assert settings == json.loads(json.dumps(settings))
    assert settings["model"] == folder.name
    assert settings["revision"] == fingerprint(folder)
    (completion,) = sampler(model=str(folder)).sample(requests("a"))
    assert completion.facts["revision"] == fingerprint(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_the_fingerprint_sees_every_file(folder, name):
    before = fingerprint(folder)
    (folder / "README.md").write_text("no part of the model")
    assert fingerprint(folder) == before
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    assert fingerprint(folder) != before


def test_settings_name_what_texts_depend_on():
    config = WriterConfig(sampler="vllm", model="m")
    settings = VllmSampler(config, 0).settings()
    for changed in (
        dataclasses.replace(config, model="other"),
        dataclasses.replace(config, revision="main"),
        dataclasses.replace(config, chat="never"),
        dataclasses.replace(config, extract="code"),
        dataclasses.replace(config, sampling=SamplingConfig(top_k=1)),
        dataclasses.replace(config, vllm=VllmConfig(dtype="float16")),
        dataclasses.replace(config, vllm=VllmConfig(max_model_len=5)),
    ):
        assert VllmSampler(changed, 0).settings() != settings
    assert VllmSampler(config, 1).settings() != settings
    faster = VllmConfig(enforce_eager=True, max_num_seqs=3, gpu_memory_utilization=0.5)
    assert VllmSampler(dataclasses.replace(config, vllm=faster), 0).settings() == settings


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", None, "no readable config.json"),
        ("config.json", "{", "no readable config.json"),
        ("config.json", "[]", "no readable config.json"),
        ("config.json", '{"architectures": ["Qwen2ForSequenceClassification"]}', "--heads lm"),
        ("model.safetensors", None, r"no \*.safetensors file"),
        ("tokenizer.json", None, r"no tokenizer\* file"),
    ],
)
def test_a_folder_that_is_no_causal_lm(folder, name, content, said):
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(UserError, match=said):
        sampler(model=str(folder)).settings()


@pytest.mark.parametrize("model", ["/no/such/folder", "./none", "runs/no/model"])
def test_a_path_without_a_folder(model):
    with pytest.raises(UserError, match="no such folder"):
        sampler(model=model).settings()
