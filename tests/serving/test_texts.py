"""The rows of a request are those of `evaluate score`."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
import tokenizers

from codepmp_jax.evaluation.scorers.scoring import tokenize
from codepmp_jax.records.schema import Candidate, Problem
from codepmp_jax.serving.texts import TextReader, distinct
from codepmp_jax.text import forms
from codepmp_jax.text.forms import Refused, TextForm
from codepmp_jax.text.tokenization import Tokenizer
from tests.evaluation.conftest import write_reward_model

PROMPT = "a b c"
RESPONSES = ["d e", "f", "g h i", "d e"]
CHAT = (
    "{% for message in messages %}{{ message.role[0] }} : {{ message.content }} <eos>\n{% endfor %}"
)


class Model:
    """What `tokenize` asks of a scorer."""

    is_main = False
    num_computed = 0

    def __init__(self, reader: TextReader):
        self.facts: dict[str, Any] = {}
        self.tokenizer, self.form, self.vocab_size = (
            reader.tokenizer,
            reader.form,
            reader.vocab_size,
        )

    def rewards(self, rows):
        raise NotImplementedError

    def agreed(self, values):
        raise NotImplementedError


def make_reader(folder, *, form: forms.Form = "text", **changes) -> TextReader:
    if form == "conversation":
        (folder / "chat_template.jinja").write_text(CHAT)
    tokenizer = Tokenizer.load(str(folder))
    trained = forms.read_folder(folder, tokenizer)
    assert trained is not None
    settings = {"template": trained.template, "append_eos": True, "max_length": 64} | changes
    return TextReader(tokenizer, TextForm(form, **settings), vocab_size=21)


@pytest.fixture(params=["text", "conversation"])
def reader(request, tmp_path):
    return make_reader(write_reward_model(tmp_path), form=request.param)


def scored(reader: TextReader) -> list[list[int]]:
    """The rows of `evaluate score`."""
    candidates = tuple(Candidate(response) for response in RESPONSES)
    texts = tokenize([Problem("one", PROMPT, candidates=candidates)], Model(reader))
    return [texts.rows[row].tolist() for row in texts.row_of]


def as_lists(rows) -> list[list[int]]:
    assert all(row.dtype == np.int32 for row in rows.rows)
    return [row.tolist() for row in rows.rows]


def test_prompts_and_responses_are_written_as_evaluate_score_writes_them(reader):
    again = pickle.loads(pickle.dumps(reader))
    given = [PROMPT] * len(RESPONSES)
    assert as_lists(again.answers(given, RESPONSES)) == scored(reader)
    messages = [[{"role": "user", "content": PROMPT}]] * len(RESPONSES)
    answers = [[{"role": "assistant", "content": response}] for response in RESPONSES]
    assert as_lists(again.answers(messages, answers)) == scored(reader)


@pytest.mark.parametrize("around", ["{}", "<pad><pad>{}<eos><pad>", "{} <eos>", "<pad>{}<pad>"])
def test_queries_that_sampling_padded_give_the_same_rows(reader, around):
    """As OpenRLHF decodes them: the template applied, special tokens left in."""
    if reader.form.form == "conversation":
        start = f"u : {PROMPT} <eos>\na : "
    else:
        start = reader.form.template.removesuffix("{response}").replace("{prompt}", PROMPT)
    queries = [around.format(start + response) for response in RESPONSES]
    assert as_lists(reader.whole(queries)) == scored(reader)
    rendered = [f"{start}{response} <eos>\n" for response in RESPONSES]
    assert as_lists(reader.whole(rendered)) == scored(reader)


# As Gemma's, whose turns end in a token that is not EOS; the template writes BOS.
TURNS = (
    "{{ bos_token }}{% for message in messages %}<turn>{{ message.role[0] }} : {{ message.content }}<end>\n"
    "{% endfor %}"
)


def write_tokenizer(folder, *, eos: str, has_bos: bool):
    """Replaces the tokenizer of a tiny model by one with tokens of turns; where it has a BOS, it writes one."""
    special = ["<eos>", "<pad>", "<bos>", "<turn>", "<end>"]
    vocab = {word: id_ for id_, word in enumerate([*special, "u", "p", *"abcdefghiQA:"])}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token="p"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(special)
    settings = {"eos_token": eos, "pad_token": "<pad>"}
    if has_bos:
        settings["bos_token"] = "<bos>"
        backend.post_processor = tokenizers.processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", vocab["<bos>"])]
        )
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


@pytest.mark.parametrize("has_bos", [True, False])
@pytest.mark.parametrize("eos", ["<eos>", "<end>"])
@pytest.mark.parametrize("append_eos", [True, False])
def test_queries_end_once_wherever_sampling_stopped(tmp_path, eos, has_bos, append_eos):
    folder = write_reward_model(tmp_path)
    write_tokenizer(folder, eos=eos, has_bos=has_bos)
    bos = "<bos>" if has_bos else ""
    ends = ["", "<end>", eos, "<end>\n", "<end>\n<pad>", f"<end>\n{eos}", f"<end>{eos}<pad>"]

    rows = make_reader(folder, append_eos=append_eos)
    start = rows.form.template.removesuffix("{response}").replace("{prompt}", PROMPT)
    for end in [*ends[:3], f"<end>{eos}<pad>", "<turn>"]:
        for query_start in {start, bos + start}:
            queries = [f"{query_start}{response}{end}" for response in RESPONSES]
            assert as_lists(rows.whole(queries)) == scored(rows)
        queries = [f"{PROMPT} {response}{end}" for response in RESPONSES]
        assert as_lists(rows.split(queries, [PROMPT] * len(queries))) == scored(rows)

    (folder / "chat_template.jinja").write_text(TURNS)
    tokenizer = Tokenizer.load(str(folder))
    turns = TextReader(tokenizer, TextForm("conversation", append_eos=append_eos), vocab_size=21)
    for end in ends:
        queries = [f"{bos}<turn>u : {PROMPT}<end>\n<turn>a : {text}{end}" for text in RESPONSES]
        assert as_lists(turns.whole(queries)) == scored(turns)


def test_queries_can_be_split_at_their_prompts(reader):
    queries = [f"<pad>{PROMPT}{response}<eos>" for response in RESPONSES]
    given = [PROMPT] * len(RESPONSES)
    assert as_lists(reader.split(queries, given)) == scored(reader)
    with pytest.raises(Refused, match="text 0: the query does not begin with its prompt"):
        reader.split(queries, ["x"] * len(RESPONSES))
    with pytest.raises(Refused, match="4 queries and 0 prompts"):
        reader.split(queries, [])


def test_long_texts_are_cut_and_said(tmp_path):
    reader = make_reader(write_reward_model(tmp_path), max_length=6, append_eos=False)
    rows = reader.answers(["a", "a b c d"], ["b", "c"])
    assert rows.is_cut == [False, True]
    assert list(map(len, rows.rows)) == [6, 6]
    assert reader.tokens([[2, 3], list(range(9))]).is_cut == [False, True]


def test_what_has_no_reward_is_refused_by_name(tmp_path):
    reader = make_reader(write_reward_model(tmp_path), append_eos=False)
    with pytest.raises(Refused, match="text 1: has no tokens"):
        reader.whole(["a", ""])
    with pytest.raises(Refused, match="text 0: the model has 21 tokens"):
        reader.tokens([[21]])
    with pytest.raises(Refused, match="negative"):
        reader.tokens([[3], [-1]])
    with pytest.raises(Refused, match="2 prompts and 1 responses"):
        reader.answers(["a", "b"], ["c"])
    with pytest.raises(Refused, match="text 0: "):
        reader.answers([[{"role": "user"}]], ["a"])
    with pytest.raises(Refused, match="half of a surrogate pair"):
        reader.whole(["a \ud800"])


def test_equal_rows_are_found():
    rows = [np.array(row, np.int32) for row in ([1, 2], [3], [1, 2], [1])]
    unique, own = distinct(rows)
    assert [row.tolist() for row in unique] == [[1, 2], [3], [1]]
    assert own == [0, 1, 0, 2]
