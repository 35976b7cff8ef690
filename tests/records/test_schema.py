import dataclasses
import gc
import json
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codepmp_jax.cli.errors import UserError
from codepmp_jax.records.schema import (
    Candidate,
    PreferencePair,
    Problem,
    SourceFile,
    _message_classes,
    content_id,
    read_problems,
)

# Whatever UTF-8 can hold: lone surrogates are no text.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
pairs = st.builds(
    PreferencePair,
    texts,
    texts,
    texts,
    texts,
    is_conversation=st.booleans(),
    margin=st.floats(width=32, allow_nan=False),
    subset=texts,
    source_id=texts,
    lineage=st.dictionaries(texts, json_values, max_size=4),
)
sources = st.builds(
    SourceFile,
    *(texts for _ in range(9)),
    line=st.integers(-(2**63), 2**63 - 1),
)


@given(pairs | sources)
def test_records_survive_bytes(record):
    data = record.to_bytes()
    assert type(record).from_bytes(data) == record
    assert dataclasses.replace(record).to_bytes() == data


def test_equal_lineage_gives_equal_bytes_in_any_order():
    one = PreferencePair("i", "p", "c", "r", lineage={"a": 1, "b": 2})
    other = PreferencePair("i", "p", "c", "r", lineage={"b": 2, "a": 1})
    assert one.to_bytes() == other.to_bytes()


def test_bytes_that_are_no_record_are_refused():
    with pytest.raises(ValueError, match=r"not a tf\.train\.Example"):
        PreferencePair.from_bytes(b"\xff\xff\xff")
    with pytest.raises(ValueError, match="PreferencePair record lacks the field 'pair_id'"):
        PreferencePair.from_bytes(b"")


def test_records_are_tf_train_examples():
    """The wire format of the published tf.train.Example, spelled out for one feature."""
    record = SourceFile(*["x"] * 9, line=5)
    # Example.features (1) > Features.feature (1) > entry: key (1) "line", value (2):
    # Feature.int64_list (3) > packed value (1) 5.
    entry = b"\x0a\x04line" + b"\x12\x05" + b"\x1a\x03" + b"\x0a\x01\x05"
    assert b"\x0a" + bytes([len(entry)]) + entry in record.to_bytes()


@given(st.lists(texts, max_size=4), st.lists(texts, max_size=4))
def test_content_ids_are_equal_for_equal_texts_only(one, other):
    assert (content_id(*one) == content_id(*other)) == (one == other)
    assert len(content_id(*one)) == 32


def test_content_id_sees_where_a_text_ends():
    assert content_id("ab", "c") != content_id("a", "bc")


# --- candidates -----------------------------------------------------------------------------------


@given(texts, texts, st.lists(st.tuples(texts, st.none() | st.booleans())))
def test_problems_survive_json_lines(problem_id, prompt, candidates):
    problem = Problem(problem_id, prompt, tuple(Candidate(*candidate) for candidate in candidates))
    line = problem.to_json()
    assert "\n" not in line
    assert Problem.from_json(line) == problem


def lines_of(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def test_problems_are_read_in_order(tmp_path):
    written = [Problem(str(i), "p", (Candidate("r", True),)) for i in range(3)]
    path = lines_of(tmp_path / "c.jsonl", *(problem.to_json() for problem in written))
    assert list(read_problems(path)) == written


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "[{}]",
        json.dumps({"prompt": "p", "candidates": []}),
        json.dumps({"problem_id": "b", "candidates": []}),
        json.dumps({"problem_id": "b", "prompt": "p", "candidates": [{"text": "r"}]}),
        json.dumps({"problem_id": "b", "prompt": "p", "candidates": [7]}),
        json.dumps({"problem_id": "b", "prompt": "p", "candidates": "r"}),
        json.dumps({"problem_id": "b", "prompt": "p", "candidates": None}),
        json.dumps({"problem_id": "b", "prompt": "p", "reference": "the answer"}),
        json.dumps({"problem_id": "b", "prompt": "p", "candidates": [{"response": None}]}),
        json.dumps({"problem_id": 7, "prompt": "p", "candidates": []}),
        json.dumps({"problem_id": None, "prompt": "p", "candidates": []}),
        json.dumps({"problem_id": "b", "prompt": "p", "candidates": [], "more": 1}),
    ],
)
def test_malformed_lines_name_file_and_line(tmp_path, line):
    path = lines_of(tmp_path / "c.jsonl", Problem("a", "p", ()).to_json(), line)
    with pytest.raises(UserError, match=r"c\.jsonl:2: not a problem with problem_id"):
        list(read_problems(path))


def test_a_line_that_is_not_utf8_is_malformed(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_bytes(
        Problem("a", "p").to_json().encode() + '\n{"problem_id": "é"'.encode("latin-1")
    )
    with pytest.raises(UserError, match=r"c\.jsonl:2: not a problem with problem_id.*utf-8"):
        list(read_problems(str(path)))


def test_blank_lines_and_a_byte_order_mark_are_passed_over(tmp_path):
    problems = [Problem("a", "p"), Problem("b", "p")]
    path = tmp_path / "c.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(p.to_json() for p in problems).encode())
    assert list(read_problems(str(path))) == problems


def test_an_id_that_is_not_unique_is_refused(tmp_path):
    line = Problem("a", "p", ()).to_json()
    with pytest.raises(UserError, match=r"c\.jsonl:2: problem_id 'a' is not unique"):
        list(read_problems(lines_of(tmp_path / "c.jsonl", line, line)))


def test_a_candidate_may_be_its_response_alone(tmp_path):
    line = json.dumps({"problem_id": "a", "prompt": "p", "candidates": ["r", {"response": "s"}]})
    (problem,) = read_problems(lines_of(tmp_path / "c.jsonl", line))
    assert problem.candidates == (Candidate("r"), Candidate("s"))


def test_missing_names_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"c\.jsonl:1: problem_id is empty"):
        list(read_problems(lines_of(tmp_path / "c.jsonl", Problem("", "p").to_json())))
    with pytest.raises(UserError, match=r"nowhere\.jsonl: no such file"):
        list(read_problems(str(tmp_path / "nowhere.jsonl")))


def test_garbage_collection_ends_no_message_class():
    """protobuf alone keeps the classes of fields only while a message of theirs lives: a collection in one thread would
    end them while another thread makes such a message."""

    def classes() -> list[type]:
        example = _message_classes()["Example"]()
        feature = example.features.feature["name"]
        feature.bytes_list.value.append(b"")
        return [type(example), type(example.features), type(feature), type(feature.bytes_list)]

    alive = [weakref.ref(cls) for cls in classes()]
    gc.collect()
    assert [ref() for ref in alive] == classes()
