"""Import and export of preference pairs: formats, malformed rows, round trips, streaming."""

import gzip
import json
import pathlib
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import ExportConfig, ImportConfig
from codepmp_jax.data import interchange
from codepmp_jax.data.interchange import export_pairs, import_pairs, remarks
from codepmp_jax.records import shards
from codepmp_jax.records.pair_rows import BLANK, COLUMN, NO_PROMPT
from codepmp_jax.records.schema import PreferencePair, content_id
from codepmp_jax.records.shards import ShardedDataset
from tests import processes

USER = {"role": "user", "content": "2 + 2?"}
FOUR = {"role": "assistant", "content": "4"}
FIVE = {"role": "assistant", "content": "5 🙂"}
GOOD = {"prompt": "p", "chosen": "c", "rejected": "r"}


def write_jsonl(path: pathlib.Path, rows) -> pathlib.Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def imported(path, output, **settings) -> list[PreferencePair]:
    config = ImportConfig(input=str(path), output=str(output), **settings)
    import_pairs(config)
    return list(ShardedDataset(output, PreferencePair, config.split))


def texts(pair: PreferencePair) -> tuple:
    return pair.prompt, pair.chosen, pair.rejected


# --- formats --------------------------------------------------------------------------------------


def test_every_format_becomes_pairs_in_order(tmp_path):
    rows = [
        GOOD | {"margin": 0.5, "subset": "easy"},
        {"chosen": "Q: x A: yes", "rejected": "Q: x A: no"},
        {"prompt": [USER], "chosen": [FOUR], "rejected": [FIVE]},
        {"chosen": [USER, FOUR], "rejected": [USER, FIVE], "margin": 2},
        {"prompt": "not used", "chosen": [USER, FOUR], "rejected": [USER, FIVE]},
        {"query": "q", "better": "b", "worse": "w", "more": [1]},
        {"prompt": "", "chosen": "c", "rejected": "r", "margin": None, "subset": None},
    ]
    pairs = imported(write_jsonl(tmp_path / "rows.jsonl", rows), tmp_path / "out")
    assert [texts(pair) for pair in pairs if not pair.is_conversation] == [
        ("p", "c", "r"),
        ("Q: x A:", " yes", " no"),
        ("q", "b", "w"),
        ("", "c", "r"),
    ]
    conversations = [pair for pair in pairs if pair.is_conversation]
    assert len(conversations) == 3
    for pair in conversations:
        assert [json.loads(text) for text in texts(pair)] == [[USER], [FOUR], [FIVE]]
    assert [pair.is_conversation for pair in pairs] == [
        False,
        False,
        True,
        True,
        True,
        False,
        False,
    ]
    assert [pair.margin for pair in pairs] == [0.5, 0, 0, 2, 0, 0, 0]
    assert [pair.subset for pair in pairs] == ["easy", *[""] * 6]
    assert all(pair.pair_id == content_id(*texts(pair)) for pair in pairs)
    assert [pair.lineage for pair in pairs][5] == {"file": "rows.jsonl", "row": 6}


def test_folder_of_files_is_read_in_the_order_of_names(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    write_jsonl(source / "c.jsonl", [GOOD | {"prompt": "third"}])
    pq.write_table(pa.Table.from_pylist([GOOD | {"prompt": "second"}]), source / "b.parquet")
    with gzip.open(source / "a.jsonl.gz", "wt") as file:
        file.write(json.dumps(GOOD | {"prompt": "first"}) + "\n\n")
    (source / "README.md").write_text("not read")
    (source / "rows.json").write_text("[]")
    (source / "more").mkdir()
    pairs = imported(source, tmp_path / "out", records_per_shard=2)
    assert [pair.prompt for pair in pairs] == ["first", "second", "third"]
    report = json.loads((tmp_path / "out" / "report.json").read_text())["imports"]["train"]
    assert report["files"] == ["a.jsonl.gz", "b.parquet", "c.jsonl"]
    assert report["files_not_read"] == ["README.md", "more/", "rows.json"]
    assert remarks(report) == [f"not read of {source}: README.md, more/, rows.json"]
    assert sorted(path.name for path in (tmp_path / "out").glob("*-of-*[0-9]")) == [
        "train.array_record-00000-of-00002",
        "train.array_record-00001-of-00002",
    ]


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_what_is_read_as_what_is_counted(tmp_path, ending):
    rows = [
        {"prompt": "p", "chosen": "c", "rejected": "r", "source": "x", "score": 1.0, "tools": None},
        {
            "prompt": None,
            "chosen": "it is c",
            "rejected": "it is r",
            "source": "",
            "score": 0.0,
            "tools": [1],
        },
    ]
    path = tmp_path / f"rows{ending}"
    if ending == ".jsonl":
        write_jsonl(path, rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    pairs = imported(path, tmp_path / "out")
    assert [texts(pair) for pair in pairs] == [("p", "c", "r"), ("", "it is c", "it is r")]
    report = json.loads((tmp_path / "out" / "report.json").read_text())["imports"]["train"]
    counts = {name: report[name] for name in ("prompts", "columns_not_read", "remarks", "kinds")}
    assert counts == {
        "prompts": {COLUMN: 1, NO_PROMPT: 1},
        "columns_not_read": {"score": 2, "source": 1, "tools": 1},
        "remarks": {BLANK: 1},
        "kinds": {"texts": 2},
    }
    assert {**report, "seconds": 0} == {
        **shards.read_manifest(tmp_path / "out")["imports"]["train"],
        "seconds": 0,
    }


def test_an_import_that_died_between_shards_and_manifest_is_done_again(tmp_path, monkeypatch):
    rows = write_jsonl(tmp_path / "rows.jsonl", [GOOD] * 5)
    output = tmp_path / "out"
    with monkeypatch.context() as patch:
        # As a kill does, which leaves no time to take the shards back.
        patch.setattr(interchange, "_write_manifest", lambda *_: 1 / 0)
        patch.setattr(interchange, "_take_back", lambda *_: None)
        with pytest.raises(ZeroDivisionError):
            imported(rows, output, records_per_shard=1)
    assert len(list(output.glob("train.array_record*"))) == 10
    assert len(imported(rows, output, records_per_shard=3)) == 5
    assert len(list(output.glob("train.array_record*"))) == 4
    assert not list(output.glob("*.partial"))


# --- malformed rows -------------------------------------------------------------------------------

BAD = {
    "row is not JSON": '{"prompt": "p", ',
    "row is no object": '["p", "c", "r"]',
    "row is not UTF-8": b'{"prompt": "\xff", "chosen": "c", "rejected": "r"}',
    "chosen is missing": '{"prompt": "p", "rejected": "r"}',
    "rejected is missing": '{"query": "q", "better": "b"}',
    "chosen is empty": '{"prompt": "p", "chosen": "", "rejected": "r"}',
    "rejected is empty": '{"prompt": [], "chosen": [{"role": "a", "content": "b"}], "rejected": []}',
    "prompt is neither a string nor messages": '{"prompt": 3, "chosen": "c", "rejected": "r"}',
    "chosen is neither a string nor messages": '{"prompt": "p", "chosen": {}, "rejected": "r"}',
    "chosen and rejected are not both strings or both messages": (
        '{"chosen": "c", "rejected": [{"role": "a", "content": "b"}]}'
    ),
    "chosen has a message without a role and content of strings": (
        '{"prompt": [], "chosen": [{"role": "a", "content": [1]}], "rejected": []}'
    ),
    "rejected has a message without a role and content of strings": (
        '{"chosen": [{"role": "a", "content": "b"}], "rejected": ["b"]}'
    ),
    "chosen has a message with more than role and content": (
        '{"chosen": [{"role": "a", "content": "b", "tool_calls": [1]}], "rejected": []}'
    ),
    "row has two entries of one name": '{"prompt": "a", "prompt": "b", "chosen": "c", "rejected": "r"}',
    "margin is no finite number": '{"prompt": "p", "chosen": "c", "rejected": "r", "margin": NaN}',
    "subset is no string": '{"prompt": "p", "chosen": "c", "rejected": "r", "subset": 3}',
    "text is no valid Unicode": '{"prompt": "\\ud800", "chosen": "c", "rejected": "r"}',
}


@pytest.mark.parametrize("reason", BAD)
def test_malformed_row_stops_the_import_with_file_line_and_reason(tmp_path, reason):
    line = BAD[reason]
    path = tmp_path / "rows.jsonl"
    good = json.dumps(GOOD).encode()
    path.write_bytes(good + b"\n\n" + (line if isinstance(line, bytes) else line.encode()) + b"\n")
    with pytest.raises(UserError) as error:
        imported(path, tmp_path / "out")
    assert f"rows.jsonl:3: {reason}" in str(error.value)
    assert "--skip-bad" in str(error.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_skip_bad_sets_malformed_rows_aside_and_counts_them(tmp_path):
    lines = [line if isinstance(line, bytes) else line.encode() for line in BAD.values()]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join([*lines, lines[0], json.dumps(GOOD).encode()]))
    output = tmp_path / "out"
    assert [texts(pair) for pair in imported(path, output, skip_bad=True)] == [("p", "c", "r")]
    rejects = [json.loads(line) for line in (output / "rejects.jsonl").read_text().splitlines()]
    assert len(rejects) == len(BAD) + 1
    for number, (reason, reject) in enumerate(zip(BAD, rejects, strict=False), start=1):
        assert (reject["split"], reject["file"], reject["line"]) == ("train", "rows.jsonl", number)
        assert reject["reason"].startswith(reason)
    assert rejects[0]["row"] == BAD["row is not JSON"] + "\n"
    assert rejects[3]["row"] == {"prompt": "p", "rejected": "r"}
    report = json.loads((output / "report.json").read_text())["imports"]["train"]
    manifest = shards.read_manifest(output)["imports"]["train"]
    for counts in (report["rejected"], manifest["rejected"]):
        assert counts == dict.fromkeys(sorted(BAD), 1) | {"row is not JSON": 2}
    assert report["pairs"] == manifest["pairs"] == 1


def test_malformed_parquet_row_is_named_by_its_number(tmp_path):
    rows = [GOOD, GOOD | {"chosen": None}, GOOD]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    with pytest.raises(UserError, match=r"rows.parquet:2: chosen is null"):
        imported(tmp_path / "rows.parquet", tmp_path / "out")
    assert len(imported(tmp_path / "rows.parquet", tmp_path / "out", skip_bad=True)) == 2


def test_unreadable_files_are_named(tmp_path):
    good = write_jsonl(tmp_path / "rows.jsonl", [GOOD | {"chosen": str(i)} for i in range(500)])
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(good.read_bytes())[:-200])
    no_parquet = tmp_path / "no.parquet"
    no_parquet.write_bytes(b"PAR1 nothing")
    for path in (cut, no_parquet):
        with pytest.raises(UserError, match=rf"{path.name}: cannot be read after row \d+"):
            imported(path, tmp_path / "out", skip_bad=True)
    for path, message in (
        ("", "no such file"),
        ("/no/where", "no such"),
        (tmp_path / "x", "no fi"),
    ):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=message):
            imported(path, tmp_path / "out")
    write_jsonl(tmp_path / "empty.jsonl", [{}])
    with pytest.raises(UserError, match=r"holds no pair \(1 malformed rows\)"):
        imported(tmp_path / "empty.jsonl", tmp_path / "out", skip_bad=True)
    assert list((tmp_path / "out").iterdir()) == []


# --- splits ---------------------------------------------------------------------------------------


def test_second_split_joins_the_first_and_none_is_overwritten(tmp_path):
    rows = write_jsonl(tmp_path / "rows.jsonl", [GOOD, {}])
    output = tmp_path / "out"
    written = shards.write_split(output, "train", [PreferencePair("a", "p", "c", "r")], 1)
    facts = {"dropped": {"empty": 3}}
    shards.write_manifest(output, PreferencePair, {"train": written}, {"command": "x"}, **facts)
    pairs = imported(rows, output, split="heldout", skip_bad=True)
    assert len(pairs) == 1
    manifest = shards.read_manifest(output, PreferencePair)
    assert list(manifest["splits"]) == ["train", "heldout"]
    assert manifest["made_by"] == {"command": "x"}
    assert manifest["dropped"] == facts["dropped"]
    assert len(ShardedDataset(output, PreferencePair, "train")) == 1
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    for split in ("train", "heldout"):
        with pytest.raises(UserError, match=f"already has shards of a split '{split}'.*Remedy"):
            imported(rows, output, split=split)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


def test_rejects_of_both_splits_are_kept(tmp_path):
    rows = write_jsonl(tmp_path / "rows.jsonl", [GOOD, {}])
    for split in ("train", "heldout"):
        imported(rows, tmp_path / "out", split=split, skip_bad=True)
    lines = (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()
    assert [json.loads(line)["split"] for line in lines] == ["train", "heldout"]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert list(report["imports"]) == ["train", "heldout"]


def test_shards_of_an_unfinished_run_are_not_touched(tmp_path):
    rows = write_jsonl(tmp_path / "rows.jsonl", [GOOD])
    shards.write_split(tmp_path / "out", "train", [PreferencePair("a", "p", "c", "r")], 2)
    with pytest.raises(UserError, match="already has shards"):
        imported(rows, tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 4


# --- export ---------------------------------------------------------------------------------------

STRINGS = [
    {
        "prompt": f"p {i} 日\n",
        "chosen": "c",
        "rejected": f"r{i}",
        "margin": i / 2,
        "subset": f"s{i}",
    }
    for i in range(5)
]
MESSAGES = [
    {
        "prompt": [USER],
        "chosen": [FOUR],
        "rejected": [FIVE, USER, FOUR],
        "margin": 0.0,
        "subset": "",
    }
]


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
@pytest.mark.parametrize("rows", [STRINGS, MESSAGES], ids=["strings", "messages"])
def test_round_trip_keeps_ids_and_texts(tmp_path, rows, ending):
    first = imported(
        write_jsonl(tmp_path / "rows.jsonl", rows), tmp_path / "a", records_per_shard=2
    )
    file = tmp_path / "new" / f"pairs{ending}"
    count = export_pairs(ExportConfig(input=str(tmp_path / "a"), output=str(file)))
    assert count == len(rows)
    second = imported(file, tmp_path / "b")
    assert [{**vars(pair), "lineage": {}} for pair in second] == [
        {**vars(pair), "lineage": {}} for pair in first
    ]
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_exported_file_opens_with_datasets(tmp_path, ending):
    import datasets

    for name, rows in (("strings", STRINGS), ("messages", MESSAGES)):
        imported(write_jsonl(tmp_path / f"{name}.jsonl", rows), tmp_path / name)
        file = tmp_path / f"{name}-out{ending}"
        export_pairs(ExportConfig(input=str(tmp_path / name), output=str(file)))
        loaded = datasets.load_dataset(
            {".jsonl": "json", ".parquet": "parquet"}[ending],
            data_files=str(file),
            split="train",
            cache_dir=str(tmp_path / "cache"),
        )
        for ours, theirs in zip(rows, loaded, strict=True):
            assert isinstance(theirs, dict)
            assert ours.items() <= theirs.items()
            names = ["prompt", "chosen", "rejected", "margin", "subset", "pair_id", "lineage"]
            assert list(theirs) == names
            assert json.loads(theirs["lineage"])["file"] == f"{name}.jsonl"


def test_mixed_split_and_unknown_ending_are_refused(tmp_path):
    imported(write_jsonl(tmp_path / "rows.jsonl", [*STRINGS, *MESSAGES]), tmp_path / "a")
    for ending in (".jsonl", ".parquet"):
        file = tmp_path / f"pairs{ending}"
        with pytest.raises(UserError, match="is a conversation, unlike those before it"):
            export_pairs(ExportConfig(input=str(tmp_path / "a"), output=str(file)))
        assert not list(tmp_path.glob("pairs*"))
    with pytest.raises(UserError, match=r"must end in .jsonl or .parquet"):
        export_pairs(ExportConfig(input=str(tmp_path / "a"), output="pairs.csv"))


def test_launch_scripts(tmp_path):
    root = pathlib.Path(__file__).parents[2]
    rows = write_jsonl(tmp_path / "rows.jsonl", [*STRINGS, {}])

    def launch(script, *arguments):
        command = [sys.executable, root / "launch" / script, *arguments]
        return processes.run(command, {"PYTHONPATH": str(root), "PATH": ""})

    folder, file = tmp_path / "out", tmp_path / "pairs.parquet"
    stopped = launch("import_pairs.py", "--input", rows, "--output", folder)
    assert stopped.returncode == 2
    assert stopped.stderr.splitlines()[-1].startswith(f"error: {rows}:6: chosen is missing")
    done = launch("import_pairs.py", "--input", rows, "--output", folder, "--skip-bad")
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr
    assert done.stdout.startswith(
        f"5 pairs of 1 file(s) -> {folder}, split train, 1 shard(s), 1 mal"
    )
    done = launch("export_pairs.py", "--input", folder, "--output", file)
    assert done.stdout == f"5 pairs of {folder}, split train -> {file}\n"
    assert pq.read_table(file).num_rows == 5
