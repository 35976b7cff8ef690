from __future__ import annotations

import itertools
import shutil

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from codepmp_jax.checkpoint import param_store
from codepmp_jax.checkpoint.checkpointer import Checkpointer
from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import CheckpointConfig

RNG = np.random.default_rng(0)
PARAMS = {
    "decoder": {
        "layers": {"kernel": RNG.standard_normal((6, 40, 5, 8)).astype(np.float32)},
        "embedding": RNG.standard_normal((50, 40)).astype(np.float32),
    },
    "score": {"kernel": RNG.standard_normal((40, 1)).astype(np.float32)},
}
SHAPES = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), PARAMS)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(param_store, "CHUNK_BYTES", 1000)


def save(workdir, params) -> None:
    checkpointer = Checkpointer(str(workdir), CheckpointConfig())
    checkpointer.save(0, params, None, [], {})
    checkpointer.close()


def sharded(array: np.ndarray) -> NamedSharding:
    mesh = Mesh(np.array(jax.devices()).reshape(2, 4), ("a", "b"))
    spec = PartitionSpec(None, "b") if array.ndim > 2 else PartitionSpec("a")
    return NamedSharding(mesh, spec)


def test_pieces_are_saved_and_restored_on_a_mesh(tmp_path):
    """As if the arrays had been whole: each piece is asked for once, and none holds two layers. The bytes are counted,
    compressed, as they go and come."""
    asked: list[tuple[tuple[int, ...], param_store.Index]] = []

    def pieces(array: np.ndarray) -> param_store.Pieces:
        def read(index: param_store.Index) -> np.ndarray:
            asked.append((array.shape, index))
            return array[index]

        return param_store.Pieces(array.shape, read)

    before = param_store.num_bytes_moved()
    save(tmp_path, jax.tree.map(pieces, PARAMS))
    saved = param_store.num_bytes_moved()
    num_bytes = sum(array.nbytes for array in jax.tree.leaves(PARAMS))
    assert saved - before > num_bytes / 2
    for shape, index in asked:
        size = [part.stop - part.start for part in index]
        assert 4 * np.prod(size) <= 1000
        assert len(shape) == 2 or size[0] == 1
    elements = sum(np.prod([part.stop - part.start for part in index]) for _, index in asked)
    assert elements == sum(array.size for array in jax.tree.leaves(PARAMS))
    abstract = jax.tree.map(
        lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharded(array)),
        PARAMS,
    )
    restored = Checkpointer(str(tmp_path)).restore_params(abstract)
    assert param_store.num_bytes_moved() - saved > num_bytes / 2
    jax.tree.map(np.testing.assert_array_equal, restored, PARAMS)
    assert restored["score"]["kernel"].sharding == sharded(PARAMS["score"]["kernel"])


def test_many_pieces_take_one_index(tmp_path, monkeypatch):
    """Else each of them would bring the index of all."""
    monkeypatch.setattr(param_store, "CHUNK_BYTES", 4000)
    array = RNG.standard_normal((256, 1000)).astype(np.float32)
    save(tmp_path, {"kernel": param_store.Pieces(array.shape, array.__getitem__, (8, 1000))})
    folder = tmp_path / "checkpoints" / "0" / "params"
    written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert written < 1.1 * array.nbytes
    stored = Checkpointer(str(tmp_path)).open_params(
        {"kernel": jax.ShapeDtypeStruct(array.shape, array.dtype)}
    )
    assert stored["kernel"]._store.chunk_layout.read_chunk.shape == (1, 1000)
    np.testing.assert_array_equal(stored["kernel"][...], array)


@pytest.mark.parametrize("place", [lambda array: array, lambda a: jax.device_put(a, sharded(a))])
def test_parts_of_what_a_run_saved_are_read_alone(tmp_path, place):
    """Of arrays of one device and of a mesh of eight; no chunk holds two layers."""
    save(tmp_path, jax.tree.map(place, PARAMS))
    stored = Checkpointer(str(tmp_path)).open_params(SHAPES)
    jax.tree.map(
        lambda ours, array: np.testing.assert_array_equal(ours[...], array), stored, PARAMS
    )
    kernel, array = (tree["decoder"]["layers"]["kernel"] for tree in (stored, PARAMS))
    assert kernel._store.chunk_layout.read_chunk.shape[0] == 1
    for index in itertools.product(range(6), (slice(3, 17), slice(None)), (2, slice(1, 4))):
        np.testing.assert_array_equal(kernel[index], array[index])


def test_what_does_not_fit_is_named(tmp_path):
    save(tmp_path, PARAMS)
    other = {**SHAPES, "score": {"kernel": jax.ShapeDtypeStruct((41, 1), np.float32)}}
    with pytest.raises(UserError, match=r"shape of score\.kernel = \(40, 1\)"):
        Checkpointer(str(tmp_path)).open_params(other)
    other = {**SHAPES, "other": {"kernel": jax.ShapeDtypeStruct((41, 1), np.float32)}}
    with pytest.raises(UserError, match=r"other\.kernel: cannot be read"):
        Checkpointer(str(tmp_path)).open_params(other)


def test_a_part_that_is_gone_is_named(tmp_path):
    save(tmp_path, PARAMS)
    params = tmp_path / "checkpoints" / "0" / "params"
    for folder in params.glob("**/d"):
        shutil.rmtree(folder)
    with pytest.raises(UserError, match=r"decoder\.embedding: cannot be read"):
        param_store.open_params(str(params), SHAPES)
    with pytest.raises(UserError, match=r"checkpoints/0: params/.* is missing"):
        Checkpointer(str(tmp_path)).open_params(SHAPES)
