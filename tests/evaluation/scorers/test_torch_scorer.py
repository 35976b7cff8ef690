import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import ScorerConfig
from codepmp_jax.evaluation.scorers import torch_scorer
from codepmp_jax.evaluation.scorers.torch_scorer import TorchScorer
from tests.evaluation.scorers.rewards import score

NUM_WORDS = 21
EOS, PAD = 0, 1

# What transformers' families differ in that rewards depend on; the windows are shorter than the texts.
FAMILIES = {
    "qwen2": {},
    "qwen3": {"head_dim": 12},
    "llama": {
        "rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 4.0}
        | {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
    },
    "mistral": {"sliding_window": 20},
    "gemma2": {"sliding_window": 20, "head_dim": 12, "query_pre_attn_scalar": 9}
    | {"attn_logit_softcapping": 2.0, "hidden_activation": "gelu_pytorch_tanh"},
}


def load(folder, **settings):
    return TorchScorer.load(folder, ScorerConfig(device="cpu", **settings))


@pytest.fixture(params=["one block of 64", "three of 16"])
def blocks(request, monkeypatch):
    """The CPU's blocks of queries, or as a GPU's: several at once, and shorter than most rows."""
    if request.param == "three of 16":
        monkeypatch.setitem(torch_scorer._BLOCK, "cpu", 16)
        monkeypatch.setitem(torch_scorer._NUM_BLOCKS, "cpu", 3)


def make_rows(num_rows=12, longest=150, seed=0):
    """Rows of which some begin alike, and one is the beginning of another."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, longest, size=num_rows)
    rows = [generator.integers(2, NUM_WORDS, size=n).astype(np.int32) for n in lengths]
    rows += [np.append(row[: len(row) // 2], seed + 2).astype(np.int32) for row in rows[::3]]
    rows.append(rows[0][:-1] if len(rows[0]) > 1 else np.append(rows[0], np.int32(5)))
    return list({row.tobytes(): row for row in rows}.values())


def hugging_face_alone(folder, rows):
    """Rewards by transformers' own forward, one row at a time, without padding."""
    network = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, attn_implementation="eager"
    ).eval()
    # Its pooling then takes the last token, whatever that is.
    network.config.pad_token_id = None
    with torch.inference_mode():
        return np.array(
            [network(input_ids=torch.from_numpy(row)[None].long()).logits.item() for row in rows]
        )


def test_rewards_equal_hugging_face_one_at_a_time(plain_reward_model):
    rows = make_rows()
    expected = hugging_face_alone(plain_reward_model, rows)
    assert expected.std() > 0.1
    for batch_tokens in (50, 1024):
        scorer = load(plain_reward_model, batch_tokens=batch_tokens)
        np.testing.assert_allclose(score(scorer, rows), expected, atol=1e-5)


@pytest.mark.parametrize("side", ["right", "left"])
def test_rewards_equal_hugging_faces_pooled_logits_of_a_padded_batch(plain_reward_model, side):
    rows = make_rows()
    network = AutoModelForSequenceClassification.from_pretrained(
        plain_reward_model, num_labels=1
    ).eval()
    assert network.config.pad_token_id == PAD
    width = max(map(len, rows))
    tokens = torch.full((len(rows), width), PAD)
    for place, row in zip(tokens, rows, strict=True):
        span = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
        place[span] = torch.from_numpy(row)
    with torch.inference_mode():
        logits = network(input_ids=tokens, attention_mask=(tokens != PAD).long()).logits[:, 0]
    np.testing.assert_allclose(score(load(plain_reward_model), rows), logits.numpy(), atol=1e-5)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("family", FAMILIES)
def test_families_with_windows_and_soft_caps_equal_hugging_face(reward_model, family):
    folder = reward_model(family=family, **FAMILIES[family])
    rows = make_rows()
    expected = hugging_face_alone(folder, rows)
    assert expected.std() > 0.1
    np.testing.assert_allclose(score(load(folder), rows), expected, atol=2e-5)


@pytest.mark.parametrize("pad", ["<pad>", "<eos>"])
def test_eos_inside_and_at_the_end_of_a_text_is_a_token_like_others(reward_model, pad):
    folder = reward_model(pad=pad)
    rows = make_rows()
    for place, row in enumerate(rows):
        row[len(row) // 2 :: 5] = EOS
        row[-1 - place % 3 :] = EOS
    rows = list({row.tobytes(): row for row in rows}.values())
    assert sum(row[-1] == EOS for row in rows) > 5
    expected = hugging_face_alone(folder, rows)
    np.testing.assert_allclose(score(load(folder), rows), expected, atol=1e-5)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("batch_tokens", [64, 256])
def test_rewards_do_not_depend_on_the_company_to_the_bit(plain_reward_model, dtype, batch_tokens):
    rows = make_rows()
    scorer = load(plain_reward_model, dtype=dtype, batch_tokens=batch_tokens)
    together = score(scorer, rows)
    alone = np.concatenate([score(scorer, [row]) for row in rows])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(score(scorer, rows[5:9]), alone[5:9])
    others = make_rows(seed=1)
    np.testing.assert_array_equal(score(scorer, others + rows[::-1])[len(others) :], alone[::-1])


def test_what_rows_have_in_common_is_computed_once(plain_reward_model):
    prompt = np.full(100, 7, np.int32)
    rows = [np.append(prompt, np.int32(word)) for word in range(2, 12)]
    scorer = load(plain_reward_model, batch_tokens=10)
    score(scorer, rows)
    assert scorer.num_computed == 100 + len(rows)


def test_no_rows_have_no_rewards(plain_reward_model):
    assert list(load(plain_reward_model).rewards([])) == []


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="must be a Hugging Face folder"):
        load(tmp_path / "nowhere")


def test_runs_and_folders_in_buckets_name_what_takes_them(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match=r"is a training run.*--backend jax"):
        load(tmp_path)
    with pytest.raises(UserError, match=r"model = 'gs://b/hf': is in a bucket.*--backend jax"):
        load("gs://b/hf")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_gpu_is_refused(plain_reward_model):
    with pytest.raises(UserError, match=r"scorer\.device = 'cuda': must be there"):
        TorchScorer.load(plain_reward_model, ScorerConfig(device="cuda"))


def edit_tensors(folder, edit):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def test_missing_score_head_is_refused(reward_model):
    folder = reward_model()
    edit_tensors(folder, lambda tensors: tensors.pop("score.weight"))
    with pytest.raises(UserError, match=r"no file holds score\.weight"):
        load(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no \*\.safetensors"):
        load(folder)


def test_score_head_of_several_labels_is_refused(reward_model):
    folder = reward_model()
    edit_tensors(folder, lambda tensors: tensors.update({"score.weight": torch.zeros(2, 32)}))
    with pytest.raises(UserError, match=r"\(2, 32\): must be \(1, hidden size\)"):
        load(folder)


def test_missing_tensor_is_refused(reward_model):
    folder = reward_model()
    edit_tensors(folder, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"))
    with pytest.raises(UserError, match=r"model\.layers\.1\.mlp\.up_proj\.weight"):
        load(folder)


def test_vocabulary_smaller_than_the_tokenizer_is_refused(reward_model):
    # An added token needs no embedding, but one of the vocabulary does.
    folder = reward_model(num_words=NUM_WORDS - 1)
    with pytest.raises(UserError, match=rf"vocab_size .* = {NUM_WORDS - 1}: must not be smaller"):
        load(folder)


@pytest.mark.parametrize("content", ["{", "[]", '{"config": {}}'])
def test_broken_settings_are_refused(reward_model, content):
    folder = reward_model()
    (folder / "codepmp_jax.json").write_text(content)
    with pytest.raises(UserError, match=r"codepmp_jax\.json: holds no config\.data"):
        load(folder)


def test_the_same_weights_have_the_same_facts_and_others_have_not(reward_model):
    folder = reward_model()
    before = load(folder).facts
    assert load(folder).facts == before == json.loads(json.dumps(before))
    edit_tensors(folder, lambda tensors: tensors["score.weight"].mul_(1.01))
    assert load(folder).facts != before
