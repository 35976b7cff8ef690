"""Parameters that an objective does not use."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from codepmp_jax.checkpoint.checkpointer import Checkpointer
from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import CheckpointConfig, MeshConfig
from codepmp_jax.devices.sharding import check_mesh, make_mesh
from codepmp_jax.models.preference import init_params
from codepmp_jax.training import optimizer as optimizers
from codepmp_jax.training.state import TrainState, abstract_state, init_state, trained
from codepmp_jax.training.step import jit_train_step
from tests.training.reference import batch_of, random_pairs, tiny_config

NUM_STEPS = 3


def mesh_of(config, num_devices=1):
    sizes = check_mesh(config.mesh, config.model, num_devices)
    return make_mesh(sizes, jax.devices()[:num_devices])


def run(config, num_devices=1) -> tuple[TrainState, TrainState]:
    """The state before and after the steps."""
    mesh = mesh_of(config, num_devices)
    optimizer = optimizers.build(config.optimizer, NUM_STEPS)
    before = init_state(config, optimizer, mesh)
    kept = jax.device_get(before)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(config, optimizer, mesh))
    step, state = jit_train_step(config, NUM_STEPS, shardings), before
    with jax.set_mesh(mesh):
        for seed in range(NUM_STEPS):
            state, _ = step(state, batch_of(random_pairs(seed), config))
    return kept, jax.device_get(state)


@pytest.mark.parametrize(
    ("loss", "unused"),
    [
        ({"loss__lm_coef": 0.0}, {"lm_head"}),
        ({"loss__rm_coef": 0.0}, {"score"}),
        ({"loss__rm_coef": 0.0, "loss__centering_coef": 0.1}, set()),
        ({}, set()),
    ],
    ids=str,
)
def test_training_leaves_unused_heads_as_they_are(loss, unused):
    config = tiny_config(**loss, accumulation_steps=2)
    before, after = run(config)
    changed = {
        name: any(
            not np.array_equal(old, new)
            for old, new in zip(
                jax.tree.leaves(before.params[name]), jax.tree.leaves(tree), strict=True
            )
        )
        for name, tree in after.params.items()
    }
    assert changed == {name: name not in unused for name in before.params}
    assert optax.tree.get(after.opt_state, "mu").keys() == before.params.keys() - unused


def test_the_others_are_trained_as_with_an_optimizer_of_all():
    """As if the unused head had gradients of 0 and no weight decay."""
    config = tiny_config(loss__lm_coef=0.0, optimizer__weight_decay=0.0)
    _, lean = run(config)
    # A coefficient too small to be seen in float32.
    _, full = run(tiny_config(loss__lm_coef=1e-30, optimizer__weight_decay=0.0))
    for name in full.params.keys() - {"lm_head"}:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
            lean.params[name],
            full.params[name],
        )


def test_a_head_of_no_objective_is_kept_on_eight_devices():
    config = tiny_config(model__heads=(("value", 2),), mesh=MeshConfig(fsdp=4, tensor=2))
    before, after = run(config, 8)
    np.testing.assert_array_equal(
        after.params["heads"]["value"]["kernel"], before.params["heads"]["value"]["kernel"]
    )
    assert "heads" not in optax.tree.get(after.opt_state, "mu")


def test_a_checkpoint_with_more_optimizer_state_is_restored_and_one_with_less_refused(tmp_path):
    """Before unused heads were left out, their optimizer state was saved too."""
    finetuning = tiny_config(loss__lm_coef=0.0)
    params = init_params(finetuning.model, 0)
    optimizer = optimizers.build(finetuning.optimizer, NUM_STEPS)
    states = {"all": optimizer.init(params), "trained": optimizer.init(trained(params, finetuning))}
    for name, opt_state in states.items():
        opt_state = jax.tree.map(lambda leaf: leaf + 1, opt_state)
        states[name] = opt_state
        checkpointer = Checkpointer(str(tmp_path / name), CheckpointConfig())
        checkpointer.save(1, params, (jnp.int32(1), opt_state), {}, {})
        checkpointer.close()

    def restore(name, config):
        abstract = abstract_state(config, optimizer, mesh_of(config))
        reader = Checkpointer(str(tmp_path / name))
        return reader.restore(abstract.params, (abstract.step, abstract.opt_state)).optimizer[1]

    for name in states:
        jax.tree.map(np.testing.assert_array_equal, restore(name, finetuning), states["trained"])
    pretraining = tiny_config()
    jax.tree.map(np.testing.assert_array_equal, restore("all", pretraining), states["all"])
    with pytest.raises(UserError, match=r"no optimizer state .*lm_head.*Remedy"):
        restore("trained", pretraining)
