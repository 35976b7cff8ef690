"""Compiles the training step for a TPU slice, without a TPU: does it fit, and how fast can it be?

    codepmp compile-check --config pmp_7b --topology v5p:4x4x4

Takes the settings of `codepmp train`. Exits with status 1 where the step does not fit.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import sys

from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import CompileCheckConfig, TrainConfig, presets
from codepmp_jax.devices import chips

COMMAND = (CompileCheckConfig, "Compiles the training step for a TPU slice, without a TPU.")


def leave_tpus_alone() -> None:
    """Tells jax and libtpu, before they start, that there is no TPU here and none to look for."""
    for name, value in (
        ("JAX_PLATFORMS", "cpu"),
        ("TPU_SKIP_MDS_QUERY", "1"),
        ("TPU_WORKER_HOSTNAMES", "localhost"),
        ("TPU_ACCELERATOR_TYPE", "v5e-4"),
        ("ALLOW_MULTIPLE_LIBTPU_LOAD", "1"),
    ):
        os.environ.setdefault(name, value)


def parse() -> CompileCheckConfig:
    """The command line, whose preset is one of `codepmp train`."""
    flags = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    flags.add_argument("--config")
    known, rest = flags.parse_known_args()
    named = [] if known.config is None else ["--config", known.config]
    preset = presets.parse(TrainConfig, COMMAND[1], named)
    settings = {field.name: getattr(preset, field.name) for field in dataclasses.fields(preset)}
    return presets.parse(
        *COMMAND,
        rest,
        default=CompileCheckConfig(**settings),
        notes=chips.describe_options(),
    )


def read_report(path: str) -> dict:
    """A report that --json wrote. Raises UserError where there is none."""
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"reports: {path}: {error}. Remedy: give files of --json.") from error


def main() -> None:
    """Parses, compiles, prints."""
    config = parse()
    leave_tpus_alone()
    from codepmp_jax.files import output as outputs

    with contextlib.nullcontext() if config.json is None else outputs.file(config.json):
        fits = _compile(config)
    if not fits:
        sys.exit(1)


def _compile(config: CompileCheckConfig) -> bool:
    """Searches, checks or draws, and prints what comes of it; whether the step fits."""
    from codepmp_jax.aot.check import check
    from codepmp_jax.aot.plot import draw_roofline
    from codepmp_jax.aot.search import search
    from codepmp_jax.files.json_files import write_json

    if config.search:
        print(search(config))
        return True
    reports = [read_report(path) for path in config.reports]
    fits = True
    if not reports:
        report = check(config, config.topology, config.num_slices)
        fits = report.fits
        reports = [dataclasses.asdict(report)]
        print(report.text())
        if config.json is not None:
            write_json(config.json, reports[0])
    if config.plot is not None:
        draw_roofline([report for report in reports if report["fits"]], config.plot)
    return fits
