"""The safetensors of a Hugging Face folder: reads parts of tensors by name, writes tensors block by block."""

from __future__ import annotations

import functools
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.conversion.weights import Index
from codepmp_jax.files.arrivals import arrived
from codepmp_jax.files.json_files import write_json

INDEX = "model.safetensors.index.json"
_MAX_FILE_BYTES = 5 * 10**9
# The dtypes that are written: numpy's name -> name in a safetensors header.
_WRITTEN = {"float32": "F32", "bfloat16": "BF16"}
_READ = ("F64", "F32", "F16", "BF16")


class Tensors:
    """The tensors of a Hugging Face folder, by name; each is read on demand."""

    def __init__(self, folder: pathlib.Path):
        """Reads the index. Raises UserError if there are no safetensors, or files of the index are missing."""
        self.folder = folder
        index = folder / INDEX
        if index.is_file():
            self._files = _weight_map(index)
            missing = sorted(
                name for name in set(self._files.values()) if not (folder / name).is_file()
            )
            require(
                not missing,
                str(index),
                missing,
                "names files that are not there",
                "copy the folder again, with all its safetensors",
            )
        elif (folder / "model.safetensors").is_file():
            with self._open("model.safetensors") as file:
                self._files = dict.fromkeys(file.keys(), "model.safetensors")
        else:
            raise UserError(
                f"{folder}: has neither {INDEX} nor model.safetensors. Remedy: save the model with "
                "safe_serialization."
            )

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def _open(self, name: str) -> Any:
        path = self.folder / name
        try:
            return safe_open(path, "numpy")
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"{path}: cannot be read: {error}. Remedy: copy it again; it may be a part of the file only."
            ) from error

    @functools.cached_property
    def _headers(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape and dtype of each tensor, by name."""
        found = {}
        for name in sorted(set(self._files.values())):
            with self._open(name) as file:
                for tensor in file.keys():  # noqa: SIM118 - not a dict
                    part = file.get_slice(tensor)
                    found[tensor] = (tuple(part.get_shape()), part.get_dtype())
        return found

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        """Raises UserError if the tensor is missing, not of `shape`, or not of floats."""
        if name not in self or name not in self._headers:
            raise UserError(
                f"{self.folder}: lacks the tensor {name!r}. Remedy: take a complete folder."
            )
        found, dtype = self._headers[name]
        require(
            found == shape,
            f"{self.folder}: shape of {name}",
            found,
            f"must be {shape} by config.json",
            "take a folder whose tensors fit its config.json",
        )
        require(
            dtype in _READ,
            f"{self.folder}: dtype of {name}",
            dtype,
            f"must be one of {', '.join(_READ)}",
            "take the model that is not quantized",
        )

    def read(self, name: str, index: Index) -> np.ndarray:
        """A part of a tensor, in float32; call `check` first."""
        with self._open(self._files[name]) as file:
            part = np.asarray(file.get_slice(name)[index]).astype(np.float32)
        arrived(part.nbytes)
        return part


def _weight_map(index: pathlib.Path) -> dict[str, str]:
    try:
        found = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return {str(name): str(file) for name, file in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{index}: is no index of safetensors ({error!r}). Remedy: copy it again."
        ) from error


class Tensor(NamedTuple):
    """A tensor to be written."""

    name: str
    shape: tuple[int, ...]
    blocks: Iterable[np.ndarray]
    """Its rows in float32, a few at a time."""


def plan_files(tensors: Sequence[Tensor], itemsize: int) -> list[list[Tensor]]:
    """The tensors of each file, in order: at most _MAX_FILE_BYTES a file, but at least one tensor."""
    files: list[list[Tensor]] = []
    size = 0
    for tensor in tensors:
        num_bytes = int(np.prod(tensor.shape)) * itemsize
        if not files or size + num_bytes > _MAX_FILE_BYTES:
            files.append([])
            size = 0
        files[-1].append(tensor)
        size += num_bytes
    return files


def _numpy(dtype: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, dtype, dtype))


def write_tensors(folder: pathlib.Path, tensors: Sequence[Tensor], dtype: str) -> None:
    """Writes tensors in `dtype` (float32 or bfloat16) as safetensors, and an index if there are several files.

    Holds one block in memory at a time.
    """
    files = plan_files(tensors, _numpy(dtype).itemsize)
    weight_map = {}
    total = 0
    for number, content in enumerate(files, start=1):
        part = "" if len(files) == 1 else f"-{number:05d}-of-{len(files):05d}"
        name = f"model{part}.safetensors"
        total += write_file(folder / name, content, dtype)
        weight_map |= {tensor.name: name for tensor in content}
    if len(files) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        write_json(folder / INDEX, index)


def write_file(path: pathlib.Path, tensors: Sequence[Tensor], dtype: str) -> int:
    """Writes one file and syncs it to disk; returns the number of bytes of its tensors.

    The safetensors library can only write tensors that are in memory. The format: the header's length (8 bytes),
    the header, the tensors one after the other (https://huggingface.co/docs/safetensors).
    """
    numpy_dtype = _numpy(dtype)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        start, end = end, end + int(np.prod(tensor.shape)) * numpy_dtype.itemsize
        header[tensor.name] = {
            "dtype": _WRITTEN[dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors:
            for block in tensor.blocks:
                array = np.ascontiguousarray(block.astype(numpy_dtype, copy=False))
                file.write(array.view(np.uint8).data)
        assert file.tell() == 8 + len(text) + end
        file.flush()
        os.fsync(file.fileno())
    return end
