"""Log-probs by PyTorch, from a Hugging Face folder: the rows of training, with a mask of who attends to whom."""

from __future__ import annotations

import pathlib
from typing import Any

import jax
import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from codepmp_jax.cli.errors import require
from codepmp_jax.config import LogProbsConfig
from codepmp_jax.conversion.load import find_folder, is_run
from codepmp_jax.conversion.weights_digest import weights_digest
from codepmp_jax.data.batch import Batch
from codepmp_jax.data.layouts import layout_of
from codepmp_jax.data.pairs import POLICY_PAIRS
from codepmp_jax.data.tokenized_item import SIDES
from codepmp_jax.text.tokenization import Tokenizer


class TorchBackend:
    """A causal LM of transformers on one device."""

    is_main = True
    tokenizer: Tokenizer
    vocab_size: int
    facts: dict[str, Any]

    def __init__(self, model: torch.nn.Module, config: LogProbsConfig):
        """`model` is one of transformers' causal LMs."""
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = model.eval().to(self._device)
        self._length = layout_of(config.data, SIDES, kind=POLICY_PAIRS).sequence_length
        self.num_rows = config.batch_rows or 1

    @classmethod
    def load(cls, config: LogProbsConfig) -> TorchBackend:
        """The model in a Hugging Face folder. Raises UserError where there is none, or not all of its tensors."""
        require(
            not is_run(config.model),
            "model",
            config.model,
            "is a training run",
            "give --backend jax, or convert it (codepmp convert to-hf --heads lm)",
        )
        folder = find_folder(config.model, "model")
        require(
            (pathlib.Path(folder) / "config.json").is_file(),
            "model",
            config.model,
            "must be a Hugging Face folder, with a config.json",
            "give the --output of `codepmp convert to-hf`, or a folder that was downloaded whole",
        )
        transformers_logging.set_verbosity_error()
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, config.dtype),
            attn_implementation="eager",
            local_files_only=True,
            output_loading_info=True,
        )
        model, report = loaded
        require(
            not report["missing_keys"],
            f"{folder}: tensors not in the files",
            sorted(report["missing_keys"]),
            "must all be there: without an LM head there are no log-probs",
            "copy the folder again, or convert the run again with --heads lm",
        )
        backend = cls(model, config)
        name = config.data.tokenizer
        backend.tokenizer = Tokenizer.load(str(folder) if name == "embedded" else name)
        backend.vocab_size = model.config.vocab_size
        backend.facts = {"weights": weights_digest(str(folder)), "attention": "eager"}
        return backend

    def agreed(self, value: Any) -> Any:
        """As in Backend; there is one process."""
        return value

    @torch.inference_mode()
    def log_probs(self, batch: Batch) -> Float32[np.ndarray, "B C"]:
        """As in Backend."""
        rows = [jax.tree.map(lambda array, i=i: array[i], batch) for i in range(len(batch.tokens))]
        return np.stack([self._row(row) for row in rows])

    def _row(self, row: Batch) -> Float32[np.ndarray, " C"]:
        """Of one row, whose arrays have lost their first dim."""

        def sequences(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array.reshape(-1, self._length).astype(np.int64)).to(
                self._device
            )

        positions = sequences(row.positions)
        mask = attends(sequences(row.segments), sequences(row.branches))
        dtype = next(self._model.parameters()).dtype
        bias = torch.zeros(mask.shape, dtype=dtype, device=self._device)
        bias.masked_fill_(~mask, torch.finfo(dtype).min)
        logits = self._model(
            sequences(row.tokens),
            attention_mask=bias[:, None],
            position_ids=positions,
            use_cache=False,
        ).logits.flatten(0, 1)
        places = torch.from_numpy(row.label_places.astype(np.int64)).to(self._device)
        labels = torch.from_numpy(row.labels.astype(np.int64)).to(self._device)
        found = torch.log_softmax(logits[places].float(), -1)
        return found.gather(-1, labels[:, None])[:, 0].cpu().numpy()


def attends(segments: Tensor, branches: Tensor) -> Bool[Tensor, "S L L"]:
    """Whether the token of each row attends to that of each column: of its text, and not behind it; padding to itself.

    `segments` and `branches` (S, L) are those of a batch (data/batch.py)."""
    length = segments.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    same = segments[:, :, None] == segments[:, None, :]
    own = (branches[:, None, :] == 0) | (branches[:, :, None] == branches[:, None, :])
    return causal & same & own
