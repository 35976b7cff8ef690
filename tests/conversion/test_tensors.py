from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from codepmp_jax.cli.errors import UserError
from codepmp_jax.conversion import tensors
from codepmp_jax.conversion.tensors import INDEX, Tensor, Tensors, write_tensors
from codepmp_jax.files import arrivals

RNG = np.random.default_rng(0)
ARRAYS = {
    "a.weight": RNG.standard_normal((7, 5)).astype(np.float32),
    "b.bias": RNG.standard_normal(11).astype(np.float32),
    "c.weight": RNG.standard_normal((3, 2)).astype(np.float32),
}


def plan() -> list[Tensor]:
    """The arrays, two rows at a time."""
    return [
        Tensor(name, array.shape, [array[i : i + 2] for i in range(0, len(array), 2)])
        for name, array in ARRAYS.items()
    ]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("max_bytes", [10**9, 100, 1])
def test_what_is_written_is_what_safetensors_reads(tmp_path, monkeypatch, dtype, max_bytes):
    monkeypatch.setattr(tensors, "_MAX_FILE_BYTES", max_bytes)
    write_tensors(tmp_path, plan(), dtype)
    names = sorted(file.name for file in tmp_path.glob("*.safetensors"))
    found = [load_file(tmp_path / name) for name in names]
    numpy_dtype = np.dtype(getattr(ml_dtypes, dtype, dtype))
    assert sum(map(len, found)) == len(ARRAYS)
    for tensor, array in ((t, a) for part in found for t, a in part.items()):
        assert array.dtype == numpy_dtype
        np.testing.assert_array_equal(array, ARRAYS[tensor].astype(numpy_dtype))
    if max_bytes == 10**9:
        assert names == ["model.safetensors"]
    else:
        index = json.loads((tmp_path / INDEX).read_text())
        assert index["metadata"]["total_size"] == sum(
            array.nbytes for part in found for array in part.values()
        )
        assert set(index["weight_map"].values()) == set(names)
        for part in found:
            assert len(part) == 1 or sum(array.nbytes for array in part.values()) <= max_bytes
    read = Tensors(tmp_path)
    for name, array in ARRAYS.items():
        read.check(name, array.shape)
        index = tuple(slice(1, size) for size in array.shape)
        before = arrivals.total()
        part = read.read(name, index)
        assert arrivals.total() - before == part.nbytes
        assert part.dtype == np.float32
        np.testing.assert_array_equal(part, array[index].astype(numpy_dtype).astype(np.float32))


def test_a_file_that_was_half_copied_is_named(tmp_path):
    save_file(ARRAYS, tmp_path / "model.safetensors")
    content = (tmp_path / "model.safetensors").read_bytes()
    for kept in (len(content) - 4, 20, 0):
        (tmp_path / "model.safetensors").write_bytes(content[:kept])
        with pytest.raises(UserError, match=r"model\.safetensors: cannot be read.*copy it again"):
            Tensors(tmp_path)


def test_a_bad_index_is_named(tmp_path):
    save_file(ARRAYS, tmp_path / "one.safetensors")
    where = dict.fromkeys(ARRAYS, "one.safetensors")
    index = tmp_path / INDEX
    index.write_text(json.dumps({"weight_map": where | {"d.weight": "two.safetensors"}}))
    with pytest.raises(UserError, match=r"\['two\.safetensors'\]: names files that are not there"):
        Tensors(tmp_path)
    for text in ("{", "{}", "[]", '{"weight_map": []}'):
        index.write_text(text)
        with pytest.raises(UserError, match="is no index of safetensors"):
            Tensors(tmp_path)
    index.write_text(json.dumps({"weight_map": where | {"d.weight": "one.safetensors"}}))
    with pytest.raises(UserError, match=r"lacks the tensor 'd\.weight'"):
        Tensors(tmp_path).check("d.weight", (3,))


def test_a_tensor_that_does_not_fit_is_named(tmp_path):
    save_file(ARRAYS | {"q": np.zeros((4, 4), np.int8)}, tmp_path / "model.safetensors")
    found = Tensors(tmp_path)
    with pytest.raises(UserError, match=r"lacks the tensor 'd\.weight'"):
        found.check("d.weight", (3,))
    with pytest.raises(UserError, match=r"shape of a\.weight = \(7, 5\): must be \(5, 7\)"):
        found.check("a.weight", (5, 7))
    with pytest.raises(UserError, match=r"dtype of q = 'I8': must be one of"):
        found.check("q", (4, 4))


def test_a_folder_without_safetensors_is_named(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UserError, match=r"has neither .* nor model\.safetensors"):
        Tensors(tmp_path)
