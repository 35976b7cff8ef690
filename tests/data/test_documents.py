"""Documents: every token but the first is predicted exactly once, in whatever pieces and rows; resume is exact."""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import DataConfig
from codepmp_jax.data import loader
from codepmp_jax.data.documents import Documents
from codepmp_jax.data.drops import Dropped
from codepmp_jax.data.layouts import Layout, layout_of
from codepmp_jax.data.loader import Loader
from codepmp_jax.data.one_pass import one_pass, require_accepted
from codepmp_jax.data.packing import new_state, pack, waiting_records
from codepmp_jax.data.tokenized_item import Companion, TokenizedText
from codepmp_jax.data.transforms import tokenize
from codepmp_jax.records.schema import PreferencePair, SourceFile
from codepmp_jax.text.tokenization import EncodedText, Tokenizer

PAD = 0
RECORD = SourceFile("id", "", "", "", "file", "python", "", "", "", 1)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load("embedded")


def document(number: int, content: str) -> SourceFile:
    return dataclasses.replace(RECORD, source_id=f"document {number}", content=content)


def layout_with(layout: Any = "packed", row_length=None, companions=(), **data) -> Layout:
    config = DataConfig(layout=layout, row_length=row_length, **data)
    return layout_of(config, companions=companions, kind=Documents())


def parts_of(tokens, layout, name="id") -> list[Any]:
    record = dataclasses.replace(RECORD, source_id=name)
    return layout.kind.fit(record, [EncodedText(np.array(tokens, np.int32), 0)], layout)


def predicted(row, layout) -> list[list[tuple[list[int], int]]]:
    """Of each piece in a row (context that attention lets the label see, label), slowly, by what Batch says."""
    texts = []
    for m in np.flatnonzero(row.item_mask):
        found = []
        for c in np.flatnonzero(row.label_mask & (row.label_texts == m)):
            place = row.label_places[c]
            start = place // layout.sequence_length * layout.sequence_length
            seen = [
                p for p in range(start, place + 1) if row.segments[p] == row.segments[place] != 0
            ]
            assert [row.positions[p] for p in seen] == list(range(len(seen)))
            found.append(([int(row.tokens[p]) for p in seen], int(row.labels[c])))
        assert row.tokens[row.ends[m, 0]] == found[-1][1]
        texts.append(found)
    assert sum(map(len, texts)) == row.label_mask.sum()
    return texts


@settings(deadline=None, max_examples=150)
@given(
    documents=st.lists(st.integers(0, 40), min_size=1, max_size=8),
    max_length=st.integers(2, 12),
    row_length=st.one_of(st.none(), st.integers(4, 30)),
    layout_name=st.sampled_from(["packed", "padded"]),
    policy=st.sampled_from(["split", "drop", "truncate"]),
)
def test_each_token_but_the_first_is_predicted_once_from_those_before_it(
    documents, max_length, row_length, layout_name, policy
):
    layout = layout_with(
        layout_name,
        row_length=None if layout_name == "padded" else row_length,
        max_length=max_length,
        length_policy=policy,
        packing_window=3,
    )
    limit = min(max_length, layout.row_tokens)
    # Tokens that say which document and which place they are of.
    tokens = [[1 + 100 * i + j for j in range(n)] for i, n in enumerate(documents)]
    parts = [parts_of(text, layout, str(i)) for i, text in enumerate(tokens)]
    rows = list(pack(iter(parts), layout, PAD, new_state("pieces")))
    found: dict[int, int] = {}
    for packed in rows:
        for contexts in predicted(jax.tree.map(lambda array: array[0], packed.row), layout):
            for before, label in contexts:
                whole = tokens[label // 100] if label % 100 else tokens[label // 100 - 1]
                at = whole.index(label)
                # The context is the document's own, without a gap, and never more than fits.
                assert before == whole[at - len(before) : at]
                assert len(before) < limit
                found[label] = found.get(label, 0) + 1
    kept = [
        text if policy == "split" else text[:limit]
        for text in tokens
        if len(text) > 1 and (policy != "drop" or len(text) <= limit)
    ]
    assert found == {label: 1 for text in kept for label in text[1:]}
    counts = rows[-1].state if rows else new_state("pieces")
    if rows:
        assert counts["labels"] == sum(len(text) - 1 for text in kept)
        assert counts["pieces"] == sum(len(row.record_ids) for row in rows)
        assert counts["useful_tokens"] == counts["tokens"]
    dropped = [part.reason for some in parts for part in some if isinstance(part, Dropped)]
    assert dropped.count("empty") == sum(n < 2 for n in documents)
    assert dropped.count("too_long") == (policy == "drop") * sum(n > limit for n in documents)


def test_a_piece_knows_its_place_and_has_companions_of_its_own_labels():
    def make(record, piece):
        return [piece.first + i for i in range(1, len(piece.tokens))]

    layout = layout_with(
        max_length=4, length_policy="split", companions=(Companion("places", "labels", make),)
    )
    pieces = parts_of(range(10, 21), layout)
    assert all(isinstance(piece, TokenizedText) for piece in pieces)
    assert [piece.first for piece in pieces] == [0, 3, 6, 9]
    (first, *_) = pack(iter([pieces]), layout, PAD, new_state("pieces"))
    assert first.row.labels[0, :3].tolist() == [11, 12, 13]
    assert first.row.companions["places"][0, :3].tolist() == [1, 2, 3]


def test_a_row_holds_labels_of_all_its_tokens_and_a_document_by_default():
    assert layout_with(max_length=100).row_tokens == 100
    assert layout_with("padded", max_length=100).row_tokens == 100
    layout = layout_with(max_length=10, row_length=64)
    assert (layout.row_tokens, layout.row_labels) == (64, 64)
    assert layout_of(DataConfig(max_length=10, layout="packed", row_length=64)).row_labels == 32


def test_the_texts_of_pairs_are_documents_as_training_on_pairs_writes_them(tokenizer):
    pair = PreferencePair("p", "Add.", "a + b", "a - b")
    rows = tokenizer.encode(tokenizer.format_pair(pair, DataConfig.template))
    for which in ("both", "chosen"):
        layout = layout_of(DataConfig(layout="packed"), kind=Documents(which))
        parts: list[Any] = tokenize([pair], tokenizer, layout)[0]
        expected = rows if which == "both" else rows[:1]
        assert [part.tokens.tolist() for part in parts] == [row.tokens.tolist() for row in expected]
        assert {part.label_starts for part in parts} == {(1,)}


def test_a_record_may_lose_one_text_and_keep_the_other(tokenizer):
    pair = PreferencePair("p", "Add.", "a" + " + b" * 60, "a - b")
    layout = layout_of(DataConfig(layout="packed", max_length=40), kind=Documents())
    ((chosen, rejected),) = tokenize([pair], tokenizer, layout)
    assert chosen == Dropped("too_long", "p")
    assert isinstance(rejected, TokenizedText)
    found = one_pass([pair], tokenizer, layout, batch_rows=1, process_index=0, process_count=1)
    assert {name: found.counts[name] for name in ("records", "pieces", "too_long")} == {
        "records": 1,
        "pieces": 1,
        "too_long": 1,
    }


def test_eos_ends_a_document_also_where_it_is_the_pad_token(tokenizer):
    same = dataclasses.replace(tokenizer, pad_id=tokenizer.eos_id)
    config = DataConfig(layout="packed", append_eos=True)
    layout = layout_of(config, kind=Documents())
    part: Any = tokenize([document(0, "x = 1")], same, layout)[0][0]
    assert part.tokens[-1] == same.eos_id
    batch = next(Loader([document(0, "x = 1")], same, config, batch_rows=1, layout=layout))
    assert batch.labels[batch.label_mask][-1] == same.eos_id
    with pytest.raises(UserError, match="pad and EOS"):
        Loader([PreferencePair("p", "", "a", "b")], same, config, batch_rows=1)


def test_a_stream_goes_on_where_a_row_left_it_inside_a_document():
    layout = layout_with(max_length=5, row_length=11, length_policy="split", packing_window=4)
    lengths = [3, 30, 0, 5, 6, 1, 47, 2, 4, 4, 13]
    parts = [parts_of(range(1, n + 1), layout, str(i)) for i, n in enumerate(lengths)]
    whole = list(pack(iter(parts), layout, PAD, new_state("pieces")))
    assert any(number > 0 for row in whole for _, number in row.state["waiting"])
    for n, row in enumerate(whole):
        state = json.loads(json.dumps(row.state))
        left = [parts[i] for i in waiting_records(state)] + parts[state["next_record"] :]
        rest = list(pack(iter(left), layout, PAD, state))
        assert [one.state for one in rest] == [one.state for one in whole[n + 1 :]]
        for a, b in zip(rest, whole[n + 1 :], strict=True):
            assert a.record_ids == b.record_ids
            jax.tree.map(np.testing.assert_array_equal, a.row, b.row)


def documents_of_all_lengths() -> list[SourceFile]:
    """23 documents, some of many pieces, one empty."""
    return [document(i, " ".join(f"x{j}" for j in range((i * 37) % 90))) for i in range(23)]


@pytest.fixture
def small_groups(monkeypatch):
    monkeypatch.setattr(loader, "GROUP_RECORDS", 3)


@pytest.mark.usefixtures("small_groups")
def test_a_loader_resumes_exactly_on_any_number_of_hosts(tokenizer):
    config = DataConfig(
        layout="packed", max_length=20, length_policy="split", num_streams=4, packing_window=5
    )
    layout = layout_of(config, kind=Documents())

    def loader_of(**hosts) -> Loader:
        return Loader(
            documents_of_all_lengths(),
            tokenizer,
            config,
            batch_rows=8,
            layout=layout,
            seed=3,
            **hosts,
        )

    whole, states, batches = loader_of(), [], []
    states.append(whole.state())
    for _ in range(12):
        batches.append((next(whole), whole.last_record_ids))
        states.append(json.loads(json.dumps(whole.state())))
    counts = whole.counts
    assert counts["empty"] > 0
    assert counts["pieces"] > counts["records"]
    for start, hosts in itertools.product((0, 1, 5), (1, 2)):
        parts = [loader_of(process_index=i, process_count=hosts) for i in range(hosts)]
        for part in parts:
            part.restore(states[start])
        for expected, ids in batches[start : start + 4]:
            found = [next(part) for part in parts]
            rows = jax.tree.map(lambda *arrays: np.concatenate(arrays), *found)
            jax.tree.map(np.testing.assert_array_equal, rows, expected)
            assert [name for part in parts for name in part.last_record_ids] == ids


@pytest.mark.usefixtures("small_groups")
def test_states_in_which_records_wait_whole_are_read(tokenizer):
    """As checkpoints of runs on pairs have them from before records had parts."""
    pairs = [PreferencePair(str(i), f"p {i}", "a" * (i % 5 + 1), "b") for i in range(17)]
    config = DataConfig(layout="packed", max_length=40, packing_window=6)

    def loader_of() -> Loader:
        return Loader(pairs, tokenizer, config, batch_rows=1)

    whole = loader_of()
    next(whole)
    (state,) = whole.state()
    assert state["waiting"]
    older = state | {"waiting": [record for record, _ in state["waiting"]]}
    rest = loader_of()
    rest.restore([older])
    jax.tree.map(np.testing.assert_array_equal, next(rest), next(whole))
    for wrong in ([[0]], [["0", 0]], [[state["next_record"], 0]], [[0, -1]], "00", [0.5]):
        with pytest.raises(UserError, match="state of the data loader"):
            loader_of().restore([state | {"waiting": wrong}])
    with pytest.raises(UserError, match="must hold next_record, waiting, pieces"):
        Loader(
            [document(0, "x = 1")],
            tokenizer,
            config,
            batch_rows=1,
            layout=layout_of(config, kind=Documents()),
        ).restore([state])


def test_a_loader_without_a_document_gives_up(tokenizer):
    config = DataConfig(layout="packed", max_length=4)
    layout = layout_of(config, kind=Documents())
    texts = [document(i, "x = 1 + 2 + 3 + 4 + 5") for i in range(3)]
    with pytest.raises(
        UserError, match=r"no document was kept of 3 in a row.*set data\.length_policy to split"
    ):
        next(Loader(texts, tokenizer, config, batch_rows=1, layout=layout))


def test_code_is_never_refused_and_conversations_are_checked(tokenizer):
    config = DataConfig(layout="packed", refused_policy="stop")
    layout = layout_of(config, kind=Documents())
    require_accepted([document(0, "{% for %}")], tokenizer, layout, 0, 1)
    silent = dataclasses.replace(tokenizer, chat_template=None)
    message = json.dumps([{"role": "user", "content": "x"}])
    talk = PreferencePair("talk", message, message, message, is_conversation=True)
    with pytest.raises(UserError, match=r"document talk: .*no chat template"):
        require_accepted([talk], silent, layout, 0, 1)
