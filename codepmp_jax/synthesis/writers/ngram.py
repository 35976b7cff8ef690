"""The embedded weak writer: follows the author, but errs at a rate, at exactly the author's length.

Each language has a model of its own, learned from the train texts in it: a Go function gets Go's words.

At each word, number and operator of the author it writes with the probability `rate` a token of its own,
drawn from an n-gram model given what it wrote itself so far, and never the author's token; layout,
brackets, quotes and comment marks stay. So that the longer text is never a hint, draws are accepted by how
near they keep the running length, in characters and in tokens of the embedded tokenizer, to the author's;
what is off at the end is repaired.
"""

from __future__ import annotations

import bisect
import collections
import functools
import hashlib
import itertools
import math
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from codepmp_jax.config import NgramConfig
from codepmp_jax.records.schema import Completion, SourceFile, content_id
from codepmp_jax.records.shards import ShardedDataset, read_manifest
from codepmp_jax.synthesis.writers import lexer
from codepmp_jax.synthesis.writers.sampler import Request, Sampler
from codepmp_jax.text.tokenization import Tokenizer

# Part of the settings that a resumed run compares: raise it with any change of what is written.
_VERSION = 2
# An n-gram of a single file is not learned: else the writer would know by heart the snippets of
# the train split that it rewrites, but not those of the held-out split.
_MIN_FILES = 2
# Draws from one distribution before the next shorter context is asked.
_DRAWS = 6
# How fast the acceptance of a draw falls with the characters and the tokens that it is off by, and
# the characters beyond which it is refused.
_CHARS_SHARPNESS, _TOKENS_SHARPNESS, _MAX_CHARS_OFF = 0.1, 0.2, 8
# Drafts of a text, and repairs tried on each, before the author's length is given up; and what a
# repaired draft may be off by for another one to be worth it.
_DRAFTS = 4
_REPAIRS = 150
_MAX_OFF = 10

_BREAK = "\n"

_Token = tuple[str, str]  # kind, text
_Span = tuple[int, int]  # places of a line's tokens


class _Distribution(NamedTuple):
    tokens: list[str]
    cumulative: list[int]

    def draw(self, rng: random.Random) -> str:
        return self.tokens[bisect.bisect(self.cumulative, int(rng.random() * self.cumulative[-1]))]


class _Length(NamedTuple):
    """Length of a text, or how much longer it is than the author's."""

    chars: int
    tokens: int

    def plus(self, other: _Length) -> _Length:
        return _Length(self.chars + other.chars, self.tokens + other.tokens)

    def minus(self, other: _Length) -> _Length:
        return _Length(self.chars - other.chars, self.tokens - other.tokens)

    def size(self) -> int:
        return abs(self.chars) + abs(self.tokens)


def _distribution(weights: dict[str, int]) -> _Distribution:
    tokens = sorted(weights)
    return _Distribution(tokens, list(itertools.accumulate(weights[token] for token in tokens)))


class NgramModel:
    """Distributions of the next lexical token after 0 .. order - 1 tokens; fixed ones are context only.

    An n-gram weighs as many as the files that it occurs in.
    """

    def __init__(self, sources: Iterable[SourceFile], order: int):
        self.order = order
        num_files: collections.Counter[tuple[str, ...]] = collections.Counter()
        kinds: dict[str, str] = {}

        def file_of(source: SourceFile) -> tuple[str, str]:
            return source.repository, source.path

        for _, group in itertools.groupby(sorted(sources, key=file_of), key=file_of):
            seen: set[tuple[str, ...]] = set()
            for source in group:
                tokens = [""] * (order - 1)
                for kind, token in lexer.split(source.content):
                    tokens.append(_BREAK if kind == lexer.LAYOUT else token)
                    if kind in lexer.FIXED:
                        continue
                    kinds[token] = kind
                    seen.update(tuple(tokens[-length:]) for length in range(1, order + 1))
            num_files.update(seen)
        after: dict[tuple[str, ...], dict[str, int]] = collections.defaultdict(dict)
        like: dict[tuple[str, bool], dict[int, dict[str, int]]] = collections.defaultdict(
            lambda: collections.defaultdict(dict)
        )
        for ngram, count in num_files.items():
            *context, token = ngram
            if context and count >= _MIN_FILES:
                after[tuple(context)][token] = count
            elif not context:
                like[kinds[token], token.startswith(" ")][len(token)][token] = count
        self._after = {context: _distribution(weights) for context, weights in after.items()}
        self._like = {
            shape: {length: _distribution(weights) for length, weights in sorted(by_length.items())}
            for shape, by_length in like.items()
        }

    def after(self, context: Sequence[str]) -> list[_Distribution]:
        """What may follow the last order - 1 tokens of a text, by falling length of context."""
        begin = [""] * (self.order - 1)
        known = [
            _BREAK if "\n" in token else token for token in (*begin, *context[1 - self.order :])
        ]
        known = known[1 - self.order :]
        found = (self._after.get(tuple(known[start:])) for start in range(len(known)))
        return [distribution for distribution in found if distribution is not None]

    def like(self, token: str, kind: str, length: int) -> _Distribution | None:
        """Tokens of a kind, with or without a space before them as `token`, that differ from it (one of
        them or more), as near as there are to `length` characters; None where the model has none."""
        by_length = self._like.get((kind, token.startswith(" ")), {})
        near = sorted(by_length, key=lambda known: abs(known - length))
        return next(
            (by_length[known] for known in near if by_length[known].tokens != [token]), None
        )


class NgramSampler(Sampler):
    """The weak writer as a Sampler: each completion draws one of the rates."""

    def __init__(self, corpus: str, config: NgramConfig, seed: int):
        """Learns, once it is needed, from the train split of the SourceFile shards in `corpus`."""
        self._corpus = corpus
        self._config = config
        self._seed = seed
        tokenizer = Tokenizer.load("embedded")
        self._backend = tokenizer.backend
        self._tokenizer_id = content_id(tokenizer.definition)
        self._rewriters: dict[str, _Rewriter | None] = {}
        self._length = functools.lru_cache(1 << 18)(self._count)

    @functools.cached_property
    def _train(self) -> dict[str, list[SourceFile]]:
        """The train texts that no model has learned yet, by language."""
        by_language: dict[str, list[SourceFile]] = collections.defaultdict(list)
        for source in ShardedDataset(self._corpus, SourceFile, "train"):
            by_language[source.language].append(source)
        return dict(by_language)

    def _rewriter(self, language: str) -> _Rewriter | None:
        """Who writes a language; None where no train text is in it."""
        if language not in self._rewriters:
            sources = self._train.pop(language, None)
            model = NgramModel(sources, self._config.order) if sources else None
            self._rewriters[language] = _Rewriter(model, self._length) if model else None
        return self._rewriters[language]

    def settings(self) -> dict[str, Any]:
        """Version, seed, order, rates, and the ids of the learned shards and of the tokenizer."""
        train = read_manifest(self._corpus, SourceFile)["splits"]["train"]["shards"]
        return {
            "sampler": "ngram",
            "version": _VERSION,
            "seed": self._seed,
            "order": self._config.order,
            "rates": list(self._config.rates),
            "fitted_on": content_id(*(shard["sha256"] for shard in train)),
            "tokenizer": self._tokenizer_id,
        }

    def sample(self, requests: Sequence[Request]) -> list[Completion]:
        """A rewrite of each source; it fails where the author's length is not met, or no train text is in its language."""
        completions = []
        for request in requests:
            digest = hashlib.sha256(f"{self._seed}:{request.key}".encode()).digest()
            rng = random.Random(int.from_bytes(digest[:8]))
            rate = rng.choice(self._config.rates)
            language = request.source.language
            rewriter = self._rewriter(language)
            facts = {
                "sampler": "ngram",
                "seed": self._seed,
                "order": self._config.order,
                "rate": rate,
            }
            if rewriter is None:
                failure = "no train text in its language"
                completions.append(Completion(request.key, "", failure, language, facts=facts))
                continue
            text, off = rewriter.rewrite(request.source.content, rate, rng)
            failure = "length not matched" if off.size() else ""
            completions.append(Completion(request.key, text, failure, facts=facts))
        return completions

    def _count(self, text: str) -> _Length:
        return _Length(len(text), len(self._backend.encode(text, add_special_tokens=False).ids))


class _Rewriter:
    """Rewrites texts of one language."""

    def __init__(self, model: NgramModel, length: Callable[[str], _Length]):
        self._model = model
        self._length = length

    def rewrite(self, code: str, rate: float, rng: random.Random) -> tuple[str, _Length]:
        """The draft nearest to the author's length, and what it is off by."""
        author = lexer.split(code)
        places = [i for i, (kind, _) in enumerate(author) if kind not in lexer.FIXED]
        best = (code, _Length(0, 0))
        if not places:
            return best
        starts = [0, *(i for i, (kind, _) in enumerate(author) if i and kind == lexer.LAYOUT)]
        lines = list(itertools.pairwise([*starts, len(author)]))
        for draft in range(_DRAFTS):
            own = {i for i in places if rng.random() < rate} or {rng.choice(places)}
            written, off = self._draft(author, lines, own, rng)
            off = self._repair(author, lines, own, written, off, rng)
            if draft == 0 or off.size() < best[1].size():
                best = ("".join(written), off)
            if off.size() == 0 or off.size() > _MAX_OFF:
                break
        return best

    def _draft(
        self, author: list[_Token], lines: list[_Span], own: set[int], rng: random.Random
    ) -> tuple[list[str], _Length]:
        """The author's tokens with those at the places `own` replaced, and what the text is off by."""
        written: list[str] = []
        off = _Length(0, 0)
        for start, stop in lines:
            # Within a line tokens are counted one by one, which knows nothing of merges; then exactly.
            running = off
            for place in range(start, stop):
                token = author[place][1]
                if place in own:
                    without = running.minus(self._length(token))
                    token = self._draw(author[place], written, without, rng)
                    running = without.plus(self._length(token))
                written.append(token)
            if running is not off:
                line = "".join(token for _, token in author[start:stop])
                grown = self._length("".join(written[start:stop])).minus(self._length(line))
                off = off.plus(grown)
        return written, off

    def _repair(
        self,
        author: list[_Token],
        lines: list[_Span],
        own: set[int],
        written: list[str],
        off: _Length,
        rng: random.Random,
    ) -> _Length:
        """Draws tokens at the places `own` again where that brings `written` nearer to the author's
        length; returns what it is off by then."""
        places = sorted(own)
        starts = [start for start, _ in lines]
        for _ in range(_REPAIRS):
            if off.size() == 0:
                break
            place = rng.choice(places)
            start, stop = lines[bisect.bisect(starts, place) - 1]
            context = written[max(0, place - self._model.order + 1) : place]
            old = written[place]
            without = off.minus(self._length(old))
            new = self._draw(author[place], context, without, rng)
            # To count the line is exact but slow: only where the tokens alone promise something.
            if new == old or without.plus(self._length(new)).size() > off.size():
                continue
            before = self._length("".join(written[start:stop]))
            written[place] = new
            redrawn = off.minus(before).plus(self._length("".join(written[start:stop])))
            if redrawn.size() < off.size():
                off = redrawn
            else:
                written[place] = old
        return off

    def _draw(
        self, author: _Token, context: Sequence[str], without: _Length, rng: random.Random
    ) -> str:
        """A token other than the author's, for a text that is off by `without` as long as it lacks one;
        the author's where the model knows no other."""
        kind, theirs = author
        for distribution in self._model.after(context):
            for _ in range(_DRAWS):
                token = distribution.draw(rng)
                chars = abs(without.chars + len(token))
                if token == theirs or chars > _MAX_CHARS_OFF:
                    continue
                tokens = abs(without.tokens + self._length(token).tokens)
                misfit = _CHARS_SHARPNESS * chars + _TOKENS_SHARPNESS * tokens
                if rng.random() < math.exp(-misfit):
                    return token
        distribution = self._model.like(theirs, kind, -without.chars)
        if distribution is None:
            return theirs
        draws = [distribution.draw(rng) for _ in range(_DRAWS)]
        others = [token for token in draws if token != theirs]
        if not others:
            return rng.choice([token for token in distribution.tokens if token != theirs])
        return min(others, key=lambda token: without.plus(self._length(token)).size())
