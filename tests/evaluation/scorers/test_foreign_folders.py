"""Reward models that no conversion of ours wrote, as they are published."""

import json

import numpy as np
import pytest
import tokenizers
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import ScoreConfig, ScorerConfig, TextsConfig
from codepmp_jax.evaluation.scorers import scoring
from codepmp_jax.evaluation.scorers.torch_scorer import TorchScorer
from codepmp_jax.evaluation.scores import read_meta
from codepmp_jax.files.json_files import write_lines
from codepmp_jax.records.schema import Candidate, Problem
from codepmp_jax.records.scores import read_scores
from tests.evaluation.conftest import WORDS

CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] == 'user' and 'Q :' or 'A :' }} {{ m['content'] | trim }} "
    "{% if not loop.last %}{% else %}<eos>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}A : {% endif %}"
)
PAIRS = [
    {"prompt": "a b", "chosen": "c d", "rejected": "e"},
    {"prompt": "f", "chosen": "g h i", "rejected": "b b"},
]
FAMILIES = {
    "llama": {},
    "qwen2": {},
    "gemma2": {"head_dim": 8, "hidden_activation": "gelu_pytorch_tanh"},
}


def publish(
    folder,
    family="llama",
    dtype=torch.bfloat16,
    shard="5GB",
    num_labels=1,
    pad: str | None = "<pad>",
    **more,
):
    """A tiny random reward model as save_pretrained leaves it: weights, tokenizer, chat template."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family,
        vocab_size=len(WORDS),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.3,
        num_labels=num_labels,
        pad_token_id=None if pad is None else WORDS.index(pad),
        **{**FAMILIES.get(family, {}), **more},
    )
    network = AutoModelForSequenceClassification.from_config(config).to(dtype)
    network.save_pretrained(folder, max_shard_size=shard)
    vocab = {word: place for place, word in enumerate(WORDS)}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token="p"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(["<eos>", "<pad>"])
    backend.save(str(folder / "tokenizer.json"))
    names = {"eos_token": "<eos>", "tokenizer_class": "PreTrainedTokenizerFast"}
    names |= {} if pad is None else {"pad_token": pad}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    return folder


def score(folder, rows, tmp_path, **settings):
    """(rewards by item and index, meta) of the command."""
    write_lines(tmp_path / "items.jsonl", rows)
    output = tmp_path / "scores.jsonl"
    scorer = settings.pop("scorer", ScorerConfig(device="cpu", batch_tokens=64))
    scoring.run(
        ScoreConfig(
            model=str(folder),
            input=str(tmp_path / "items.jsonl"),
            output=str(output),
            texts=TextsConfig(**settings),
            scorer=scorer,
        )
    )
    return [score.reward for score in read_scores(output)], read_meta(output)


def as_its_card_says(folder, prompt, response):
    """The reward by transformers alone: apply_chat_template, then the classifier."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    # With several labels or no pad token, one text at a time still works.
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    batch = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)
    network.config.pad_token_id = None
    with torch.inference_mode():
        return network(input_ids=batch["input_ids"]).logits[0, 0].item()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model").mkdir()
    return tmp_path / "model"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shard", ["5GB", "20KB"])
def test_a_published_model_is_scored_by_its_chat_template(folder, tmp_path, family, shard, capsys):
    publish(folder, family, shard=shard)
    assert (len(list(folder.glob("*.safetensors"))) > 1) == (shard == "20KB")
    rewards, meta = score(folder, PAIRS, tmp_path)
    expected = [
        as_its_card_says(folder, p["prompt"], p[side])
        for p in PAIRS
        for side in ("chosen", "rejected")
    ]
    assert np.std(expected) > 0.05
    np.testing.assert_allclose(rewards, expected, atol=1e-4)
    assert (meta["form"], meta["max_length"], meta["num_rewritten"]) == ("conversation", 64, 2)
    out = capsys.readouterr().out
    assert "texts are written by the chat template, of at most 64 tokens" in out
    assert "2 pairs rewritten in the model's form" in out


def test_problems_are_written_by_the_chat_template_too(folder, tmp_path):
    publish(folder)
    problem = Problem("p", "a b", (Candidate("c d"), Candidate("e")))
    rewards, _ = score(folder, [json.loads(problem.to_json())], tmp_path)
    np.testing.assert_allclose(
        rewards, [as_its_card_says(folder, "a b", r) for r in ("c d", "e")], atol=1e-4
    )


def test_settings_take_the_place_of_what_the_folder_says(folder, tmp_path):
    publish(folder)
    rewards, meta = score(
        folder,
        PAIRS,
        tmp_path,
        template="Q : {prompt} A : {response}",
        append_eos=True,
        max_length=5,
    )
    assert (meta["form"], meta["max_length"], meta["append_eos"]) == ("text", 5, True)
    assert meta["num_truncated"] == 4
    # Cut to `Q : a b A`.
    assert rewards[0] == rewards[1] != rewards[2]


def test_without_a_chat_template_the_template_must_be_given(folder, tmp_path):
    publish(folder)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(
        UserError, match=r"texts\.template = None: must be given.*--texts\.template"
    ):
        score(folder, PAIRS, tmp_path)
    with pytest.raises(UserError, match=r"has no chat template"):
        score(folder, PAIRS, tmp_path, form="conversation")
    _, meta = score(folder, PAIRS, tmp_path, template="{prompt}{response}")
    assert (meta["form"], meta["max_length"]) == ("text", 64)


def test_tensors_may_be_of_several_dtypes(folder, tmp_path):
    publish(folder, dtype=torch.float32)
    expected, _ = score(folder, PAIRS, tmp_path)
    path = folder / "model.safetensors"
    kinds = (torch.float32, torch.bfloat16, torch.float16)
    tensors = {
        name: tensor.bfloat16().to(kinds[number % 3])
        for number, (name, tensor) in enumerate(load_file(path).items())
    }
    save_file(tensors, path, metadata={"format": "pt"})
    (tmp_path / "scores.jsonl").unlink()
    rewards, _ = score(folder, PAIRS, tmp_path)
    np.testing.assert_allclose(rewards, expected, atol=0.2)
    np.testing.assert_allclose(
        rewards[0], as_its_card_says(folder, PAIRS[0]["prompt"], PAIRS[0]["chosen"]), atol=1e-4
    )


def test_a_pad_token_may_be_missing(folder, tmp_path):
    publish(folder, pad=None)
    rewards, _ = score(folder, PAIRS, tmp_path)
    np.testing.assert_allclose(rewards[0], as_its_card_says(folder, "a b", "c d"), atol=1e-4)


def test_an_added_token_without_embedding_leaves_out_what_holds_it(folder, tmp_path, capsys):
    """As a pad token that was added for training, but not to the model."""
    publish(folder)
    path = folder / "tokenizer.json"
    definition = json.loads(path.read_text())
    token = {"id": len(WORDS), "content": "<new>", "special": True, "single_word": False}
    definition["added_tokens"].append(
        token | {"lstrip": False, "rstrip": False, "normalized": False}
    )
    path.write_text(json.dumps(definition))
    rows = [*PAIRS, {"id": "n", "prompt": "a", "chosen": "b <new>", "rejected": "c"}]
    rewards, meta = score(folder, rows, tmp_path)
    assert len(rewards) == 4
    assert list(meta["refused"]) == ["n"]
    assert (
        "1 pairs left out (text 0: the model has no embedding for its token '<new>' (21) (1))"
        in capsys.readouterr().out
    )


def test_texts_beyond_the_models_positions_are_said(folder, caplog):
    publish(folder)
    scorer = ScorerConfig(device="cpu")
    assert TorchScorer.load(folder, scorer, TextsConfig(max_length=65)).form.max_length == 65
    assert "longer than the 64" in caplog.text


def change_config(**entries):
    def change(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | entries))

    return change


def rename_head(folder):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["regression_layer.weight"] = tensors.pop("score.weight")
    save_file(tensors, path, metadata={"format": "pt"})


def cut_off(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def as_pickle(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (change_config(model_type="gpt_neox"), r"model_type = 'gpt_neox': must be one of"),
        (change_config(quantization_config={"bits": 4}), "take the model that is not quantized"),
        (
            change_config(
                rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
            ),
            "rope_type = 'dynamic'",
        ),
        (rename_head, r"no file holds score\.weight.*regression_layer\.weight"),
        (cut_off, "cannot be read"),
        (as_pickle, "save_pretrained"),
        (lambda folder: (folder / "config.json").write_text("{"), "not JSON"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer.json"),
    ],
)
def test_what_is_not_computed_here_is_one_error(folder, tmp_path, change, said):
    publish(folder)
    change(folder)
    with pytest.raises(UserError, match=said):
        score(folder, PAIRS, tmp_path)


def test_two_labels_are_refused(folder, tmp_path):
    publish(folder, num_labels=2)
    with pytest.raises(UserError, match=r"\(2, 32\): must be \(1, hidden size\).*num_labels 1"):
        score(folder, PAIRS, tmp_path)
