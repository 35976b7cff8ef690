"""Finds the fastest way to compute a step on a slice: remat, parts of the batch, mesh, XLA's options."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import math
import multiprocessing
import pathlib
import shlex
from collections.abc import Callable, Iterator
from typing import Any

from codepmp_jax.aot import topology
from codepmp_jax.aot.check import CompilerError, check, compiler_error
from codepmp_jax.aot.report import Report
from codepmp_jax.aot.sketch import Sketch, sketch
from codepmp_jax.aot.workload import Workload, measure
from codepmp_jax.cli.errors import UserError
from codepmp_jax.cli.progress import progress
from codepmp_jax.config import CompileCheckConfig, TrainConfig, presets
from codepmp_jax.config.model import RematPolicy
from codepmp_jax.devices import chips, sharding
from codepmp_jax.devices.chips import Chip
from codepmp_jax.files import resume, storage
from codepmp_jax.models.flops import train_flops
from codepmp_jax.training import objectives

# From what keeps least to what keeps most, with the share of the forward pass that is so computed again.
_REMAT: dict[RematPolicy, float] = {
    "full": 1.0,
    "save_attention": 0.95,
    "save_qkv_attention": 0.85,
    "save_gate_attention": 0.5,
    "save_mlp_attention": 0.25,
    "dots_with_no_batch_dims": 0.1,
    "none": 0.0,
}
# Points that the HLO passes are run on, for each whole compilation at most, and how much slower than the best of these
# one may look and still be compiled: sketches are right for what waits and what is computed again, not for how well
# matmuls run.
_SKETCHES_PER_COMPILATION = 4
_HOPELESS = 1.25
# Options tried in addition to the chip's own, on the fastest step that these give.
_OPTIONS = (
    ("xla_tpu_scoped_vmem_limit_kib=65536",),
    ("xla_tpu_scoped_vmem_limit_kib=98304",),
)


@dataclasses.dataclass(frozen=True)
class Point:
    """A way to compute the step."""

    remat: RematPolicy
    accumulation_steps: int
    fsdp: int
    compiler_options: tuple[str, ...] = ()

    def apply(self, config: CompileCheckConfig) -> CompileCheckConfig:
        """`config`, computed so."""
        return dataclasses.replace(
            config,
            model=dataclasses.replace(config.model, remat=self.remat),
            mesh=dataclasses.replace(config.mesh, data=-1, fsdp=self.fsdp),
            accumulation_steps=self.accumulation_steps,
            compiler_options=(*config.compiler_options, *self.compiler_options),
        )

    def needs_as_much_as(self, other: Point) -> bool:
        """Whether it needs the memory of `other` or more, as far as that is known before compiling."""
        order = list(_REMAT)
        return (
            order.index(self.remat) >= order.index(other.remat)
            and self.accumulation_steps <= other.accumulation_steps
            and self.fsdp <= other.fsdp
        )


def points(config: CompileCheckConfig, chip: Chip, num_devices: int) -> list[Point]:
    """Every point whose mesh and parts work out, the presumably fastest first.

    A part takes as long as its matmuls, or as gathering the parameters twice and reducing the gradients.
    """
    assert chip.peak_flops is not None
    assert chip.ici_bandwidth is not None
    model = chips.resolve(config.model, config.data.max_length, chip)
    row = measure(objectives.build(config).layout(), model)
    flops = objectives.useful_flops(
        config, tokens=row.tokens, keys=row.keys, labels=row.labels, items=row.items
    )
    params = train_flops(config.model, tokens=1.0, keys=0.0, labels=1.0, pairs=0.0) / 6
    rows = config.global_batch_rows * config.mesh.tensor / num_devices
    powers = [2**i for i in range(num_devices.bit_length())]
    presumed: list[tuple[float, Point]] = []
    for remat, again in _REMAT.items():
        for parts in powers:
            for fsdp in powers:
                point = Point(remat, parts, fsdp)
                tried = point.apply(config)
                try:
                    sharding.check_mesh(
                        tried.mesh,
                        tried.model,
                        num_devices,
                        tried.num_slices,
                        part_rows=tried.global_batch_rows // tried.accumulation_steps,
                    )
                except UserError:
                    continue
                compute = rows / parts * flops * (1 + again / 3) / chip.peak_flops
                transfers = 3 * 2 * params / chip.ici_bandwidth if fsdp > 1 else 0.0
                # Between equals, those that need less memory.
                seconds = parts * max(compute, transfers) * (1 + 1e-3 * parts)
                presumed.append((seconds, point))
    return [point for _, point in sorted(presumed, key=lambda entry: (entry[0], -entry[1].fsdp))]


def search(config: CompileCheckConfig) -> str:
    """Runs the HLO passes on many points, and compiles those that these do not rule out until
    config.search_compilations of them fit; a table of these, the fastest first, and what to type for that one.

    Everything that was tried is a line of config.json, and is not tried again. What the compiler breaks down on is
    counted. Raises UserError where nothing fits.
    """
    chip, devices = topology.describe(config.topology, config.num_slices)
    tried = _read(config)
    fitting: list[tuple[Report, Point]] = []
    too_large: list[Point] = []
    failed: dict[Point, str] = {}
    number = max(1, config.search_compilations - len(_OPTIONS))
    found = points(config, chip, len(devices))
    promising = _promising(config, found, number, tried, too_large, failed)
    with progress(total=config.search_compilations, desc="search", unit="step") as bar:

        def attempt(point: Point) -> None:
            if any(point.needs_as_much_as(other) for other in too_large):
                return
            try:
                report = _check(point.apply(config), tried)
            except CompilerError as error:
                failed[point] = str(error)
                return
            if report.fits:
                fitting.append((report, point))
                fitting.sort(key=lambda entry: entry[0].step_ms or 0.0)
                bar.set_postfix_str(f"best {fitting[0][0].mfu_ceiling_useful:.1%} of the peak")
                bar.update()
            elif report.short_of == "HBM":
                too_large.append(point)

        for point in promising:
            if len(fitting) >= number:
                break
            # The time of the sketches is not that of compilations.
            bar.unpause()
            attempt(point)
        if not fitting:
            raise UserError(
                f"{config.topology}: nothing that was tried fits. Remedy: take a larger slice, or set "
                f"--mesh.tensor or --optimizer.first-moment-dtype bfloat16.{_of_failed(failed, config.json)}"
            )
        fastest = fitting[0][1]
        for options in _OPTIONS:
            attempt(dataclasses.replace(fastest, compiler_options=options))
    return _summary(config, fitting) + _of_failed(failed, config.json)


def _promising(
    config: CompileCheckConfig,
    found: list[Point],
    number: int,
    tried: list[dict[str, Any]],
    too_large: list[Point],
    failed: dict[Point, str],
) -> Iterator[Point]:
    """The points that are not hopeless by their sketches: of the first ones the fastest first, then of the next ones, as
    long as more are asked for. `too_large` gets those that turn out not to fit, `failed` what the compiler says of
    those that it breaks down on."""
    rest = iter(found)
    best = math.inf
    limit = _SKETCHES_PER_COMPILATION * number
    while True:
        sketched: list[tuple[float, Point]] = []
        with progress(total=limit, desc="HLO passes", unit="step") as bar:
            for point in rest:
                if any(point.needs_as_much_as(other) for other in too_large):
                    continue
                try:
                    answer = _sketch(point.apply(config), tried)
                except CompilerError as error:
                    failed[point] = str(error)
                    continue
                if isinstance(answer, Sketch):
                    sketched.append((answer.step_ms, point))
                    bar.update()
                elif answer.short_of == "HBM":
                    too_large.append(point)
                if len(sketched) == limit:
                    break
        if not sketched:
            return
        sketched.sort(key=lambda entry: entry[0])
        best = min(best, sketched[0][0])
        yield from (point for ms, point in sketched if ms <= _HOPELESS * best)


def _settings(config: CompileCheckConfig) -> dict[str, Any]:
    """What a report depends on."""
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    settings = presets.to_json(config)
    return {name: settings[name] for name in (*names, "topology", "num_slices")}


def _read(config: CompileCheckConfig) -> list[dict[str, Any]]:
    """What an earlier search tried; a line that it did not finish goes."""
    path = pathlib.Path(config.json or "")
    if config.json is None or not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    storage.write_text(path, "".join(f"{line}\n" for line in lines))
    return [json.loads(line) for line in lines]


def _check(config: CompileCheckConfig, tried: list[dict[str, Any]]) -> Report:
    """The report of an earlier search, or a new one."""
    report = _once(config, tried, check_alone, lambda known: isinstance(known, Report))
    assert isinstance(report, Report)
    return report


def _sketch(config: CompileCheckConfig, tried: list[dict[str, Any]]) -> Sketch | Report:
    """The sketch of an earlier search, or a new one; or the report of what does not fit."""
    return _once(config, tried, sketch, lambda known: isinstance(known, Sketch) or not known.fits)


def _once(
    config: CompileCheckConfig,
    tried: list[dict[str, Any]],
    ask: Callable[[CompileCheckConfig, str, int], Sketch | Report],
    is_answer: Callable[[Sketch | Report], bool],
) -> Sketch | Report:
    """An earlier search's answer, if `is_answer`, or else that of `ask`, which becomes a line of config.json.

    Raises CompilerError, also where only the earlier search met it.
    """
    settings = _settings(config)
    for entry in tried:
        if entry["settings"] != settings:
            continue
        if "failed" in entry:
            raise CompilerError(entry["failed"])
        known = Sketch(**entry["sketch"]) if "sketch" in entry else Report(**entry["report"])
        if is_answer(known):
            return known
    try:
        answer = ask(config, config.topology, config.num_slices)
    except CompilerError as error:
        _note(config, settings, "failed", str(error))
        raise
    name = "sketch" if isinstance(answer, Sketch) else "report"
    _note(config, settings, name, dataclasses.asdict(answer))
    return answer


def _note(
    config: CompileCheckConfig, settings: dict[str, Any], name: str, value: dict[str, Any] | str
) -> None:
    """Adds a line to config.json."""
    if config.json is None:
        return
    path = pathlib.Path(config.json)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"settings": settings, name: value}) + "\n")


def check_alone(
    config: TrainConfig, topology_name: str, num_slices: int, row: Workload | None = None
) -> Report:
    """`check` in a process of its own, whose memory goes with it."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, spawn, resume.end_with_parent) as pool:
        try:
            return pool.submit(check, config, topology_name, num_slices, row).result()
        except concurrent.futures.BrokenExecutor as error:
            raise compiler_error("its process was killed or broke down") from error


def _or_dash(figure: float | None, form: str) -> str:
    return "-" if figure is None else format(figure, form)


def _rows(fitting: list[tuple[Report, Point]]) -> Iterator[tuple[str, ...]]:
    yield (
        "MFU",
        "pairs/s",
        "tokens/s",
        "step ms",
        "HBM left",
        "sync",
        "remat",
        "parts",
        "fsdp",
        "options",
    )
    for report, point in fitting:
        yield (
            f"{report.mfu_ceiling_useful:.1%}",
            _or_dash(report.pairs_per_second_per_chip, ".2f"),
            _or_dash(report.tokens_per_second_per_chip, ".0f"),
            f"{report.step_ms:.1f}",
            f"{report.headroom:.1%}",
            str(report.sync_layer_gathers),
            point.remat,
            str(point.accumulation_steps),
            str(point.fsdp),
            " ".join(point.compiler_options) or "-",
        )


def _of_failed(failed: dict[Point, str], path: str | None) -> str:
    """How many points the compiler failed on, what it said of one, and how they are tried again; empty where there are
    none."""
    if not failed:
        return ""
    point, said = next(iter(failed.items()))
    text = f"\n\nThe compiler failed on {len(failed)} of the points, among them {point}: {said}"
    if path is None:
        return text
    return f"{text} To try them again, delete their lines, with `failed`, from {path}."


def _summary(config: CompileCheckConfig, fitting: list[tuple[Report, Point]]) -> str:
    rows = list(_rows(fitting))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    best = fitting[0][1]
    words = ["--model.remat", best.remat, "--accumulation-steps", str(best.accumulation_steps)]
    words += ["--mesh.data", "-1", "--mesh.fsdp", str(best.fsdp)]
    if options := (*config.compiler_options, *best.compiler_options):
        words += ["--compiler-options", *options]
    return f"{table}\n\n{shlex.join(words)}"
