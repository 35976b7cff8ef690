"""The compiler's HLO passes on a small step."""

import dataclasses
import os
import pathlib
import sys
import time

import pytest

from codepmp_jax.aot.sketch import Sketch, sketch
from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import MeshConfig
from tests.aot.test_check import CONFIG
from tests.processes import GRACE_SECONDS, Process, is_alive

SEARCH = ["compile-check", "--config", "pmp_tiny", "--topology", "v5e:2x2", "--search"]
ROOT = pathlib.Path(__file__).parents[2]


def test_the_passes_are_sketched_without_code():
    found = sketch(CONFIG, "v5e:2x2", 1)
    assert isinstance(found, Sketch)
    assert 0 < found.waiting_ms < found.step_ms < 10


def test_what_is_wrong_in_the_process_is_told():
    with pytest.raises(UserError, match=r"mesh \(data, fsdp, tensor\) = \(1, 3, 1\)"):
        sketch(dataclasses.replace(CONFIG, mesh=MeshConfig(fsdp=3)), "v5e:2x2", 1)


def test_a_compilation_ends_with_the_search_that_is_killed():
    with Process(
        [sys.executable, "-m", "codepmp_jax", *SEARCH], os.environ | {"PYTHONPATH": str(ROOT)}
    ) as process:

        def compiling() -> list[int]:
            maps = {
                pid: pathlib.Path(f"/proc/{pid}/maps").read_text() for pid in process.children()
            }
            return [pid for pid, text in maps.items() if "libtpu" in text]

        process.until(compiling)
        found = compiling()
        process.kill()
        deadline = time.monotonic() + GRACE_SECONDS
        while any(map(is_alive, found)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(map(is_alive, found))
