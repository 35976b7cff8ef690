"""What `--model.init-from` takes from a run, from a folder, and from the checkpoint of its own workdir."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast

from codepmp_jax.checkpoint.checkpointer import Checkpointer
from codepmp_jax.cli.errors import StoreError, UserError
from codepmp_jax.config import ConvertConfig, FromHfConfig, PmpConfig, TrainConfig
from codepmp_jax.conversion import export, load
from codepmp_jax.conversion.run import from_hf
from codepmp_jax.devices import chips
from codepmp_jax.files import hub, storage
from codepmp_jax.models.preference import abstract_params
from codepmp_jax.text.tokenization import Tokenizer
from codepmp_jax.text.tokenizer_files import EMBEDDED
from tests.conversion.runs import write_run
from tests.training.reference import tiny_config


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> TrainConfig:
    """A run of a chip with other kernels, whose tokenizer is gone from where it was."""
    config = tiny_config(
        workdir=str(tmp_path_factory.mktemp("run")),
        model__vocab_size=4096,
        data__tokenizer="tokenizers/gone",
    )
    model = chips.resolve(config.model, config.data.max_length, chips.CHIPS["v5p"])
    assert model.attention == "flash"
    write_run(dataclasses.replace(config, model=model))
    return config


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory) -> pathlib.Path:
    """The run's Hugging Face folder."""
    output = tmp_path_factory.mktemp("hf") / "hf"
    return export.to_hf(ConvertConfig(run=run.workdir, output=str(output), chat_template="text"))


def start(source: object, workdir: pathlib.Path, **changes) -> TrainConfig:
    return load.resolve(tiny_config(workdir=str(workdir), model__init_from=str(source), **changes))


# What config.json or a run says of a model; `heads` are the objective's.
ARCHITECTURE = {
    *("family", "vocab_size", "embed_dim", "mlp_dim", "num_layers", "num_heads", "num_kv_heads"),
    *("head_dim", "rope_theta", "rope_scaling", "sliding_window", "attention_soft_cap"),
    *("logit_soft_cap", "query_scale", "norm_epsilon", "tie_embeddings", "heads"),
}


def test_how_to_compute_a_loaded_model_is_as_asked(run, folder, tmp_path):
    """None of the settings that are no architecture is lost."""
    asked = dataclasses.replace(
        tiny_config().model,
        compute_dtype="bfloat16",
        int8_forward=True,
        attention="xla",
        attention_block=32,
        remat="save_attention",
        mlp_hidden="materialized",
        base="a/b",
        init_std=0.5,
        score_init_std=0.25,
    )
    settings = {field.name for field in dataclasses.fields(asked)} - ARCHITECTURE - {"init_from"}
    assert all(getattr(asked, name) != getattr(tiny_config().model, name) for name in settings)
    changes = {f"model__{name}": getattr(asked, name) for name in settings}
    for source in (run.workdir, folder):
        found = start(source, tmp_path / "new", **changes).model
        for name in settings:
            assert getattr(found, name) == getattr(asked, name), (name, source)
        assert found.init_from == str(source)


def test_a_runs_tokenizer_is_that_of_its_folder(run, tmp_path, monkeypatch):
    """Not what is at the path that the run was given."""
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "tokenizers" / "gone"
    shutil.copytree(EMBEDDED, other)
    (other / "chat_template.jinja").write_text("another")
    config = start(run.workdir, tmp_path / "new")
    own = Tokenizer.load(f"{run.workdir}/tokenizer")
    assert Tokenizer.load(config.data.tokenizer).parts() == own.parts()
    assert start(run.workdir, tmp_path / "new", data__tokenizer=str(other)).data.tokenizer == str(
        other
    )


def test_a_run_in_a_bucket_brings_its_tokenizer(run, bucket, tmp_path):
    for name in storage.files(run.workdir):
        target = storage.to_path("gs://code/runs/a") / name
        target.write_bytes((pathlib.Path(run.workdir) / name).read_bytes())
    config = start("gs://code/runs/a/", tmp_path / "new")
    own = Tokenizer.load(f"{run.workdir}/tokenizer")
    assert Tokenizer.load(config.data.tokenizer).parts() == own.parts()


@pytest.mark.parametrize("chip", ["v5e", "h100", "cpu"])
def test_attention_is_that_of_the_present_chip(run, tmp_path, chip):
    model = start(run.workdir, tmp_path / "new").model
    assert (model.attention, model.attention_block) == ("auto", None)
    chosen = chips.resolve(model, 24, chips.CHIPS[chip])
    own = chips.CHIPS[chip]
    assert (chosen.attention, chosen.attention_block) == (own.attention, own.attention_block)
    asked = start(run.workdir, tmp_path / "new", model__attention="xla", model__attention_block=8)
    assert (asked.model.attention, asked.model.attention_block) == ("xla", 8)


def test_a_converted_run_asks_for_no_kernel(folder, tmp_path):
    from_hf(FromHfConfig(input=str(folder), output=str(tmp_path / "run")))
    model = Checkpointer(str(tmp_path / "run")).restore_config()["model"]
    assert (model["attention"], model["attention_block"]) == ("auto", None)


@pytest.fixture
def hub_is_down(monkeypatch):
    def down(*arguments, **options):
        raise ConnectionError("503 Service Unavailable")

    monkeypatch.setattr(load, "snapshot_download", down)
    monkeypatch.setattr("huggingface_hub.snapshot_download", down)
    monkeypatch.setattr(hub, "WAITS", ())


@pytest.mark.parametrize("named", ["Qwen/Qwen2-7B", "/cache/models--Qwen--Qwen2-7B/snapshots/12af"])
def test_a_restart_asks_no_hub(run, tmp_path, hub_is_down, named):
    """Model and tokenizer are the checkpoint's; the source is needed only where there is none."""
    with pytest.raises(StoreError, match="cannot be reached"):
        start("Qwen/Qwen2-7B", tmp_path / "new")
    begun = dataclasses.replace(run, workdir=str(tmp_path / "begun"))
    begun = dataclasses.replace(
        begun,
        model=dataclasses.replace(begun.model, init_from=named),
        data=dataclasses.replace(begun.data, tokenizer=named),
    )
    write_run(begun)
    config = start(
        "Qwen/Qwen2-7B",
        tmp_path / "begun",
        model__embed_dim=8,
        model__num_layers=1,
        model__vocab_size=9,
    )
    assert config.model == begun.model
    assert config.data == begun.data
    with pytest.raises(StoreError, match="cannot be reached"):
        start("Qwen/Qwen2-1.5B", tmp_path / "begun")


def test_with_a_checkpoint_no_tensors_of_another_source_are_downloaded(
    run, folder, tmp_path, monkeypatch
):
    """A restart that names another source is compared with the checkpoint by its config."""
    asked = []

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.append("*.safetensors" in allow_patterns)
        return str(folder)

    monkeypatch.setattr(load, "snapshot_download", download)
    begun = dataclasses.replace(run, workdir=str(tmp_path / "begun"))
    begun = dataclasses.replace(begun, model=dataclasses.replace(begun.model, init_from="a/b"))
    write_run(begun)
    for workdir in (tmp_path / "new", tmp_path / "begun"):
        assert start("c/d", workdir).model.embed_dim == run.model.embed_dim
    assert asked == [True, False]


def test_hosts_that_find_different_sources_are_told(run, tmp_path, monkeypatch):
    """A run of which one host has the folder only: the hosts would wait for each other."""
    monkeypatch.setattr(load, "newest_config", lambda workdir: None)
    monkeypatch.setattr(load, "together", lambda work: [work(), not work()])
    with pytest.raises(UserError, match=r"is a run on host 0, and none on host 1\. Remedy"):
        start(run.workdir, tmp_path / "new")


def copy_without_tokenizer(folder: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    shutil.copytree(folder, target)
    for path in target.glob("tokenizer*"):
        path.unlink()
    return target


def old_files(folder: pathlib.Path) -> None:
    """The tokenizer as GPT-2's was: vocab.json and merges.txt."""
    model = json.loads((EMBEDDED / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = [entry if isinstance(entry, str) else " ".join(entry) for entry in model["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    settings = {
        "tokenizer_class": "Qwen2Tokenizer",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|pad|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def test_a_folder_without_its_tokenizer_is_refused_and_the_remedies_work(folder, tmp_path):
    """Never trained with the small code tokenizer instead."""
    bare = copy_without_tokenizer(folder, tmp_path / "bare")
    with pytest.raises(
        UserError, match=r"no tokenizer\.json\. Remedy: give the folder or hub name"
    ):
        Tokenizer.load(start(bare, tmp_path / "new").data.tokenizer)
    named = start(bare, tmp_path / "new", data__tokenizer=str(folder))
    assert Tokenizer.load(named.data.tokenizer).vocab_size <= named.model.vocab_size
    old_files(bare)
    with pytest.raises(UserError, match=r"but vocab\.json, merges\.txt\. Remedy: save it anew"):
        Tokenizer.load(start(bare, tmp_path / "new").data.tokenizer)
    AutoTokenizer.from_pretrained(str(bare)).save_pretrained(str(tmp_path / "saved"))
    saved = start(bare, tmp_path / "new", data__tokenizer=str(tmp_path / "saved"))
    assert Tokenizer.load(saved.data.tokenizer).eos_id is not None


def test_a_model_smaller_than_its_tokenizer_can_be_enlarged(folder, tmp_path):
    """The remedy of the error on model.vocab_size."""
    large = PreTrainedTokenizerFast.from_pretrained(str(folder))
    large.add_special_tokens({"pad_token": "[PAD]"})
    size = len(large)
    model = AutoModelForSequenceClassification.from_pretrained(str(folder))
    model.resize_token_embeddings(size)
    model.save_pretrained(str(tmp_path / "large"))
    large.save_pretrained(str(tmp_path / "large"))
    config = start(tmp_path / "large", tmp_path / "new")
    assert config.model.vocab_size == Tokenizer.load(config.data.tokenizer).vocab_size == size


# --- init -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(folder, tmp_path_factory) -> pathlib.Path:
    """The folder of a base model: without a score head."""
    target = tmp_path_factory.mktemp("base") / "base"
    shutil.copytree(folder, target)
    tensors = load_file(target / "model.safetensors")
    del tensors["score.weight"]
    save_file(tensors, target / "model.safetensors")
    return target


def score_of(config: TrainConfig) -> np.ndarray:
    """The score head that a new run of the config starts with; all other parameters are the source's."""
    loader = load.params_loader(config)
    assert loader is not None
    sharding = SingleDeviceSharding(jax.devices()[0])
    _, shapes, _ = abstract_params(config.model)
    params = loader(
        jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes
        )
    )
    return np.asarray(params["score"]["kernel"])


@pytest.mark.parametrize("kind", ["run", "folder"])
def test_init_pmp_keeps_the_score_head_and_base_draws_a_new_one(
    run, folder, base, tmp_path, kind, caplog
):
    """From a run and from a folder; the base may be any of them too, its score head is not taken."""
    caplog.set_level("INFO", "codepmp_jax")
    source = {"run": run.workdir, "folder": str(folder)}[kind]
    kept = score_of(start(source, tmp_path / "new", init="pmp", model__base=str(base)))
    np.testing.assert_array_equal(kept, score_of(start(source, tmp_path / "new")))
    if kind == "run":
        assert f"starting from step 3 of {source}; the score head is that of the run" in caplog.text
    else:
        assert f"the score head is that of {source}" in caplog.text
    heads = []
    for model in (base, source):
        config = start("nowhere", tmp_path / "new", init="base", model__base=str(model))
        assert config.model.init_from == str(model)
        assert config.model.vocab_size == run.model.vocab_size
        heads.append(score_of(config))
    # As is drawn for a folder without one.
    heads.append(score_of(start(base, tmp_path / "new")))
    for head in heads:
        np.testing.assert_array_equal(head, heads[0])
        assert 0.2 < np.std(head) < 0.4
        assert not np.array_equal(head, kept)
    assert "has no score head: it starts from N(0, 0.3^2)" in caplog.text
    other = {"run": "the score head is new, from N(0, 0.3^2)", "folder": "score head is not taken"}
    assert other[kind] in caplog.text


def test_init_pmp_refuses_what_was_not_trained_for_rewards(run, base, tmp_path):
    """A base model; a run of the LM loss alone; a base model that was made a run, whose head is zero."""
    with pytest.raises(
        UserError, match=r"has no score head\. Remedy: .* or give --init base --model\.base "
    ):
        start(base, tmp_path / "new", init="pmp")
    lm = dataclasses.replace(
        run, workdir=str(tmp_path / "lm"), loss=PmpConfig(rm_coef=0.0, lm_coef=1.0)
    )
    write_run(lm)
    with pytest.raises(UserError, match="was not trained for rewards"):
        start(lm.workdir, tmp_path / "new", init="pmp")
    from_hf(FromHfConfig(input=str(base), output=str(tmp_path / "run")))
    with pytest.raises(UserError, match="but its score head is zero"):
        score_of(start(tmp_path / "run", tmp_path / "new", init="pmp"))
    # Without init it is taken as it is, and so it is for a base.
    assert not score_of(start(tmp_path / "run", tmp_path / "new")).any()
    config = start("no", tmp_path / "new", init="base", model__base=str(tmp_path / "run"))
    assert score_of(config).any()


def test_init_base_asks_the_hub_for_the_base(run, tmp_path, hub_is_down):
    """And on resume nobody."""
    changes = {"init": "base", "model__base": "Qwen/Qwen2-7B"}
    with pytest.raises(StoreError, match=r"model\.base = 'Qwen/Qwen2-7B'"):
        start(run.workdir, tmp_path / "new", **changes)
    model = dataclasses.replace(
        run.model, base="Qwen/Qwen2-7B", init_from="/cache/models--Qwen--Qwen2-7B/snapshots/12af"
    )
    begun = dataclasses.replace(run, workdir=str(tmp_path / "begun"), init="base", model=model)
    write_run(begun)
    assert start(run.workdir, tmp_path / "begun", **changes).model == begun.model


def test_a_folder_of_a_finetuned_run_is_converted_as_any(run, base, tmp_path):
    """What that run started from is not asked for again."""
    begun = dataclasses.replace(
        run,
        workdir=str(tmp_path / "begun"),
        init="base",
        decay_from="gone@3",
        model=dataclasses.replace(run.model, init_from="gone", base="gone"),
    )
    write_run(begun)
    output = str(tmp_path / "hf")
    folder = export.to_hf(ConvertConfig(run=begun.workdir, output=output, chat_template="text"))
    from_hf(FromHfConfig(input=str(folder), output=str(tmp_path / "run")))
    saved = Checkpointer(str(tmp_path / "run")).restore_config()
    assert (saved["init"], saved["decay_from"]) == (None, None)
    assert saved["model"]["init_from"] == str(folder)
