"""Rewards by PyTorch, from a Hugging Face folder that conversion wrote.

The reward is the score head on the hidden state of a row's last token, found by the row's own length, not by
looking for pad tokens: it does not matter whether pad is eos, or a text contains eos.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModelForSequenceClassification
from transformers.utils import logging as transformers_logging

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.config import DataConfig, ScorerConfig, presets
from codepmp_jax.evaluation.scorers.pieces import ATTENTION, Piece, TextCache, plan_chunks
from codepmp_jax.evaluation.scorers.scorer import Scored
from codepmp_jax.text.tokenization import Tokenizer

SCORE_HEAD = "score.weight"
# By type of device: tokens of a chunk; queries of a block; blocks that attend at once.
_CHUNK_TOKENS = {"cpu": 1024, "cuda": 16384}
_BLOCK = {"cpu": 64, "cuda": 256}
_NUM_BLOCKS = {"cpu": 1, "cuda": 8}
_ENDS = 16


class _AtEnds(torch.nn.Module):
    """The last layer's MLP where rows end, and zeros elsewhere: nothing else is read of its output."""

    def __init__(self, mlp: torch.nn.Module):
        super().__init__()
        self.mlp = mlp
        self.ends: list[int] = []
        """Indices of the rows' last tokens in the chunk."""

    def forward(self, x: Float[Tensor, "1 T D"]) -> Float[Tensor, "1 T D"]:
        """Equally many rows at a time, so that what a row gets does not depend on how many end."""
        output = torch.zeros_like(x)
        for start in range(0, len(self.ends), _ENDS):
            ends = self.ends[start : start + _ENDS]
            rows = x.new_zeros(_ENDS, x.shape[-1])
            rows[: len(ends)] = x[0, ends]
            output[0, ends] = self.mlp(rows)[: len(ends)]
        return output


class TorchScorer:
    """A reward model from a Hugging Face folder, on one device."""

    is_main = True

    def __init__(
        self,
        backbone: Any,
        score_head: Float[Tensor, "1 D"],
        tokenizer: Tokenizer,
        data: DataConfig,
        config: ScorerConfig,
    ):
        """`backbone` is one of transformers' decoders, which gives hidden states after its final norm."""
        name = config.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        require(
            name == "cpu" or torch.cuda.is_available(),
            "scorer.device",
            name,
            "must be there, but PyTorch sees no GPU",
            "give --scorer.device cpu",
        )
        self.tokenizer = tokenizer
        self.data = data
        self.num_computed = 0
        self._device = torch.device(name)
        self._chunk_tokens = config.batch_tokens or _CHUNK_TOKENS[name]
        self._ends = backbone.layers[-1].mlp = _AtEnds(backbone.layers[-1].mlp)
        self._backbone = backbone.eval().to(self._device)
        self._score_head = score_head.float().to(self._device)
        digest = hashlib.sha256(score_head.float().numpy().tobytes())
        self.facts = {
            "score_head_sha256": digest.hexdigest(),
            "dtype": config.dtype,
            "batch_tokens": self._chunk_tokens,
        }

    @classmethod
    def load(cls, folder: str | pathlib.Path, config: ScorerConfig) -> TorchScorer:
        """The reward model in a Hugging Face folder.

        Raises UserError where the folder is none, lacks a tensor (the score head above all), or has
        fewer embeddings than the tokenizer has tokens.
        """
        folder = pathlib.Path(folder)
        require(
            (folder / "config.json").is_file(),
            "model",
            str(folder),
            "must be a Hugging Face folder, with a config.json",
            "give the --output of `launch/convert.py to-hf`",
        )
        score_head = _read_score_head(folder)
        data = _read_data_config(folder)
        tokenizer = Tokenizer.load(str(folder))
        # An LM head is no part of this class: transformers would report it as unexpected.
        transformers_logging.set_verbosity_error()
        network, report = AutoModelForSequenceClassification.from_pretrained(
            folder,
            num_labels=1,
            dtype=getattr(torch, config.dtype),
            attn_implementation=ATTENTION,
            local_files_only=True,
            output_loading_info=True,
        )
        require(
            not report["missing_keys"],
            f"{folder}: tensors not in the files",
            sorted(report["missing_keys"]),
            "must all be there",
            "convert the run again",
        )
        require(
            tokenizer.vocab_size <= network.config.vocab_size,
            f"{folder}: vocab_size of config.json",
            network.config.vocab_size,
            f"must not be smaller than the tokenizer's ({tokenizer.vocab_size})",
            "the tokenizer in the folder is not the one it was trained with",
        )
        return cls(network.base_model, score_head, tokenizer, data, config)

    def agreed(self, values: np.ndarray) -> np.ndarray:
        """As in Scorer; there is one process."""
        return values

    def rewards(self, rows: Sequence[np.ndarray]) -> Scored:
        """As in Scorer."""
        longest = max(map(len, rows), default=0)
        kind = self._device.type
        cache = TextCache(
            longest, self._chunk_tokens, _BLOCK[kind], _NUM_BLOCKS[kind], self._device
        )
        for chunk in plan_chunks(rows, self._chunk_tokens):
            ended = [piece for piece in chunk if piece.is_end]
            rewards = self._chunk_rewards(
                rows, chunk, [piece.in_chunk.stop - 1 for piece in ended], cache
            )
            self.num_computed += self._chunk_tokens
            if ended:
                yield [piece.row for piece in ended], rewards.cpu().numpy()

    @torch.inference_mode()
    def _chunk_rewards(
        self, rows: Sequence[np.ndarray], chunk: Sequence[Piece], ends: list[int], cache: TextCache
    ) -> Float[Tensor, " N"]:
        """Rewards at `ends`, indices into the chunk. After its last piece the chunk holds token 0, to which no row
        attends."""
        tokens, positions = np.zeros((2, 1, self._chunk_tokens), np.int64)
        for piece in chunk:
            tokens[0, piece.in_chunk] = rows[piece.row][piece.start : piece.stop]
            positions[0, piece.in_chunk] = np.arange(piece.start, piece.stop)
        self._ends.ends = ends
        cache.enter(chunk)
        hidden = self._backbone(
            torch.from_numpy(tokens).to(self._device),
            position_ids=torch.from_numpy(positions).to(self._device),
            use_cache=False,
            cache=cache,
        ).last_hidden_state
        return (hidden[0, ends].float() * self._score_head).sum(-1)


def _read_score_head(folder: pathlib.Path) -> Float[Tensor, "1 D"]:
    """`score.weight` as float32; Hugging Face would make up a head that the files do not hold."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(
            f"{folder}: has no *.safetensors. Remedy: write it with `launch/convert.py to-hf`."
        )
    for path in files:
        with safe_open(path, framework="pt") as file:
            if SCORE_HEAD in file.keys():  # noqa: SIM118 - not a dict
                head = file.get_tensor(SCORE_HEAD).float()
                require(
                    head.ndim == 2 and len(head) == 1,
                    f"{path}: shape of {SCORE_HEAD}",
                    tuple(head.shape),
                    "must be (1, hidden size)",
                    "give a reward model with num_labels 1",
                )
                return head
    raise UserError(
        f"{folder}: no file holds {SCORE_HEAD}, so there is no reward model in it (a new head would "
        "give random rewards). Remedy: give a folder written by `launch/convert.py to-hf`."
    )


def _read_data_config(folder: pathlib.Path) -> DataConfig:
    """How the training texts were made: the `data` settings in the folder's codepmp_jax.json."""
    path = folder / "codepmp_jax.json"
    if not path.is_file():
        print(f"{path}: not there; template, append_eos and max_length are the defaults.")
        return DataConfig()
    try:
        data = json.loads(path.read_text(encoding="utf-8"))["config"]["data"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: holds no config.data ({error!r}). Remedy: convert the run again."
        ) from error
    return presets.from_json(DataConfig, data, str(path))
