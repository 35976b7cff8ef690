from __future__ import annotations

import jax
import numpy as np
import pytest

from codepmp_jax import checkpoint
from codepmp_jax.checkpoint import Checkpointer
from codepmp_jax.config import CheckpointConfig
from codepmp_jax.errors import UserError


def save(workdir, *steps: int, keep: int = 3) -> None:
    checkpointer = Checkpointer(str(workdir), CheckpointConfig(keep=keep))
    for step in steps:
        params = {"kernel": jax.numpy.full((4,), float(step))}
        checkpointer.save(step, params, {"count": jax.numpy.zeros(())}, [{"n": step}], {"seed": 1})
    checkpointer.close()


ABSTRACT = {"kernel": jax.ShapeDtypeStruct((4,), "float32")}


def test_every_item_comes_back(tmp_path):
    save(tmp_path, 5)
    restored = Checkpointer(str(tmp_path)).restore(
        ABSTRACT, {"count": jax.ShapeDtypeStruct((), "float32")}
    )
    np.testing.assert_array_equal(restored.params["kernel"], np.full(4, 5.0))
    assert (restored.data, restored.config) == ([{"n": 5}], {"seed": 1})


def test_the_newest_are_kept(tmp_path):
    save(tmp_path, 1, 2, 3, keep=2)
    reader = Checkpointer(str(tmp_path))
    assert reader.latest_step() == 3
    assert reader.restore_params(ABSTRACT, 2)["kernel"][0] == 2
    with pytest.raises(UserError, match="there are: 2, 3"):
        reader.restore_params(ABSTRACT, 1)


def test_parameters_of_another_shape_are_refused(tmp_path):
    save(tmp_path, 1)
    other = {"kernel": jax.ShapeDtypeStruct((5,), "float32")}
    with pytest.raises(UserError, match="checkpoints/1: cannot be restored"):
        Checkpointer(str(tmp_path)).restore_params(other)


def test_counts_beyond_32_bits_travel_between_processes(monkeypatch):
    """What process_allgather gives for two processes; one process has nothing to gather."""
    state = {"tokens": 19_000_000_000, "pairs": 28_000_000}
    assert checkpoint.gather(state) == [state]
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(
        checkpoint.multihost_utils, "process_allgather", lambda parts: np.stack([parts, parts])
    )
    assert checkpoint.gather(state) == [state, state]
