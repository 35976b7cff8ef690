"""What reports expect of a chip is what the benchmark's page says."""

from __future__ import annotations

import dataclasses
import json
import pathlib

from codepmp_jax.aot.calibration import CALIBRATIONS

RESULTS = pathlib.Path(__file__).parents[2] / "benchmarks" / "results"


def test_the_figures_are_those_of_the_results():
    found = json.loads((RESULTS / "calibration.json").read_text())
    for chip, calibration in CALIBRATIONS.items():
        assert dataclasses.asdict(calibration) == found[chip]
