import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.evaluation.items import digest, read_candidates, read_items, read_pairs
from codepmp_jax.files.json_files import write_lines
from codepmp_jax.records.schema import Candidate, PreferencePair, Problem, content_id
from codepmp_jax.records.shards import write_manifest, write_split

ROW = {"prompt": "p", "chosen": "c", "rejected": "r"}
PROBLEM = {"problem_id": "a", "prompt": "p", "candidates": ["x", {"response": "y"}]}


def write(path, rows):
    write_lines(path, rows)
    return str(path)


def test_what_a_file_holds_is_recognised(tmp_path):
    problems = read_items(write(tmp_path / "a.jsonl", [PROBLEM]))
    assert problems == [Problem("a", "p", (Candidate("x"), Candidate("y")))]
    pairs = read_items(write(tmp_path / "b.jsonl", [ROW]))
    assert [vars(pair)["chosen"] for pair in pairs] == ["c"]
    pq.write_table(pa.Table.from_pylist([ROW]), tmp_path / "c.parquet")
    assert read_items(str(tmp_path / "c.parquet")) == read_pairs(str(tmp_path / "c.parquet"))
    with pytest.raises(UserError, match=r"d\.jsonl: entries of the first row = \['text'\]"):
        read_items(write(tmp_path / "d.jsonl", [{"text": "t"}]))
    with pytest.raises(UserError, match="no such file or folder"):
        read_items(str(tmp_path / "nowhere"))


def test_pairs_of_a_folder_of_shards_by_split(tmp_path):
    splits = {
        split: write_split(tmp_path, split, [PreferencePair(split, "p", "c", "r")], 1)
        for split in ("train", "heldout")
    }
    write_manifest(tmp_path, PreferencePair, splits, {})
    for split in splits:
        pairs = read_pairs(str(tmp_path), split)
        assert [pair.pair_id for pair in pairs] == [split]
        assert read_items(str(tmp_path), split) == pairs
    assert digest(str(tmp_path), "train") != digest(str(tmp_path), "heldout")


def test_rewardbenchs_rows_keep_their_ids_and_subsets(tmp_path):
    more = {"chosen_model": "m", "rejected_model": "n", "subset": "hep-go"}
    rows = [ROW | more | {"id": 7}, ROW | more | {"id": 3}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    for path in (tmp_path / "rows.parquet", write(tmp_path / "rows.jsonl", rows)):
        pairs = read_pairs(str(path))
        assert [(pair.pair_id, pair.subset) for pair in pairs] == [("7", "hep-go"), ("3", "hep-go")]


def test_rows_without_ids_are_named_by_their_content(tmp_path):
    other = ROW | {"chosen": "other"}
    rows = [ROW, other, ROW, ROW | {"pair_id": "own", "id": 5}]
    name = content_id("p", "c", "r")
    expected = [name, content_id("p", "other", "r"), f"{name}-2", "own"]
    assert [pair.pair_id for pair in read_pairs(write(tmp_path / "a.jsonl", rows))] == expected


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [ROW | {"id": 1}, ROW, ROW | {"id": "1"}],
            r"a\.jsonl:3: the id '1' is not unique, first at .*:1",
        ),
        ([ROW | {"id": ""}], r"a\.jsonl:1: id is neither a string nor an integer \(''\)"),
        ([ROW | {"id": True}], "id is neither a string nor an integer"),
        ([ROW, {"prompt": "p", "chosen": "c"}], r"a\.jsonl:2: rejected is missing"),
        ([ROW, 3], r"a\.jsonl:2: row is no object"),
        ([], r"entries of the first row"),
        ([PROBLEM, PROBLEM], r"a\.jsonl:2: problem_id 'a' is not unique"),
        ([PROBLEM | {"candidates": []}], r"a\.jsonl: problem = .* at least one candidate"),
        ([PROBLEM | {"candidates": [3]}], r"a\.jsonl:1: not a problem"),
        ([PROBLEM, {"prompt": "p", "candidates": ["x"]}], r"a\.jsonl:2: not a problem"),
        ([PROBLEM | {"problem_id": ""}], r"a\.jsonl:1: "),
    ],
)
def test_malformed_rows_are_named(tmp_path, rows, message):
    with pytest.raises(UserError, match=message):
        read_items(write(tmp_path / "a.jsonl", rows))


def test_files_without_items_are_refused(tmp_path):
    pq.write_table(pa.Table.from_pylist([ROW]).slice(0, 0), tmp_path / "empty.parquet")
    with pytest.raises(UserError, match="must hold a pair"):
        read_pairs(str(tmp_path / "empty.parquet"))
    with pytest.raises(UserError, match="must hold a problem"):
        read_candidates(write(tmp_path / "empty.jsonl", []))
    with pytest.raises(UserError, match="must be a JSONL file"):
        read_candidates(str(tmp_path))


def test_the_digest_is_sha256_of_the_bytes(tmp_path):
    import hashlib

    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(ROW))
    assert digest(str(path)) == hashlib.sha256(path.read_bytes()).hexdigest()
