"""The package as `pip install` gives it: a wheel, and no checkout."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
import sysconfig
import venv

import pytest

from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.records.shards import write_manifest, write_split
from tests.e2e.launching import checkpoint_steps, environment, metrics

ROOT = pathlib.Path(__file__).parents[2]


def run(*command: object, folder: pathlib.Path) -> str:
    """Runs a command in a folder, without the checkout on its path; gives its stdout."""
    variables = environment()
    variables.pop("PYTHONPATH", None)
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The `bin` of an environment with the wheel, which borrows all else from this one.

    The wheel is built from a copy, since a build leaves its traces where it runs.
    """
    at = tmp_path_factory.mktemp("wheel")
    source = at / "source"
    for name in ("codepmp_jax", "configs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = (sys.executable, "-m", "pip", "--quiet")
    options = ("--no-deps", "--no-index")
    run(*pip, "wheel", *options, "--no-build-isolation", "--wheel-dir", at, source, folder=at)
    (wheel,) = at.glob("codepmp_jax-*.whl")
    shutil.rmtree(source)
    venv.create(at / "venv", symlinks=True)
    scripts = at / "venv" / "bin"
    packages = next((at / "venv" / "lib").glob("python3*/site-packages"))
    # A path in a .pth file: what lies there is found, after the wheel, but its own .pth files are not read, and
    # so not that of the checkout's editable install.
    folders = [sysconfig.get_path(name) for name in ("purelib", "platlib")]
    (packages / "others.pth").write_text("\n".join(folders) + "\n")
    run(*pip, "--python", scripts / "python", "install", *options, wheel, folder=at)
    where = run(scripts / "python", "-c", "import codepmp_jax as it; print(it.__file__)", folder=at)
    assert pathlib.Path(where.strip()).is_relative_to(packages)
    return scripts


def test_it_brings_the_presets(installed, tmp_path):
    printed = run(
        installed / "codepmp", "train", "--config", "pmp_tiny", "--print-config", folder=tmp_path
    )
    assert "workdir = 'runs/pmp_tiny'" in printed
    shipped = next(installed.parent.glob("lib/python3*/site-packages/codepmp_jax/configs"))
    assert {path.name for path in shipped.glob("*.py")} == {
        path.name for path in (ROOT / "configs").glob("*.py")
    }


def test_it_trains(installed, tmp_path):
    pairs = [PreferencePair(str(i), f"task {i}", f"right {i}", f"wrong {i}") for i in range(32)]
    splits = {
        name: write_split(tmp_path / "pairs", name, pairs, 1) for name in ("train", "heldout")
    }
    write_manifest(tmp_path / "pairs", PreferencePair, splits, {})
    printed = run(
        installed / "codepmp",
        "train",
        "--config",
        "pmp_tiny",
        "--workdir",
        "run",
        "--data.input",
        "pairs",
        "--data.max-length",
        "32",
        "--num-steps",
        "3",
        folder=tmp_path,
    )
    assert printed.startswith("run: loss ")
    steps = [row["step"] for row in metrics(tmp_path / "run") if "loss" in row]
    assert steps == [1, 2, 3]
    assert checkpoint_steps(tmp_path / "run") == [3]


def test_its_commands_start_one_another(installed, tmp_path):
    """As `quickstart` does, and `supervise` with what it is given."""
    codepmp = installed / "codepmp"
    training = [codepmp, "train", "--config", "pmp_tiny", "--print-config"]
    printed = run(codepmp, "supervise", "--", *training, folder=tmp_path)
    assert "workdir = 'runs/pmp_tiny'" in printed
    (tmp_path / "sources").mkdir()
    done = subprocess.run(
        [codepmp, "quickstart", "--input", "sources", "--output", "quickstart"],
        cwd=tmp_path,
        env=environment(PYTHONPATH=""),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "$ codepmp corpus --config corpus_stdlib --input sources" in done.stdout
    assert "stage 1/9: corpus ended with status 2" in done.stderr
