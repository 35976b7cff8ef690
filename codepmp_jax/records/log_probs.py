"""Token log-probs of pairs under a model: a companion of pair shards, which `codepmp logprobs` writes.

    manifest.json                      what they are of (ORIGIN), how they were computed, and the parts
    train-00000-of-00003.safetensors   of consecutive pairs: keys, num_tokens, sums, tokens
    heldout-00000-of-00001.safetensors

Of N pairs with T response tokens, chosen's before rejected's, pair by pair:

    keys        uint64 (N, 2)    the pair's texts, hashed: they are found by what they say, in whatever order
    num_tokens  int32 (N, 2)     tokens of chosen's and rejected's response
    sums        float32 (N, 2)   sums of their log-probs
    tokens      float32 (T)      log p(token | all before it), natural
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Float32, Int32, UInt64

from codepmp_jax.cli.errors import UserError
from codepmp_jax.files import storage
from codepmp_jax.records.schema import PreferencePair, content_id
from codepmp_jax.records.shards import MANIFEST

ORIGIN = "of"
"""The manifest's entry of what the log-probs are of."""
RECORD = "LogProbs"


def pair_key(record: PreferencePair) -> UInt64[np.ndarray, " 2"]:
    """A 128-bit hash of the pair's texts."""
    digest = bytes.fromhex(content_id(record.prompt, record.chosen, record.rejected))
    return np.frombuffer(digest, ">u8").astype(np.uint64)


class PairLogProbs(NamedTuple):
    """Of one pair."""

    num_tokens: Int32[np.ndarray, " 2"]
    sums: Float32[np.ndarray, " 2"]
    tokens: Float32[np.ndarray, " C"]
    """Of chosen's response tokens, then of rejected's."""


def write_part(
    path: str | os.PathLike[str], records: Sequence[PreferencePair], found: Sequence[PairLogProbs]
) -> None:
    """Writes the log-probs of these pairs, atomically."""
    keys = [pair_key(record) for record in records]
    arrays = {
        "keys": np.array(keys, np.uint64).reshape(-1, 2),
        "num_tokens": np.array([one.num_tokens for one in found], np.int32).reshape(-1, 2),
        "sums": np.array([one.sums for one in found], np.float32).reshape(-1, 2),
        "tokens": np.concatenate([np.zeros(0, np.float32), *(one.tokens for one in found)]),
    }
    data = safetensors.numpy.save(arrays)
    with storage.storage_errors(path, "written"):
        if storage.is_bucket(path):
            storage.to_path(path).write_bytes(data)
            return
        with storage.replaced(path) as partial:
            partial.write_bytes(data)


def read_origin(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The manifest of a folder of log-probs. Raises UserError where there is none."""
    path = storage.to_path(folder) / MANIFEST
    with storage.storage_errors(path, "read"):
        is_there = path.is_file()
    manifest = json.loads(path.read_bytes()) if is_there else {}
    if manifest.get("record") != RECORD:
        raise UserError(
            f"{path}: {'holds no log-probs' if is_there else 'no such file'}. Remedy: give a folder that `codepmp "
            "logprobs` has finished, or run it again to finish it."
        )
    return manifest


class LogProbsFolder:
    """The log-probs in a folder, found by pair. Those of a disk are read as they are needed; a bucket's are read whole."""

    def __init__(self, folder: str):
        """Raises UserError where the folder is not finished or a part is missing."""
        self.folder = folder
        parts = [part for split in read_origin(folder)["splits"].values() for part in split]
        self._parts = [_Part(folder, part["name"]) for part in parts]
        empty = np.zeros((0, 2), np.uint64)
        keys = np.concatenate([empty, *(part.keys for part in self._parts)])
        self._order = np.argsort(keys[:, 0], kind="stable")
        self._keys = keys[self._order]
        self._starts = np.cumsum([0, *(len(part.keys) for part in self._parts)])

    def find(self, record: PreferencePair) -> PairLogProbs:
        """Those of a pair. Raises UserError where it has none."""
        first, second = pair_key(record)
        at = int(np.searchsorted(self._keys[:, 0], first))
        while at < len(self._keys) and self._keys[at, 0] == first:
            if self._keys[at, 1] == second:
                number = int(self._order[at])
                part = int(np.searchsorted(self._starts, number, "right")) - 1
                return self._parts[part].read(number - int(self._starts[part]))
            at += 1
        raise UserError(
            f"{self.folder}: has no log-probs of the pair {record.pair_id}. Remedy: compute them again (`codepmp "
            "logprobs`) for these pairs, with the data settings of the training."
        )


class _Part:
    """A file of a folder of log-probs."""

    def __init__(self, folder: str, name: str):
        path = storage.to_path(folder) / name
        try:
            if storage.is_bucket(folder):
                arrays = safetensors.numpy.load(path.read_bytes())
                self._tokens: Any = arrays["tokens"]
            else:
                file = safetensors.safe_open(str(path), framework="np")
                arrays = {key: file.get_tensor(key) for key in ("keys", "num_tokens", "sums")}
                self._tokens = file.get_slice("tokens")
        except (OSError, safetensors.SafetensorError) as error:
            raise UserError(
                f"{path}: cannot be read ({error}). Remedy: copy the folder again, or compute it again."
            ) from error
        self.keys = arrays["keys"]
        self._num_tokens, self._sums = arrays["num_tokens"], arrays["sums"]
        self._ends = np.cumsum(self._num_tokens.sum(axis=1))

    def read(self, number: int) -> PairLogProbs:
        """Those of the pair of that number."""
        num_tokens = self._num_tokens[number]
        stop = int(self._ends[number])
        tokens = self._tokens[stop - int(num_tokens.sum()) : stop]
        return PairLogProbs(num_tokens, self._sums[number], np.asarray(tokens))


@functools.lru_cache(maxsize=8)
def open_log_probs(folder: str) -> LogProbsFolder:
    """LogProbsFolder, opened once in a process."""
    return LogProbsFolder(folder)
