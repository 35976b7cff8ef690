"""The compiler's HLO passes on a small step."""

import dataclasses

import pytest

from codepmp_jax.aot.sketch import Sketch, sketch
from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import MeshConfig
from tests.aot.test_check import CONFIG


def test_the_passes_are_sketched_without_code():
    found = sketch(CONFIG, "v5e:2x2", 1)
    assert isinstance(found, Sketch)
    assert 0 < found.waiting_ms < found.step_ms < 10


def test_what_is_wrong_in_the_process_is_told():
    with pytest.raises(UserError, match=r"mesh \(data, fsdp, tensor\) = \(1, 3, 1\)"):
        sketch(dataclasses.replace(CONFIG, mesh=MeshConfig(fsdp=3)), "v5e:2x2", 1)
