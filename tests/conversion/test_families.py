"""Every family against transformers: outputs, gradients, and there and back, from folders that it wrote."""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from jax.sharding import SingleDeviceSharding
from safetensors.torch import save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    Gemma2Config,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DataConfig, MeshConfig, ModelConfig, TrainConfig
from codepmp_jax.conversion import load
from codepmp_jax.conversion.export import hf_tensors
from codepmp_jax.conversion.hf_config import hf_config, model_config
from codepmp_jax.devices.sharding import batch_sharding, check_mesh, make_mesh, param_shardings
from codepmp_jax.families import FAMILIES
from codepmp_jax.models.preference import (
    Params,
    abstract_params,
    init_params,
    last_token,
    one_text_rows,
)
from codepmp_jax.training.step import gradients
from tests.training.reference import (
    TorchPreferenceModel,
    batch_of,
    padded,
    random_pairs,
    tiny_config,
)
from tests.training.test_parity import TOLERANCE, error, errors

# Texts have up to 24 tokens. Heads are wider than hidden_size / num_attention_heads.
TINY: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
    "num_labels": 1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}
# Of the wavelengths, 6 to 13,535 tokens, the first stays, the second (29) lies between, and the others are stretched
# in full.
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
CAPS: dict[str, Any] = {
    "attn_logit_softcapping": 2.0,
    "final_logit_softcapping": 1.5,
    "query_pre_attn_scalar": 3,
}


def tiny(hf_config: Any, **changes: Any) -> Any:
    """A config of transformers' that is TINY, but for the changes."""
    return hf_config(**(TINY | changes))


MODELS = {
    "qwen2": tiny(Qwen2Config),
    "qwen2_tied": tiny(Qwen2Config, tie_word_embeddings=True, head_dim=8),
    "qwen3": tiny(Qwen3Config),
    "llama": tiny(LlamaConfig, rope_parameters=LLAMA3),
    "llama_tied": tiny(LlamaConfig, tie_word_embeddings=True, head_dim=None),
    "mistral": tiny(MistralConfig, sliding_window=5),
    "mistral_full": tiny(MistralConfig, sliding_window=None),
    "gemma2": tiny(Gemma2Config, **CAPS, num_hidden_layers=4, sliding_window=5),
    "gemma2_untied": tiny(
        Gemma2Config,
        tie_word_embeddings=False,
        sliding_window=5,
        attn_logit_softcapping=None,
        final_logit_softcapping=None,
    ),
}
# The tensors of the heads, which transformers keeps in two models.
SCORE, LM_HEAD = "score.weight", "lm_head.weight"


@dataclasses.dataclass(frozen=True)
class Original:
    """A folder with random weights, both of whose heads matter, and what is read from it."""

    folder: pathlib.Path
    tensors: dict[str, torch.Tensor]
    config: TrainConfig
    params: Params


def write_folder(name: str, folder: pathlib.Path) -> dict[str, torch.Tensor]:
    """A folder of the model MODELS[name], whose every weight is random; its tensors."""
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(MODELS[name])
    tensors = {SCORE: torch.randn(1, TINY["hidden_size"])}
    for key, tensor in model.state_dict().items():
        if key != LM_HEAD or not MODELS[name].tie_word_embeddings:
            tensors[key] = tensor + 0.25 * torch.randn(tensor.shape)
    model.config.save_pretrained(folder)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return tensors


def read_folder(name: str, folder: pathlib.Path) -> tuple[TrainConfig, Params]:
    """(config, parameters) as `--model.init-from` reads them."""
    tied = MODELS[name].tie_word_embeddings
    # Everything that the folder must set is set to something else.
    other = ModelConfig(
        family="gemma2",
        sliding_window=3,
        attention_soft_cap=9.0,
        logit_soft_cap=9.0,
        query_scale=9,
        tie_embeddings=tied,
        compute_dtype="float32",
        init_from=str(folder),
    )
    config = load.resolve(tiny_config(model=other))
    _, shapes, _ = abstract_params(config.model)
    sharding = SingleDeviceSharding(jax.devices()[0])
    loader = load.params_loader(config)
    assert loader is not None
    return config, loader(
        jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)
    )


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Original(name), made once each."""

    @functools.cache
    def make(name: str) -> Original:
        folder = tmp_path_factory.mktemp(name)
        tensors = write_folder(name, folder)
        return Original(folder, tensors, *read_folder(name, folder))

    return make


@functools.cache
def forward(config: ModelConfig) -> Any:
    """From (parameters, tokens, mask) to (rewards, logits), compiled once."""
    graph, _, _ = abstract_params(config)

    @jax.jit
    def run(params, tokens, mask):
        model = nnx.merge(graph, params)
        hidden = model(tokens, *one_text_rows(mask))
        return model.rewards(hidden, last_token(mask)[:, None])[:, 0], model.logits(hidden)

    return run


def outputs(
    config: ModelConfig, params: Params, tokens: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(rewards, logits at real tokens)."""
    rewards, logits = forward(config)(params, jnp.asarray(tokens), jnp.asarray(mask))
    return np.asarray(rewards), np.asarray(logits)[mask]


def rows(side: str = "right") -> tuple[np.ndarray, np.ndarray]:
    """(tokens, mask) of 16 texts of different lengths."""
    batch = padded(random_pairs(1), side)
    return batch.tokens.reshape(16, 24), batch.token_mask.reshape(16, 24)


def test_every_family_is_compared():
    assert {model.model_type for model in MODELS.values()} == set(FAMILIES)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", MODELS)
def test_logits_and_rewards(name, side, original):
    model = original(name)
    tokens, mask = rows(side)
    batch = {
        "input_ids": torch.tensor(tokens, dtype=torch.long),
        "attention_mask": torch.tensor(mask, dtype=torch.long),
    }
    with torch.inference_mode():
        scorer = AutoModelForSequenceClassification.from_pretrained(model.folder)
        their_rewards = scorer(**batch).logits[:, 0].numpy()
        writer = AutoModelForCausalLM.from_pretrained(model.folder)
        their_logits = writer(**batch).logits.numpy()[mask]
    rewards, logits = outputs(model.config.model, model.params, tokens, mask)
    assert error(rewards, their_rewards) < TOLERANCE
    assert error(logits, their_logits) < TOLERANCE


@pytest.mark.parametrize("name", MODELS)
def test_there_and_back_is_bit_exact(name, original):
    model = original(name)
    tensors = dict(hf_tensors(model.config, model.params))
    assert tensors.keys() == model.tensors.keys()
    for key, tensor in model.tensors.items():
        np.testing.assert_array_equal(tensors[key], tensor.numpy(), err_msg=key)
    ours = hf_config(model.config.model, 24)
    again = AutoConfig.for_model(**ours).to_dict()
    # Of no effect on a model: its own name, defaults of its use, and how many positions it was made for.
    ignored = {"architectures", "max_position_embeddings", "initializer_range", "_name_or_path"}
    ignored |= {
        "pad_token_id",
        "bos_token_id",
        "eos_token_id",
        "dtype",
        "use_bidirectional_attention",
    }
    ignored |= {"id2label", "label2id", "num_labels"}
    wanted = {k: v for k, v in MODELS[name].to_dict().items() if k not in ignored}
    assert {k: v for k, v in again.items() if k in wanted} == wanted


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("llama", {"rope_scaling": ModelConfig().rope_scaling}),
        ("mistral", {"sliding_window": None}),
        ("gemma2", {"sliding_window": None}),
        ("gemma2", {"sliding_window": 4}),
        ("gemma2", {"attention_soft_cap": None}),
        ("gemma2", {"logit_soft_cap": None}),
        ("gemma2", {"query_scale": None}),
    ],
    ids=str,
)
def test_every_trait_matters(name, change, original):
    """Otherwise their parity would show nothing."""
    model = original(name)
    changed = dataclasses.replace(model.config.model, **change)
    _, logits = outputs(model.config.model, model.params, *rows())
    _, others = outputs(changed, model.params, *rows())
    assert error(others, logits) > 100 * TOLERANCE


@pytest.mark.parametrize(
    ("name", "layout", "attention"),
    [
        ("qwen3", "padded", "xla"),
        ("llama", "shared", "blocked"),
        ("mistral", "shared", "blocked"),
        ("gemma2", "padded", "xla"),
        ("gemma2", "packed", "blocked"),
        ("gemma2", "shared", "flash"),
    ],
)
def test_losses_and_gradients_in_any_layout(name, layout, attention, original):
    model = original(name)
    row_length = None if layout == "padded" else 96
    config = dataclasses.replace(
        model.config,
        data=DataConfig(max_length=24, layout=layout, row_length=row_length),
        model=dataclasses.replace(model.config.model, attention=attention, attention_block=16),
    )
    pairs = random_pairs(2)
    reference = TorchPreferenceModel(config, model.params)
    pair_loss, lm_loss = reference.losses(padded(pairs), config.loss)
    (pair_loss + lm_loss).backward()
    grads, metrics = jax.jit(lambda params, batch: gradients(params, batch, config))(
        model.params, batch_of(pairs, config)
    )
    assert float(metrics["pair_loss"]) == pytest.approx(pair_loss.item(), rel=TOLERANCE)
    assert float(metrics["lm_loss"]) == pytest.approx(lm_loss.item(), rel=TOLERANCE)
    found = errors(config, grads, reference.named(lambda parameter: parameter.grad))
    assert max(found.values()) < TOLERANCE, found


def test_eight_devices_equal_one(original):
    """Parameters and rows lie on a mesh as they do in training."""
    model = original("gemma2")
    config = dataclasses.replace(
        model.config,
        data=DataConfig(max_length=24, layout="shared", row_length=64),
        mesh=MeshConfig(data=2, fsdp=2, tensor=2),
        model=dataclasses.replace(model.config.model, attention="blocked", attention_block=16),
    )
    batch = batch_of(random_pairs(2), config)
    compute = jax.jit(lambda params, batch: gradients(params, batch, config))
    expected, expected_metrics = compute(model.params, batch)
    mesh = make_mesh(check_mesh(config.mesh, config.model, 8))
    _, _, axes = abstract_params(config.model)
    params = jax.device_put(model.params, param_shardings(axes, mesh))
    with jax.set_mesh(mesh):
        found, metrics = compute(params, jax.device_put(batch, batch_sharding(mesh)))
    named = dict(hf_tensors(config, jax.device_get(expected)))
    differences = errors(config, jax.device_get(found), named)
    assert max(differences.values()) < TOLERANCE, differences
    for name in ("pair_loss", "lm_loss"):
        np.testing.assert_allclose(metrics[name], expected_metrics[name], rtol=TOLERANCE)


def test_bfloat16_embeddings_are_scaled_as_in_transformers(original):
    """sqrt(32) is 5.65685, and 5.65625 in bfloat16."""
    model = original("gemma2")
    tokens, mask = rows()
    config = dataclasses.replace(model.config.model, compute_dtype="bfloat16")
    theirs: Any = AutoModelForCausalLM.from_pretrained(model.folder, dtype=torch.bfloat16)
    embedded = theirs.model.embed_tokens(torch.tensor(tokens, dtype=torch.long))
    graph, _, _ = abstract_params(config)
    decoder = nnx.merge(graph, model.params).decoder
    ours = decoder.embed(jnp.asarray(tokens))
    np.testing.assert_array_equal(
        np.asarray(ours, np.float32)[mask], embedded.detach().float().numpy()[mask]
    )


def test_a_window_that_no_text_leaves_changes_nothing(original):
    """The program is the one without a window."""
    model = original("gemma2")
    tokens, mask = map(jnp.asarray, rows())

    def program(window: int | None) -> str:
        config = dataclasses.replace(model.config.model, sliding_window=window)
        graph, shapes, _ = abstract_params(config)
        forward = lambda params: nnx.merge(graph, params)(tokens, *one_text_rows(mask), 24)  # noqa: E731
        return jax.jit(forward).lower(shapes).as_text()

    assert program(24) == program(None)
    assert program(23) != program(None)


def test_layers_that_take_turns_must_come_out_even():
    config = tiny_config(model__family="gemma2", model__sliding_window=5, model__num_layers=3)
    with pytest.raises(UserError, match=r"model\.num_layers = 3: must be divisible by 2"):
        init_params(config.model, 0)


@pytest.mark.parametrize(
    ("name", "entry", "value"),
    [
        ("qwen2", "use_sliding_window", True),
        ("qwen3", "attention_bias", True),
        ("qwen3", "layer_types", ["sliding_attention", "full_attention"]),
        ("llama", "attention_bias", True),
        ("llama", "mlp_bias", True),
        ("llama", "hidden_act", "gelu"),
        ("llama", "rope_scaling", {"type": "linear", "factor": 2.0}),
        ("llama", "rope_parameters", {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4}),
        ("llama", "rope_parameters", {"full_attention": {"rope_type": "default"}}),
        ("llama", "partial_rotary_factor", 0.5),
        ("mistral", "layer_types", ["sliding_attention", "full_attention"]),
        ("gemma2", "hidden_activation", "gelu"),
        ("gemma2", "use_bidirectional_attention", True),
        ("gemma2", "layer_types", ["full_attention", "sliding_attention"] * 2),
    ],
    ids=str,
)
def test_what_is_not_implemented_is_refused(name, entry, value, original, tmp_path):
    hf = json.loads((original(name).folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(hf | {entry: value}))
    with pytest.raises(UserError, match=r"config\.json: .* nothing else is implemented for"):
        load.resolve(tiny_config(model__init_from=str(tmp_path)))


def test_an_old_config_of_llama_is_read():
    """As it is on the hub: scaling under its first name, nothing that a later version added."""
    hf = {
        "model_type": "llama",
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "rope_scaling": {k: v for k, v in LLAMA3.items() if k != "rope_theta"},
    }
    model = model_config(hf, ModelConfig(), "config.json")
    assert (model.head_dim, model.num_kv_heads, model.rope_theta) == (128, 32, 500000.0)
    assert (model.rope_scaling.factor, model.rope_scaling.original_length) == (8.0, 64)
