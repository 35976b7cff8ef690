"""Pair shards as SeqIO tasks and mixtures, for T5X and its kin (extra `seqio`, which brings TensorFlow).

    from codepmp_jax.data import seqio_tasks
    seqio_tasks.register_pairs("code_pairs", "runs/pairs")
    seqio_tasks.register_mixture("all_pairs", {"code_pairs": 3.0, "other_pairs": 1.0})
    seqio.get_mixture_or_task("all_pairs").get_dataset({"inputs": 512, "targets": 512, ...})

A row of the loader is a task's `inputs` and `targets` one after the other, token by token.
"""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

import atexit
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.config import DataConfig
from codepmp_jax.records import shards
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.records.shards import ShardedDataset
from codepmp_jax.text.tokenization import Text, Tokenizer

try:
    import seqio
    import tensorflow as tf
except ImportError as error:
    raise UserError(
        f"codepmp_jax.data.seqio_tasks: {error}. Remedy: pip install 'codepmp_jax[seqio]'."
    ) from error

# Name of a split in SeqIO -> in the folder.
SPLITS = {"train": "train", "validation": "heldout"}
# Field of a pair -> as a tensor; the types are those of the TFDS features.
_FIELDS = {
    "pair_id": tf.string,
    "prompt": tf.string,
    "chosen": tf.string,
    "rejected": tf.string,
    "is_conversation": tf.bool,
    "margin": tf.float32,
    "subset": tf.string,
}
_CHOSEN = ("inputs", "targets")
_REJECTED = ("rejected_inputs", "rejected_targets")


def register_pairs(
    name: str,
    directory: str | os.PathLike[str],
    *,
    tokenizer: str = "embedded",
    vocabulary: seqio.Vocabulary | None = None,
    template: str = DataConfig().template,
    append_eos: bool = False,
    sides: Literal["both", "chosen"] = "both",
    splits: Mapping[str, str] = SPLITS,
) -> seqio.Task:
    """Registers a task over a folder of pair shards, and returns it.

    Features of `both` sides: `inputs` (the prompt in `template`) and `targets` (chosen), `rejected_inputs`
    and `rejected_targets`, int32 tokens, and `margin`. Of the side `chosen`: `inputs` and `targets` alone,
    so that the task mixes with any other of that form. The texts are added as `..._pretokenized`.

    Tokens are those of the loader with `tokenizer` (`embedded`, a folder or a hub name): a row is encoded
    as a whole and then cut where the response begins. With a `vocabulary`, as a mixture with other tasks
    needs it, both parts are encoded by it, on their own; `tokenizer` then only gives conversations their
    chat template. SeqIO pads with 0 and T5X gives the token 0 no weight, whatever the vocabulary's pad.

    `splits`: SeqIO's name of a split -> the folder's; those that are not there are left out. Raises
    UserError where the folder holds no pairs, or there is no such tokenizer.
    """
    source = PairSource(directory, splits)
    loaded = Tokenizer.load(tokenizer)
    if append_eos and vocabulary is None:
        loaded.require_eos()
    preprocessors: list[Callable[..., Any]] = [_rows(loaded, template)]
    names = _CHOSEN if sides == "chosen" else (*_CHOSEN, *_REJECTED)
    if vocabulary is None:
        preprocessors.append(_encode_rows(loaded, append_eos, names))
    else:
        preprocessors.append(seqio.preprocessors.tokenize)
        preprocessors.append(seqio.preprocessors.append_eos_after_trim)
    features = {
        feature: seqio.Feature(
            vocabulary or TokenizerVocabulary(tokenizer),
            # `_encode_rows` has already put the EOS to the rows' ends.
            add_eos=append_eos and vocabulary is not None and feature.endswith("targets"),
        )
        for feature in names
    }
    if sides == "both":
        features["margin"] = seqio.ContinuousFeature(rank=0, dtype=tf.float32)
    return seqio.TaskRegistry.add(
        name, source=source, preprocessors=preprocessors, output_features=features
    )


def register_mixture(name: str, rates: Mapping[str, float]) -> seqio.Mixture:
    """Registers a mixture of registered tasks or mixtures, drawn in proportion to `rates`; returns it.

    Raises UserError for a rate that is not positive or a name that is not registered.
    """
    require(bool(rates), "rates", dict(rates), "must name a task or more", "give {task: rate}")
    known = {*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()}
    for task, rate in rates.items():
        require(task in known, "rates", task, "is no registered task", "call register_pairs first")
        require(rate > 0, f"rates[{task!r}]", rate, "must be positive", "leave the task out")
    return seqio.MixtureRegistry.add(name, list(rates.items()))


# --- Python in the pipeline -----------------------------------------------------------------------

_exiting = threading.Event()
_num_calls = itertools.count()


def _in_python(function: Callable[..., Any], inputs: Sequence[tf.Tensor], dtypes: Any) -> Any:
    """`tf.numpy_function` that gives up where the interpreter exits.

    TensorFlow's threads run ahead as long as an iterator lives. A call of theirs into an interpreter that
    is being taken down never returns, and the exit would wait for it.
    """

    def call(*values: Any) -> Any:
        next(_num_calls)
        if _exiting.is_set():
            raise RuntimeError("the interpreter is exiting")
        return function(*values)

    return tf.numpy_function(call, inputs, dtypes)


@atexit.register
def _stop_calls() -> None:
    """Makes all calls fail, and waits until the threads have given up."""
    _exiting.set()
    for _ in range(50):
        before = next(_num_calls)
        time.sleep(0.1)
        if next(_num_calls) == before + 1:
            return


# --- reading --------------------------------------------------------------------------------------


class PairSource(seqio.DataSource):
    """The pairs of a folder, each field a tensor. Every record is read by its index.

    So a host's share may be any, and the shuffle is one over all of it, another one in each epoch.
    """

    def __init__(self, directory: str | os.PathLike[str], splits: Mapping[str, str] = SPLITS):
        """Opens the splits that the folder has, without reading them through."""
        there = shards.read_manifest(directory, PreferencePair)["splits"]
        self._datasets = {
            name: ShardedDataset(directory, PreferencePair, split, verify=False)
            for name, split in splits.items()
            if split in there
        }
        require(
            bool(self._datasets),
            "splits",
            dict(splits),
            f"names none of the splits in {directory}: {', '.join(there)}",
            "give {SeqIO's name: the folder's}",
        )
        super().__init__(
            splits=self._datasets,
            num_input_examples={name: len(split) for name, split in self._datasets.items()},
            performs_internal_shuffling=True,
        )

    @property
    def supports_arbitrary_sharding(self) -> bool:
        """True: a share is every n-th record."""
        return True

    def list_shards(self, split: str) -> Sequence[str]:
        """Paths of the split's files."""
        dataset = self._datasets[split]
        return [str(dataset.directory / shard.name) for shard in dataset.shards]

    def get_dataset(
        self,
        split: str = "train",
        shuffle: bool = True,
        seed: int | None = None,
        shard_info: seqio.ShardInfo | None = None,
        **unused: Any,
    ) -> tf.data.Dataset:
        """The pairs of this share."""
        dataset = self._datasets[split]
        index, count = (shard_info.index, shard_info.num_shards) if shard_info else (0, 1)
        size = len(range(index, len(dataset), count))
        places = _shuffled(size, seed) if shuffle and size else tf.data.Dataset.range(size)

        def read(place: int) -> list[Any]:
            pair = dataset[index + count * int(place)]
            return [_as_numpy(getattr(pair, name)) for name in _FIELDS]

        def read_tensors(place: tf.Tensor) -> dict[str, tf.Tensor]:
            tensors = _in_python(read, [place], list(_FIELDS.values()))
            return {
                name: tf.ensure_shape(tensor, [])
                for name, tensor in zip(_FIELDS, tensors, strict=True)
            }

        return places.map(read_tensors, num_parallel_calls=tf.data.AUTOTUNE)


def _shuffled(size: int, seed: int | None) -> tf.data.Dataset:
    """0 .. size - 1 in a random order, in each pass over it another one; takes no memory."""
    numbers = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)
    seeds = numbers.batch(2, drop_remainder=True).take(1)

    def order(key: tf.Tensor) -> tf.data.Dataset:
        last = tf.constant(size - 1, tf.int64)
        shuffle = tf.random.experimental.index_shuffle  # pyright: ignore[reportAttributeAccessIssue]
        return tf.data.Dataset.range(size).map(lambda place: shuffle(place, key, last))

    return seeds.flat_map(order)


def _as_numpy(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else np.asarray(value, _DTYPES[type(value)])


_DTYPES = {bool: np.bool_, float: np.float32}


# --- rows -----------------------------------------------------------------------------------------


def _rows(tokenizer: Tokenizer, template: str) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """Adds the texts of both rows, each cut where the response begins."""

    def split(pair_id: bytes, prompt: bytes, chosen: bytes, rejected: bytes, chat: bool) -> Any:
        texts = (text.decode() for text in (pair_id, prompt, chosen, rejected))
        pair = PreferencePair(*texts, is_conversation=bool(chat))
        rows = tokenizer.format_pair(pair, template)
        parts = [(row.text[: row.response_start], row.text[row.response_start :]) for row in rows]
        return [part.encode() for row in parts for part in row]

    def add(pair: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        fields = ("pair_id", "prompt", "chosen", "rejected", "is_conversation")
        names = (*_CHOSEN, *_REJECTED)
        parts = _in_python(split, [pair[name] for name in fields], [tf.string] * len(names))
        kept = {name: pair[name] for name in ("pair_id", "subset", "margin", "is_conversation")}
        return kept | {
            name: tf.ensure_shape(part, []) for name, part in zip(names, parts, strict=True)
        }

    return lambda dataset: dataset.map(add, num_parallel_calls=tf.data.AUTOTUNE)


def _encode_rows(
    tokenizer: Tokenizer, append_eos: bool, names: Sequence[str]
) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """Turns the texts into the loader's tokens; the texts stay as `..._pretokenized`."""

    def encode(chat: bool, *parts: bytes) -> list[np.ndarray]:
        rows = []
        for start, response in zip(parts[::2], parts[1::2], strict=True):
            start = start.decode()
            rows.append(Text(start + response.decode(), len(start), not chat))
        encoded = tokenizer.encode(rows, append_eos)
        return [
            tokens
            for row in encoded
            for tokens in (row.tokens[: row.response_start], row.tokens[row.response_start :])
        ]

    def add(row: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        texts = [row[name] for name in names]
        tokens = _in_python(encode, [row["is_conversation"], *texts], [tf.int32] * len(names))
        kept = {name: value for name, value in row.items() if name not in names}
        kept |= {f"{name}_pretokenized": text for name, text in zip(names, texts, strict=True)}
        return kept | {
            name: tf.ensure_shape(part, [None]) for name, part in zip(names, tokens, strict=True)
        }

    return lambda dataset: dataset.map(add, num_parallel_calls=tf.data.AUTOTUNE)


class TokenizerVocabulary(seqio.Vocabulary):
    """One of our tokenizers as a SeqIO vocabulary, without extra ids. Picklable."""

    def __init__(self, tokenizer: str = "embedded"):
        """`tokenizer` is `embedded`, a folder or a hub name."""
        super().__init__()
        self.tokenizer = Tokenizer.load(tokenizer)

    @property
    def bos_id(self) -> int | None:
        """None: the backend puts a BOS where its texts have one."""
        return None

    @property
    def eos_id(self) -> int | None:
        """The tokenizer's EOS."""
        return self.tokenizer.eos_id

    @property
    def pad_id(self) -> int:
        """The tokenizer's pad token; SeqIO itself pads with 0."""
        return self.tokenizer.pad_id

    @property
    def unk_id(self) -> int | None:
        """None: the tokenizers are byte-level."""
        return None

    @property
    def _base_vocab_size(self) -> int:
        return self.tokenizer.vocab_size

    def _encode(self, s: str) -> list[int]:
        return self.tokenizer.backend.encode(s, add_special_tokens=False).ids

    def _decode(self, ids: Iterable[int]) -> str:
        return self.tokenizer.backend.decode([int(token) for token in ids])

    def _encode_tf(self, s: tf.Tensor) -> tf.Tensor:
        """Tokens of one text."""

        def encode(text: Any) -> np.ndarray:
            # Bytes in a dataset, an array of rank 0 outside one.
            return np.array(self._encode(np.asarray(text).item().decode()), np.int32)

        return tf.ensure_shape(_in_python(encode, [s], tf.int32), [None])

    def _decode_tf(self, ids: tf.Tensor) -> tf.Tensor:
        """Texts of tokens [... L]."""

        def decode(tokens: np.ndarray) -> np.ndarray:
            flat = [self._decode(row).encode() for row in tokens.reshape(-1, tokens.shape[-1])]
            return np.array(flat, object).reshape(tokens.shape[:-1])

        return tf.ensure_shape(_in_python(decode, [ids], tf.string), ids.shape[:-1])

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, TokenizerVocabulary)
            and self.tokenizer.definition == other.tokenizer.definition
        )

    def __hash__(self) -> int:
        return hash(self.tokenizer.definition)

    def __str__(self) -> str:
        return f"TokenizerVocabulary({self.tokenizer.name!r})"
