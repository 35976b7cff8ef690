"""Completion by a real bash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.e2e.launching import environment

# Asks bash, as its Tab key does, how each line goes on; gives a line of words for each.
ASK = """
source "$1"
while read -r -a COMP_WORDS; do
    [ "${COMP_WORDS[-1]}" = "_" ] && COMP_WORDS[-1]=""
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    COMPREPLY=()
    "$(complete -p codepmp | sed 's/.*-F \\([^ ]*\\) .*/\\1/')"
    echo "${COMPREPLY[*]}"
done
"""


def print_completion(shell: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "codepmp_jax", "--tyro-print-completion", shell],
        env=environment(),
        capture_output=True,
        text=True,
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_options_presets_and_choices(tmp_path):
    """`_` is a word that is not begun yet."""
    done = print_completion("bash")
    assert (done.returncode, done.stderr) == (0, "")
    script = tmp_path / "completion.bash"
    script.write_text(done.stdout)
    expected = {
        "codepmp tr": {"train", "train-tokenizer"},
        "codepmp convert _": {"to-hf", "to-peft", "from-hf", "from-gguf", "-h", "--help"},
        "codepmp evaluate best": {"best-of-n"},
        "codepmp train --optimizer.learning": {"--optimizer.learning-rate"},
        "codepmp train --config pmp_t": {"pmp_tiny"},
        "codepmp compile-check --config pmp_t": {"pmp_tiny"},
        "codepmp corpus --config _": {"corpus_files", "corpus_stdlib"},
        "codepmp train --data.layout _": {"padded", "packed", "shared"},
        "codepmp convert to-hf --ver": {"--verify"},
        "codepmp xpk --pri": {"--print-config"},
    }
    answers = subprocess.run(
        ["bash", "--norc", "-c", ASK, "bash", script],
        input="\n".join(expected) + "\n",
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert {
        line: set(answer.split()) for line, answer in zip(expected, answers, strict=True)
    } == expected


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script(shell):
    done = print_completion(shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert "codepmp" in done.stdout


def test_an_unknown_shell_is_a_mistake():
    done = print_completion("csh")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --tyro-print-completion = 'csh': must name a shell. ")
