"""`codepmp compile-check` as a user of its script types it."""

from __future__ import annotations

import importlib.util
import json
import subprocess

import pytest

from tests.e2e.launching import command, environment

SMALL = (
    "--config",
    "pmp_tiny",
    "--topology",
    "v5e:2x2",
    "--data.layout",
    "shared",
    "--model.num-layers",
    2,
    "--model.vocab-size",
    1024,
    "--data.max-length",
    64,
)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("compile_check.py", *arguments),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_step_that_fits(tmp_path):
    path, plot = tmp_path / "report.json", tmp_path / "roofline.png"
    done = run(*SMALL, "--json", path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 40
    assert any(line.startswith("fits        yes: ") for line in lines)
    report = json.loads(path.read_text())
    assert {
        "fits",
        "peak_hbm_gib",
        "headroom",
        "step_ms",
        "mfu_ceiling_useful",
        "useful_flop_fraction",
        "sync_layer_gathers",
        "collective_gib",
        "pairs_per_second_per_chip",
        "compile_seconds",
    } <= set(report)
    assert report["fits"] is True
    assert report["layout"] == "shared"
    drawn = run("--reports", path, path, "--plot", plot)
    assert (drawn.returncode, drawn.stdout) == (0, "")
    assert plot.exists()


def test_a_step_that_does_not_fit():
    done = run(*SMALL, "--global-batch-rows", 2**19)
    assert done.returncode == 1, done.stderr
    assert "fits        NO: needs " in done.stdout
    assert "exceeds available HBM (15.75G)" in done.stdout
    assert "--accumulation-steps 2" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--topology", "v5e:3x3"), ("topology = 'v5e:3x3'", "v5e:8x8")),
        (("--mesh.fsdp", 3), ("mesh (data, fsdp, tensor) = (1, 3, 1)",)),
        (("--mesh.tensor", 4), ("model.num_heads = 2", "mesh.tensor")),
        (("--reports", "nowhere.json"), ("nowhere.json",)),
        (("--num-slices", 0), ("num_slices = 0",)),
    ],
)
def test_mistakes_are_one_line(arguments, parts):
    done = run("--config", "pmp_tiny", "--topology", "v5e:2x2", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    said = " ".join(done.stderr.replace("│", " ").split())
    assert "Remedy: " in said
    assert "Traceback" not in said
    for part in parts:
        assert part in said


def test_libtpu_is_asked_for(monkeypatch):
    from codepmp_jax.aot import topology
    from codepmp_jax.cli.errors import UserError

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"libtpu is not installed\. Remedy: pip install -e"):
        topology.describe("v5e:2x2")
