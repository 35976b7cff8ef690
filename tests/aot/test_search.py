import dataclasses
import json

import pytest

from codepmp_jax.aot import search as searches
from codepmp_jax.aot.check import compiler_error
from codepmp_jax.aot.report import Report
from codepmp_jax.aot.search import Point, points, search
from codepmp_jax.aot.sketch import Sketch
from codepmp_jax.aot.workload import full_rows
from codepmp_jax.cli.errors import UserError
from codepmp_jax.config import CompileCheckConfig, DataConfig
from codepmp_jax.devices.chips import CHIPS

CONFIG = CompileCheckConfig(
    topology="v5e:2x2",
    data=DataConfig(layout="shared", max_length=64),
    global_batch_rows=16,
    search_compilations=6,
)


def made_up_report(config, fits):
    """Slower with more parts and more remat; the figures of a step that fits."""
    order = list(searches._REMAT)
    step_ms = 100.0 + 10 * config.accumulation_steps - order.index(config.model.remat)
    if config.compiler_options:
        step_ms -= 0.5
    return Report(
        topology=config.topology,
        num_slices=1,
        num_devices=4,
        mesh={},
        layout=config.data.layout,
        remat=config.model.remat,
        attention="splash",
        accumulation_steps=config.accumulation_steps,
        rows_per_device=4,
        compiler_options={},
        fits=fits,
        short_of=None if fits else "HBM",
        hbm_gib=16.0,
        compile_seconds=1.0,
        headroom=0.1,
        step_ms=step_ms,
        mfu_ceiling_useful=10 / step_ms,
        sync_layer_gathers=0,
        pairs_per_second_per_chip=1.0,
    )


@pytest.fixture
def compiler(monkeypatch):
    """Stands in for the compiler: what keeps more than `full` fits from two parts on. Lists what it was asked."""
    asked = []

    def fake(config, topology, num_slices):
        asked.append(config)
        fits = config.model.remat == "full" or config.accumulation_steps >= 2
        return made_up_report(config, fits)

    monkeypatch.setattr(searches, "check_alone", fake)
    monkeypatch.setattr(searches, "sketch", passes)
    # Packing records takes seconds, and says nothing here.
    monkeypatch.setattr(searches, "measure", lambda *_: full_rows(128, 128))
    return asked


def passes(config, topology, num_slices):
    """Stands in for the HLO passes, which take four parts for hopeless."""
    report = made_up_report(config, True)
    assert report.step_ms is not None
    hopeless = 100.0 if config.accumulation_steps == 4 else 0.0
    return Sketch(report.step_ms + hopeless, 1.0)


def test_points_work_out_and_the_fastest_come_first():
    found = points(CONFIG, CHIPS["v5e"], 4)
    assert len(set(found)) == len(found) == 7 * 3 * 3
    for point in found:
        applied = point.apply(CONFIG)
        assert applied.global_batch_rows // applied.accumulation_steps % 4 == 0
        assert (applied.mesh.data, applied.mesh.fsdp) == (-1, point.fsdp)
    assert (found[0].remat, found[0].accumulation_steps, found[0].fsdp) == ("none", 1, 1)


def test_what_needs_more_memory_than_a_point():
    point = Point("save_attention", 2, 4)
    assert point.needs_as_much_as(point)
    assert Point("none", 2, 4).needs_as_much_as(point)
    assert Point("save_attention", 1, 2).needs_as_much_as(point)
    for less in (Point("full", 2, 4), Point("save_attention", 4, 4), Point("save_attention", 2, 8)):
        assert not less.needs_as_much_as(point)


def test_the_fastest_that_fits_is_proposed(compiler):
    text = search(CONFIG)
    fitting = [c for c in compiler if c.model.remat == "full" or c.accumulation_steps >= 2]
    assert len(fitting) == CONFIG.search_compilations
    assert text.splitlines()[0].startswith("MFU")
    best = min(fitting, key=lambda c: made_up_report(c, True).step_ms or 0)
    words = text.splitlines()[-1]
    assert f"--model.remat {best.model.remat}" in words
    assert f"--accumulation-steps {best.accumulation_steps}" in words
    assert f"--compiler-options {best.compiler_options[0]}" in words


def test_what_the_passes_show_to_be_hopeless_is_not_compiled(compiler):
    search(CONFIG)
    compiled = [c for c in compiler if not c.compiler_options]
    assert compiled
    assert all(c.accumulation_steps != 4 for c in compiled)


def test_what_does_not_fit_is_known_from_the_passes(compiler, monkeypatch):
    def small(config, topology, num_slices):
        fits = config.model.remat == "full" or config.accumulation_steps >= 4
        return passes(config, topology, num_slices) if fits else made_up_report(config, False)

    monkeypatch.setattr(searches, "sketch", small)
    search(CONFIG)
    assert all(c.model.remat == "full" or c.accumulation_steps >= 2 for c in compiler)


def test_nothing_is_compiled_that_needs_more_than_what_did_not_fit(compiler):
    search(CONFIG)
    tried: list[Point] = []
    for config in compiler:
        point = Point(config.model.remat, config.accumulation_steps, config.mesh.fsdp)
        failed = [p for p in tried if p.remat != "full" and p.accumulation_steps < 2]
        assert not any(point.needs_as_much_as(other) for other in failed)
        tried.append(point)


def test_a_search_goes_on_where_it_was_stopped(compiler, tmp_path):
    config = dataclasses.replace(CONFIG, json=str(tmp_path / "search.jsonl"))
    whole = search(config)
    lines = (tmp_path / "search.jsonl").read_text().splitlines(keepends=True)
    reports = ['"report"' in line for line in lines]
    assert sum(reports) == len(compiler)
    # After the third report, in the middle of a line.
    cut = [i for i, is_report in enumerate(reports) if is_report][2] + 1
    (tmp_path / "search.jsonl").write_text("".join(lines[:cut]) + lines[cut][:20])
    compiler.clear()
    assert search(config) == whole
    assert len(compiler) == sum(reports) - 3
    again = [json.loads(line) for line in (tmp_path / "search.jsonl").read_text().splitlines()]
    assert len(again) == len(lines)


def test_what_the_compiler_fails_on_is_counted_and_not_tried_again(compiler, monkeypatch, tmp_path):
    config = dataclasses.replace(CONFIG, json=str(tmp_path / "search.jsonl"))
    asked = []

    def is_bad(config):
        return config.accumulation_steps == 2 and config.mesh.fsdp == 1

    def fragile(config, topology, num_slices):
        asked.append(config)
        if is_bad(config):
            raise compiler_error("INTERNAL: RET_CHECK failure")
        return passes(config, topology, num_slices)

    monkeypatch.setattr(searches, "sketch", fragile)
    whole = search(config)
    number = sum(map(is_bad, asked))
    assert number
    assert f"The compiler failed on {number} of the points, among them Point(" in whole
    assert "RET_CHECK" in whole
    assert not any(map(is_bad, compiler))
    asked.clear()
    assert search(config) == whole
    assert not asked
    lines = (tmp_path / "search.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in lines if "failed" not in json.loads(line)]
    (tmp_path / "search.jsonl").write_text("".join(kept))
    assert search(config) == whole
    assert len(asked) == number


def test_where_nothing_fits_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr(searches, "check_alone", lambda config, *_: made_up_report(config, False))
    monkeypatch.setattr(searches, "sketch", lambda config, *_: made_up_report(config, False))
    with pytest.raises(UserError, match=r"nothing that was tried fits\. Remedy: "):
        search(CONFIG)
