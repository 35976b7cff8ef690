"""Rewards of texts by PyTorch, from a Hugging Face folder that conversion wrote.

The reward is the score head on the hidden state of a row's last real token, found by the row's own
length, not by looking for pad tokens: whether pad is eos, or eos stands inside a text, changes nothing.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import time
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from transformers import AutoModelForSequenceClassification
from transformers.utils import logging as transformers_logging

from codepmp_jax import presets
from codepmp_jax.config import DataConfig, ScorerConfig
from codepmp_jax.errors import UserError, require
from codepmp_jax.progress import progress
from codepmp_jax.records import PreferencePair, Problem, Score
from codepmp_jax.tokenization import Text, Tokenizer

SCORE_HEAD = "score.weight"
_LENGTH_MULTIPLE = 32
_TEXTS_PER_CHUNK = 1024


@dataclasses.dataclass(frozen=True)
class Scored:
    """Scores in the order of the items, and what scoring took."""

    scores: list[Score]
    num_truncated: int
    """Texts cut on the right at max_length."""
    seconds: float


def padded_length(num_tokens: int) -> int:
    """Length that a row of `num_tokens` is padded to: a multiple of 32, by one token at the least.

    It depends on the row alone, so that a row meets the same kernels in whatever company: matmuls over
    another number of positions may round otherwise, which moves bfloat16 rewards by a few 1e-3, and a
    batch without padding loses its mask in transformers, which may choose another attention.
    """
    return (num_tokens // _LENGTH_MULTIPLE + 1) * _LENGTH_MULTIPLE


def plan_batches(lengths: Int[np.ndarray, "B"], batch_tokens: int) -> list[list[int]]:
    """Indices of the rows of each batch, longest rows first, so that memory runs out at once or never.

    A batch holds rows of one padded length, at most `batch_tokens` padded tokens but at least one row.
    """
    batches: list[list[int]] = []
    previous = 0
    for index in np.argsort(-lengths, kind="stable").tolist():
        length = padded_length(int(lengths[index]))
        if length != previous or (len(batches[-1]) + 1) * length > batch_tokens:
            batches.append([])
        batches[-1].append(index)
        previous = length
    return batches


def _read_score_head(folder: pathlib.Path) -> torch.Tensor:
    """`score.weight` [1 D] as float32; Hugging Face would make up a head that the files do not hold."""
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


class RewardModel:
    """A reward model with its tokenizer and the settings that its training texts were made with."""

    def __init__(
        self,
        backbone: torch.nn.Module,
        score_head: torch.Tensor,
        tokenizer: Tokenizer,
        data: DataConfig,
        config: ScorerConfig,
    ):
        """`backbone` gives hidden states [B L D] after the final norm; `score_head` is [1 D]."""
        self.device = torch.device(
            ("cuda" if torch.cuda.is_available() else "cpu")
            if config.device == "auto"
            else config.device
        )
        self.backbone = backbone.eval().to(self.device)
        self.score_head = score_head.float().to(self.device)
        self.tokenizer = tokenizer
        self.data = data
        self.config = config

    @classmethod
    def load(cls, folder: str | pathlib.Path, config: ScorerConfig) -> RewardModel:
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

    def score_pairs(self, pairs: Sequence[PreferencePair]) -> Scored:
        """Scores of chosen (index 0) and rejected (index 1) of each pair, in order."""
        items = []
        for pair in pairs:
            texts = self.tokenizer.format_pair(pair, self.data.template)
            items += [(pair.pair_id, index, text) for index, text in enumerate(texts)]
        return self._score(items)

    def score_problems(self, problems: Sequence[Problem]) -> Scored:
        """Scores of every candidate of each problem, in order."""
        return self._score(
            [
                (
                    problem.problem_id,
                    index,
                    self.tokenizer.format(problem.prompt, candidate.response, self.data.template),
                )
                for problem in problems
                for index, candidate in enumerate(problem.candidates)
            ]
        )

    def _score(self, items: Sequence[tuple[str, int, Text]]) -> Scored:
        started = time.monotonic()
        rows: list[np.ndarray] = []
        num_truncated = 0
        with progress(total=len(items), desc="tokenizing", unit="text") as bar:
            for start in range(0, len(items), _TEXTS_PER_CHUNK):
                texts = [text for _, _, text in items[start : start + _TEXTS_PER_CHUNK]]
                for row in self.tokenizer.encode(texts, append_eos=self.data.append_eos):
                    num_truncated += len(row.tokens) > self.data.max_length
                    rows.append(row.tokens[: self.data.max_length])
                bar.update(len(texts))
        for (item_id, index, _), row in zip(items, rows, strict=True):
            require(len(row) > 0, f"{item_id}, text {index}", "", "has no tokens", "leave it out")
        rewards = self.rewards(rows)
        for (item_id, index, _), reward in zip(items, rewards.tolist(), strict=True):
            require(
                math.isfinite(reward),
                f"{item_id}, text {index}: reward",
                reward,
                "must be finite",
                "the model's weights are damaged, or try --scorer.dtype float32",
            )
        scores = [
            Score(item_id, index, reward, len(row))
            for (item_id, index, _), reward, row in zip(items, rewards.tolist(), rows, strict=True)
        ]
        return Scored(scores, num_truncated, time.monotonic() - started)

    @torch.inference_mode()
    def rewards(self, rows: Sequence[np.ndarray]) -> Float[np.ndarray, "B"]:
        """The reward of each row of tokens (int [L], at least one token), whatever stands beside it."""
        lengths = np.array([len(row) for row in rows], np.int64)
        rewards = np.zeros(len(rows), np.float32)
        labels = {"desc": "scoring", "unit": "tok", "unit_scale": True}
        with progress(total=int(lengths.sum()), **labels) as bar:
            for batch in plan_batches(lengths, self.config.batch_tokens):
                rewards[batch] = self._batch_rewards([rows[index] for index in batch])
                bar.update(int(lengths[batch].sum()))
        return rewards

    def _batch_rewards(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        lengths = torch.tensor([len(row) for row in rows])
        # What stands behind a row's end is masked, so that any token id will do: 0.
        tokens = torch.zeros(len(rows), padded_length(int(lengths.max())), dtype=torch.long)
        for index, row in enumerate(rows):
            tokens[index, : len(row)] = torch.from_numpy(row.astype(np.int64))
        mask = torch.arange(tokens.shape[1])[None, :] < lengths[:, None]
        hidden = self.backbone(
            tokens.to(self.device), attention_mask=mask.long().to(self.device), use_cache=False
        ).last_hidden_state
        last = hidden[torch.arange(len(rows)), lengths - 1].float()
        return (last * self.score_head).sum(-1).cpu().numpy()
