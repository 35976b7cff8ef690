"""Shards -> batches."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from annotated_types import Ge, Lt

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import (
    Config,
    Date,
    NonNegativeInt,
    OnlyWith,
    PositiveInt,
    Remedy,
    Rule,
    StorePath,
)
from codepmp_jax.config.mixture import MixtureEntry, Source, require_sources, sources_of

_PACKED = OnlyWith("layout", ("packed", "shared"))


def is_template(template: str) -> bool:
    """Whether it holds {prompt} once, then {response} once, at its end."""
    counts = template.count("{prompt}"), template.count("{response}")
    return counts == (1, 1) and template.endswith("{response}")


@dataclasses.dataclass(frozen=True)
class DataConfig(Config, section="data"):
    """Shards of pairs, or of documents, -> tokenized batches of static shape."""

    input: StorePath = "runs/pairs"
    """Folder of pair shards, local or gs://; with the objective lm also of corpus shards. The split `train` is trained
    on, `heldout` is evaluated on."""
    mixture: tuple[MixtureEntry, ...] = ()
    """Sources to train on in place of `input`, as NAME=FOLDER:WEIGHT ...: of the records that are drawn, each source
    has the share of its weight. A source is shuffled and repeated on its own, so a small one with a large weight comes
    round more often. The order in which they are given does not matter."""
    max_pairs: PositiveInt | None = None
    """Number of pairs (with the objective lm: documents) of `train` to train on, chosen at random by subset_seed; by
    default all. A smaller subset of one seed is part of each larger one. Not with a mixture."""
    subset_seed: Annotated[int, Ge(0), Lt(2**32)] = 0
    """Seed of that choice. It does not depend on `seed`, so that runs can share their pairs."""
    tokenizer: str = "embedded"
    """Folder or hub name of a tokenizer; `embedded` is the small code tokenizer in this package."""
    template: Annotated[
        str,
        Rule(is_template, "must hold {prompt} once, then {response} once, at the end"),
        Remedy("e.g. 'Instruction:{prompt}\\n\\nResponse:{response}'"),
    ] = "Instruction:{prompt}\n\nResponse:{response}"
    """Text of a pair's row; ends in {response}. Conversations use the tokenizer's chat template instead, and documents
    of a corpus are written as they are."""
    layout: Literal["padded", "packed", "shared"] = "padded"
    """What a row of the batch holds. `padded`: one pair, each of its two texts padded to max_length, as in the
    paper. `packed`: as many pairs as fit, one text after the other. `shared`: as many pairs as fit, each as
    the common prefix of its two texts once, then the rest of chosen, then the rest of rejected. Of documents a padded
    row holds one, and a packed one as many as fit; they have no shared layout."""
    max_length: Annotated[int, Ge(2), Remedy("the paper uses 1024")] = 1024
    """Maximum length of a text, prompt and response together, in tokens."""
    row_length: (
        Annotated[int, Ge(4), Remedy("2 * data.max_length holds any pair"), _PACKED] | None
    ) = None
    """Length of a row in the layouts `packed` and `shared`, in tokens; by default 2 * max_length, which holds any
    pair, and of documents max_length."""
    length_policy: Literal["drop", "truncate", "split"] = "drop"
    """What happens to a pair with a text over max_length, or one that does not fit a row. `drop`: it is left out.
    `truncate`: its texts are cut on the right, to max_length (as in the paper) and to half a row. A document over
    max_length or a row is likewise left out, or cut, or, with `split` (objective lm only), divided into pieces of that
    length, each of which begins with the last token of the piece before: every token but the document's first is
    predicted once."""
    identical_policy: Literal["drop", "keep"] = "drop"
    """What happens to a pair whose two texts are the same tokens, after the cut where there is one (the objective lm
    keeps it). `drop`: it is left out, for its pair loss is ln 2 whatever the model. `keep`: it is trained on, as in the
    authors' code."""
    refused_policy: Literal["drop", "stop"] = "drop"
    """What happens to a pair or document that the chat template or the tokenizer refuses. `drop`: it is left out,
    counted, and logged with the template's words. `stop`: all conversations are tokenized before the first step, and the run
    does not start if one is refused."""
    date: Date | None = None
    """Day that a chat template writes as today's (strftime_now), YYYY-MM-DD. By default the day (UTC) on which the run
    starts; the run keeps it in its config, its checkpoints and the template of WORKDIR/tokenizer."""
    row_labels: (
        Annotated[int, Ge(2), Remedy("data.max_length is enough for any text"), _PACKED] | None
    ) = None
    """Number of places that a row has for the labels of one side of its pairs (of chosen, or of rejected); by default
    half a row, at least max_length. The LM head computes logits for all of them, filled or not. Pairs whose responses
    have much in common make more labels than that of a `shared` row: the log then says how many to give."""
    packing_window: Annotated[PositiveInt, _PACKED] = 64
    """Number of pairs, or pieces of documents, that wait to be packed, or more where so many do not fill a row. The next
    row takes the oldest, and those of the others that leave the least of it empty."""
    padding_side: Annotated[Literal["right", "left"], OnlyWith("layout", ("padded",))] = "right"
    """Side on which texts are padded to max_length (layout `padded` only)."""
    response_window: Literal["offsets", "paper"] = "offsets"
    """Where LM labels of a pair begin. `offsets`: at the response's first token, by character offsets; in conversations
    only the assistant's turns are labels. `paper`: counted from the right by the response's own token count, as in the
    authors' code, and everything from there on is a label. It differs from that code where a text itself holds the
    pad token, as it may where pad is EOS: the authors neither count such a token nor make it a label."""
    append_eos: bool = False
    """End every row with the tokenizer's EOS token, unless it is already its last token but for white space."""
    shuffle: bool = True
    """Shuffle each epoch with `seed`. Otherwise pairs or documents come in file order."""
    num_streams: PositiveInt = 1
    """Number of streams that pairs or documents are dealt into in turn. Each is packed on its own and fills an equal
    share of the rows of every batch. Must be divisible by the number of hosts, on which the batches then do not depend."""
    num_workers: Annotated[NonNegativeInt, Remedy("0 tokenizes in the trainer's own process")] = 0
    """Maximum number of processes per host that tokenize and pack; the number used divides the host's streams. 0
    uses threads of the trainer instead."""
    verify_shards: bool = True
    """Compare every shard's sha256 with the manifest at start. Sizes, and the sha256 of shards copied from gs://, are
    always compared."""
    cache: str = "~/.cache/codepmp_jax/shards"
    """Local folder that shards of gs:// are copied to ahead of use; later runs reuse them."""
    cache_bytes: PositiveInt = 64 << 30
    """Maximum size of the cache, in bytes. With `shuffle` it must hold the whole split, since all shards are read
    throughout. Without, two shards are enough, and the least recently used ones are removed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_sources(self.mixture)
        require(
            not self.mixture or self.input == DataConfig.input,
            "data.input",
            self.input,
            "must not be given with data.mixture, which names all folders",
            f"add it to data.mixture as NAME=FOLDER:WEIGHT; if a preset sets it, give --data.input {DataConfig.input}",
        )
        require(
            not self.mixture or self.max_pairs is None,
            "data.max_pairs",
            self.max_pairs,
            "must not be given with data.mixture, whose sources are read by their weights and not to a number of pairs",
            "leave it out; num_steps or num_epochs bounds what is read of a mixture",
        )
        require(
            self.row_length is None or self.packs,
            "data.row_length",
            self.row_length,
            "must not be given with the layout padded, whose rows hold 2 * max_length tokens",
            "leave it out, or set data.layout to packed or shared",
        )
        require(
            self.row_labels is None or self.packs,
            "data.row_labels",
            self.row_labels,
            "must not be given with the layout padded, whose rows hold one pair",
            "leave it out, or set data.layout to packed or shared",
        )
        require(
            self.row_labels is None
            or self.row_labels >= min(self.max_length, self.row_length or self.max_length),
            "data.row_labels",
            self.row_labels,
            f"must be at least data.max_length ({self.max_length}) or data.row_length, so that any text fits",
            "raise it, or lower data.max_length",
        )
        require(
            not self.packs or self.padding_side == "right",
            "data.padding_side",
            self.padding_side,
            f"must be right with the layout {self.layout}, which fills rows from the left",
            "leave it out",
        )

    @property
    def sources(self) -> tuple[Source, ...]:
        """The sources of the mixture in the order of their names; none where `input` is read."""
        return sources_of(self.mixture)

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of shards: `input`, or those of the mixture."""
        return tuple(source.folder for source in self.sources) or (self.input,)

    @property
    def packs(self) -> bool:
        """Whether a row holds several pairs or documents."""
        return self.layout != "padded"
