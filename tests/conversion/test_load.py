"""What `--model.init-from` takes from a run, from a folder, and from the checkpoint of its own workdir."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil

import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast

from codepmp_jax.checkpoint.checkpointer import Checkpointer
from codepmp_jax.cli.errors import StoreError, UserError
from codepmp_jax.config import ConvertConfig, FromHfConfig, TrainConfig
from codepmp_jax.conversion import export, load
from codepmp_jax.conversion.run import from_hf
from codepmp_jax.devices import chips
from codepmp_jax.files import hub, storage
from codepmp_jax.text.tokenization import EMBEDDED, Tokenizer
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
    assert (model.attention, model.attention_block) == ("splash", 512)
    write_run(dataclasses.replace(config, model=model))
    return config


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory) -> pathlib.Path:
    """The run's Hugging Face folder."""
    output = tmp_path_factory.mktemp("hf") / "hf"
    return export.to_hf(ConvertConfig(run=run.workdir, output=str(output), chat_template="text"))


def start(source: object, workdir: pathlib.Path, **changes) -> TrainConfig:
    return load.resolve(tiny_config(workdir=str(workdir), model__init_from=str(source), **changes))


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
