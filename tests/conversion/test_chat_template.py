from __future__ import annotations

import dataclasses
import json
import pathlib
import sysconfig
from typing import Any

import jinja2
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from codepmp_jax.config import DataConfig
from codepmp_jax.conversion.chat_template import is_exact, make_template
from codepmp_jax.conversion.tokenizer_files import write
from codepmp_jax.families import FAMILIES
from codepmp_jax.text.tokenization import Tokenizer
from tests.training.reference import tiny_config

BOS = "<|im_start|>"
# A family of models, the special tokens around a text, data.append_eos.
CASES = [
    ("qwen2", "none", False),
    ("qwen2", "none", True),
    ("qwen2", "bos", False),
    ("qwen2", "bos", True),
    ("qwen2", "both", False),
    ("qwen2", "both", True),
]
CASES += [(family, "bos", True) for family in FAMILIES if family != "qwen2"]
# Jinja's own signs, quotes and escapes, in the prompt's place and around it.
TEMPLATES = (
    "Instruction:{prompt}\n\nResponse:{response}",
    "{% raw %}'\"\\n{{ x }} {prompt}\r\n{response}",
    "{prompt}{response}",
    "\U0001f600 {prompt} \\ {response}",
    # Words that stand for parts in the module.
    "TAIL HEAD AFTER_ROW {prompt} BEFORE_ROW AND_NO_EOS HEAD {response}",
)
SOURCES = sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("[a-d]*.py"))[:12]
TEXTS = [
    "",
    "x",
    "  {{ messages }} {% endfor %} {# no #} \\n 'a' \"b\"\r\n\r\n",
    "<|im_end|> <|im_start|>\tünïcode 日本語 \U0001f600\n\n\n   ",
]
TEXTS += [path.read_text(encoding="utf-8")[:2000] for path in SOURCES]


def with_special_tokens(name: str, folder: pathlib.Path) -> Tokenizer:
    """The embedded tokenizer, which puts nothing around a text; or one that puts a BOS before it, as those of
    Llama and Gemma do, or a BOS before and an EOS behind it."""
    Tokenizer.load("embedded").save(folder)
    if name != "none":
        definition = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        backend = tokenizers.Tokenizer.from_str(json.dumps(definition))
        ids = [(token, backend.token_to_id(token)) for token in (BOS, "<|endoftext|>")]
        pieces = f"{BOS} $A" + (" <|endoftext|>" if name == "both" else "")
        backend.post_processor = tokenizers.processors.TemplateProcessing(
            single=pieces, pair=f"{pieces} $B", special_tokens=ids
        )
        backend.save(str(folder / "tokenizer.json"))
        config = folder / "tokenizer_config.json"
        # A flag as Llama's folders have it, by which transformers would leave the EOS out.
        more = {"bos_token": BOS, "add_bos_token": True, "add_eos_token": False}
        config.write_text(json.dumps(json.loads(config.read_text()) | more))
    return Tokenizer.load(str(folder))


def messages(prompt: str, response: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]


def training_tokens(tokenizer: Tokenizer, data: DataConfig, prompt: str, response: str):
    row = tokenizer.format(prompt, response, data.template)
    return tokenizer.encode([row], append_eos=data.append_eos)[0].tokens.tolist()


def written(tokenizer: Tokenizer, data: DataConfig) -> Tokenizer:
    return dataclasses.replace(tokenizer, chat_template=make_template(tokenizer, data))


@pytest.mark.parametrize(("family", "special", "append_eos"), CASES)
def test_auto_tokenizer_gives_the_tokens_of_training(family, special, append_eos, tmp_path):
    tokenizer = with_special_tokens(special, tmp_path / "own")
    config = tiny_config(data__append_eos=append_eos)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, family=family))
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder, tokenizer, config, "text")
    (folder / "config.json").write_text(json.dumps({"model_type": family}))
    theirs: Any = AutoTokenizer.from_pretrained(folder, model_max_length=10**6)
    for prompt in TEXTS:
        for response in TEXTS[:5]:
            conversation = messages(prompt, response)
            tokens = theirs.apply_chat_template(conversation, return_dict=True)["input_ids"]
            assert tokens == training_tokens(tokenizer, config.data, prompt, response)
            if special == "none" and not append_eos:
                text = theirs.apply_chat_template(conversation, tokenize=False)
                assert text == tokenizer.format(prompt, response, config.data.template).text
                assert theirs(text)["input_ids"] == tokens
    assert Tokenizer.load(str(folder)).chat_template == make_template(tokenizer, config.data)


@pytest.mark.parametrize("template", TEMPLATES)
def test_any_template(template):
    tokenizer, data = Tokenizer.load("embedded"), DataConfig(template=template)
    own = written(tokenizer, data)
    assert is_exact(own, data)

    @settings(max_examples=50, deadline=None)
    @given(st.text(), st.text())
    def check(prompt: str, response: str) -> None:
        expected = tokenizer.format(prompt, response, template).text
        assert own.render(messages(prompt, response)) == expected
        start = own.render(messages(prompt, response)[:1], add_generation_prompt=True)
        assert start + response == expected

    check()


def test_an_eos_of_the_text_itself_is_not_doubled(tmp_path):
    data = DataConfig(append_eos=True)
    for special in ("none", "bos"):
        tokenizer = with_special_tokens(special, tmp_path / special)
        own = written(tokenizer, data)
        for response in ("x", "x<|endoftext|>", "x<|endoftext|> \n"):
            assert own.render(messages("p", response)).rstrip().endswith("x<|endoftext|>")
            text = tokenizers.Tokenizer.from_str(own.definition).encode(
                own.render(messages("p", response)), add_special_tokens=False
            )
            assert text.ids == training_tokens(tokenizer, data, "p", response)


def test_longer_conversations():
    own = written(Tokenizer.load("embedded"), DataConfig())
    system = {"role": "system", "content": "S"}
    rows = "Instruction:S\n\np\n\nResponse:r\n\nInstruction:q\n\nResponse:s"
    assert own.render([system, *messages("p", "r"), *messages("q", "s")]) == rows


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (messages("p", "r")[1:], "in turn"),
        ([*messages("p", "r"), {"role": "system", "content": "S"}], "in turn"),
        ([{"role": "tool", "content": "x"}], "in turn"),
        ([{"role": "user", "content": [{"type": "text", "text": "x"}]}], "must be a string"),
    ],
)
def test_other_conversations_are_refused(wrong, said):
    with pytest.raises(jinja2.TemplateError, match=said):
        written(Tokenizer.load("embedded"), DataConfig()).render(wrong)


def test_a_tokenizer_that_no_template_fits_is_reported(tmp_path, caplog):
    """One that begins a text, but not what follows a special token, with a space, as SentencePiece does; and a row
    begins with the prompt."""
    with_special_tokens("bos", tmp_path / "own")
    path = tmp_path / "own" / "tokenizer.json"
    definition = json.loads(path.read_text(encoding="utf-8"))
    definition["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Metaspace", "replacement": " ", "prepend_scheme": "first", "split": False},
            {
                "type": "ByteLevel",
                "add_prefix_space": False,
                "trim_offsets": True,
                "use_regex": False,
            },
        ],
    }
    path.write_text(json.dumps(definition), encoding="utf-8")
    tokenizer = Tokenizer.load(str(tmp_path / "own"))
    assert not is_exact(written(tokenizer, DataConfig()), DataConfig())
    # A space before the row makes up for it,
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder", tokenizer, tiny_config(), "text")
    assert is_exact(Tokenizer.load(str(tmp_path / "folder")), DataConfig())
    assert caplog.text == ""
    # unless the prompt may begin with one itself.
    config = tiny_config(data__template="{prompt}\n{response}")
    write(tmp_path / "folder", tokenizer, config, "text")
    assert "are not those of training" in caplog.text


def test_a_run_on_conversations_keeps_the_template_of_the_tokenizer(tmp_path):
    tokenizer = Tokenizer.load("embedded")
    write(tmp_path, tokenizer, tiny_config(), "conversation")
    theirs: Any = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert theirs.chat_template == tokenizer.chat_template
