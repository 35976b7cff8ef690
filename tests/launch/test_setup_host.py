"""How a machine or an image is set up, with a stand-in for uv."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import tarfile

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = ROOT / "launch" / "setup_host.sh"
# Makes the folder that `uv venv` would, with a package that answers; fails if told to.
UV = """\
#!/bin/bash
echo "$*" >>FOLDER/uv
[ ! -e FOLDER/fails ] || exit 1
case "$1 $2" in "venv --quiet")
    mkdir -p "${@: -1}/bin"
    printf '#!/bin/bash\\necho "$*" >>FOLDER/codepmp\\n' >"${@: -1}/bin/codepmp"
    chmod +x "${@: -1}/bin/codepmp" ;;
esac
[ "$2" != list ] || echo "jax 0.10.2"
"""


def run(*command: object, cwd: pathlib.Path | None = None) -> None:
    subprocess.run([*map(str, command)], cwd=cwd, check=True, capture_output=True)


@pytest.fixture
def set_up(tmp_path):
    """Runs the script with these variables; gives its exit status and what it said."""
    programs = tmp_path / "programs"
    programs.mkdir()
    stand_ins = {"uv": UV, "gcloud": f"#!/bin/bash\ncat {tmp_path}/${{3##*/}}\n"}
    for name, text in stand_ins.items():
        (programs / name).write_text(text.replace("FOLDER", str(tmp_path)))
        (programs / name).chmod(0o755)

    def call(**variables: object) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", SCRIPT],
            env={
                "PATH": f"{programs}:{os.environ['PATH']}",
                "CODEPMP_HOME": str(tmp_path / "home"),
                **{name: str(value) for name, value in variables.items()},
            },
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr

    return call


@pytest.fixture
def repository(tmp_path) -> pathlib.Path:
    """A git repository with two commits; the first is tagged."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git = ("git", "-c", "user.name=n", "-c", "user.email=e@e", "-c", "tag.gpgsign=false")
    run("git", "init", "--quiet", cwd=folder)
    for text, tag in (("jax==1\n", "first"), ("jax==2\n", "second")):
        (folder / "requirements.txt").write_text(text)
        run("git", "add", ".", cwd=folder)
        run(*git, "commit", "--quiet", "-m", tag, cwd=folder)
        run(*git, "tag", tag, cwd=folder)
    return folder


@pytest.mark.parametrize(("commit", "pinned"), [("", "jax==2\n"), ("first", "jax==1\n")])
def test_a_repository_is_installed_in_its_own_versions(
    commit, pinned, set_up, repository, tmp_path
):
    variables = {"CODEPMP_COMMIT": commit} if commit else {}
    assert set_up(CODEPMP_SOURCE=repository, **variables)[0] == 0
    home = tmp_path / "home"
    assert (home / "requirements.txt").read_text() == pinned
    venv, install, _ = (tmp_path / "uv").read_text().splitlines()
    assert venv == f"venv --quiet --clear --python 3.11 {home}/.venv"
    assert f"--constraint {home}/requirements.txt" in install
    assert install.endswith(f"codepmp_jax[tpu,gcs] @ file://{home}")
    assert "--print-config" in (tmp_path / "codepmp").read_text()


def test_an_archive_on_a_bucket_will_do(set_up, repository, tmp_path):
    with tarfile.open(tmp_path / "code.tar.gz", "w:gz") as archive:
        archive.add(repository / "requirements.txt", "requirements.txt")
    assert set_up(CODEPMP_SOURCE="gs://bucket/code.tar.gz", CODEPMP_EXTRAS="cuda,gcs")[0] == 0
    assert "codepmp_jax[cuda,gcs] @ file://" in (tmp_path / "uv").read_text()


def test_a_checkout_that_is_there_is_installed_once(set_up, tmp_path):
    """A machine that boots again needs no network."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "requirements.txt").write_text("jax==3\n")
    assert set_up()[0] == 0
    calls = (tmp_path / "uv").read_text()
    assert set_up() == (0, "")
    assert (tmp_path / "uv").read_text() == calls


def test_what_fails_half_way_fails_and_is_done_again(set_up, tmp_path, repository):
    (tmp_path / "fails").touch()
    assert set_up(CODEPMP_SOURCE=repository)[0] == 1
    (tmp_path / "fails").unlink()
    assert set_up(CODEPMP_SOURCE=repository)[0] == 0
    assert len((tmp_path / "uv").read_text().splitlines()) == 1 + 3


def test_an_environment_of_others_is_left_alone(set_up, tmp_path):
    (tmp_path / "home" / ".venv").mkdir(parents=True)
    (tmp_path / "home" / "requirements.txt").write_text("jax==3\n")
    status, said = set_up()
    assert status == 2
    assert "Remedy: " in said
    assert list((tmp_path / "home" / ".venv").iterdir()) == []


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "Remedy: set CODEPMP_SOURCE"),
        ({"CODEPMP_SOURCE": "/nowhere"}, "/nowhere"),
        ({"CODEPMP_SOURCE": "gs://bucket/nowhere.tar.gz"}, "nowhere.tar.gz"),
    ],
    ids=str,
)
def test_a_source_that_is_none_fails(variables, said, set_up, tmp_path):
    status, shown = set_up(**variables)
    assert status
    assert said in shown
    assert not (tmp_path / "home" / ".venv").exists()


def test_the_image_is_made_by_the_same_script():
    """And has every file that the script and the package need."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^RUN .*bash /opt/codepmp_jax/launch/setup_host\.sh$", dockerfile, re.M)
    kept = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.M)
    assert {"codepmp_jax", "configs", "launch", "requirements.txt", "setup.py"} <= set(kept)
    for name in kept:
        assert (ROOT / name).exists()


def test_uv_is_that_of_the_development_environment():
    (version,) = re.findall(r"^uv_version=(\S+)$", SCRIPT.read_text(), re.M)
    assert f'UV = "uv=={version}"' in (ROOT / "tools" / "install.py").read_text()


def test_the_python_is_the_tested_one():
    (version,) = re.findall(r"CODEPMP_PYTHON:-(\S+)}", SCRIPT.read_text())
    images = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.M)
    # That which compiles what has no wheel, and that which is run.
    assert images == [f"python:{version}", f"python:{version}-slim"]
    (tested,) = re.findall(
        r"^\| Python \| (\d+\.\d+)", (ROOT / "docs" / "coverage.md").read_text(), re.M
    )
    assert version == tested
