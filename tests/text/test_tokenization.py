"""The tokenizer: its folder, its contract on pad and EOS, and where a response begins."""

import json
import pathlib
import pickle

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from codepmp_jax.cli.errors import UserError
from codepmp_jax.files import hub
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.text.tokenization import Text, Tokenizer

TEMPLATE = "Instruction:{prompt}\n\nResponse:{response}"
SPECIAL = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def train(trim_offsets: bool = True, **parts) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["def foo(self): return self.bar  # 日本語 日本 🙂🙂"] * 3, trainer)
    for name, part in parts.items():
        setattr(backend, name, part)
    return backend


def write(folder: pathlib.Path, backend: tokenizers.Tokenizer, **settings) -> pathlib.Path:
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    defaults = {"pad_token": "<|pad|>", "eos_token": "<|endoftext|>", "chat_template": CHATML}
    (folder / "tokenizer_config.json").write_text(json.dumps(defaults | settings))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    return write(tmp_path_factory.mktemp("tokenizer"), train())


@pytest.fixture(scope="module")
def tokenizer(folder) -> Tokenizer:
    return Tokenizer.load(str(folder))


def token_bytes(tokenizer: Tokenizer, tokens) -> bytes:
    """The bytes behind byte-level tokens, also where they cut a character in two."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    kept = [b for b in range(256) if chr(b) in alphabet]
    others = [b for b in range(256) if chr(b) not in alphabet]
    of_char = {chr(b): b for b in kept} | {chr(256 + i): b for i, b in enumerate(others)}
    result = b""
    for token in tokens:
        piece = tokenizer.backend.id_to_token(int(token))
        assert piece is not None
        result += piece.encode() if piece in SPECIAL else bytes(of_char[char] for char in piece)
    return result


# --- the response's first token -------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(
    st.text(alphabet="ab 日🙂é\n\t:", max_size=12) | st.text(max_size=8),
    st.text(alphabet="ab 日🙂é\n\t:", max_size=12) | st.text(max_size=8),
)
def test_response_tokens_hold_no_byte_of_the_prompt(tokenizer, prompt, response):
    (row,) = tokenizer.encode([Text(prompt + response, len(prompt))])
    assert token_bytes(tokenizer, row.tokens) == (prompt + response).encode()
    of_response = token_bytes(tokenizer, row.tokens[row.response_start :])
    assert response.encode().endswith(of_response)
    if row.response_start:
        # And no token more is left to the prompt than must be.
        before = token_bytes(tokenizer, row.tokens[row.response_start - 1 :])
        assert not response or len(before) > len(response.encode())


def test_token_across_the_boundary_is_the_prompts(tokenizer):
    for text, start, expected in [
        ("x foo", 1, " foo"),  # the token " foo" begins with the response
        ("x foo", 2, ""),  # " foo" straddles: its space is the prompt's, whatever trim_offsets says
        ("x foo", 3, ""),
        ("a🙂b", 1, "🙂b"),
        ("a🙂b", 2, "b"),
        ("日本語", 0, "日本語"),
        ("ab", 2, ""),
    ]:
        (row,) = tokenizer.encode([Text(text, start)])
        assert tokenizer.backend.decode(row.tokens[row.response_start :].tolist()) == expected


def test_trimmed_and_full_offsets_give_the_same_boundary(tmp_path):
    texts = [Text("x  foo bar", start) for start in range(11)]
    starts = []
    for trim in (True, False):
        path = write(tmp_path / str(trim), train(trim_offsets=trim))
        starts.append([row.response_start for row in Tokenizer.load(str(path)).encode(texts)])
    assert starts[0] == starts[1]


def test_character_composed_across_the_boundary_is_the_prompts(tmp_path):
    path = write(tmp_path, train(normalizer=normalizers.NFC()))
    tokenizer = Tokenizer.load(str(path))
    (row,) = tokenizer.encode([Text("e\u0301x", 1)])
    assert tokenizer.backend.decode(row.tokens[row.response_start :].tolist()) == "x"


def test_tokens_of_the_post_processor(tmp_path):
    added = [("<|im_start|>", 2), ("<|endoftext|>", 0)]
    template = processors.TemplateProcessing("<|im_start|> $A <|endoftext|>", special_tokens=added)
    tokenizer = Tokenizer.load(str(write(tmp_path, train(post_processor=template))))
    for text, start, add, expected in [
        ("ab", 0, True, 1),
        ("ab", 1, True, 2),
        ("ab", 2, True, 3),
        ("ab", 1, False, 1),
        ("", 0, True, 2),
    ]:
        (row,) = tokenizer.encode([Text(text, start, add)], append_eos=True)
        assert row.response_start == expected, text
        assert list(row.tokens).count(tokenizer.eos_id) == 1
        assert row.tokens[-1] == tokenizer.eos_id
    mixed = tokenizer.encode([Text("a", 0), Text("b", 0, False), Text("c", 0)])
    assert [len(row.tokens) for row in mixed] == [3, 1, 3]


def test_encode_counts_the_response_alone(tokenizer):
    text = tokenizer.format("p", " foo 🙂", TEMPLATE)
    (row,) = tokenizer.encode([text], response_alone=True)
    alone = tokenizer.backend.encode(" foo 🙂").ids
    assert row.num_response_tokens == len(alone)
    (row,) = tokenizer.encode([text], append_eos=True, response_alone=True)
    assert row.num_response_tokens == len(alone) + 1
    assert tokenizer.encode([text])[0].num_response_tokens is None
    assert tokenizer.encode([]) == []


def test_special_tokens_in_the_text_do_not_move_the_boundary(tokenizer):
    prompt = "a<|im_end|><|endoftext|>"
    (row,) = tokenizer.encode([Text(prompt + "b<|im_end|>", len(prompt))])
    assert token_bytes(tokenizer, row.tokens[row.response_start :]) == b"b<|im_end|>"


# --- texts ----------------------------------------------------------------------------------------


def test_format_leaves_braces_alone(tokenizer):
    text = tokenizer.format("{response} {x}", "{prompt} {y}", TEMPLATE)
    assert text.text == "Instruction:{response} {x}\n\nResponse:{prompt} {y}"
    assert text.text[text.response_start :] == "{prompt} {y}"


def conversation(prompt, chosen, rejected) -> PreferencePair:
    texts = [json.dumps(messages) for messages in (prompt, chosen, rejected)]
    return PreferencePair("id1", *texts, is_conversation=True)


USER = {"role": "user", "content": "2 + 2?"}


def test_conversations_go_through_the_chat_template(tokenizer):
    pair = conversation(
        [USER],
        [{"role": "assistant", "content": "4"}],
        [{"role": "assistant", "content": "five"}],
    )
    chosen, rejected = tokenizer.format_pair(pair, TEMPLATE)
    prompt = "<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n"
    assert chosen == Text(prompt + "4<|im_end|>\n", len(prompt), add_special_tokens=False)
    assert rejected.text == prompt + "five<|im_end|>\n"


def labels_of(tokenizer: Tokenizer, text: Text) -> str:
    """The text of the tokens that are labels."""
    (row,) = tokenizer.encode([text])
    is_label = np.arange(len(row.tokens)) >= row.response_start
    for first, stop in row.gaps:
        is_label[first:stop] = False
    return tokenizer.backend.decode(row.tokens[is_label].tolist(), skip_special_tokens=False)


def test_gaps_hold_each_token_that_is_not_all_the_assistants(tokenizer):
    # " self" and " foo" are tokens.
    for text, gap, labels in [
        ("x foo self bar", (5, 10), " foo bar"),
        ("x foo self bar", (4, 10), " bar"),
        ("x foo self bar", (5, 8), " foo bar"),
        ("x foo self bar", (9, 14), " foo"),
        ("x foo self bar", (1, 14), ""),
    ]:
        assert labels_of(tokenizer, Text(text, 1, gaps=(gap,))) == labels, (text, gap)


def test_a_token_across_the_boundary_is_remarked(tokenizer):
    for text, start, gaps, merged in [
        ("x foo", 1, (), False),
        ("x foo", 2, (), True),
        ("x foo", 5, (), False),
        ("x foo self bar", 1, ((5, 10),), False),
        ("x foo self bar", 1, ((5, 8),), True),
    ]:
        (row,) = tokenizer.encode([Text(text, start, gaps=gaps)])
        assert ("merged" in row.remarks) is merged, (text, start, gaps)


def test_an_answer_keeps_the_first_word_that_merges_with_white_space_of_the_prompt(tokenizer):
    for text, start, of_string, of_conversation in [
        ("x foo", 2, "", " foo"),
        ("x foo", 3, "", ""),
        ("xfoo", 1, "foo", "foo"),
    ]:
        found = [labels_of(tokenizer, Text(text, start, is_string)) for is_string in (True, False)]
        assert found == [of_string, of_conversation]
    turn = Text("x foo self", 1, False, ((4, 6),))
    assert labels_of(tokenizer, turn).endswith(" self")


def test_eos_is_appended_once(tmp_path):
    """Whatever wrote the first one: the text, the chat template, a line break after it, the post-processor."""
    folder = write(tmp_path / "im_end", train(), eos_token="<|im_end|>")
    chat = Tokenizer.load(str(folder))
    pair = conversation([USER], [{"role": "assistant", "content": "4"}], [])
    text, _ = chat.format_pair(pair, TEMPLATE)
    plain, appended = (chat.encode([text], append_eos=append)[0] for append in (False, True))
    assert plain.tokens.tolist() == appended.tokens.tolist()
    assert appended.tokens.tolist().count(chat.eos_id) == 2  # of the two messages
    for response, count in [
        ("a", 1),
        ("a<|im_end|>", 1),
        ("a<|im_end|>\n", 1),
        ("a<|im_end|> \n\t", 1),
        ("<|im_end|>", 1),
        ("a<|im_end|>b", 2),
        ("a<|im_end|>.\n", 2),
        (" \n", 1),
    ]:
        (row,) = chat.encode(
            [chat.format("p", response, TEMPLATE)], append_eos=True, response_alone=True
        )
        assert row.tokens.tolist().count(chat.eos_id) == count, response
        assert row.tokens[-1] == chat.eos_id or response.rstrip().endswith("<|im_end|>")
        alone = len(chat.backend.encode(response).ids)
        assert row.num_response_tokens == alone + (not response.rstrip().endswith("<|im_end|>"))


def test_the_rest_of_a_conversation_is_refused_only_as_a_whole(tmp_path):
    """A template that does not take the prompt alone still gives the rows of the whole conversation."""
    template = (
        "{% if messages[-1].role != 'assistant' %}{{ raise_exception('no answer') }}{% endif %}"
        + CHATML
    )
    tokenizer = Tokenizer.load(str(write(tmp_path, train(), chat_template=template)))
    pair = conversation([USER], [{"role": "assistant", "content": "4"}], [USER])
    with pytest.raises(UserError, match="pair id1: no answer"):
        tokenizer.format_pair(pair, TEMPLATE)
    answer = [{"role": "assistant", "content": "4"}]
    chosen, _ = tokenizer.format_pair(conversation([USER], answer, answer), TEMPLATE)
    assert labels_of(tokenizer, chosen) == "4<|im_end|>\n"


def test_chat_template_renders_as_in_transformers(tmp_path):
    template = (
        "{{ bos_token }}{% for m in messages %}\n    {% if m.role == 'stop' %}\n"
        "{{ raise_exception('no stop') }}\n    {% endif %}\n{{ m | tojson }}{{ 'é<' | tojson }}"
        "{% generation %}{{ m.content }}{% endgeneration %}{% continue %}{% endfor %}"
        "{{ strftime_now('%%') }}{% if tools is none %}!{% endif %}"
    )
    bos = {"__type": "AddedToken", "content": "<|im_start|>"}
    path = write(tmp_path, train(), bos_token=bos, chat_template=template)
    tokenizer = Tokenizer.load(str(path))
    chosen, _ = tokenizer.format_pair(conversation([USER], [], []), TEMPLATE)
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert chosen.text == theirs.apply_chat_template([USER], tokenize=False)
    with pytest.raises(UserError, match="pair id1: no stop"):
        tokenizer.format_pair(conversation([{"role": "stop", "content": ""}], [], []), TEMPLATE)


def test_conversation_without_chat_template_is_refused(tmp_path):
    tokenizer = Tokenizer.load(str(write(tmp_path, train(), chat_template=None)))
    with pytest.raises(
        UserError, match=r"pair id1: .*no chat template. Remedy: put a chat_template"
    ):
        tokenizer.format_pair(conversation([USER], [], []), TEMPLATE)


# --- folders --------------------------------------------------------------------------------------


def test_pad_and_eos(tmp_path):
    def load(**settings) -> Tokenizer:
        return Tokenizer.load(str(write(tmp_path / str(len(settings)), train(), **settings)))

    tokenizer = load()
    assert (tokenizer.eos_id, tokenizer.pad_id) == (0, 1)
    assert tokenizer.vocab_size == tokenizer.backend.get_vocab_size()
    assert load(pad_token={"content": "<|im_end|>", "lstrip": False}).pad_id == 3
    fallback = load(pad_token=None, chat_template="")
    assert fallback.pad_id == fallback.eos_id == 0
    fallback.encode([Text("a", 0)])
    with pytest.raises(UserError, match=r"same token \(<\|endoftext\|>\).*Remedy: set another pad"):
        fallback.encode([Text("a", 0)], append_eos=True)
    no_eos = load(eos_token=None, a=1, b=2)
    with pytest.raises(UserError, match="no eos_token"):
        no_eos.encode([Text("a", 0)], append_eos=True)
    with pytest.raises(UserError, match="set pad_token"):
        load(eos_token="<nowhere>", pad_token=None, a=1, b=2)


def test_special_tokens_map_and_jinja_file(tmp_path):
    path = write(tmp_path, train(), chat_template=None)
    (path / "tokenizer_config.json").write_text("{}")
    special = {"eos_token": "<|endoftext|>", "pad_token": {"content": "<|pad|>"}}
    (path / "special_tokens_map.json").write_text(json.dumps(special))
    (path / "chat_template.jinja").write_text(CHATML)
    tokenizer = Tokenizer.load(str(path))
    assert (tokenizer.eos_id, tokenizer.pad_id, tokenizer.chat_template) == (0, 1, CHATML)


def test_qwen2_folder(tmp_path):
    """Qwen2's layout: NFC, a split before byte level, pad = <|endoftext|>, no post-processing."""
    qwen2 = train(normalizer=normalizers.NFC())
    split = pre_tokenizers.Split(tokenizers.Regex(r"\s?\p{L}+|\S|\s+"), "isolated")
    qwen2.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    path = write(tmp_path, qwen2, pad_token="<|endoftext|>", eos_token="<|im_end|>", bos_token=None)
    tokenizer = Tokenizer.load(str(path))
    assert (tokenizer.pad_id, tokenizer.eos_id) == (0, 3)
    (row,) = tokenizer.encode([Text("a foo", 1)], append_eos=True)
    assert tokenizer.backend.decode(row.tokens[row.response_start : -1].tolist()) == " foo"


def test_truncation_and_padding_of_the_folder_are_off(tmp_path):
    backend = train()
    backend.enable_truncation(3)
    backend.enable_padding(length=8)
    tokenizer = Tokenizer.load(str(write(tmp_path, backend)))
    lengths = [len(row.tokens) for row in tokenizer.encode([Text("012345", 0), Text("q", 0)])]
    assert lengths == [6, 1]


def test_saved_folder_opens_with_transformers(tokenizer, tmp_path):
    from transformers import AutoTokenizer

    tokenizer.save(tmp_path / "saved")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "saved")
    text = "def foo(self): 日本🙂 <|im_end|>"
    (row,) = tokenizer.encode([Text(text, 0)])
    assert theirs(text)["input_ids"] == row.tokens.tolist()
    assert (theirs.pad_token_id, theirs.eos_token_id) == (tokenizer.pad_id, tokenizer.eos_id)
    pair = conversation([USER], [{"role": "assistant", "content": "4"}], [])
    messages = [USER, {"role": "assistant", "content": "4"}]
    rendered = theirs.apply_chat_template(messages, tokenize=False)
    assert rendered == tokenizer.format_pair(pair, TEMPLATE)[0].text
    again = Tokenizer.load(str(tmp_path / "saved"))
    assert np.array_equal(again.encode([Text(text, 0)])[0].tokens, row.tokens)


def test_pickled_tokenizer_encodes_alike(tokenizer):
    copy = pickle.loads(pickle.dumps(tokenizer))
    texts = [Text("def foo", 3)]
    assert np.array_equal(copy.encode(texts)[0].tokens, tokenizer.encode(texts)[0].tokens)


def test_embedded_tokenizer():
    tokenizer = Tokenizer.load("embedded")
    assert tokenizer.vocab_size == 4096
    assert tokenizer.require_eos() == tokenizer.backend.token_to_id("<|endoftext|>")
    assert tokenizer.pad_id == tokenizer.backend.token_to_id("<|pad|>")
    assert tokenizer.chat_template


def test_folders_that_hold_no_tokenizer(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no such folder"):
        Tokenizer.load(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"no tokenizer.json. Remedy: give the folder"):
        Tokenizer.load(str(tmp_path))
    (tmp_path / "merges.txt").touch()
    with pytest.raises(UserError, match=r"no tokenizer.json, but merges.txt. Remedy: save it anew"):
        Tokenizer.load(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"tokenizer.json: not a tokenizer"):
        Tokenizer.load(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="not a tokenizer"):
        Tokenizer.load(str(tmp_path))
    write(tmp_path, train(), chat_template="{% for %}")
    with pytest.raises(UserError, match="chat template is no Jinja template"):
        Tokenizer.load(str(tmp_path))
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(UserError, match=r"tokenizer_config.json: not JSON"):
        Tokenizer.load(str(tmp_path))


def test_hub_names_download_the_tokenizers_files_only(folder, monkeypatch):
    import huggingface_hub

    asked = {}

    def snapshot_download(name, allow_patterns):
        asked[name] = allow_patterns
        if name == "owner/none":
            raise OSError("offline")
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(hub, "WAITS", ())
    assert Tokenizer.load("owner/some").eos_id == 0
    assert all("token" in name or "chat" in name for name in asked["owner/some"])
    with pytest.raises(UserError, match=r"owner/none.*hub cannot be reached \(OSError: offline\)"):
        Tokenizer.load("owner/none")
