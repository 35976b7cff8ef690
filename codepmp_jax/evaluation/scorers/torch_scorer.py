"""Rewards by PyTorch, from the Hugging Face folder of a reward model, whether conversion wrote it or not.

A model of one of our families (codepmp_jax.families) with the head `score.weight` of one label, as
AutoModelForSequenceClassification saves it: safetensors of any float dtype, one file or several.

The reward is the score head on the hidden state of a row's last token, found by the row's own length, not by
looking for pad tokens: it does not matter whether pad is eos, or a text contains eos.
"""

from __future__ import annotations

import hashlib
import logging
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoModelForSequenceClassification
from transformers.utils import logging as transformers_logging

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.config import ScorerConfig, TextsConfig
from codepmp_jax.evaluation.scorers.pieces import ATTENTION, Piece, TextCache, plan_chunks
from codepmp_jax.evaluation.scorers.scorer import Scored
from codepmp_jax.families import read_hf_config
from codepmp_jax.files import storage
from codepmp_jax.text import forms
from codepmp_jax.text.forms import TextForm
from codepmp_jax.text.tokenization import Tokenizer

logger = logging.getLogger("codepmp_jax")

SCORE_HEAD = "score.weight"
# Kinds of rotary embedding whose wavelengths follow the longest text so far.
_ROPE_BY_BATCH = ("dynamic", "longrope")
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
        form: TextForm,
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
        self.form = form
        self.vocab_size = backbone.config.vocab_size
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
    def load(
        cls,
        folder: str | pathlib.Path,
        config: ScorerConfig,
        texts: TextsConfig = TextsConfig(),
    ) -> TorchScorer:
        """The reward model in a Hugging Face folder.

        Raises UserError where the folder is none, lacks a tensor (the score head above all), has more than one
        label, is of another family, or has fewer embeddings than the tokenizer has tokens; and where its texts are
        written in a form that neither the folder nor the settings say.
        """
        require(
            not storage.is_bucket(folder),
            "model",
            str(folder),
            "is in a bucket; a Hugging Face folder is read from a disk only",
            "copy it to a disk, or score a training run in the bucket with --backend jax",
        )
        folder = pathlib.Path(folder)
        _check_config(folder)
        score_head = _read_score_head(folder)
        tokenizer = Tokenizer.load(str(folder))
        longest = forms.max_length_of(folder, tokenizer)
        trained = forms.read_folder(folder, tokenizer)
        form = forms.of_settings(texts, trained, str(folder), longest)
        form.require_template(tokenizer)
        if form.max_length > longest:
            logger.warning(
                "%s: texts of up to %d tokens are longer than the %d that its config.json and tokenizer name",
                folder,
                form.max_length,
                longest,
            )
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
            "copy the folder again, or convert the run again",
        )
        unused = sorted(set(report["unexpected_keys"]) - {"lm_head.weight"})
        if unused:
            logger.warning(
                "%s: %d tensors have no place in the model and are left out: %s",
                folder,
                len(unused),
                ", ".join(unused[:10]),
            )
        # Tokens that are added to a vocabulary, such as a pad token, often have no embedding. A text that holds one is
        # found later.
        own = max(tokenizer.backend.get_vocab(with_added_tokens=False).values(), default=-1)
        require(
            own < network.config.vocab_size,
            f"{folder}: vocab_size of config.json",
            network.config.vocab_size,
            f"must not be smaller than the tokenizer's ({own + 1})",
            "the tokenizer in the folder is not the one it was trained with",
        )
        return cls(network.base_model, score_head, tokenizer, form, config)

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


def _check_config(folder: pathlib.Path) -> None:
    """Raises UserError where config.json is missing or of a model that is not computed here."""
    path = folder / "config.json"
    require(
        not (folder / "checkpoints").is_dir(),
        "model",
        str(folder),
        "is a training run",
        "score it with --backend jax, or convert it (launch/convert.py to-hf)",
    )
    require(
        path.is_file(),
        "model",
        str(folder),
        "must be a Hugging Face folder, with a config.json",
        "give the --output of `launch/convert.py to-hf`, or a folder that was downloaded whole; score a training run "
        "with --backend jax",
    )
    hf = read_hf_config(folder)
    require(
        not hf.get("quantization_config"),
        f"{path}: quantization_config",
        hf.get("quantization_config"),
        "must not be there",
        "take the model that is not quantized",
    )
    scaling = hf.get("rope_parameters") or hf.get("rope_scaling") or {}
    kind = scaling.get("rope_type", scaling.get("type"))
    require(
        kind not in _ROPE_BY_BATCH,
        f"{path}: rope_type",
        kind,
        "must not depend on the longest text of a batch, on which rewards would depend",
        "set rope_type to default, if texts fit the model's original length",
    )


def _read_score_head(folder: pathlib.Path) -> Float[Tensor, "1 D"]:
    """`score.weight` as float32; Hugging Face would make up a head that the files do not hold."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(
            f"{folder}: has no *.safetensors. Remedy: write it with `launch/convert.py to-hf`, or save the model with "
            "save_pretrained(FOLDER, safe_serialization=True)."
        )
    heads = []
    for path in files:
        try:
            file = safe_open(path, framework="pt")
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"{path}: cannot be read: {error}. Remedy: copy it again; it may be a part of the file only."
            ) from error
        with file:
            names = list(file.keys())
            if SCORE_HEAD in names:
                head = file.get_tensor(SCORE_HEAD).float()
                require(
                    head.ndim == 2 and len(head) == 1,
                    f"{path}: shape of {SCORE_HEAD}",
                    tuple(head.shape),
                    "must be (1, hidden size)",
                    "give a reward model with num_labels 1",
                )
                return head
            heads += [name for name in names if "layers." not in name and "embed" not in name]
    raise UserError(
        f"{folder}: no file holds {SCORE_HEAD}, so there is no reward model in it that is known here (a new head would "
        f"give random rewards); outside of the layers it holds {', '.join(sorted(heads)) or 'nothing'}. Remedy: give a "
        "folder written by `launch/convert.py to-hf`, or by a ...ForSequenceClassification with num_labels 1."
    )
