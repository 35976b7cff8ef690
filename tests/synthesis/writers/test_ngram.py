"""The weak writer: what it changes, what it keeps, and what it depends on."""

import dataclasses
import random

import pytest

from codepmp_jax.config import NgramConfig
from codepmp_jax.records.schema import SourceFile
from codepmp_jax.records.shards import write_manifest, write_split
from codepmp_jax.synthesis.writers import lexer
from codepmp_jax.synthesis.writers.ngram import NgramModel, NgramSampler
from codepmp_jax.synthesis.writers.sampler import Request
from codepmp_jax.text.tokenization import Tokenizer


def source(content: str, path: str, language: str = "python") -> SourceFile:
    return SourceFile(content, content, "", "", "function", language, "r", path, "", 1)


def requests(sources) -> list[Request]:
    return [Request(found.source_id, "", found.description, found) for found in sources]


@pytest.fixture(scope="module")
def sampler(corpus) -> NgramSampler:
    return NgramSampler(str(corpus), NgramConfig(), seed=0)


def test_model_counts_files_and_forgets_what_one_file_alone_says():
    sources = [
        source("a b\na b\na b", "1.py"),
        source("a c", "2.py"),
        source("a c", "2.py"),
        source("a b", "3.py"),
        source("x b", "4.py"),
        source("x c", "5.py"),
    ]
    model = NgramModel(sources, 2)
    (after_a,) = model.after(["a"])
    assert (after_a.tokens, after_a.cumulative) == ([" b"], [2])
    assert model.after(["x"]) == []
    like = model.like(" a", "word", 2)
    assert like is not None
    assert (like.tokens, like.cumulative) == ([" b", " c"], [3, 5])


def test_completion_depends_on_seed_and_key_only(sampler, corpus, heldout):
    some = requests(heldout[:20])
    whole = sampler.sample(some)
    assert whole == [sampler.sample([request])[0] for request in reversed(some)][::-1]
    assert whole == NgramSampler(str(corpus), NgramConfig(), seed=0).sample(some)
    assert whole != NgramSampler(str(corpus), NgramConfig(), seed=1).sample(some)
    renamed = [dataclasses.replace(request, key=request.key + "/1") for request in some]
    assert whole != sampler.sample(renamed)


def test_settings_tell_fits_apart(sampler, train, tmp_path):
    written = write_split(tmp_path, "train", train[1:], 1)
    write_manifest(tmp_path, SourceFile, {"train": written}, {})
    other = NgramSampler(str(tmp_path), NgramConfig(), seed=0).settings()
    assert {name for name, value in sampler.settings().items() if other[name] != value} == {
        "fitted_on"
    }


def test_it_learns_from_the_train_split_alone(sampler, train):
    known = NgramModel(train, 3)
    learned = sampler._rewriter("python")._model
    assert learned.after(["", ""])[0].tokens == known.after(["", ""])[0].tokens
    assert learned._like.keys() == known._like.keys()


def test_each_language_is_written_in_its_own_words(tmp_path):
    texts = {"go": "gopher", "ruby": "gem", "lua": "moon"}
    train = [
        source(f"{word}{i} {word}{j} = {word}\n", f"{i}{j}.{language}", language)
        for language, word in texts.items()
        for i in range(4)
        for j in range(4)
    ]
    written = write_split(tmp_path, "train", train, 2)
    write_manifest(tmp_path, SourceFile, {"train": written}, {})
    one = NgramSampler(str(tmp_path), NgramConfig(rates=(1.0,)), seed=0)
    for found, completion in zip(train, one.sample(requests(train)), strict=True):
        words = {word for word in texts.values() if word in completion.text}
        assert words == {texts[found.language]}
        assert completion.text != found.content
    (unknown,) = one.sample(requests([source("f = 1", "a.rs", "rust")]))
    assert (unknown.failure, unknown.detail) == ("no train text in its language", "rust")


def test_lengths_are_the_authors(sampler, heldout):
    backend = Tokenizer.load("embedded").backend
    completions = sampler.sample(requests(heldout))
    matched = 0
    for found, completion in zip(heldout, completions, strict=True):
        same = len(completion.text) == len(found.content) and len(
            backend.encode(completion.text).ids
        ) == len(backend.encode(found.content).ids)
        assert same == (completion.failure == "")
        matched += same
    assert matched > 0.9 * len(heldout)


def layout(text: str) -> list[str]:
    return [token for kind, token in lexer.split(text) if kind == lexer.LAYOUT]


def test_lines_and_brackets_stay(sampler, heldout):
    for found, completion in zip(heldout, sampler.sample(requests(heldout)), strict=True):
        assert layout(completion.text) == layout(found.content)
        assert all(completion.text.count(sign) == found.content.count(sign) for sign in "()[]{}")


@pytest.mark.parametrize("rate", [0.1, 0.4, 1.0])
def test_rate_of_own_tokens(sampler, heldout, rate):
    """Places are compared on drafts, where the n-th token is still known to stand at place n."""
    rng = random.Random(0)
    written = own = total = 0
    for found in heldout:
        author = lexer.split(found.content)
        places = {i for i, (kind, _) in enumerate(author) if kind not in lexer.FIXED}
        chosen = {i for i in places if rng.random() < rate}
        draft, _ = sampler._rewriter("python")._draft(author, [(0, len(author))], chosen, rng)
        changed = {i for i, (_, token) in enumerate(author) if draft[i] != token}
        assert changed <= chosen
        written += len(changed)
        own += len(chosen)
        total += len(places)
    assert written > 0.99 * own  # an odd shape has no other token
    assert own == pytest.approx(rate * total, rel=0.15)


def test_code_without_words_is_left_alone(sampler):
    (completion,) = sampler.sample(requests([source("()\n[]", "1.py")]))
    assert completion.text == "()\n[]"
