import pathlib
from typing import Literal

import numpy as np
import pytest

from codepmp_jax.checkpoint.checkpointer import Checkpointer
from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import (
    CheckpointConfig,
    ConvertConfig,
    DataConfig,
    MeshConfig,
    PmpConfig,
    ScoreConfig,
    ScorerConfig,
    presets,
)
from codepmp_jax.conversion.export import to_hf
from codepmp_jax.evaluation.scorers import jax_scorer, scoring
from codepmp_jax.evaluation.scorers.jax_scorer import JaxScorer
from codepmp_jax.evaluation.scorers.torch_scorer import TorchScorer
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.records.shards import write_manifest, write_split
from codepmp_jax.text.tokenization import Tokenizer
from tests.evaluation.scorers.rewards import score
from tests.training.reference import tiny_config
from tests.training.test_parity import random_params

VOCAB = 4096


def write_run(folder, **changes):
    """A run with checkpoints 3 and 5 of random parameters."""
    config = tiny_config(
        workdir=str(folder), model__vocab_size=VOCAB, data=DataConfig(max_length=200), **changes
    )
    checkpointer = Checkpointer(config.workdir, CheckpointConfig())
    params = random_params(config)
    for step in (3, 5):
        checkpointer.save(step, params, {"count": np.zeros(())}, [{}], presets.to_json(config))
        params["score"]["kernel"] = 2 * params["score"]["kernel"]
    checkpointer.close()
    Tokenizer.load("embedded").save(f"{config.workdir}/tokenizer")
    return str(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of a training run, to be read only."""
    return write_run(tmp_path_factory.mktemp("run") / "run")


def load(run, dtype: Literal["float32", "bfloat16"] = "float32", step=None, mesh=MeshConfig()):
    return JaxScorer.load(
        ScoreConfig(
            model=run,
            backend="jax",
            step=step,
            scorer=ScorerConfig(dtype=dtype, batch_tokens=64),
            mesh=mesh,
        )
    )


def make_rows(num_rows=20, seed=0):
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 130, size=num_rows)
    return [generator.integers(2, VOCAB, size=n).astype(np.int32) for n in lengths]


def test_a_run_in_int8_is_scored_in_the_dtype_asked_for(run, tmp_path):
    rows = make_rows()
    in_int8 = write_run(tmp_path / "int8", model__int8_forward=True)
    np.testing.assert_array_equal(score(load(in_int8), rows), score(load(run), rows))


def test_rewards_equal_pytorchs_of_the_converted_run(run, tmp_path):
    folder = to_hf(ConvertConfig(run=run, output=str(tmp_path / "hf")))
    rows = make_rows()
    expected = score(TorchScorer.load(folder, ScorerConfig(device="cpu")), rows)
    assert expected.std() > 0.1
    scale = np.abs(expected).max()
    for mesh in (MeshConfig(fsdp=4, tensor=2), MeshConfig(data=2, fsdp=4)):
        rewards = score(load(run, mesh=mesh), rows)
        np.testing.assert_allclose(rewards, expected, rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rewards_do_not_depend_on_the_company_to_the_bit(run, dtype):
    rows = make_rows()
    scorer = load(run, dtype, mesh=MeshConfig(fsdp=4, tensor=2))
    together = score(scorer, rows)
    np.testing.assert_array_equal(score(scorer, rows[::-1])[::-1], together)
    np.testing.assert_array_equal(score(scorer, rows[5:6]), together[5:6])
    np.testing.assert_array_equal(score(scorer, make_rows(seed=1) + rows)[20:], together)


def test_a_step_can_be_chosen_and_the_newest_is_taken_by_default(run):
    rows = make_rows(4)
    older, newest = load(run, step=3), load(run)
    assert (older.facts["step"], newest.facts["step"]) == (3, 5)
    assert older.facts["score_head_sha256"] != newest.facts["score_head_sha256"]
    np.testing.assert_allclose(score(newest, rows), 2 * score(older, rows), rtol=1e-6)


def test_facts_of_the_weights_are_those_of_the_converted_folder(run, tmp_path):
    folder = to_hf(ConvertConfig(run=run, output=str(tmp_path / "hf")))
    ours = load(run).facts["score_head_sha256"]
    assert TorchScorer.load(folder, ScorerConfig(device="cpu")).facts["score_head_sha256"] == ours


def test_padded_lengths_are_few_and_hold_their_texts():
    lengths = [jax_scorer.padded_length(number) for number in range(1, 4097)]
    assert all(length >= number for number, length in enumerate(lengths, start=1))
    assert all(length <= max(64, 1.5 * number) for number, length in enumerate(lengths, start=1))
    assert len(set(lengths)) == 13


def test_batches_cover_every_text_once_and_have_one_length():
    lengths = [1, 64, 65, 96, 97, 600, 64, 2]
    batches = list(jax_scorer.plan_batches(lengths, num_rows=2, batch_tokens=128))
    assert sorted(text for batch in batches for text in batch) == list(range(len(lengths)))
    assert batches[0] == [5]
    for batch in batches:
        (length,) = {jax_scorer.padded_length(lengths[text]) for text in batch}
        assert len(batch) <= 2 * max(1, 128 // length)
    assert list(jax_scorer.plan_batches([], 2, 128)) == []


def test_a_cpu_computes_one_batch_at_a_time(run, monkeypatch):
    """Two executions at a time could wait for each other in their collectives."""
    scorer = load(run)
    start, pending = scorer._start, []

    def checked(texts, compute):
        assert all(rewards.is_ready() for rewards in pending)
        pending.append(start(texts, compute))
        return pending[-1]

    monkeypatch.setattr(scorer, "_start", checked)
    score(scorer, make_rows(40))
    assert len(pending) > 3


def test_missing_checkpoints_and_a_wrong_mesh_are_refused(run, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        load(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="there are: 3, 5"):
        load(run, step=4)
    with pytest.raises(UserError, match="must multiply to the number of devices"):
        load(run, mesh=MeshConfig(fsdp=3))
    with pytest.raises(UserError, match=r"model\.num_kv_heads"):
        load(run, mesh=MeshConfig(tensor=4))


def test_a_run_and_its_pairs_in_a_bucket_are_scored(run, bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pairs = tmp_path / "pairs"
    rows = [PreferencePair(str(i), "p", f"c {i}", "r") for i in range(3)]
    write_manifest(pairs, PreferencePair, {"heldout": write_split(pairs, "heldout", rows, 1)}, {})
    for folder, name in ((pathlib.Path(run), "run"), (pairs, "pairs")):
        for path in folder.rglob("*"):
            if path.is_file():
                bucket.put(f"{name}/{path.relative_to(folder)}", path.read_bytes())
    for model, source, output in ((run, pairs, "disk"), ("gs://code/run", "gs://code/pairs", "gs")):
        scoring.run(
            ScoreConfig(
                model=model,
                backend="jax",
                input=str(source),
                output=str(tmp_path / output),
                scorer=ScorerConfig(batch_tokens=64),
            )
        )
    assert (tmp_path / "gs").read_bytes() == (tmp_path / "disk").read_bytes()
    assert not (tmp_path / "gs:").exists()


def test_a_run_that_trained_no_rewards_is_refused(tmp_path):
    run = write_run(tmp_path / "run", loss=PmpConfig(rm_coef=0.0))
    with pytest.raises(UserError, match=r"loss = 'pair loss x 0 .*must have a term of the rewards"):
        load(run)
