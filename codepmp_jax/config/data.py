"""Pair shards -> batches."""

from __future__ import annotations

import dataclasses
from typing import Literal

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import Config, require_positive


@dataclasses.dataclass(frozen=True)
class DataConfig(Config):
    """Pair shards -> tokenized batches of static shape."""

    input: str = "runs/pairs"
    """Folder of pair shards, local or gs://; its `train` split is trained on, its `heldout` split evaluated
    on."""
    tokenizer: str = "embedded"
    """Folder or hub name of a tokenizer; `embedded` is the small code tokenizer in this package."""
    template: str = "Instruction:{prompt}\n\nResponse:{response}"
    """Text of a row; ends in {response}. Conversations use the tokenizer's chat template instead."""
    layout: Literal["padded", "packed", "shared"] = "padded"
    """What a row of the batch is. `padded`: a pair, its two texts padded to max_length each, as in the
    paper. `packed`: as many pairs as fit, one text after the other. `shared`: as many pairs as fit, the
    tokens that both texts begin with only once, then the rest of chosen, then the rest of rejected."""
    max_length: int = 1024
    """Tokens a text, prompt and response together."""
    row_length: int | None = None
    """Tokens a row of the layouts `packed` and `shared`; by default 2 * max_length, which holds any pair."""
    length_policy: Literal["drop", "truncate"] = "drop"
    """What becomes of a pair that is too long, because a text is over max_length or because the pair does
    not fit a row: dropped, or cut on the right (to max_length as in the paper; to half a row)."""
    packing_window: int = 64
    """Pairs that wait to be packed. The oldest goes into the next row, with those of the others that leave
    least of it empty."""
    padding_side: Literal["right", "left"] = "right"
    """Side of a text that is filled up to max_length (layout `padded`)."""
    response_window: Literal["offsets", "paper"] = "offsets"
    """Where LM labels begin: at the response's first token by character offsets, or counted from the
    right by the response's own token count, as the authors' code does."""
    append_eos: bool = False
    """End every response with the tokenizer's EOS."""
    shuffle: bool = True
    """Shuffle each epoch with `seed`; without it pairs come in file order."""
    num_streams: int = 1
    """Parts that the order of pairs is dealt into, pair by pair; each is packed on its own and gives equally
    many rows of every batch. The number of hosts must divide it, and then does not change the batches."""
    num_workers: int = 0
    """Processes a host that tokenize and pack: as many, up to this, as divide the host's streams; 0 does so in
    threads of the trainer."""
    verify_shards: bool = True
    """Compare every shard's sha256 with the manifest at start (sizes are always compared, and the sha256 of
    shards copied from gs://)."""
    cache: str = "~/.cache/codepmp_jax/shards"
    """Folder of this machine that shards of gs:// are copied to, ahead of need; a later run finds them."""
    cache_bytes: int = 64 << 30
    """Bytes of the cache. With `shuffle` it must hold the split, as every shard is read all the time; without,
    two shards, and those used longest ago make room."""

    def __post_init__(self) -> None:
        require(
            self.template.count("{prompt}") == 1
            and self.template.count("{response}") == 1
            and self.template.endswith("{response}"),
            "data.template",
            self.template,
            "must hold {prompt} once, then {response} once, at the very end",
            "e.g. 'Instruction:{prompt}\\n\\nResponse:{response}'",
        )
        require(
            self.max_length >= 2,
            "data.max_length",
            self.max_length,
            "must be at least 2",
            "the paper uses 1024",
        )
        require(
            self.row_length is None or self.packs,
            "data.row_length",
            self.row_length,
            "must not be given with the layout padded, whose rows hold 2 * max_length tokens",
            "leave it out, or set data.layout to packed or shared",
        )
        require(
            self.row_length is None or self.row_length >= 4,
            "data.row_length",
            self.row_length,
            "must be at least 4",
            "2 * data.max_length holds any pair",
        )
        require(
            not self.packs or self.padding_side == "right",
            "data.padding_side",
            self.padding_side,
            f"must be right with the layout {self.layout}, which fills rows from the left",
            "leave it out",
        )
        require_positive("data.", self, "num_streams", "packing_window", "cache_bytes")
        require(
            self.num_workers >= 0,
            "data.num_workers",
            self.num_workers,
            "must not be negative",
            "0 tokenizes in the trainer's own process",
        )

    @property
    def packs(self) -> bool:
        """Whether a row holds several pairs."""
        return self.layout != "padded"
