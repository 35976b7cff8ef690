"""A LoRA run, merged and as a PEFT adapter: peft over the base model gives the run's rewards, score head included."""

from __future__ import annotations

import copy
import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
import torch
from flax import nnx
from jax.sharding import SingleDeviceSharding
from peft import AutoPeftModelForCausalLM, AutoPeftModelForSequenceClassification, PeftModel
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from codepmp_jax.checkpoint.checkpointer import Checkpointer
from codepmp_jax.cli.errors import UserError
from codepmp_jax.commands.convert import make_check
from codepmp_jax.config import (
    AdapterConfig,
    CheckpointConfig,
    ConvertConfig,
    FromHfConfig,
    LoraConfig,
    TrainConfig,
    presets,
)
from codepmp_jax.conversion import export, load, verify
from codepmp_jax.conversion.run import from_hf
from codepmp_jax.models.lora import only_adapters
from codepmp_jax.models.preference import (
    Params,
    abstract_params,
    last_token,
    one_text_rows,
    with_changed,
)
from codepmp_jax.text.tokenization import Tokenizer
from tests.conversion.runs import write_run
from tests.conversion.test_families import MODELS, rows
from tests.training.reference import tiny_config
from tests.training.test_parity import TOLERANCE, error

STEP = 5


class Case(NamedTuple):
    """A LoRA run over a folder of transformers', and what it was converted to."""

    base: pathlib.Path
    config: TrainConfig
    params: Params
    adapter: pathlib.Path
    whole: pathlib.Path
    rewards: np.ndarray
    """Of `rows`, by JAX, adapters and matrices apart."""
    logits: np.ndarray


def write_base(name: str, folder: pathlib.Path) -> None:
    """A causal LM's folder: it has no score head, no label count and no pad token."""
    hf = copy.deepcopy(MODELS[name])
    hf.vocab_size, hf.pad_token_id = 4096, None
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(hf)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.25 * torch.randn(parameter.shape)
    model.save_pretrained(folder)
    settings = json.loads((folder / "config.json").read_text())
    for entry in ("id2label", "label2id", "num_labels"):
        settings.pop(entry, None)
    (folder / "config.json").write_text(json.dumps(settings))
    Tokenizer.load("embedded").save(folder)


def lora_run(
    base: pathlib.Path, folder: pathlib.Path, lora: LoraConfig
) -> tuple[TrainConfig, Params]:
    """A run of adapters that add something and a score head of its own; as it trained them."""
    config = tiny_config(workdir=str(folder), model__init_from=str(base), lora=lora)
    config = load.resolve(config)
    device = SingleDeviceSharding(jax.devices()[0])
    _, shapes, _ = abstract_params(config.model)
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), shapes
    )
    loader = load.params_loader(config)
    assert loader is not None
    rng = np.random.default_rng(0)

    def drawn(leaf: Any) -> np.ndarray:
        return 0.3 * rng.standard_normal(leaf.shape).astype(np.float32)

    trained = jax.tree.map(drawn, only_adapters(abstract_params(config.model, lora)[1]))
    params = with_changed(
        loader(abstract), trained | {"score": jax.tree.map(drawn, shapes["score"])}
    )
    checkpointer = Checkpointer(config.workdir, CheckpointConfig())
    checkpointer.save(STEP, params, {"count": np.zeros(())}, [{}], presets.to_json(config))
    checkpointer.close()
    Tokenizer.load("embedded").save(folder / "tokenizer")
    return config, params


def make_case(name: str, lora: LoraConfig, folder: pathlib.Path) -> Case:
    write_base(name, folder / "base")
    config, params = lora_run(folder / "base", folder / "run", lora)
    adapter = export.to_hf(AdapterConfig(run=config.workdir, output=str(folder / "adapter")))
    whole = export.to_hf(ConvertConfig(run=config.workdir, output=str(folder / "whole")))
    graph, _, _ = abstract_params(config.model, lora)
    tokens, mask = map(jax.numpy.asarray, rows())
    model = nnx.merge(graph, params)
    hidden = model(tokens, *one_text_rows(mask))
    rewards = model.rewards(hidden, last_token(mask)[:, None])[:, 0]
    logits = np.asarray(model.logits(hidden))[np.asarray(mask)]
    return Case(folder / "base", config, params, adapter, whole, np.asarray(rewards), logits)


def torch_outputs(model: Any) -> np.ndarray:
    """Rewards of `rows`, or logits at their real tokens."""
    tokens, mask = rows()
    model.eval()
    model.config.pad_token_id = 0
    with torch.inference_mode():
        logits = model(
            input_ids=torch.tensor(tokens, dtype=torch.long),
            attention_mask=torch.tensor(mask, dtype=torch.long),
        ).logits.numpy()
    return logits[mask] if logits.ndim == 3 else logits[:, 0]


@pytest.fixture(scope="module", params=MODELS)
def of_family(request, tmp_path_factory) -> Case:
    lora = LoraConfig(rank=5, alpha=3)
    return make_case(request.param, lora, tmp_path_factory.mktemp(request.param))


def test_peft_gives_the_rewards_of_the_run(of_family, tmp_path):
    """Opened, merged, saved again by peft and by transformers: the score head is there each time."""
    case = of_family
    model = AutoPeftModelForSequenceClassification.from_pretrained(case.adapter, num_labels=1)
    assert error(torch_outputs(model), case.rewards) < TOLERANCE
    model.save_pretrained(tmp_path / "again")
    again = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "again", num_labels=1)
    np.testing.assert_array_equal(torch_outputs(again), torch_outputs(model))
    whole = model.merge_and_unload()
    assert error(torch_outputs(whole), case.rewards) < TOLERANCE
    whole.save_pretrained(tmp_path / "whole")
    saved = AutoModelForSequenceClassification.from_pretrained(tmp_path / "whole")
    np.testing.assert_array_equal(
        saved.score.weight.detach().numpy(), np.asarray(case.params["score"]["kernel"]).T
    )
    assert error(torch_outputs(saved), case.rewards) < TOLERANCE


def test_the_merged_folder_gives_rewards_and_logits_of_the_run(of_family):
    case = of_family
    scorer = AutoModelForSequenceClassification.from_pretrained(case.whole)
    assert error(torch_outputs(scorer), case.rewards) < TOLERANCE
    writer = AutoModelForCausalLM.from_pretrained(case.whole)
    assert error(torch_outputs(writer), case.logits) < TOLERANCE


def test_the_adapters_matter(of_family):
    """Otherwise their parity would show nothing."""
    case = of_family
    bare = AutoModelForSequenceClassification.from_pretrained(case.base, num_labels=1)
    bare.score.weight.data = torch.tensor(np.asarray(case.params["score"]["kernel"]).T.copy())
    assert error(torch_outputs(bare), case.rewards) > 100 * TOLERANCE


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> Case:
    """Some targets, and rsLoRA."""
    lora = LoraConfig(rank=4, alpha=3, rslora=True, targets=("q_proj", "o_proj", "up_proj"))
    return make_case("qwen2", lora, tmp_path_factory.mktemp("case"))


def test_the_folder_is_what_peft_writes(case, tmp_path):
    """Names, shapes and entries of an adapter that peft itself saves after it opened this one."""
    model = AutoPeftModelForSequenceClassification.from_pretrained(case.adapter, num_labels=1)
    model.save_pretrained(tmp_path)
    ours, theirs = (
        load_file(folder / "adapter_model.safetensors") for folder in (case.adapter, tmp_path)
    )
    assert ours.keys() == theirs.keys()
    assert "base_model.model.score.weight" in ours
    assert "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight" in ours
    for name, tensor in ours.items():
        np.testing.assert_array_equal(tensor, theirs[name])
    settings, saved = (
        json.loads((folder / "adapter_config.json").read_text())
        for folder in (case.adapter, tmp_path)
    )
    # peft adds names of score heads of its own, and keeps targets as a set.
    saved["modules_to_save"] = [name for name in saved["modules_to_save"] if name == "score"][:1]
    saved["target_modules"] = sorted(saved["target_modules"])
    settings["target_modules"] = sorted(settings["target_modules"])
    assert {name: saved[name] for name in settings} == settings
    assert settings["base_model_name_or_path"] == str(case.base)


@pytest.mark.parametrize(
    "open_model",
    [
        lambda case: PeftModel.from_pretrained(
            AutoModelForSequenceClassification.from_pretrained(case.base, num_labels=1),
            case.adapter,
        ),
        lambda case: AutoModelForSequenceClassification.from_pretrained(case.adapter, num_labels=1),
        lambda case: AutoModelForSequenceClassification.from_pretrained(case.whole),
    ],
    ids=["over_a_model", "transformers", "merged"],
)
def test_other_ways_to_open_it(case, open_model: Callable[[Case], Any]):
    assert error(torch_outputs(open_model(case)), case.rewards) < TOLERANCE


def test_a_head_of_another_size_is_an_error_and_not_a_random_head(case):
    """A causal LM's config.json does not say that there is one label, and the default is two."""
    with pytest.raises((RuntimeError, ValueError), match=r"score|size"):
        AutoPeftModelForSequenceClassification.from_pretrained(case.adapter)


def test_a_score_head_of_the_base_gives_way(case, tmp_path):
    """The run began with a reward model."""
    base = AutoModelForSequenceClassification.from_pretrained(case.base, num_labels=1)
    with torch.no_grad():
        base.score.weight += 1
    base.config.pad_token_id = 0
    base.save_pretrained(tmp_path / "base")
    convert = AdapterConfig(
        run=case.config.workdir, output=str(tmp_path / "adapter"), base=str(tmp_path / "base")
    )
    # Such a base says all that there is to say.
    model = AutoPeftModelForSequenceClassification.from_pretrained(export.to_hf(convert))
    assert error(torch_outputs(model), case.rewards) < TOLERANCE
    assert error(torch_outputs(model.merge_and_unload()), case.rewards) < TOLERANCE


def test_tokenizer_and_chat_template_come_along(case):
    ours, theirs = (AutoTokenizer.from_pretrained(path) for path in (case.adapter, case.whole))
    messages = [{"role": "user", "content": "a b"}, {"role": "assistant", "content": "def f():"}]
    texts = [each.apply_chat_template(messages, tokenize=False) for each in (ours, theirs)]
    assert texts[0] == texts[1]
    assert ours(texts[0]).input_ids == theirs(texts[0]).input_ids


def test_the_card_says_what_was_trained(case):
    card, merged = ((folder / "README.md").read_text() for folder in (case.adapter, case.whole))
    said = "rsLoRA of rank 4 and alpha 3 on q_proj, o_proj, up_proj and, in full, the score head"
    assert said in card
    assert said in merged
    assert "The adapters are merged into the weights." in merged
    assert f"the rest is {case.base}" in card
    assert "library_name: peft" in card
    assert "AutoPeftModelForSequenceClassification" in card
    assert "AutoPeft" not in merged


def test_verify_compares_with_peft(case, tmp_path):
    loaded = lambda: case.params  # noqa: E731
    found = verify.verify_adapter(case.adapter, case.config, loaded, "float32")
    assert found.rewards is not None
    assert found.rewards.value < verify.TOLERANCE["float32"]
    other = case.params | {"score": {"kernel": case.params["score"]["kernel"] * 1.01}}
    with pytest.raises(UserError, match="rewards differ"):
        verify.verify_adapter(case.adapter, case.config, lambda: other, "float32")


@pytest.mark.parametrize("base", ["gone", "wider"])
def test_a_base_that_does_not_fit_is_named(case, base, tmp_path):
    hf = copy.deepcopy(MODELS["qwen2"])
    hf.hidden_size, hf.pad_token_id = 64, None
    AutoModelForCausalLM.from_config(hf).save_pretrained(tmp_path / "wider")
    path = str(tmp_path / base)
    convert = AdapterConfig(run=case.config.workdir, output=str(tmp_path / "out"), base=path)
    with pytest.raises(UserError, match=r"(?s)peft cannot open it over its base.*--base FOLDER"):
        export.to_hf(convert, make_check(convert, []))
    assert not (tmp_path / "out").exists()


def test_verifying_without_peft_says_how_to_get_it(case, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"pip install 'codepmp_jax\[peft\]'"):
        verify.verify_adapter(case.adapter, case.config, lambda: case.params, "float32")


def test_an_adapter_of_a_causal_lm_has_no_head(case, tmp_path):
    convert = AdapterConfig(run=case.config.workdir, output=str(tmp_path / "lm"), heads="lm")
    folder = export.to_hf(convert)
    settings = json.loads((folder / "adapter_config.json").read_text())
    assert (settings["task_type"], settings["modules_to_save"]) == ("CAUSAL_LM", None)
    model = AutoPeftModelForCausalLM.from_pretrained(folder)
    assert error(torch_outputs(model), case.logits) < TOLERANCE
    found = verify.verify_adapter(folder, case.config, lambda: case.params, "float32")
    assert found.logits is not None
    assert found.rewards is None


def test_half_the_size(case, tmp_path):
    convert = AdapterConfig(
        run=case.config.workdir, output=str(tmp_path / "half"), dtype="bfloat16"
    )
    folder = export.to_hf(convert)
    verify.verify_adapter(folder, case.config, lambda: case.params, "bfloat16")
    sizes = [(path / "adapter_model.safetensors").stat().st_size for path in (folder, case.adapter)]
    assert sizes[0] < 0.6 * sizes[1]


def test_a_merged_folder_becomes_a_run_of_the_whole_model(case, tmp_path):
    run = from_hf(FromHfConfig(input=str(case.whole), output=str(tmp_path / "run")))
    config, _, params = export.load_run(str(run), None)
    assert not config.lora.is_on
    _, shapes, _ = abstract_params(config.model)
    assert jax.tree.structure(params) == jax.tree.structure(shapes)
    np.testing.assert_array_equal(params["score"]["kernel"], case.params["score"]["kernel"])


def test_what_has_no_adapter_or_no_base_is_refused(case, tmp_path):
    plain = tiny_config(workdir=str(tmp_path / "plain"), model__vocab_size=4096)
    write_run(plain)
    output = str(tmp_path / "out")
    with pytest.raises(UserError, match=r"lora\.rank = 0: .*codepmp convert to-hf"):
        export.to_hf(AdapterConfig(run=plain.workdir, output=output))
    from_run = tiny_config(
        workdir=str(tmp_path / "from_run"),
        model__vocab_size=4096,
        model__init_from=plain.workdir,
        lora=LoraConfig(rank=2),
    )
    write_run(from_run)
    with pytest.raises(UserError, match=r"model\.init_from .* is a training run.*--base FOLDER"):
        export.to_hf(AdapterConfig(run=from_run.workdir, output=output))
    with pytest.raises(UserError, match=r"^base .* is a training run"):
        export.to_hf(AdapterConfig(run=from_run.workdir, output=output, base=plain.workdir))
    assert not pathlib.Path(output).exists()
    # The remedy.
    base = export.to_hf(ConvertConfig(run=plain.workdir, output=str(tmp_path / "base")))
    adapter = export.to_hf(AdapterConfig(run=from_run.workdir, output=output, base=str(base)))
    AutoPeftModelForSequenceClassification.from_pretrained(adapter)
    with pytest.raises(UserError, match=r"is a PEFT adapter, without the model"):
        load.resolve(tiny_config(model__init_from=str(adapter)))


def test_a_base_of_the_hub_is_named_so(tmp_path):
    folder = "/cache/models--Qwen--Qwen2-7B/snapshots/0123"
    config = tiny_config(
        workdir=str(tmp_path / "run"),
        model__vocab_size=4096,
        model__init_from=folder,
        lora=LoraConfig(rank=2),
    )
    write_run(config)
    adapter = export.to_hf(AdapterConfig(run=config.workdir, output=str(tmp_path / "adapter")))
    settings = json.loads((adapter / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "Qwen/Qwen2-7B"
    assert "base_model: Qwen/Qwen2-7B" in (adapter / "README.md").read_text()
