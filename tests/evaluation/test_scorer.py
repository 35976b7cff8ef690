import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from codepmp_jax.config import DataConfig, ScorerConfig
from codepmp_jax.errors import UserError
from codepmp_jax.evaluation import scorer
from codepmp_jax.evaluation.scorer import RewardModel
from codepmp_jax.records import Candidate, PreferencePair, Problem

NUM_WORDS = 21
EOS = 0


def load(folder, **settings):
    return RewardModel.load(folder, ScorerConfig(device="cpu", **settings))


def make_rows(num_rows=24, longest=90, seed=0):
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, longest, size=num_rows)
    return [generator.integers(2, NUM_WORDS, size=n).astype(np.int32) for n in lengths]


def hugging_face_alone(folder, rows):
    """Rewards by transformers' own forward, one row at a time, without padding."""
    network = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1).eval()
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
    np.testing.assert_allclose(load(plain_reward_model).rewards(rows), expected, atol=1e-5)


@pytest.mark.parametrize("pad", ["<pad>", "<eos>"])
def test_eos_inside_and_at_the_end_of_a_text_is_a_token_like_others(reward_model, pad):
    folder = reward_model(pad=pad)
    rows = make_rows()
    for place, row in enumerate(rows):
        row[len(row) // 2 :: 5] = EOS
        row[-1 - place % 3 :] = EOS
    assert sum(row[-1] == EOS for row in rows) > 10
    expected = hugging_face_alone(folder, rows)
    np.testing.assert_allclose(load(folder).rewards(rows), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("batch_tokens", [1, 200, 4096])
def test_rewards_do_not_depend_on_the_company(plain_reward_model, dtype, batch_tokens):
    # Of 64 and 32 tokens: alone they might get by without padding, and without a mask.
    rows = [*make_rows(), np.full(64, 7, np.int32), np.full(32, 7, np.int32)]
    alone = load(plain_reward_model, dtype=dtype, batch_tokens=1).rewards(rows)
    model = load(plain_reward_model, dtype=dtype, batch_tokens=batch_tokens)
    np.testing.assert_allclose(model.rewards(rows), alone, atol=1e-5)
    np.testing.assert_allclose(model.rewards(rows[::-1])[::-1], alone, atol=1e-5)
    np.testing.assert_allclose(model.rewards(rows[5:9]), alone[5:9], atol=1e-5)


def test_batches_cover_every_row_within_the_budget():
    lengths = np.array([1, 64, 33, 32, 31, 65, 640, 64, 2])
    batches = scorer.plan_batches(lengths, batch_tokens=128)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert batches[0] == [6]
    assert all(scorer.padded_length(length) > length for length in range(100))
    for batch in batches:
        (padded,) = {scorer.padded_length(int(length)) for length in lengths[batch]}
        assert len(batch) == 1 or padded * len(batch) <= 128
    assert scorer.plan_batches(np.zeros(0, int), 128) == []


def test_scored_text_is_the_training_text(plain_reward_model, words):
    pair = PreferencePair("pair", "a b", "c d e", "f")
    problem = Problem("problem", "a b", (Candidate("f"), Candidate("c d e")))
    model = load(plain_reward_model)
    pairs, problems = model.score_pairs([pair]).scores, model.score_problems([problem]).scores
    tokens = [words.index(word) for word in ["Q", ":", "a", "b", "A", ":", "c", "d", "e", "<eos>"]]
    assert [(score.item_id, score.index) for score in pairs] == [("pair", 0), ("pair", 1)]
    assert [(score.item_id, score.index) for score in problems] == [("problem", 0), ("problem", 1)]
    assert [score.num_tokens for score in pairs] == [len(tokens), len(tokens) - 2]
    expected = model.rewards([np.array(tokens, np.int32)])[0]
    assert pairs[0].reward == pytest.approx(expected, abs=1e-6)
    assert problems[1].reward == pytest.approx(pairs[0].reward, abs=1e-6)
    assert problems[0].reward == pytest.approx(pairs[1].reward, abs=1e-6)


def test_truncation_is_on_the_right_and_counted(reward_model):
    model = load(reward_model(max_length=8, append_eos=False))
    long = PreferencePair("long", "a b", "c d e f g", "c d")
    scored = model.score_pairs([long, PreferencePair("short", "a b", "c", "c d")])
    assert scored.num_truncated == 1
    assert [score.num_tokens for score in scored.scores] == [8, 8, 7, 8]
    assert scored.scores[0].reward == pytest.approx(scored.scores[1].reward, abs=1e-6)


def test_folder_without_our_settings_is_scored_with_the_defaults_and_says_so(reward_model, capsys):
    folder = reward_model()
    (folder / "codepmp_jax.json").unlink()
    assert load(folder).data == DataConfig()
    assert "codepmp_jax.json: not there" in capsys.readouterr().out


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="must be a Hugging Face folder"):
        load(tmp_path / "nowhere")


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
    folder = reward_model(num_words=NUM_WORDS - 1)
    with pytest.raises(UserError, match=rf"vocab_size .* = {NUM_WORDS - 1}: must not be smaller"):
        load(folder)


def test_rewards_that_are_no_numbers_name_the_text(reward_model):
    folder = reward_model()
    edit_tensors(folder, lambda tensors: tensors["score.weight"].fill_(float("nan")))
    with pytest.raises(UserError, match=r"pair-7, text 0: reward = nan: must be finite"):
        load(folder).score_pairs([PreferencePair("pair-7", "a", "b", "c")])


@pytest.mark.parametrize("content", ["{", "[]", '{"config": {}}'])
def test_broken_settings_are_refused(reward_model, content):
    folder = reward_model()
    (folder / "codepmp_jax.json").write_text(content)
    with pytest.raises(UserError, match=r"codepmp_jax\.json: holds no config\.data"):
        load(folder)
