"""Checks that a converted folder computes in PyTorch what the run computes in JAX."""

from __future__ import annotations

import dataclasses
import gc
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from jaxtyping import Bool, Int
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
from transformers.utils import logging as transformers_logging

from codepmp_jax.cli.errors import UserError
from codepmp_jax.cli.progress import progress
from codepmp_jax.config import DataConfig, LoraConfig, ModelConfig, TrainConfig
from codepmp_jax.config.lora import NO_LORA
from codepmp_jax.conversion.adapters import CONFIG
from codepmp_jax.conversion.tensors import Tensors
from codepmp_jax.models.preference import (
    Params,
    abstract_params,
    last_token,
    one_text_rows,
)
from codepmp_jax.text.tokenization import Text, Tokenizer

SCORE_HEAD = "score.weight"

SAMPLES = (
    "Instruction:Add two numbers.\n\nResponse:def add(a, b):\n    return a + b\n",
    "x",
    "Instruction:Réponds en français, s'il te plaît. 日本語も。\n\nResponse:print('ok')\n" * 3,
    "class Stack:\n    def __init__(self):\n        self.items = []\n" * 5,
)

# Largest error over largest value; sums of float32 in another order differ by less than 1e-4.
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}


@dataclasses.dataclass(frozen=True)
class Case:
    """How the texts are batched for PyTorch."""

    batch_size: int
    side: str
    """Side of the padding, `left` or `right`."""
    pad_id: int

    def __str__(self) -> str:
        return f"batches of {self.batch_size}, padded on the {self.side} with token {self.pad_id}"


@dataclasses.dataclass(frozen=True)
class Error:
    """The largest relative error over all cases and texts: max |JAX - PyTorch| of a text / max |JAX| of all."""

    value: float
    case: Case
    text: int
    """Index of the text."""

    def __str__(self) -> str:
        return f"{self.value:.1e} (text {self.text}, {self.case})"


@dataclasses.dataclass(frozen=True)
class Verification:
    """Relative errors over all samples and cases."""

    rewards: Error | None
    """None for a causal LM, which has no score head."""
    logits: Error | None
    """None for an adapter with a score head, under which peft has no LM head."""

    def __str__(self) -> str:
        found = {"rewards": self.rewards, "logits": self.logits}
        return ", ".join(f"{error.value:.1e} ({name})" for name, error in found.items() if error)


def make_rows(tokenizer: Tokenizer, data: DataConfig) -> list[Int[np.ndarray, " _"]]:
    """The samples' tokens as in training, and a text with an EOS inside it if the tokenizer has one."""
    texts = [Text(sample, 0) for sample in SAMPLES]
    rows = [
        encoded.tokens[: data.max_length]
        # Where EOS must not be the pad token, training has refused it.
        for encoded in tokenizer.encode(texts, append_eos=data.append_eos, eos_may_be_pad=True)
    ]
    if tokenizer.eos_id is not None:
        end = np.array([tokenizer.eos_id], np.int32)
        rows.append(np.concatenate([rows[0], end, rows[1]])[-data.max_length :])
    return rows


def cases(num_rows: int, tokenizer: Tokenizer, data: DataConfig) -> list[Case]:
    """Every batch size on either side, and all texts in one batch padded with EOS.

    The last is left out if texts end in EOS, since padding could not be distinguished from their end.
    """
    found = [
        Case(size, side, tokenizer.pad_id)
        for side in ("right", "left")
        for size in range(1, num_rows + 1)
    ]
    if tokenizer.eos_id not in (None, tokenizer.pad_id) and not data.append_eos:
        found += [Case(num_rows, side, tokenizer.eos_id) for side in ("right", "left")]
    return found


def pad(
    rows: list[Int[np.ndarray, " _"]], side: str, pad_id: int
) -> tuple[Int[np.ndarray, "B L"], Bool[np.ndarray, "B L"]]:
    """(tokens, mask of the real ones [B L]) of rows padded to the longest."""
    length = max(map(len, rows))
    lengths = np.array([[len(row)] for row in rows])
    places = np.arange(length)
    mask = places < lengths if side == "right" else places >= length - lengths
    tokens = np.full((len(rows), length), pad_id, np.int32)
    tokens[mask] = np.concatenate(rows)
    return tokens, mask


class _Comparison:
    """The largest error so far against the values [...] of each text."""

    def __init__(self, ours: list[np.ndarray]):
        self._ours = ours
        self._scale = max(float(np.max(np.abs(value))) for value in ours) or 1.0
        self.worst: Error | None = None

    def add(self, case: Case, text: int, theirs: np.ndarray) -> None:
        value = float(np.max(np.abs(self._ours[text] - theirs))) / self._scale
        # NaN counts as the largest error.
        if self.worst is None or not value <= self.worst.value:
            self.worst = Error(value, case, text)


def _ours(
    config: ModelConfig,
    lora: LoraConfig,
    load: Callable[[], Params],
    rows: list[np.ndarray],
    pad_id: int,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(reward [1], logits [L V]) of each row, by JAX in float32."""
    reference = dataclasses.replace(
        config, compute_dtype="float32", int8_forward=False, attention="xla"
    )
    graph, _, _ = abstract_params(reference, lora)
    model = nnx.merge(graph, load())
    tokens, mask = pad(rows, "right", pad_id)
    hidden = model(jnp.asarray(tokens), *one_text_rows(jnp.asarray(mask)))
    rewards = np.asarray(model.rewards(hidden, last_token(jnp.asarray(mask))[:, None]))
    logits = np.asarray(model.logits(hidden))
    return list(rewards), [logits[i][mask[i]] for i in range(len(rows))]


def _theirs(model: Any, rows: list[np.ndarray], case: Case) -> Iterator[tuple[int, np.ndarray]]:
    """(index of the row, its logits in PyTorch: for each token, or one for the text)."""
    model.config.pad_token_id = case.pad_id
    for start in range(0, len(rows), case.batch_size):
        batch = rows[start : start + case.batch_size]
        tokens, mask = pad(batch, case.side, case.pad_id)
        with torch.inference_mode():
            logits = model(
                input_ids=torch.from_numpy(tokens.astype(np.int64)),
                attention_mask=torch.from_numpy(mask.astype(np.int64)),
            ).logits.numpy()
        for i in range(len(batch)):
            yield start + i, logits[i][mask[i]] if logits.ndim == 3 else logits[i]


def _compare(
    name: str,
    network: Any,
    ours: list[np.ndarray],
    rows: list[np.ndarray],
    tokenizer: Tokenizer,
    data: DataConfig,
) -> Error:
    """The largest error of a model of PyTorch over all cases."""
    comparison = _Comparison(ours)
    for case in progress(cases(len(rows), tokenizer, data), desc=f"verify {name}", unit="case"):
        for text, theirs in _theirs(network, rows, case):
            comparison.add(case, text, theirs)
    assert comparison.worst is not None
    return comparison.worst


def _require_within(found: Verification, tolerance: float, folder: pathlib.Path) -> Verification:
    for name, error in (("rewards", found.rewards), ("logits", found.logits)):
        if error is not None and not error.value <= tolerance:
            raise UserError(
                f"{folder}: {name} differ from the run's: relative error {error}, more than "
                f"{tolerance:.0e}. Remedy: convert again; if it stays, report it."
            )
    return found


def verify(
    folder: pathlib.Path,
    model: ModelConfig,
    data: DataConfig,
    load: Callable[[], Params],
    dtype: str,
    lora: LoraConfig = NO_LORA,
) -> Verification:
    """Compares rewards, if there is a score head, and logits of a Hugging Face folder with those of the run's
    parameters, in float32, over texts of several lengths and all `cases`.

    `load` returns the run's parameters, with the adapters of `lora`. Only one model is in memory at a time. Raises
    UserError naming the worst case if they differ by more than TOLERANCE of `dtype`, the dtype of the folder.
    """
    tokenizer = Tokenizer.load(str(folder))
    rows = make_rows(tokenizer, data)
    rewards, logits = _ours(model, lora, load, rows, tokenizer.pad_id)
    gc.collect()
    # Each of the two models warns that the other one's head is unexpected.
    transformers_logging.set_verbosity_error()

    def compare(model_class: Any, ours: list[np.ndarray]) -> Error:
        network = model_class.from_pretrained(folder, dtype=torch.float32)
        return _compare(model_class.__name__, network, ours, rows, tokenizer, data)

    with_score = SCORE_HEAD in Tensors(folder)
    found = Verification(
        compare(AutoModelForSequenceClassification, rewards) if with_score else None,
        compare(AutoModelForCausalLM, logits),
    )
    return _require_within(found, TOLERANCE[dtype], folder)


def verify_adapter(
    folder: pathlib.Path, config: TrainConfig, load: Callable[[], Params], dtype: str
) -> Verification:
    """As `verify`, for a PEFT adapter over its base model: the rewards, or of a causal LM's adapter the logits.

    Raises UserError where peft is not installed, or the base model cannot be opened, too. With frozen parameters in
    bfloat16 the run's base differs from that in float32, so the tolerance is that of bfloat16.
    """
    try:
        import peft
    except ImportError as error:
        raise UserError(
            f"verify: peft cannot be imported ({error}). Remedy: pip install 'codepmp_jax[peft]'."
        ) from error
    tokenizer = Tokenizer.load(str(folder))
    rows = make_rows(tokenizer, config.data)
    rewards, logits = _ours(config.model, config.lora, load, rows, tokenizer.pad_id)
    gc.collect()
    transformers_logging.set_verbosity_error()
    is_scorer = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["task_type"] == "SEQ_CLS"
    # The base's own config need not say that there is one label: a causal LM's does not.
    model_class: Any = peft.AutoPeftModelForCausalLM
    labels = {}
    if is_scorer:
        model_class, labels = peft.AutoPeftModelForSequenceClassification, {"num_labels": 1}
    try:
        network = model_class.from_pretrained(folder, dtype=torch.float32, **labels).eval()
    # No such folder or name; tensors of other shapes.
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{folder}: peft cannot open it over its base model: {error} Remedy: give the model that the run began "
            "with as --base FOLDER."
        ) from error
    error = _compare(
        model_class.__name__,
        network,
        rewards if is_scorer else logits,
        rows,
        tokenizer,
        config.data,
    )
    found = Verification(error, None) if is_scorer else Verification(None, error)
    loosest = "bfloat16" if "bfloat16" in (dtype, config.lora.base_dtype) else "float32"
    return _require_within(found, TOLERANCE[loosest], folder)
