import dataclasses
import json
from typing import Any

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DataConfig, TextsConfig
from codepmp_jax.conversion.chat_template import make_template
from codepmp_jax.files.json_files import write_json
from codepmp_jax.records.schema import Candidate, PreferencePair, Problem
from codepmp_jax.records.shards import ShardedDataset, write_manifest, write_split
from codepmp_jax.text import forms
from codepmp_jax.text.forms import Refused, TextForm
from codepmp_jax.text.tokenization import Tokenizer

CHAT = (
    "{% for m in messages %}{% if m.content == 'no' %}{{ raise_exception('refuses no') }}{% endif %}"
    "<|{{ m.role }}|>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
STRINGS = PreferencePair("s", "2+2?", "4", "5")
PROBLEM = Problem("p", "2+2?", (Candidate("4"), Candidate("5")))


def message(role, content):
    return {"role": role, "content": content}


def conversation(*prompt, chosen="4", rejected="5"):
    answers = (json.dumps([message("assistant", text)]) for text in (chosen, rejected))
    return PreferencePair("c", json.dumps(prompt), *answers, is_conversation=True)


ONE_ROUND = conversation(message("user", "2+2?"))
TWO_ROUNDS = conversation(
    message("system", "Short."),
    message("user", "Hi"),
    message("assistant", "Hello"),
    message("user", "2+2?"),
)


@pytest.fixture(scope="module")
def tokenizer():
    return dataclasses.replace(Tokenizer.load("embedded"), chat_template=CHAT)


def written(form: Any, item, tokenizer):
    return [text.text for text in TextForm(form).texts(item, tokenizer)]


@pytest.mark.parametrize(
    "item", [STRINGS, ONE_ROUND, PROBLEM], ids=["strings", "messages", "problem"]
)
def test_one_question_has_one_text_whatever_it_comes_as(tokenizer, item):
    assert written("text", item, tokenizer) == [
        "Instruction:2+2?\n\nResponse:4",
        "Instruction:2+2?\n\nResponse:5",
    ]
    assert written("conversation", item, tokenizer) == [
        "<|user|>2+2?\n<|assistant|>4\n",
        "<|user|>2+2?\n<|assistant|>5\n",
    ]


def test_items_of_the_models_own_form_are_written_as_in_training(tokenizer):
    form: Any
    for item, form in (
        (STRINGS, "text"),
        (ONE_ROUND, "conversation"),
        (TWO_ROUNDS, "conversation"),
    ):
        trained = tokenizer.format_pair(item, DataConfig.template)
        for ours, theirs in zip(TextForm(form).texts(item, tokenizer), trained, strict=True):
            assert (ours.text, ours.add_special_tokens) == (theirs.text, theirs.add_special_tokens)
        assert written("both", item, tokenizer) == [text.text for text in trained]


def test_conversations_as_rows_are_those_of_the_converted_folders_template(tokenizer):
    data = DataConfig()
    converted = dataclasses.replace(tokenizer, chat_template=make_template(tokenizer, data))
    for item in (ONE_ROUND, TWO_ROUNDS):
        assert written("text", item, tokenizer) == written("conversation", item, converted)


@pytest.mark.parametrize(
    ("form", "item", "said"),
    [
        ("conversation", conversation(message("user", "no")), "refuses no"),
        ("conversation", Problem("p", "no", (Candidate("4"),)), "refuses no"),
        ("conversation", conversation(message("user", "2+2?"), rejected="no"), "refuses no"),
        ("text", conversation(message("tool", "2")), "in turn"),
        ("text", conversation(message("assistant", "2")), "in turn"),
        (
            "text",
            conversation(message("user", [{"type": "text", "text": "x"}])),
            "must be a string",
        ),
        ("text", conversation({"role": "user"}), "content"),
        ("both", PROBLEM, "either way"),
        ("text", PreferencePair("c", "{", "[]", "[]", is_conversation=True), "Expecting"),
    ],
)
def test_what_cannot_be_written_is_refused(tokenizer, form, item, said):
    with pytest.raises(Refused, match=said):
        TextForm(form).texts(item, tokenizer)


@pytest.mark.parametrize("form", ["text", "conversation"])
def test_half_a_surrogate_pair_is_written_as_a_replacement(tokenizer, form):
    halves = Problem("a", "p\ud83d", (Candidate("x\udc00y"), Candidate("😀")))
    whole = Problem("a", "p\ufffd", (Candidate("x\ufffdy"), Candidate("😀")))
    assert written(form, halves, tokenizer) == written(form, whole, tokenizer)


def test_pairs_of_the_other_form_are_known(tokenizer):
    assert [TextForm(form).rewrites(STRINGS) for form in ("text", "conversation", "both")] == [
        False,
        True,
        False,
    ]
    assert [TextForm(form).rewrites(ONE_ROUND) for form in ("text", "conversation", "both")] == [
        True,
        False,
        False,
    ]
    assert not TextForm("conversation").rewrites(PROBLEM)


# --- what a model was trained on ------------------------------------------------------------------


def write_pairs(folder, kinds, num_shards=1):
    pairs = [PreferencePair(str(i), "[]", "[]", "[]", kind) for i, kind in enumerate(kinds)]
    shards = write_split(folder, "train", pairs, num_shards)
    write_manifest(folder, PreferencePair, {"train": shards}, {})
    return str(folder)


@pytest.mark.parametrize(
    ("kinds", "form"),
    [
        ([False] * 300, "text"),
        ([True] * 3, "conversation"),
        # Sorted by kind.
        ([False] * 200 + [True] * 100, "both"),
    ],
)
def test_pairs_are_sampled_over_the_data_set(tmp_path, kinds, form):
    source = write_pairs(tmp_path, kinds, num_shards=3)
    assert forms.of_records(ShardedDataset(source, PreferencePair, "train")) == form


def test_a_run_says_its_form_or_else_its_pairs_do(tmp_path, caplog):
    data = DataConfig(
        input=write_pairs(tmp_path / "pairs", [True]), template="{prompt}|{response}", max_length=7
    )
    run = tmp_path / "run"
    assert forms.read_run(run, data) == TextForm("conversation", "{prompt}|{response}", False, 7)
    assert caplog.text == ""
    gone = dataclasses.replace(data, input=str(tmp_path / "gone"))
    assert forms.read_run(run, gone).form == "text"
    assert "taken for one on strings" in caplog.text
    # Data that cannot be read is as good as gone.
    for name in ("nowhere", "broken"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken" / "manifest.json").write_text("{")
    for source in (str(tmp_path / "broken"), "gs:///", str(tmp_path / "nowhere")):
        assert forms.find_records(source, 9) == []
    own = TextForm("both", "{prompt}{response}", True, 9)
    forms.write_form(run, own)
    assert forms.read_run(run, data) == own
    write_json(run / forms.FILE, {"form": "poem"})
    with pytest.raises(UserError, match=r"texts\.json: does not say how .*form: .*Remedy"):
        forms.read_run(run, data)


def test_settings_take_precedence():
    trained = TextForm("conversation", "{prompt}{response}", True, 9)
    assert forms.of_settings(TextsConfig(), trained, "m") == trained
    given = TextsConfig(template="{prompt} {response}", max_length=3, append_eos=False)
    assert forms.of_settings(given, trained, "m") == TextForm(
        "text", "{prompt} {response}", False, 3
    )
    given = TextsConfig(form="conversation", template="{prompt} {response}")
    assert forms.of_settings(given, trained, "m").form == "conversation"
    with pytest.raises(UserError, match=r"texts\.template = None: must be given: m has neither"):
        forms.of_settings(TextsConfig(form="text"), None, "m")
    assert forms.of_settings(given, None, "m", 12).max_length == 12
    with pytest.raises(UserError, match=r"texts\.template = 'x'"):
        TextsConfig(template="x")
