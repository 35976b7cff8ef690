"""Commands whose stdout or stderr goes away, stops being read, or cannot be written."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import time

import pytest

WORK = """
import pathlib, subprocess, sys
from codepmp_jax.cli import streams
from codepmp_jax.cli.progress import progress
streams.PATIENCE_SECONDS = 0.2
streams.guard()
notes = pathlib.Path(sys.argv[1])
print("begins", file=sys.stderr)
print("early \\u2192")
streams.keep_notes(lambda line: notes.open("a").write(line + "\\n"))
for number in progress(range(3000)):
    print("x" * 100, file=sys.stderr)
    print("y" * 100, flush=True)
child = subprocess.run([sys.executable, "-c", "import os; os.write(1, b''); os.write(2, b'child')"])
notes.open("a").write(f"child {child.returncode}\\n")
"""


def run(tmp_path: pathlib.Path, **streams) -> tuple[int, list[str]]:
    """Exit status and notes of WORK."""
    notes = tmp_path / "notes"
    done = subprocess.run([sys.executable, "-c", WORK, str(notes)], timeout=60, **streams)
    return done.returncode, notes.read_text().splitlines()


@pytest.fixture
def broken_pipe():
    """The end to write to of a pipe whose reader is gone."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_work_goes_on_when_its_reader_is_gone(tmp_path, broken_pipe, name):
    other = {"stdout", "stderr"} - {name}
    status, notes = run(tmp_path, **{name: broken_pipe}, **dict.fromkeys(other, subprocess.DEVNULL))
    assert status == 0
    assert notes == [
        f"{name}: [Errno 32] Broken pipe; the work goes on, what cannot be shown is dropped",
        "child 0",
    ]


def test_work_goes_on_when_the_disk_of_its_log_is_full(tmp_path):
    with open("/dev/full", "w") as full:
        status, notes = run(tmp_path, stdout=full, stderr=full)
    assert status == 0
    assert [note.partition(":")[0] for note in notes] == ["stderr", "stdout", "child 1"]
    assert "No space left" in notes[0]


def test_work_goes_on_when_nobody_reads(tmp_path):
    """As behind a stopped `tee`: the pipe fills up."""
    read, write = os.pipe()
    status, notes = run(tmp_path, stderr=write, stdout=subprocess.DEVNULL)
    assert status == 0
    assert notes == [
        "stderr: nobody has read it for 0 s; the work goes on, what cannot be shown is dropped",
        "child 0",
    ]
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_work_begins_without_streams(tmp_path, closed):
    """No file that is opened later gets their numbers."""
    notes = tmp_path / "notes"
    check = "import os, sys\nassert open(os.devnull).fileno() > 2\n"
    command = ["sh", "-c", f'"$@" {closed}', "sh", sys.executable, "-c", WORK + check, str(notes)]
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    assert notes.read_text().splitlines()[-1] == "child 0"


def test_what_is_shown_arrives_whole(tmp_path):
    """Also what the encoding of the terminal lacks, and where the reader is slow."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", WORK, str(tmp_path / "notes")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        assert process.stdout is not None
        time.sleep(1)
        text = process.stdout.read().decode()
    assert text == "early \\u2192\n" + ("y" * 100 + "\n") * 3000
    assert (tmp_path / "notes").read_text() == "child 0\n"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["train", "--print-config"]]
)
def test_help_into_a_closed_pipe_ends_quietly(broken_pipe, arguments):
    done = subprocess.run(
        [sys.executable, "-m", "codepmp_jax", *arguments],
        stdout=broken_pipe,
        stderr=subprocess.PIPE,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
