"""LoRA against peft, against the whole model, and over devices, layouts and restarts."""

from __future__ import annotations

import dataclasses
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from peft import LoraConfig as PeftConfig
from peft import inject_adapter_in_model
from transformers import AutoModelForSequenceClassification

from codepmp_jax.checkpoint import param_store
from codepmp_jax.checkpoint.checkpointer import Checkpointer
from codepmp_jax.cli.errors import UserError
from codepmp_jax.commands.convert import make_check
from codepmp_jax.config import (
    AdapterConfig,
    ConvertConfig,
    DataConfig,
    LoraConfig,
    MeshConfig,
    OptimizerConfig,
    ScoreConfig,
    ScorerConfig,
    TrainConfig,
)
from codepmp_jax.conversion import export, load
from codepmp_jax.conversion.adapters import plan_adapters
from codepmp_jax.devices.sharding import check_mesh, make_mesh
from codepmp_jax.evaluation.scorers.jax_scorer import JaxScorer
from codepmp_jax.models.lora import merged, only_adapters, without_adapters
from codepmp_jax.models.preference import Params, abstract_params, init_params
from codepmp_jax.training import loop
from codepmp_jax.training import optimizer as optimizers
from codepmp_jax.training.identity import check_same_run
from codepmp_jax.training.run import Run
from codepmp_jax.training.state import TrainState, abstract_state, init_state, trained
from codepmp_jax.training.step import evaluate_batch, gradients, train_step
from tests.training.reference import (
    TorchPreferenceModel,
    batch_of,
    padded,
    random_pairs,
    tiny_config,
    torch_optimizer,
)
from tests.training.runs import final_state, rows, train_until
from tests.training.test_parity import TOLERANCE, data_config, error, random_params
from tests.training.test_step import assert_same_run, run

RANK = 3


def lora_config(**changes: Any) -> TrainConfig:
    """The tiny model with adapters of rank 3 on all matrices."""
    return tiny_config(**{"lora": LoraConfig(rank=RANK, alpha=6)} | changes)


def named(config: TrainConfig, params: Params) -> dict[str, np.ndarray]:
    """Adapters and score head by PEFT's names."""
    tensors = plan_adapters(config, params, with_score=True)
    return {
        tensor.name.removeprefix("base_model.model."): np.concatenate(list(tensor.blocks))
        for tensor in tensors
    }


def peft_reference(config: TrainConfig, params: Params) -> TorchPreferenceModel:
    """The model of PyTorch with peft's adapters, of which they and the score head are trained."""
    reference = TorchPreferenceModel(config, without_adapters(params))
    lora = config.lora
    adapter = PeftConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        use_rslora=lora.rslora,
        target_modules=list(lora.modules),
        lora_dropout=0.0,
    )
    inject_adapter_in_model(adapter, reference.lm)
    theirs = trained_by_peft(reference)
    ours = named(config, params)
    assert theirs.keys() == ours.keys()
    for name, parameter in theirs.items():
        assert tuple(parameter.shape) == ours[name].shape
        parameter.data = torch.tensor(ours[name])
    return reference


def trained_by_peft(reference: TorchPreferenceModel) -> dict[str, torch.nn.Parameter]:
    """The trainable parameters by the names in an adapter's file."""
    return {
        name.removeprefix("lm.").replace(".default", ""): parameter
        for name, parameter in reference.named_parameters()
        if parameter.requires_grad
    }


LORAS = {
    "all": LoraConfig(rank=RANK, alpha=6),
    "rslora": LoraConfig(rank=4, alpha=3, rslora=True),
    "attention": LoraConfig(rank=2, alpha=1, targets=("q_proj", "v_proj")),
    "mlp": LoraConfig(rank=16, alpha=32, targets=("down_proj", "o_proj")),
}


@pytest.mark.parametrize(
    ("lora", "layout", "tied", "lm_coef"),
    [
        ("all", "right", False, 1.0),
        ("all", "shared", True, 0.0),
        ("rslora", "packed", False, 0.0),
        ("attention", "left", True, 1.0),
        ("mlp", "shared", False, 0.5),
    ],
)
def test_gradients_equal_pefts(lora, layout, tied, lm_coef):
    config = lora_config(
        lora=LORAS[lora],
        loss__lm_coef=lm_coef,
        model__tie_embeddings=tied,
        data=data_config(layout),
    )
    params, pairs = random_params(config), random_pairs(2)
    reference = peft_reference(config, params)
    pair_loss, lm_loss = reference.losses(padded(pairs), config.loss)
    (pair_loss + lm_coef * lm_loss).backward()
    grads, metrics = jax.jit(lambda params, batch: gradients(params, batch, config))(
        params, batch_of(pairs, config)
    )
    assert float(metrics["pair_loss"]) == pytest.approx(pair_loss.item(), rel=TOLERANCE)
    ours = named(config, grads)
    # And of nothing else.
    assert len(jax.tree.leaves(grads)) == 2 * len(config.lora.modules) + 1
    found = {
        name: error(ours[name], parameter.grad)
        for name, parameter in trained_by_peft(reference).items()
    }
    assert max(found.values()) < TOLERANCE, found


@pytest.mark.parametrize(("mask", "layout"), [("matrices", "right"), ("all", "shared")])
def test_steps_of_adamw_equal_pefts(mask, layout):
    config = lora_config(optimizer__weight_decay_mask=mask, data=data_config(layout))
    params = random_params(config)
    reference = peft_reference(config, params)
    adamw, schedule = torch_optimizer(reference, config.optimizer, 10)
    optimizer = optimizers.build(config.optimizer, 10)
    state = TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(trained(params, config)))
    step = jax.jit(lambda state, batch: train_step(state, batch, config, 10))
    ours, theirs = [], []
    for seed in range(10):
        pairs = random_pairs(seed)
        state, metrics = step(state, batch_of(pairs, config))
        ours.append(float(metrics["loss"]))
        pair_loss, lm_loss = reference.losses(padded(pairs), config.loss)
        loss = pair_loss + lm_loss
        adamw.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reference.parameters(), config.optimizer.clip_norm)
        adamw.step()
        schedule.step()
        theirs.append(loss.item())
    assert np.ptp(theirs) > 0.1
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE)
    after = named(config, state.params)
    found = {
        name: error(after[name], parameter.detach())
        for name, parameter in trained_by_peft(reference).items()
    }
    assert max(found.values()) < TOLERANCE, found
    # The rest is as it was, to the bit.
    jax.tree.map(
        np.testing.assert_array_equal,
        without_adapters(state.params)["decoder"],
        without_adapters(params)["decoder"],
    )
    np.testing.assert_array_equal(state.params["lm_head"]["kernel"], params["lm_head"]["kernel"])


def test_a_is_drawn_as_in_peft_and_b_is_zero():
    """Kaiming-uniform with a = sqrt(5): U(-1/sqrt(D), 1/sqrt(D)); other seeds, layers and matrices draw others."""
    config = lora_config(lora=LoraConfig(rank=32, targets=("q_proj", "down_proj", "gate_proj")))
    with pytest.raises(UserError):
        init_params(config.model, 0, LoraConfig(rank=33, targets=("q_proj",)))
    layers = init_params(config.model, 0, config.lora)["decoder"]["layers"]
    for adapter, inputs in (
        (layers["attention"]["query"]["lora"], 32),
        (layers["mlp"]["down"]["lora"], 48),
    ):
        a = np.asarray(adapter["a"])
        assert a.shape == (2, inputs, 32)
        assert np.all(adapter["b"] == 0)
        linear = torch.nn.Linear(inputs, 32)
        bound = float(linear.weight.detach().abs().max())
        assert np.abs(a).max() == pytest.approx(bound, rel=0.01)
        # Of a uniform distribution: bound / sqrt(3).
        assert a.std() == pytest.approx(bound / 3**0.5, rel=0.05)
        assert not np.array_equal(a[0], a[1])
    assert not np.array_equal(
        layers["attention"]["query"]["lora"]["a"], layers["mlp"]["gate"]["lora"]["a"]
    )
    other = init_params(config.model, 1, config.lora)["decoder"]["layers"]
    assert not np.array_equal(other["mlp"]["down"]["lora"]["a"], layers["mlp"]["down"]["lora"]["a"])


def test_the_model_under_the_adapters_is_the_one_without():
    config = lora_config()
    jax.tree.map(
        np.testing.assert_array_equal,
        without_adapters(init_params(config.model, 3, config.lora)),
        init_params(config.model, 3),
    )


@pytest.mark.parametrize(("layout", "dtype"), [("right", "bfloat16"), ("shared", "float32")])
def test_the_first_step_computes_what_the_model_does_to_the_bit(layout, dtype):
    config = lora_config(data=data_config(layout), model__compute_dtype=dtype)
    whole = dataclasses.replace(config, lora=LoraConfig())
    batch = batch_of(random_pairs(4), config)
    found = {}
    for each in (config, whole):
        params = init_params(each.model, 0, each.lora)
        grads, metrics = jax.jit(lambda params, batch, each=each: gradients(params, batch, each))(
            params, batch
        )
        found[each.lora.is_on] = jax.device_get((metrics, grads["score"]))
    for ours, theirs in zip(
        jax.tree.leaves(found[True]), jax.tree.leaves(found[False]), strict=True
    ):
        assert ours.tobytes() == theirs.tobytes()


def made_by(jaxpr: Any) -> set[tuple[int, ...]]:
    """Shapes of what matmuls and scatters of a program compute, loops and checkpoints included."""
    found = set()
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "scatter-add"):
            found |= {variable.aval.shape for variable in equation.outvars}
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    found |= made_by(inner)
    return found


@pytest.mark.parametrize("remat", ["none", "full", "save_qkv_attention"])
def test_no_gradient_of_a_frozen_matrix_is_computed(remat):
    """By the shapes of all matmuls in the program: those of the whole model's training have them."""
    config = lora_config(model__remat=remat)
    whole = dataclasses.replace(config, lora=LoraConfig())
    frozen = {(32, 48), (48, 32), (96, 32), (32, 96)}
    shapes = {}
    for each in (config, whole):
        _, params, _ = abstract_params(each.model, each.lora)
        program = jax.make_jaxpr(lambda params, batch, each=each: gradients(params, batch, each))(
            params, batch_of(random_pairs(0), each)
        )
        found = made_by(program.jaxpr)
        # In whichever order the matmul has the dims.
        shapes[each.lora.is_on] = (found | {shape[::-1] for shape in found}) & frozen
    assert shapes == {True: set(), False: frozen}


@pytest.fixture(scope="module")
def one_device():
    return run(lora_config(), 1)


@pytest.mark.parametrize(
    ("layout", "attention", "mesh"),
    [
        ("padded", "xla", MeshConfig(fsdp=4, tensor=2)),
        ("packed", "xla", MeshConfig(data=2, fsdp=2, tensor=2)),
        ("shared", "blocked", MeshConfig(data=1, fsdp=8)),
    ],
    ids=str,
)
def test_eight_devices_in_any_layout_equal_one(one_device, layout, attention, mesh):
    row_length = None if layout == "padded" else 64
    config = lora_config(
        data=DataConfig(max_length=24, layout=layout, row_length=row_length),
        mesh=mesh,
        model__attention=attention,
        model__attention_block=16,
    )
    assert_same_run(run(config, 8), one_device, rtol=1e-4)


def test_accumulation_on_a_mesh_changes_nothing(one_device):
    config = lora_config(mesh=MeshConfig(data=1, fsdp=2), accumulation_steps=4)
    assert_same_run(run(config, 2), one_device, rtol=1e-4)


def test_adapters_lie_on_the_mesh_as_their_matrices_do():
    config = lora_config(mesh=MeshConfig(fsdp=4, tensor=2))
    mesh = make_mesh(check_mesh(config.mesh, config.model, 8))
    state = init_state(config, optimizers.build(config.optimizer, 1), mesh)
    layers = state.params["decoder"]["layers"]
    for adapter, a, b in (
        (layers["attention"]["query"]["lora"], (2, 32 // 4, RANK), (2, RANK, 4 // 2, 8)),
        (layers["attention"]["output"]["lora"], (2, 32 // 8, RANK), (2, RANK, 32)),
        (layers["mlp"]["up"]["lora"], (2, 32 // 4, RANK), (2, RANK, 48 // 2)),
        (layers["mlp"]["down"]["lora"], (2, 48 // 8, RANK), (2, RANK, 32)),
    ):
        assert adapter["a"].addressable_shards[0].data.shape == a
        assert adapter["b"].addressable_shards[0].data.shape == b


@pytest.mark.parametrize("remat", ["none", "save_mlp_attention", "dots_with_no_batch_dims"])
def test_remat_changes_nothing(remat):
    params, batch = random_params(lora_config()), batch_of(random_pairs(3), lora_config())
    found, expected = (
        jax.jit(lambda params, batch, config=config: gradients(params, batch, config))(
            params, batch
        )[0]
        for config in (lora_config(model__remat=remat), lora_config())
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, expected
    )


@pytest.mark.parametrize(
    ("loss", "heads"),
    [({}, {"score"}), ({"loss__lm_coef": 0.0}, {"score"}), ({"loss__rm_coef": 0.0}, set())],
    ids=str,
)
def test_trained_are_the_adapters_and_the_heads_of_the_objective(loss, heads):
    config = lora_config(**loss, model__heads=(("value", 2),))
    mesh = make_mesh((1, 1, 1), jax.devices()[:1])
    state = abstract_state(config, optimizers.build(config.optimizer, 1), mesh)
    moments = optax.tree.get(state.opt_state, "mu")
    assert moments.keys() == {"decoder"} | heads
    decoder = state.params["decoder"]
    assert jax.tree.structure(moments["decoder"]) == jax.tree.structure(only_adapters(decoder))


def test_a_frozen_model_in_bfloat16_changes_no_bit_of_training_in_bfloat16():
    """It is what matmuls are computed with anyway."""
    found = []
    for dtype in ("float32", "bfloat16"):
        lora = LoraConfig(rank=RANK, base_dtype=dtype)
        config = lora_config(lora=lora, model__compute_dtype="bfloat16")
        found.append(run(config, 1))
    (exact, exact_params), (half, half_params) = found
    for ours, theirs in zip(half, exact, strict=True):
        assert {name: value.tobytes() for name, value in ours.items()} == {
            name: value.tobytes() for name, value in theirs.items()
        }
    for ours, theirs in zip(
        jax.tree.leaves(only_adapters(half_params["decoder"])),
        jax.tree.leaves(only_adapters(exact_params["decoder"])),
        strict=True,
    ):
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs)
    layers = half_params["decoder"]["layers"]
    assert layers["mlp"]["up"]["kernel"].dtype == jnp.bfloat16
    assert half_params["lm_head"]["kernel"].dtype == jnp.bfloat16
    assert layers["mlp_norm"]["scale"].dtype == np.float32
    assert half_params["score"]["kernel"].dtype == np.float32


def test_the_merged_model_computes_the_same():
    config = lora_config()
    params, batch = random_params(config), batch_of(random_pairs(5), config)
    whole = dataclasses.replace(config, lora=LoraConfig())
    apart, together = (
        jax.jit(lambda params, each=each: evaluate_batch(params, batch, each).sums)(tree)
        for tree, each in ((params, config), (merged(params, config.lora), whole))
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), apart, together
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rank": 17}, r"lora\.rank = 17: must not exceed the smaller dim of k_proj \(16\)"),
        ({"rank": 33, "targets": ("down_proj",)}, r"smaller dim of down_proj \(32\)"),
    ],
    ids=str,
)
def test_a_rank_above_a_matrix_is_refused(settings, said):
    with pytest.raises(UserError, match=said):
        abstract_params(tiny_config().model, LoraConfig(**settings))


# --- runs -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lora_run(finished, tmp_path_factory) -> TrainConfig:
    """A run of adapters on the finished run's model that went through."""
    config = dataclasses.replace(
        finished,
        workdir=str(tmp_path_factory.mktemp("lora")),
        model=dataclasses.replace(finished.model, init_from=finished.workdir),
        lora=LoraConfig(rank=RANK, alpha=6),
    )
    loop.train(config, load.params_loader(config))
    return config


def test_interrupted_and_resumed_equals_uninterrupted(lora_run, tmp_path):
    config = dataclasses.replace(lora_run, workdir=str(tmp_path))
    train_until(config, 5, load.params_loader(config))
    loop.train(config, load.params_loader(config))
    assert rows(config) == rows(lora_run)
    for ours, theirs in zip(final_state(config), final_state(lora_run), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_run_from_random_parameters_is_refused(finished, tmp_path):
    config = dataclasses.replace(finished, workdir=str(tmp_path), lora=LoraConfig(rank=2))
    with pytest.raises(
        UserError, match=r"lora\.rank = 2: needs a model to adapt.*--model\.init-from"
    ):
        Run(config)


@pytest.mark.parametrize(
    ("lora", "is_fixed"),
    [
        (LoraConfig(), True),
        (LoraConfig(rank=RANK + 1, alpha=6), True),
        (LoraConfig(rank=RANK, alpha=6, targets=("q_proj",)), True),
        (LoraConfig(rank=RANK, alpha=7), False),
    ],
    ids=str,
)
def test_other_adapters_are_another_run(lora, is_fixed):
    saved = lora_config()
    changed = dataclasses.replace(saved, lora=lora)
    with pytest.raises(UserError, match=r"lora\."):
        check_same_run(changed, saved, "run")
    allowed = dataclasses.replace(changed, allow_config_change=True)
    if is_fixed:
        with pytest.raises(UserError, match=r"lora\."):
            check_same_run(allowed, saved, "run")
    else:
        check_same_run(allowed, saved, "run")


def test_a_run_that_starts_from_a_lora_run_starts_from_its_merged_model(lora_run, tmp_path):
    """On a mesh, in the dtypes that are asked for, with adapters of its own or without."""
    source = final_params(lora_run)
    expected = jax.device_get(merged(source, lora_run.lora))
    for lora in (LoraConfig(), LoraConfig(rank=2, base_dtype="bfloat16")):
        model = dataclasses.replace(lora_run.model, init_from=lora_run.workdir)
        config = dataclasses.replace(
            lora_run, model=model, lora=lora, mesh=MeshConfig(fsdp=4, tensor=2)
        )
        mesh = make_mesh(check_mesh(config.mesh, config.model, 8))
        optimizer = optimizers.build(config.optimizer, 1)
        state = init_state(config, optimizer, mesh, load.params_loader(config))
        found = jax.device_get(without_adapters(state.params))
        jax.tree.map(
            lambda ours, theirs: np.testing.assert_allclose(
                np.asarray(ours, np.float32),
                np.asarray(theirs.astype(ours.dtype), np.float32),
                rtol=1e-6 if ours.dtype == np.float32 else 1e-2,
            ),
            found,
            expected,
        )
        np.testing.assert_array_equal(found["score"]["kernel"], source["score"]["kernel"])


def final_params(config: TrainConfig) -> Params:
    return export.load_run(config.workdir, None)[2]


def test_checkpoints_hold_what_is_trained_and_the_rest_is_saved_once(lora_run, finished):
    names = {
        folder: param_store.array_names(f"{lora_run.workdir}/{folder}/params")
        for folder in ("checkpoints/4", "checkpoints/6", "frozen/checkpoints/0")
    }
    adapters = 2 * len(lora_run.lora.modules)
    assert len(names["checkpoints/6"]) == adapters + 1
    assert names["checkpoints/4"] == names["checkpoints/6"]
    _, shapes, _ = abstract_params(lora_run.model, lora_run.lora)
    whole = param_store.named(shapes).keys()
    assert names["frozen/checkpoints/0"] == whole - names["checkpoints/6"]
    # They are those that it began with.
    began = final_params(finished)
    jax.tree.map(
        np.testing.assert_array_equal,
        without_adapters(final_params(lora_run))["decoder"],
        began["decoder"],
    )


def test_a_workdir_without_its_frozen_parameters_is_refused(lora_run, tmp_path):
    shutil.copytree(lora_run.workdir, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "frozen")
    with pytest.raises(UserError, match=r"frozen"):
        export.load_run(str(tmp_path / "run"), None)


def test_a_frozen_parameter_that_is_damaged_is_named(lora_run, tmp_path):
    shutil.copytree(lora_run.workdir, tmp_path / "run")
    largest = max(
        (path for path in (tmp_path / "run" / "frozen").rglob("d/*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    with pytest.raises(UserError, match=largest.name):
        export.load_run(str(tmp_path / "run"), None)


def test_what_a_start_without_a_checkpoint_left_is_replaced(lora_run, tmp_path):
    """It may have begun with another model."""
    config = dataclasses.replace(lora_run, workdir=str(tmp_path), num_steps=2, eval_pairs=0)
    other = jax.tree.map(lambda leaf: np.asarray(leaf) + 1, final_params(lora_run))
    Checkpointer.save_frozen(str(tmp_path), other, {})
    loop.train(config, load.params_loader(config))
    jax.tree.map(
        np.testing.assert_array_equal,
        without_adapters(final_params(config))["decoder"],
        without_adapters(final_params(lora_run))["decoder"],
    )


def test_a_decay_branch_of_a_lora_run_keeps_the_frozen_parameters_itself(lora_run, tmp_path):
    """RUN may be gone when the branch is scored; it began with RUN's model, to the bit."""
    optimizer = OptimizerConfig(schedule="wsd", warmup_steps=1, decay_fraction=0.3)
    run, branch = str(tmp_path / "wsd"), str(tmp_path / "branch")
    wsd = dataclasses.replace(lora_run, workdir=run, optimizer=optimizer)
    loop.train(wsd, load.params_loader(wsd))
    config = dataclasses.replace(wsd, workdir=branch, decay_from=f"{run}@2", num_steps=None)
    loop.train(config)
    before = without_adapters(final_params(wsd))["decoder"]
    shutil.rmtree(run)
    jax.tree.map(
        np.testing.assert_array_equal, without_adapters(final_params(config))["decoder"], before
    )


def test_a_run_is_scored_and_converted_with_the_same_rewards(lora_run, finished, tmp_path):
    """In JAX, merged in PyTorch, and by peft over the folder of the run that it began with."""
    base = export.to_hf(ConvertConfig(run=finished.workdir, output=str(tmp_path / "base")))
    whole = ConvertConfig(run=lora_run.workdir, output=str(tmp_path / "hf"))
    adapter = AdapterConfig(run=lora_run.workdir, output=str(tmp_path / "adapter"), base=str(base))
    figures: list[str] = []
    for convert in (whole, adapter):
        export.to_hf(convert, make_check(convert, figures))
    assert [figure.count("(rewards)") for figure in figures] == [1, 1]
    rng = np.random.default_rng(0)
    texts = [rng.integers(1, 4096, length).astype(np.int32) for length in (3, 17, 30)]
    rewards = {}
    for workdir in (lora_run.workdir, finished.workdir):
        scorer = JaxScorer.load(ScoreConfig(model=workdir, scorer=ScorerConfig(dtype="float32")))
        rewards[workdir] = np.zeros(3)
        for index, found in scorer.rewards(texts):
            rewards[workdir][index] = found
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "hf").eval()
    with torch.inference_mode():
        theirs = [model(torch.tensor(text[None].astype(np.int64))).logits.item() for text in texts]
    np.testing.assert_allclose(rewards[lora_run.workdir], theirs, rtol=1e-4, atol=1e-5)
    assert error(rewards[finished.workdir], theirs) > 0.01
