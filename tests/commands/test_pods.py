"""What the launchers of GKE workloads would run."""

from __future__ import annotations

import pathlib
import shlex

import pytest

from codepmp_jax.cli.errors import UserError
from codepmp_jax.cli.exit_codes import RESTARTED
from codepmp_jax.commands import gcluster, xpk
from codepmp_jax.config import GclusterConfig, XpkConfig
from tests.e2e.launching import launch

OPTIONS = ["--config", "pmp_7b", "--workdir", "gs://bucket/a run"]
TRAINING = ["codepmp", "train", *OPTIONS]
IMAGE = "us-docker.pkg.dev/p/r/codepmp_jax:1"
CODES = ",".join(map(str, RESTARTED))


@pytest.mark.parametrize(
    ("script", "options", "program"),
    [("xpk.py", (), "xpk"), ("gcluster.py", ("--image", IMAGE), "gcluster")],
)
def test_a_dry_run_shows_the_command(script, options, program):
    shown = launch(script, "--dry-run", *options, "--", *OPTIONS)
    (line,) = [line for line in shown.splitlines() if line.startswith("$ ")]
    assert shlex.split(line)[1] == program


def test_xpk_submits_the_training_command():
    create = xpk.make_command(XpkConfig(name="pmp", num_slices=2, project="p"), OPTIONS)
    assert create[:3] == ["xpk", "workload", "create"]
    assert {"--workload=pmp", "--num-slices=2", "--project=p", "--max-restarts=100"} <= set(create)
    # xpk itself adds those from 127 on.
    assert "--restart-on-exit-codes=1,69,70,71,74,75" in create
    assert shlex.split(create[-1].removeprefix("--command=")) == TRAINING


def test_gcluster_submits_the_training_command():
    """Flags as in Cluster Toolkit's reference of `gcluster job submit`; none that is not asked for."""
    submit = gcluster.make_command(GclusterConfig(image=IMAGE), OPTIONS)
    assert submit[:3] == ["gcluster", "job", "submit"]
    assert set(submit[3:-1]) == {
        "--name=codepmp",
        f"--image={IMAGE}",
        "--compute-type=v5litepod-256",
        "--num-slices=1",
        "--restarts=100",
        f"--restart-on-exit-codes={CODES}",
        "--grace-period=300s",
    }
    assert shlex.split(submit[-1].removeprefix("--command=")) == ["exec", *TRAINING]
    config = GclusterConfig(
        name="pmp",
        cluster="tpus",
        project="p",
        location="us-west4-a",
        image=IMAGE,
        compute_type="v6e-64",
        topology="8x8",
        num_slices=2,
        queue="lq",
        priority="high",
        service_account="trainer",
        env=("A=1", "B=x y"),
        max_restarts=0,
        grace_seconds=120,
        dry_run_out="pmp.yaml",
    )
    assert set(gcluster.make_command(config, OPTIONS)[3:-1]) == {
        "--name=pmp",
        "--cluster=tpus",
        "--project=p",
        "--location=us-west4-a",
        f"--image={IMAGE}",
        "--compute-type=v6e-64",
        "--topology=8x8",
        "--num-slices=2",
        "--queue=lq",
        "--priority=high",
        "--service-account=trainer",
        "--env=A=1",
        "--env=B=x y",
        "--restarts=0",
        f"--restart-on-exit-codes={CODES}",
        "--grace-period=120s",
        "--dry-run-out=pmp.yaml",
    }


def test_gcluster_needs_an_image_with_its_registry():
    with pytest.raises(UserError, match=r"image = 'codepmp_jax'.*Remedy: "):
        gcluster.make_command(GclusterConfig(image="codepmp_jax"), OPTIONS)


def test_help_calls_xpk_legacy():
    assert "legacy" in xpk.COMMAND[1]
    readme = pathlib.Path(__file__).parents[2] / "launch" / "README.md"
    (line,) = [line for line in readme.read_text().splitlines() if "`xpk.py`" in line]
    assert "legacy" in line
