"""Whole builds: splits, order, drops and reports; what a killed, a repeated or a refused run leaves."""

import itertools
import json
import os
import random
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codepmp_jax.cli.errors import UserError
from codepmp_jax.commands import main
from codepmp_jax.config import DecontaminationConfig, ParaphrasesConfig, RmDataConfig
from codepmp_jax.records.schema import PreferencePair, content_id
from codepmp_jax.records.shards import ShardedDataset, read_manifest
from codepmp_jax.rm_data import build as module
from codepmp_jax.rm_data.build import build
from codepmp_jax.rm_data.gather import BLANK_ANSWER, TOO_LONG
from tests import processes
from tests.rm_data.rows import (
    BENCH,
    EGGS,
    LOGIQA2,
    RATED,
    RECLOR,
    RIGHT,
    WRONG,
    built,
    candidates,
    shepherd,
    stepwise,
    write,
)

WORDS = [f"word{i}" for i in range(2000)]


def problem(number):
    """A problem like no other."""
    return "How much is " + " ".join(random.Random(number).sample(WORDS, 20)) + "?"


def solutions(number, right=2, wrong=2):
    """Rows of MathShepherd for one problem."""
    rows = [
        shepherd((f"Step 1: {i}", f"Step 2: yes {i}"), "++", problem(number)) for i in range(right)
    ]
    return rows + [
        shepherd((f"Step 1: {i}", f"Step 2: no {i}"), "+-", problem(number)) for i in range(wrong)
    ]


def texts(pairs):
    return [(pair.prompt, pair.chosen, pair.rejected) for pair in pairs]


@pytest.mark.parametrize(
    ("source", "rows", "expected"),
    [
        ("mathshepherd", [shepherd(WRONG, "+-"), shepherd(RIGHT, "++")], (EGGS, "24", "10")),
        ("mathshepherd", [stepwise(RIGHT, [1, 1]), shepherd(WRONG, "+-")], (EGGS, "24", "10")),
        ("reclor", [RECLOR], ("Which one follows?", "Some bird is black.", "")),
        ("logiqa2", [LOGIQA2], ("What is true of Tom?", "He is happy.", "")),
        ("codeultrafeedback", [RATED], ("reverses a list", "", "")),
        ("rewardbench", [BENCH], ("Name a prime.", "7", "8")),
        ("candidates", [candidates(2, [("4", True), ("5", False)])], ("2 + 2", "4", "5")),
    ],
)
def test_each_schema_becomes_a_pair(tmp_path, source, rows, expected):
    splits, report = built(tmp_path, rows, source)
    (pair,) = splits["train"]
    for text, part in zip((pair.prompt, pair.chosen, pair.rejected), expected, strict=True):
        assert part in text
    assert pair.pair_id == content_id(pair.prompt, pair.chosen, pair.rejected)
    assert pair.lineage["source"] == source
    assert pair.lineage["chosen"]["file"] == "rows.jsonl"
    assert report["splits"]["train"]["pairs"] == report["splits"]["train"]["problems"] == 1
    assert report["rows"] == len(rows)


def test_the_best_against_the_worst_of_a_rated_instruction(tmp_path):
    splits, report = built(
        tmp_path, [RATED], "codeultrafeedback", pairing="best_worst", min_margin=1.0
    )
    (pair,) = splits["train"]
    assert (pair.chosen, pair.rejected) == ("def turn(xs): return xs[::-1]", "sorry")
    assert (pair.margin, pair.lineage["margin"], pair.subset) == (0, 8, "readability")
    assert report["dropped"]["answers"] == {"in no pair": 1, "response has no rating": 1}
    assert report["splits"]["train"]["subsets"]["readability"]["longer_is_chosen"] == 1


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sizes=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=6, max_size=14),
    pairing=st.sampled_from(["random", "nearest_length", "all", "best_worst"]),
    most=st.integers(1, 12),
    seed=st.integers(0, 5),
)
def test_split_order_and_number(tmp_path_factory, sizes, pairing, most, seed):
    """No problem on both sides, any order of the rows gives the same, a smaller number gives the first pairs."""
    rows = [row for i, (n, m) in enumerate(sizes) for row in solutions(i, n, m)]
    if sum(n > 0 and m > 0 for n, m in sizes) < 2:
        return
    settings_ = {"pairing": pairing, "seed": seed, "heldout_fraction": 0.3}
    folder = tmp_path_factory.mktemp("all")
    splits, report = built(folder, rows, "mathshepherd", **settings_)
    train, heldout = splits["train"], splits["heldout"]
    assert not {pair.prompt for pair in train} & {pair.prompt for pair in heldout}
    for pair in [*train, *heldout]:
        assert "yes" in pair.chosen
        assert "no" in pair.rejected
    count = {"all": lambda n, m: n * m, "best_worst": lambda n, m: min(n, m, 1)}.get(pairing, min)
    assert len(train) + len(heldout) == sum(count(n, m) for n, m in sizes)
    shuffled = list(rows)
    random.Random(seed).shuffle(shuffled)
    again, _ = built(tmp_path_factory.mktemp("shuffled"), shuffled, "mathshepherd", **settings_)
    assert {split: texts(pairs) for split, pairs in again.items()} == {
        split: texts(pairs) for split, pairs in splits.items()
    }
    fewer, _ = built(
        tmp_path_factory.mktemp("fewer"), rows, "mathshepherd", max_pairs=most, **settings_
    )
    assert texts(fewer["train"]) == texts(train)[:most]
    assert texts(fewer["heldout"]) == texts(heldout)
    assert report["answers"] == sum(map(sum, sizes))


def test_the_order_of_problems_is_random_and_not_that_of_the_file(tmp_path):
    rows = [row for i in range(60) for row in solutions(i, 1, 1)]
    orders = set()
    for seed in range(3):
        splits, _ = built(tmp_path / str(seed), rows, "mathshepherd", seed=seed)
        prompts = [pair.prompt for pair in splits["train"]]
        assert sorted(prompts) == sorted(problem(i) for i in range(60))
        orders.add(tuple(prompts))
    assert len(orders) == 3
    assert tuple(problem(i) for i in range(60)) not in orders


def test_paraphrases_stay_on_one_side(tmp_path):
    """Twenty problems, each in three versions with other numbers."""
    rows = []
    for i, version in itertools.product(range(20), range(3)):
        text = problem(i).replace("How much is", f"How much is {version}{version} of")
        rows += [shepherd(("Step 1: a",), mark, text) for mark in "+"]
        rows += [shepherd(("Step 1: b",), mark, text) for mark in "-"]
    for seed in range(4):
        splits, report = built(
            tmp_path / str(seed), rows, "mathshepherd", seed=seed, heldout_fraction=0.3
        )
        sides = {
            split: {pair.prompt.split(" of ")[1] for pair in pairs}
            for split, pairs in splits.items()
        }
        assert not sides["train"] & sides["heldout"]
        assert len(splits["heldout"]) == 18
        assert report["paraphrases"] == {
            "problems": 60,
            "clusters": 20,
            "problems_with_paraphrases": 60,
            "largest_cluster": 3,
        }


def test_a_held_out_input_takes_its_problems_and_their_paraphrases_out_of_train(tmp_path):
    rows = [row for i in range(10) for row in solutions(i, 1, 1)]
    near = problem(1).replace("How much is", "How many are")
    heldout = [
        *solutions(0, 1, 1),
        *(shepherd(("Step 1: x",), mark, near) for mark in "+"),
        *(shepherd(("Step 1: y",), mark, near) for mark in "-"),
        # A problem without a wrong answer is held out nevertheless.
        shepherd(("Step 1: z",), "+", problem(2)),
    ]
    path = write(tmp_path / "heldout.jsonl", heldout)
    splits, report = built(tmp_path, rows, "mathshepherd", heldout_input=str(path))
    assert {pair.prompt for pair in splits["heldout"]} == {problem(0), near}
    assert {pair.prompt for pair in splits["train"]} == {problem(i) for i in range(3, 10)}
    assert report["dropped"]["rows"] == {module.OF_HELDOUT: 4}
    assert report["dropped"]["problems"] == {module.OF_HELDOUT: 1, "no wrong answer": 1}
    assert splits["heldout"][0].lineage["chosen"]["file"] == "heldout.jsonl"
    _, report = built(tmp_path / "apart", solutions(4), "mathshepherd", heldout_input=str(path))
    assert report["dropped"]["problems"] == {"no wrong answer": 1}


def test_problems_and_answers_of_benchmarks_are_left_out(tmp_path):
    """But not those of a held-out input, which may be the benchmark itself."""
    tested = problem(0)
    solution = " ".join(WORDS[:15])
    item = write(tmp_path / "test.jsonl", [{"question": tested, "answer": f"{solution} #### 5"}])
    rows = [row for i in range(4) for row in solutions(i, 1, 1)]
    rows.append(shepherd((f"Step 1: {solution}",), "+", problem(3)))
    splits, report = built(
        tmp_path,
        rows,
        "mathshepherd",
        pairing="all",
        decontamination=DecontaminationConfig(files=(str(item),)),
    )
    assert {pair.prompt for pair in splits["train"]} == {problem(i) for i in (1, 2, 3)}
    assert report["dropped"]["problems"] == {module.CONTAMINATED: 1}
    assert report["dropped"]["answers"] == {module.CONTAMINATED: 1}
    assert report["contamination"]["GSM8K"]["problems"] == 1
    assert report["contamination"]["GSM8K"]["answers"] == 1
    assert report["contamination"]["GSM8K"]["examples"][0]["item"] == "test/0"
    splits, _ = built(
        tmp_path / "given",
        rows,
        "mathshepherd",
        heldout_input=str(write(tmp_path / "h.jsonl", solutions(0, 1, 1))),
        decontamination=DecontaminationConfig(files=(str(item),)),
    )
    assert {pair.prompt for pair in splits["heldout"]} == {tested}


def test_blank_answers_are_counted(tmp_path):
    rows = [
        candidates(1, [("2", True), (" ", False), ("3", False)]),
        candidates(2, [("\n", True)]),
    ]
    splits, report = built(tmp_path, rows, "candidates")
    assert [(pair.chosen, pair.rejected) for pair in splits["train"]] == [("2", "3")]
    assert report["dropped"]["answers"] == {BLANK_ANSWER: 2}
    assert report["dropped"]["rows"] == {BLANK_ANSWER: 1}
    rows = [
        {"prompt": "p", "chosen": "c", "rejected": " "},
        {"prompt": "p", "chosen": "c", "rejected": "r"},
    ]
    splits, report = built(tmp_path / "pairs", rows, "pairs")
    assert report["dropped"]["rows"] == {BLANK_ANSWER: 1}
    assert len(splits["train"]) == 1


def test_answers_that_are_too_long_with_their_problem_are_counted(tmp_path):
    rows = [candidates(1, [("yes", True), ("no", False), ("never", False)])]
    length = len(rows[0]["prompt"]) + len("yes")
    splits, report = built(tmp_path, rows, "candidates", max_chars=length)
    assert [(pair.chosen, pair.rejected) for pair in splits["train"]] == [("yes", "no")]
    assert report["dropped"]["answers"] == {TOO_LONG: 1}
    rows = [{"prompt": "p", "chosen": "cc", "rejected": each} for each in ("r" * 4, "r")]
    splits, report = built(tmp_path / "pairs", rows, "pairs", max_chars=3)
    assert report["dropped"]["rows"] == {TOO_LONG: 1}
    assert len(splits["train"]) == 1


def test_conversations_and_pairs_without_a_prompt(tmp_path):
    user, yes, no = (
        {"role": role, "content": text}
        for role, text in (("user", "Is it?"), ("assistant", "Yes"), ("assistant", "No, no"))
    )
    rows = [
        {"prompt": [user], "chosen": [yes], "rejected": [no]},
        {"prompt": "", "chosen": "a", "rejected": "bb"},
        {"prompt": None, "chosen": "c", "rejected": "dd"},
    ]
    splits, report = built(tmp_path, rows, "pairs", heldout_fraction=0.34)
    pairs = splits["train"] + splits["heldout"]
    assert (len(splits["train"]), len(splits["heldout"])) == (2, 1)
    assert sorted(pair.is_conversation for pair in pairs) == [False, False, True]
    assert report["remarks"]["prompt: none"] == 2
    lengths = report["splits"]["train"], report["splits"]["heldout"]
    assert sum(one["longer_is_chosen"] for one in lengths) == 0
    assert {2.0, 6.0} >= {one["rejected_characters"] for one in lengths} - {4.0}


def test_malformed_rows_end_the_command_or_are_set_aside(tmp_path):
    rows = [*solutions(0), {"input": "no marks"}, *solutions(1), [1]]
    with pytest.raises(UserError, match=r"rows\.jsonl:5: input has no marks of steps\. Remedy"):
        built(tmp_path, rows, "mathshepherd")
    assert [path.name for path in (tmp_path / "out").iterdir()] == []
    with open(tmp_path / "rows.jsonl", "a") as file:
        file.write("{\n")
    config = RmDataConfig(
        source="mathshepherd",
        input=str(tmp_path / "rows.jsonl"),
        output=str(tmp_path / "out"),
        heldout_fraction=0.5,
        skip_bad=True,
    )
    report = build(config)
    assert sum(report["malformed"].values()) == 3
    assert report["malformed"]["row is no object"] == 1
    lines = (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()
    rejects = [json.loads(line) for line in lines]
    assert [entry["line"] for entry in rejects] == [5, 10, 11]
    assert rejects[0]["row"] == {"input": "no marks"}
    assert all(entry["reason"] and entry["file"] == "rows.jsonl" for entry in rejects)


def test_text_that_is_no_unicode_is_malformed(tmp_path):
    rows = [{"prompt": "p\ud83d", "chosen": "c", "rejected": "r"}]
    with pytest.raises(UserError, match=r"rows\.jsonl:1: text is no valid Unicode"):
        built(tmp_path, rows, "pairs")
    rows = [candidates(1, [("a\ud83d", True), ("b", False)])]
    with pytest.raises(UserError, match=r"rows\.jsonl:1: text is no valid Unicode"):
        built(tmp_path / "other", rows, "candidates")


# What may stand in any place of a row of somebody else's.
ODD = (
    *(None, "", " ", "ки", "Step 1:", "N/A", "1e999", "\x00", "\ud83d", "[]", "٣"),
    *(0, -1, 1.5, 10**400, float("nan"), float("inf"), 1e308, True, False),
    *([], {}, [[]], [None], ["x", "y"], [1, 2], {"a": 1}, {"from": []}),
    *([{"role": "user"}], [{"role": 5, "content": None}], '[{"role": {}, "content": "x"}]'),
)
TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
ROWS = {
    "mathshepherd": [shepherd(RIGHT, "++"), stepwise(WRONG, [True, False])],
    "reclor": [RECLOR],
    "logiqa2": [LOGIQA2],
    "codeultrafeedback": [
        RATED,
        RATED | {"chosen": "sorry", "rejected": "xs.reverse()", "rating_chosen": 9},
    ],
    "ultrafeedback": [
        {
            "source": "flan",
            "instruction": "Sing.",
            "models": ["a", "b"],
            "completions": [
                {"model": "a", "response": "la", "fine-grained_score": 4.5, "overall_score": 8},
                {"model": "b", "response": "lo", "fine-grained_score": 2.5, "overall_score": 3},
            ],
        },
        {"chosen": TURNS, "rejected": [TURNS[0], {"from": "gpt", "value": "?"}]},
    ],
    "rewardbench": [BENCH],
    "pairs": [
        {"prompt": "p", "chosen": "a", "rejected": "b", "score_chosen": 3, "score_rejected": 1},
        {"instruction": "i", "input": "u", "history": [["a", "b"]], "chosen": "c", "rejected": "d"},
        {"conversations": [{"from": "human", "value": "x"}], "chosen": "c", "rejected": "d"},
    ],
    "candidates": [candidates(1, [("2", True), ("3", False), ("4", None)])],
}


def replaced(value, other):
    """The value with `other` in one place, for each place."""
    yield other
    if isinstance(value, dict | list):
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for key, entry in list(entries):
            for changed in replaced(entry, other):
                whole = value.copy()
                whole[key] = changed
                yield whole


@pytest.mark.parametrize("source", ROWS)
def test_whatever_stands_anywhere_is_read_or_set_aside(tmp_path, source):
    rows = [*ROWS[source], {"prompt": "Another", "chosen": "c", "rejected": "d"}]
    if source == "candidates":
        rows[-1] = candidates(2, [("4", True), ("5", False)])
    rows += [row for good in rows for odd in ODD for row in replaced(good, odd)]
    _, report = built(tmp_path, rows, source, skip_bad=True, pairing="best_worst")
    assert 0 < sum(report["malformed"].values()) < len(rows) == report["rows"]


def test_a_file_may_have_any_name(tmp_path):
    path = write(tmp_path / os.fsdecode(b"rows-\xff.jsonl"), [BENCH])
    config = RmDataConfig(
        source="rewardbench", input=str(path), output=str(tmp_path / "out"), heldout_fraction=0.0
    )
    build(config)
    (pair,) = ShardedDataset(config.output, PreferencePair, "train")
    assert pair.lineage["chosen"]["file"] == path.name


@pytest.mark.parametrize(
    ("rows", "settings_", "message"),
    [
        ([], {}, r"0 rows with 0 problems .*split train\. Remedy: give rows"),
        (solutions(0, 2, 0), {}, r"no wrong answer': 1"),
        (solutions(0), {"heldout_fraction": 0.5}, r"split train\. Remedy: give more problems"),
        (
            [shepherd((f"Step 1: {m}",), m, f"{EGGS} ({i})?") for i in range(9) for m in "+-"],
            {"heldout_fraction": 0.2},
            r"in 1 clusters .*split heldout\. Remedy: raise --paraphrases\.threshold",
        ),
    ],
)
def test_a_split_that_would_be_empty_is_refused(tmp_path, rows, settings_, message):
    with pytest.raises(UserError, match=message):
        built(tmp_path, rows, "mathshepherd", **settings_)


def test_the_remedy_for_problems_of_one_template_works(tmp_path):
    rows = [
        {"prompt": EGGS.replace("6", str(i)), "completions": [f"Step 1: {m}"], "labels": [m]}
        for i in range(9)
        for m in (True, False)
    ]
    paraphrases = ParaphrasesConfig(near=False)
    splits, _ = built(tmp_path, rows, "mathshepherd", heldout_fraction=0.2, paraphrases=paraphrases)
    assert (len(splits["train"]), len(splits["heldout"])) == (7, 2)


def test_shares_of_0_and_1_write_one_split(tmp_path):
    rows = [row for i in range(5) for row in solutions(i)]
    splits, _ = built(tmp_path / "train", rows, "mathshepherd", heldout_fraction=0.0)
    assert [*splits] == ["train"]
    splits, _ = built(tmp_path / "heldout", rows, "mathshepherd", heldout_fraction=1.0)
    assert [*splits] == ["heldout"]
    splits, report = built(
        tmp_path / "few", rows, "mathshepherd", heldout_fraction=1.0, max_heldout_pairs=3
    )
    assert len(splits["heldout"]) == 3
    assert report["dropped"]["pairs"] == {module.BEYOND_HELDOUT: 7}


def test_shards_hold_so_many_records(tmp_path):
    rows = [row for i in range(7) for row in solutions(i, 1, 1)]
    splits, _ = built(tmp_path, rows, "mathshepherd", records_per_shard=3)
    manifest = read_manifest(tmp_path / "out", PreferencePair)
    counts = [shard["num_records"] for shard in manifest["splits"]["train"]["shards"]]
    assert counts == [3, 3, 1]
    assert len(splits["train"]) == 7
    assert manifest["made_by"]["command"] == "rm-data"


# --- repeated, killed, refused --------------------------------------------------------------------


def test_a_finished_folder_is_left_as_it_is(tmp_path):
    rows = [row for i in range(5) for row in solutions(i)]
    _, report = built(tmp_path, rows, "mathshepherd")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert built(tmp_path, rows, "mathshepherd")[1] == report
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == times
    for change, named in (({"seed": 1}, "seed was 0, is 1"), ({"max_pairs": 2}, "was None, is 2")):
        with pytest.raises(
            UserError, match=rf"or with other settings \(config.*{named}\)\. Remedy"
        ):
            built(tmp_path, rows, "mathshepherd", **change)
    with pytest.raises(UserError, match=r"of other rows .*\(inputs\.0\.files\.rows\.jsonl was"):
        built(tmp_path, rows[:-1], "mathshepherd")


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "train.array_record-00000-of-00001").write_text("kept")
    with pytest.raises(UserError, match="holds shards, and no manifest"):
        built(tmp_path, solutions(0), "mathshepherd")


@pytest.mark.parametrize("moment", ["pair", "write", "_publish", "write_manifest"])
def test_what_an_error_at_any_moment_leaves_is_taken_back(tmp_path, monkeypatch, moment):
    rows = [row for i in range(5) for row in solutions(i)]
    owner = module._Builder if moment in ("pair", "write") else module
    owner = module.shards if moment == "write_manifest" else owner
    real = getattr(owner, moment)

    def fail(*arguments, **options):
        if moment == "_publish":
            real(*arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(owner, moment, fail)
        with pytest.raises(KeyboardInterrupt):
            built(tmp_path, rows, "mathshepherd")
    assert [path.name for path in (tmp_path / "out").iterdir()] == []
    assert len(built(tmp_path, rows, "mathshepherd")[0]["train"]) == 10


def test_what_a_killed_run_left_is_removed(tmp_path, monkeypatch):
    rows = [row for i in range(5) for row in solutions(i)]
    with monkeypatch.context() as patch:
        real = module._take_back
        calls = []
        # As if the process was gone before it could clear up.
        patch.setattr(module, "_take_back", lambda *a: calls or (calls.append(1), real(*a)))
        patch.setattr(module.shards, "write_manifest", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            built(tmp_path, rows, "mathshepherd", records_per_shard=3)
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"rm-data.partial", "report.json", "train.array_record-00000-of-00004"} <= left
    splits, _ = built(tmp_path, rows, "mathshepherd")
    assert len(splits["train"]) == 10
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "dataset_info.json",
        "features.json",
        "manifest.json",
        "report.json",
        "train.array_record-00000-of-00001",
        "train.array_record-00000-of-00001.json",
    ]


# --- the command ----------------------------------------------------------------------------------


def test_the_command_sums_up(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    rows = [row for i in range(30) for row in solutions(i, 2, 1)]
    write(folder / "rows.jsonl", [*rows, {"input": "x"}])
    (folder / "README.md").write_text("")
    arguments = f"rm-data --source mathshepherd --input {folder} --output {tmp_path}/out --skip-bad"
    arguments += " --max-pairs 100"
    monkeypatch.setattr("sys.argv", ["codepmp", *arguments.split(), "--heldout-fraction", "0.1"])
    main.run()
    out = capsys.readouterr().out
    assert "train: 27 pairs of 27 problems; the longer answer is chosen in 100.0%" in out
    assert "train: fewer than the 100 pairs asked for" in out
    assert "heldout: 3 pairs of 3 problems" in out
    assert f"not read of {folder}: README.md" in out
    assert "malformed (rows): input has no marks of steps 1" in out
    assert "answers dropped: in no pair 30" in out
    assert len(ShardedDataset(tmp_path / "out", PreferencePair, "train")) == 27


LIMITED = """
import resource, sys
from codepmp_jax.config import RmDataConfig
from codepmp_jax.rm_data import build as module
from codepmp_jax.files import buckets
buckets._BUFFER_BYTES = 1 << 20
module.build(RmDataConfig(source="mathshepherd", input=sys.argv[1], output=sys.argv[2]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


def test_memory_does_not_grow_with_the_rows(tmp_path):
    """A file ten times as large, of 60 MB, takes hardly more memory."""
    peaks = []
    for number in (300, 3000):
        path = tmp_path / f"{number}.jsonl"
        with open(path, "w") as file:
            for i in range(number):
                row = shepherd(("Step 1: " + "x" * 4600,), "+", problem(i))
                file.write(json.dumps(row) + "\n")
                row = shepherd(("Step 1: " + "y" * 4600,), "-", problem(i))
                file.write(json.dumps(row) + "\n")
        program = [sys.executable, "-c", LIMITED, str(path), str(tmp_path / f"out{number}")]
        with processes.Process(program, dict(os.environ)) as run:
            done = run.finish()
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout))
    assert path.stat().st_size > 50 << 20
    assert peaks[1] - peaks[0] < 25
