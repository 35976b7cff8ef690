from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import TrainConfig
from codepmp_jax.conversion.tokenizer_files import write
from codepmp_jax.conversion.verify_tokens import verify_tokens
from codepmp_jax.families import FAMILIES
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.records.shards import write_manifest, write_split
from codepmp_jax.text.tokenization import Tokenizer
from tests.training.reference import tiny_config

SPECIAL = ["<unk>", "<s>", "</s>", "<pad>", "[INST]"]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.content == 'no' %}{{ raise_exception('No.') }}{% endif %}"
    "{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}\n{% endif %}"
    "{% endfor %}"
)
CORPUS = [path.read_text() for path in pathlib.Path(__file__).parent.glob("test_[r-w]*.py")]


def sentencepiece(backend: tokenizers.Tokenizer) -> None:
    """As Llama 2's: a space before every segment, by the normalizer."""
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )


def metaspace(backend: tokenizers.Tokenizer) -> None:
    """As Mistral's: a space before a text, but not after a special token."""
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)


def gemma(backend: tokenizers.Tokenizer) -> None:
    """As Gemma's: no space before a text."""
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")


def byte_level(backend: tokenizers.Tokenizer) -> None:
    """As Llama 3's and Qwen's, but with digits apart and lower case."""
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()


KINDS = {make.__name__: make for make in (sentencepiece, metaspace, gemma, byte_level)}
# Entries by which transformers would give other tokens.
MISLEADING: dict[str, Any] = {
    "add_bos_token": False,
    "add_eos_token": True,
    "add_prefix_space": True,
    "legacy": True,
    "split_special_tokens": True,
    "additional_special_tokens": ["[INST]", "def"],
    "mask_token": "<mask>",
    "cls_token": "return",
    "added_tokens_decoder": {
        "9": {"content": "import", "special": True, "lstrip": True, "rstrip": True}
    },
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Kind -> folder of a tokenizer."""
    folders = {}
    for name, prepare in KINDS.items():
        backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
        prepare(backend)
        special = SPECIAL + [f"<0x{byte:02X}>" for byte in range(256)]
        trainer: Any = trainers.BpeTrainer(
            vocab_size=700, special_tokens=special, show_progress=False
        )
        backend.train_from_iterator(CORPUS, trainer)
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
        )
        folders[name] = tmp_path_factory.mktemp(name)
        backend.save(str(folders[name] / "tokenizer.json"))
    return folders


def load(folder, tmp_path, **settings) -> Tokenizer:
    """The tokenizer with these entries of tokenizer_config.json."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (own / "tokenizer_config.json").write_text(json.dumps(names | settings))
    (own / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    return Tokenizer.load(str(own))


def pairs_config(tmp_path, family="llama", form="text", **changes) -> TrainConfig:
    """A run's config, with pairs of either form; one of the conversations is refused."""

    def message(role: str, content: str) -> str:
        return json.dumps([{"role": role, "content": content}])

    prompts = [source[i : i + 40] for source in CORPUS for i in range(0, 800, 40)] + ["no"]
    if form == "text":
        pairs = [PreferencePair(str(i), p, f" {p}", p.upper()) for i, p in enumerate(prompts)]
    else:
        pairs = [
            PreferencePair(
                str(i),
                message("user", p),
                message("assistant", f" {p}"),
                message("assistant", "b"),
                True,
            )
            for i, p in enumerate(prompts)
        ]
    folder = tmp_path / "pairs"
    write_manifest(folder, PreferencePair, {"train": write_split(folder, "train", pairs, 2)}, {})
    config = tiny_config(data__input=str(folder), **changes)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, family=family))


def convert(tmp_path, tokenizer, config, form) -> pathlib.Path:
    folder = tmp_path / "folder"
    folder.mkdir(exist_ok=True)
    write(folder, tokenizer, config, form)
    (folder / "config.json").write_text(json.dumps({"model_type": config.model.family}))
    return folder


@pytest.mark.parametrize("form", ["text", "conversation"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_the_tokens_of_any_tokenizer(made, tmp_path, family, kind, form):
    class_name = {"gemma2": "GemmaTokenizer", "qwen2": "Qwen2Tokenizer"}.get(
        family, "LlamaTokenizer"
    )
    tokenizer = load(made[kind], tmp_path, tokenizer_class=class_name, **MISLEADING)
    config = pairs_config(tmp_path, family, form)
    check = verify_tokens(convert(tmp_path, tokenizer, config, form), tokenizer, config, form)
    assert check.messages.num_rows > 100
    assert check.texts.num_rows == 5 + (check.messages.num_rows if form == "text" else 0)


@pytest.mark.parametrize("append_eos", [False, True])
@pytest.mark.parametrize(
    "template",
    [CHAT_TEMPLATE, "\n  " + CHAT_TEMPLATE + "\n   ", CHAT_TEMPLATE + "{{ eos_token }}\n\n"],
)
def test_conversations_end_in_one_eos_where_training_appends_it(
    made, tmp_path, append_eos, template
):
    tokenizer = load(made["byte_level"], tmp_path)
    tokenizer = dataclasses.replace(tokenizer, chat_template=template)
    config = pairs_config(tmp_path, form="conversation", data__append_eos=append_eos)
    folder = convert(tmp_path, tokenizer, config, "conversation")
    theirs: Any = AutoTokenizer.from_pretrained(folder)
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    text = theirs.apply_chat_template(messages, tokenize=False)
    assert text.count("</s>") == int(append_eos or "eos_token" in template)
    assert text.startswith(tokenizer.render(messages))
    start = theirs.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    assert start == tokenizer.render(messages[:1], add_generation_prompt=True)


def test_a_special_token_outside_of_the_vocabulary_is_written_as_text(made, tmp_path):
    tokenizer = load(made["byte_level"], tmp_path, bos_token="<begin>")
    config = pairs_config(tmp_path, form="conversation")
    folder = convert(tmp_path, tokenizer, config, "conversation")
    verify_tokens(folder, tokenizer, config, "conversation")
    theirs: Any = AutoTokenizer.from_pretrained(folder)
    assert len(theirs) == tokenizer.backend.get_vocab_size()


@pytest.mark.parametrize("form", ["text", "conversation"])
def test_other_tokens_are_found_and_counted(made, tmp_path, form):
    tokenizer = load(made["sentencepiece"], tmp_path)
    config = pairs_config(tmp_path, form=form)
    folder = convert(tmp_path, tokenizer, config, form)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"tokenizer_class": "GemmaTokenizer"}))
    said = r"tokenizer\(text\) of AutoTokenizer \(GemmaTokenizer\) gives other tokens .* in \d+ of \d+ rows"
    with pytest.raises(UserError, match=said):
        verify_tokens(folder, tokenizer, config, form)
    path.write_text(json.dumps(settings | {"chat_template": "{{ messages[0]['content'] }}"}))
    with pytest.raises(
        UserError, match=r"apply_chat_template .* in (\d+) of \1 rows; the first is"
    ):
        verify_tokens(folder, tokenizer, config, form)
    path.write_text(json.dumps(settings | {"chat_template": "{{ raise_exception('Never.') }}"}))
    with pytest.raises(UserError, match="Never"):
        verify_tokens(folder, tokenizer, config, form)
