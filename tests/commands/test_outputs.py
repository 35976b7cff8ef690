"""Every command that writes: what it answers where its output cannot be written, and two of them at once."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import json.decoder
import os
import pathlib
import resource
import sys
from collections.abc import Iterator

import pytest

from codepmp_jax.cli.exit_codes import MISTAKE, STORE
from codepmp_jax.commands import main
from codepmp_jax.files.json_files import write_lines
from codepmp_jax.records.schema import Candidate, PreferencePair, Problem, SourceFile, content_id
from codepmp_jax.records.shards import read_manifest, write_manifest, write_split
from tests import processes
from tests.conversion.gguf_files import tiny_llama, write_gguf
from tests.conversion.runs import write_run
from tests.training.reference import tiny_config

# Command -> its arguments, where IN is the folder of inputs and OUT the output; True where that is a folder.
COMMANDS = {
    "corpus": ("--config corpus_files --input IN/code --output OUT", True),
    "train-tokenizer": ("--input IN/corpus --output OUT --vocab-size 512", True),
    "synthesize": ("--config synth_ngram --input IN/corpus --output OUT", True),
    "rm-data": ("--source candidates --input IN/candidates.jsonl --output OUT", True),
    "import-pairs": ("--input IN/rows.jsonl --output OUT", True),
    "export-pairs": ("--input IN/pairs --split heldout --output OUT.jsonl", False),
    "compile-check": ("--config pmp_tiny --topology v5e:2x2 --json OUT.jsonl", False),
    "train": ("--config pmp_tiny --workdir OUT --data.input IN/pairs --eval-pairs 0", True),
    "logprobs": ("--model IN/run --input IN/pairs --output OUT", True),
    "convert to-hf": ("--run IN/run --output OUT", True),
    "convert to-peft": ("--run IN/lora --output OUT", True),
    "convert from-hf": ("--input IN/hf --output OUT", True),
    "convert from-gguf": ("--input IN/model.gguf --output OUT", True),
    "evaluate problems": ("--task gsm8k --input IN/gsm8k.jsonl --output OUT.jsonl", False),
    "candidates": (
        "--input IN/corpus --output OUT.jsonl --writer.sampler ngram --num-candidates 2",
        False,
    ),
    "evaluate judge": ("--input IN/candidates.jsonl --output OUT.jsonl --workers 1", False),
    "evaluate score": ("--model IN/run --backend jax --input IN/pairs --output OUT.jsonl", False),
    "evaluate baseline": (
        "--baseline bag_of_tokens --model IN/hf --input IN/pairs --output OUT.jsonl",
        False,
    ),
    "evaluate tokens": ("--model IN/run --input IN/pairs --output OUT", True),
    "evaluate accuracy": ("--pairs IN/pairs --scores IN/scores.jsonl --output OUT", True),
    "evaluate best-of-n": (
        "--candidates IN/candidates.jsonl --scores IN/candidate_scores.jsonl --output OUT",
        True,
    ),
    "evaluate benchmark": (
        "--candidates IN/battles.jsonl --scores IN/candidate_scores.jsonl --output OUT",
        True,
    ),
    "evaluate pass-at-k": ("--policies IN/candidates.jsonl --output OUT", True),
    "evaluate report": ("--inputs IN/accuracy --output OUT", True),
    "jobset": ("--image registry/image --output OUT.jsonl", False),
    "quickstart": ("--output OUT", True),
    "experiment": ("--commands true --output OUT", True),
    "improve": (
        "--model IN/hf --problems IN/candidates.jsonl --heldout IN/candidates.jsonl --training dpo_tiny "
        "--rounds 1 --output OUT",
        True,
    ),
}
# These compile a program or run others before they write much: their disks are tested elsewhere.
SLOW = {"compile-check", "quickstart", "improve"}


def test_every_command_that_writes_is_in_the_table():
    commands = {command for stage in main.STAGES.values() for command in stage}
    assert commands - COMMANDS.keys() == {
        "supervise",
        "queued-resources",
        "gcluster",
        "xpk",
        "serve",
    }


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> pathlib.Path:
    """What the commands read, and nothing that they write."""
    from codepmp_jax.config import ConvertConfig, LoraConfig
    from codepmp_jax.conversion import export

    folder = tmp_path_factory.mktemp("inputs")
    code = [
        f"def add_{i}(a, b):\n    total = a + b * {i}\n    return total - {i}\n" for i in range(40)
    ]
    code[0] = inspect.getsource(json.decoder)
    (folder / "code").mkdir()
    for i, text in enumerate(code):
        (folder / "code" / f"file{i}.py").write_text(text)
    sources = [
        SourceFile(
            content_id(text),
            text,
            f"Adds {i}.",
            f"add_{i}",
            "function",
            "python",
            "r",
            f"{i}.py",
            "MIT",
            1,
        )
        for i, text in enumerate(code)
    ]
    splits = {
        split: write_split(folder / "corpus", split, part, 1)
        for split, part in (("train", sources[:30]), ("heldout", sources[30:]))
    }
    write_manifest(folder / "corpus", SourceFile, splits, {})
    pairs = [PreferencePair(content_id(str(i)), "a b", "c d", "e " * i) for i in range(1, 200)]
    splits = {
        split: write_split(folder / "pairs", split, pairs, 1) for split in ("train", "heldout")
    }
    write_manifest(folder / "pairs", PreferencePair, splits, {})
    write_lines(folder / "rows.jsonl", [{"prompt": "p", "chosen": "c", "rejected": "r" * 5}] * 100)
    write_lines(
        folder / "gsm8k.jsonl",
        [{"question": "2 + 2?", "answer": f"Sum.\n#### {i}"} for i in range(20)],
    )
    candidates = (Candidate("#### 4", True, "4"), Candidate("#### 5", False, "5"))
    problems = [
        Problem(str(i), f"2 + 2? {i}", candidates, "gsm8k", reference={"answer": "4"})
        for i in range(20)
    ]
    (folder / "candidates.jsonl").write_text("".join(f"{p.to_json()}\n" for p in problems))
    battles = [dataclasses.replace(problem, task="judgebench") for problem in problems]
    (folder / "battles.jsonl").write_text("".join(f"{p.to_json()}\n" for p in battles))
    for name, ids in (
        ("scores", [pair.pair_id for pair in pairs]),
        ("candidate_scores", [problem.problem_id for problem in problems]),
    ):
        rows = [{"item_id": i, "index": j, "reward": -float(j)} for i in ids for j in range(2)]
        write_lines(folder / f"{name}.jsonl", rows)
    config = tiny_config(
        workdir=str(folder / "run"), data__input=str(folder / "pairs"), model__vocab_size=4096
    )
    write_run(config)
    export.to_hf(ConvertConfig(run=config.workdir, output=str(folder / "hf")))
    write_gguf(folder / "model.gguf", tiny_llama())
    model = dataclasses.replace(config.model, init_from=str(folder / "hf"))
    write_run(
        dataclasses.replace(
            config, workdir=str(folder / "lora"), model=model, lora=LoraConfig(rank=2)
        )
    )
    arguments = f"evaluate accuracy --pairs {folder}/pairs --scores {folder}/scores.jsonl"
    sys.argv = ["codepmp", *arguments.split(), "--output", str(folder / "accuracy")]
    main.run()
    return folder


@pytest.fixture
def codepmp(inputs, monkeypatch, capsys):
    """Runs a command of the table into an output; gives its exit status and stderr."""
    argv = sys.argv

    def run(command: str, output: str) -> tuple[int, str]:
        options = COMMANDS[command][0].replace("IN/", f"{inputs}/").replace("OUT", output)
        monkeypatch.setattr("sys.argv", ["codepmp", *command.split(), *options.split()])
        with pytest.raises(SystemExit) as ended:
            main.main()
        return int(ended.value.code or 0), capsys.readouterr().err

    yield run
    sys.argv = argv


def check_answer(answer: tuple[int, str], status: int, path: str) -> None:
    found, stderr = answer
    *_, last = stderr.splitlines()
    assert found == status, stderr
    assert last.startswith("error: ")
    assert path in last
    assert "Remedy: " in last
    assert stderr.count("error: ") == 1
    assert "Traceback" not in stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_parent_that_is_a_file(command, codepmp, tmp_path):
    (tmp_path / "file").write_text("kept")
    check_answer(codepmp(command, f"{tmp_path}/file/new/out"), STORE, f"{tmp_path}/file")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_of_the_other_kind(command, codepmp, tmp_path):
    is_folder = COMMANDS[command][1]
    output = tmp_path / ("out" if is_folder else "out.jsonl")
    if is_folder:
        output.write_text("kept")
    else:
        output.mkdir()
        (output / "file").write_text("kept")
    status = STORE if command in ("train", "quickstart") else MISTAKE
    check_answer(codepmp(command, f"{tmp_path}/out"), status, str(output))
    assert (output if is_folder else output / "file").read_text() == "kept"
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_that_may_not_be_written(command, codepmp):
    """No user may make a folder there."""
    check_answer(codepmp(command, "/sys/codepmp_jax/out"), STORE, "/sys/codepmp_jax")


@contextlib.contextmanager
def limited_files(limit: int) -> Iterator[None]:
    """No file grows beyond `limit` bytes. stdout, a file under pytest, is none meanwhile: Rust panics there."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = os.dup(1)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        os.dup2(before, 1)
        os.close(before)


@pytest.mark.parametrize(
    ("command", "limit"),
    [
        (command, limit)
        for command in COMMANDS
        for limit in (0, 700)
        # The processes of judges inherit the limit, but not the environment; the files of a benchmark are smaller.
        if command not in SLOW
        and (command, limit) not in {("evaluate judge", 700), ("evaluate benchmark", 700)}
    ],
)
def test_a_disk_that_takes_no_more(command, limit, codepmp, monkeypatch, tmp_path):
    """A limit on the size of files stands for a full disk: the system refuses to write, in the same place."""
    # Python itself would write cut-off files of bytecode.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    with limited_files(limit):
        answer = codepmp(command, f"{tmp_path}/out")
    check_answer(answer, STORE, str(tmp_path))
    output = tmp_path / ("out" if COMMANDS[command][1] else "out.jsonl")
    assert not output.is_file()
    for name in ("manifest.json", "report.json", "config.json"):
        assert not (output / name).exists()


# --- two at once ----------------------------------------------------------------------------------

PROGRAM = [sys.executable, "-P", "-m", "codepmp_jax"]


def start(*arguments: object) -> processes.Process:
    root = str(pathlib.Path(__file__).parents[2])
    return processes.Process(
        [*PROGRAM, *arguments], os.environ | {"PYTHONPATH": root, "JAX_PLATFORMS": "cpu"}
    )


def test_both_splits_imported_at_once_are_kept(inputs, tmp_path):
    output = tmp_path / "out"
    rows = ["import-pairs", "--input", inputs / "rows.jsonl", "--output", output]
    with start(*rows) as train, start(*rows, "--split", "heldout") as heldout:
        for done in (train.finish(), heldout.finish()):
            assert done.returncode == 0, done.stderr
    splits = read_manifest(output, PreferencePair)["splits"]
    assert {split: entry["num_records"] for split, entry in splits.items()} == {
        "train": 100,
        "heldout": 100,
    }
    assert set(json.loads((output / "report.json").read_text())["imports"]) == {"train", "heldout"}
    assert not [
        path.name
        for path in output.iterdir()
        if path.name.startswith(".") or "partial" in path.name
    ]


def test_of_two_imports_of_a_split_at_once_one_is_refused(inputs, tmp_path):
    output = tmp_path / "out"
    rows = ["import-pairs", "--input", inputs / "rows.jsonl", "--output", output]
    with start(*rows) as one, start(*rows) as other:
        done = sorted((one.finish(), other.finish()), key=lambda done: done.returncode)
    assert [each.returncode for each in done] == [0, MISTAKE]
    assert (
        done[1]
        .stderr.splitlines()[-1]
        .startswith(f"error: output = '{output}': already has shards")
    )
    assert read_manifest(output, PreferencePair)["splits"]["train"]["num_records"] == 100
