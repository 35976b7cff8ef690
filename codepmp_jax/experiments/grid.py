"""From a grid to its steps: which commands there are, what each needs, and what it is.

A step is a command with every name filled in. Commands that come out equal are one step. A step needs an earlier one
if one of its words names that one's output, or something below it. A program of others, which may change or remove what
it names, also needs those that read this before it, and those that write below a folder that it names.

What a step *is* (its identity) are its settings as far as they differ from the defaults, the content of the inputs
that it names, and the identities of the steps that it needs. Paths do not count: an output that was moved, or an
input of the same content, gives the same steps.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.config import ExperimentConfig, presets
from codepmp_jax.experiments.parsing import Parser

Stages = Mapping[str, type[Any]]
"""Command of codepmp, e.g. `evaluate score` -> its config type."""

_FIELD = re.compile(r"\{\{|\}\}|\{([\w.]*)\}")
_PATH = re.compile(r"\{(?:output|runs)\}[^\s:@,;'\"]*")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One place of the grid."""

    values: dict[str, str]
    """Axis -> value."""

    @property
    def name(self) -> str:
        """Path of the cell's folder below cells/, e.g. `init=pmp/pairs=100/seed=0`; without axes `all`."""
        return "/".join(f"{axis}={value}" for axis, value in self.values.items()) or "all"


@dataclasses.dataclass(frozen=True)
class Step:
    """A command of the grid."""

    place: str
    """Where its state and log are, below steps/: that of its output, e.g. `cells/init=pmp/pairs=100/seed=0/train`."""
    number: int
    """Of its command in the config, from 0."""
    command: str
    """Its stage, e.g. `evaluate score`; the program of a command that is not codepmp's."""
    words: tuple[str, ...]
    """What is run."""
    output: str | None
    """The file or folder that it writes; None for a program of others."""
    settings: Any
    """Its config, with paths not filled in; None for a program of others."""
    needs: tuple[str, ...]
    """Places of the steps that it needs."""
    identity: str
    cells: tuple[str, ...]
    """Names of the cells that it is of."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """The cells of a grid and their steps, each after those that it needs."""

    cells: tuple[Cell, ...]
    steps: tuple[Step, ...]
    paths: dict[str, str]
    """What {output}, {runs} and the inputs stand for."""

    def real(self, path: str) -> str:
        """A path of a step's settings with what it stands for."""
        return re.sub(r"\{(\w+)\}", lambda name: self.paths.get(name[1], name[0]), path)

    def needs(self, step: Step) -> list[Step]:
        """The steps that a step needs."""
        return [each for each in self.steps if each.place in step.needs]

    @functools.cached_property
    def _by_cell(self) -> dict[str, list[Step]]:
        found: dict[str, list[Step]] = {cell.name: [] for cell in self.cells}
        for step in self.steps:
            for name in step.cells:
                found[name].append(step)
        return found

    def of_cell(self, name: str) -> list[Step]:
        """The steps of a cell, those that it shares included."""
        return self._by_cell[name]


def cells_of(config: ExperimentConfig) -> list[Cell]:
    """Every combination of the axes' values, the first axis varying slowest."""
    axes = config.axis_values
    return [
        Cell(dict(zip(axes, values, strict=True))) for values in itertools.product(*axes.values())
    ]


def _fill(text: str, names: Mapping[str, str], command: str) -> str:
    """The text with its names in braces replaced. Raises UserError for a name that there is not."""

    def replace(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0][0]
        if found[1] not in names:
            hint = presets.did_you_mean(found[1], names)
            raise UserError(
                f"commands: {command!r}: {{{found[1]}}} stands for nothing; {hint}there are "
                f"{', '.join(names)}. Remedy: give an input, an axis or a text of that name, or write "
                "{{...}} for braces."
            )
        return names[found[1]]

    return _FIELD.sub(replace, text)


def _words(command: str, cell: Cell, config: ExperimentConfig) -> list[str]:
    """The words of a cell's command, in which only texts of values are filled in."""
    own = {
        f"{axis}.{key}": text
        for (axis, value, key), text in config.value_texts.items()
        if cell.values[axis] == value
    }
    # Other names stay as they are: they are filled in word by word, so that a path with a space is one word.
    kept = {name: f"{{{name}}}" for name in _names(config, cell, {})}
    for found in _FIELD.finditer(command):
        name = found[1] or ""
        axis, dot, key = name.partition(".")
        require(
            not dot or axis not in cell.values or name in own,
            "texts",
            f"{axis}={cell.values.get(axis)} {key}: ...",
            f"is missing, for {command!r}",
            f"add --texts '{axis}={cell.values.get(axis)} {key}: ...' (empty is a text, too)",
        )
    doubled = command.replace("{{", "{{{{").replace("}}", "}}}}")
    filled = _fill(doubled, {**kept, **own}, command)
    try:
        return shlex.split(filled)
    except ValueError as error:
        raise UserError(
            f"commands: {command!r}: {error}. Remedy: close the quotation marks."
        ) from error


def _names(config: ExperimentConfig, cell: Cell, places: Mapping[str, str]) -> dict[str, str]:
    """What stands for what in the words of a cell, with the paths of {output}, {runs} and inputs from `places`."""
    output = places.get("output", "{output}")
    runs = places.get("runs", "{runs}") if config.runs else output
    return {
        "output": output,
        "runs": runs,
        "cell": f"{output}/cells/{cell.name}",
        "run": f"{runs}/cells/{cell.name}",
        **{name: places.get(name, f"{{{name}}}") for name in config.input_paths},
        **cell.values,
    }


def plan(config: ExperimentConfig, digests: Mapping[str, str], stages: Stages) -> Plan:
    """The cells and steps of a grid; `digests` are those of the inputs, by name.

    Raises UserError where there is no command, a command is not accepted by its own rules, or two of them would write
    the same output.
    """
    require(
        len(config.commands) > 0,
        "commands",
        [],
        "must be at least one",
        "start from a preset: --config exp_tiny",
    )
    cells = cells_of(config)
    steps: dict[str, Step] = {}
    parser = Parser()
    for cell in cells:
        before: list[str] = []
        for number in range(len(config.commands)):
            step = _make_step(config, cell, number, before, steps, digests, stages, parser)
            known = steps.get(step.place)
            if known is not None:
                require(
                    known.words == step.words,
                    f"commands: {shlex.join(step.words)}",
                    step.place,
                    f"is what another command writes, too: {shlex.join(known.words)}",
                    "write below {cell}, or name the axes in the path",
                )
                step = dataclasses.replace(known, cells=(*known.cells, cell.name))
            steps[step.place] = step
            before.append(step.place)
    return Plan(tuple(cells), tuple(steps.values()), _paths(config))


def _paths(config: ExperimentConfig) -> dict[str, str]:
    return {"output": config.output, "runs": config.runs, **config.input_paths}


def _make_step(
    config: ExperimentConfig,
    cell: Cell,
    number: int,
    before: Sequence[str],
    steps: Mapping[str, Step],
    digests: Mapping[str, str],
    stages: Stages,
    parser: Parser,
) -> Step:
    """A command of a cell; `before` are the places of the cell's commands before it, `steps` all that are known."""
    command = config.commands[number]
    template = _words(command, cell, config)
    paths = _paths(config)
    words = [_fill(word, _names(config, cell, paths), command) for word in template]
    symbolic = [_fill(word, _names(config, cell, {}), command) for word in template]
    stage, settings = _parse(symbolic, shlex.join(words), stages, parser)
    output = None
    if settings is None:
        place = f"commands/{number}-{_sha256(symbolic)[:8]}"
    else:
        output = _output_of(settings, stage, shlex.join(words))
        root, _, place = output.partition("}/")
        output = f"{paths[root[1:]]}/{place}"
    needs = _needs(symbolic, before, steps, is_ours=settings is not None)
    content = {
        "command": stage,
        "settings": symbolic if settings is None else _changed(settings),
        "inputs": {
            name: digests[name]
            for name in config.input_paths
            if any(f"{{{name}}}" in word for word in symbolic)
        },
        "needs": [steps[need].identity for need in needs],
    }
    return Step(
        place=place,
        number=number,
        command=stage,
        words=tuple(words),
        output=output,
        settings=settings,
        needs=needs,
        identity=_sha256(content)[:16],
        cells=(cell.name,),
    )


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _needs(
    symbolic: Sequence[str], before: Sequence[str], steps: Mapping[str, Step], is_ours: bool
) -> tuple[str, ...]:
    """The places whose outputs the words name; and the cell's programs of others, whose outputs are not known.

    Of a program of others (`is_ours` false) also those below a folder that it names, and those that need any of these.
    """
    paths = [
        path.partition("/")[2].rstrip("/") for word in symbolic for path in _PATH.findall(word)
    ]
    named = {place for path in paths for place in _above(path)}
    if not is_ours:
        named |= {
            place for place in before for path in paths if path and place.startswith(f"{path}/")
        }
    return tuple(
        place
        for place in before
        if place in named
        or steps[place].output is None
        or (not is_ours and named.intersection(steps[place].needs))
    )


def _above(path: str) -> Iterator[str]:
    """The places that a path is, or is below."""
    parts = path.split("/")
    return ("/".join(parts[:end]) for end in range(1, len(parts) + 1))


def _parse(symbolic: Sequence[str], shown: str, stages: Stages, parser: Parser) -> tuple[str, Any]:
    """(stage, settings) of a command of codepmp; (program, None) of another."""
    # Behind a -- is the command that another one starts.
    words = list(symbolic)
    while "--" in words:
        words = words[words.index("--") + 1 :]
    require(bool(words), "commands", shown, "must be a command", "e.g. codepmp train --config NAME")
    if words[0] != "codepmp":
        return words[0], None
    stage = next((" ".join(words[1:end]) for end in (3, 2) if " ".join(words[1:end]) in stages), "")
    if not stage:
        hint = presets.did_you_mean(" ".join(words[1:2]), stages)
        raise UserError(f"commands: {shown}: no such command; {hint}there are {', '.join(stages)}.")
    rest = words[1 + len(stage.split()) :]
    try:
        return stage, parser.parse(stages[stage], rest, f"codepmp {stage}")
    except UserError as error:
        raise UserError(f"commands: {shown}: {error}") from error


def _output_of(settings: Any, stage: str, shown: str) -> str:
    """What the command writes, below {output} or {runs}."""
    names = [name for name in ("workdir", "output") if hasattr(settings, name)]
    require(
        bool(names),
        "commands",
        shown,
        f"must be a command that writes something: {stage} has neither --workdir nor --output",
        "leave it out",
    )
    path = getattr(settings, names[0])
    require(
        re.match(r"\{(output|runs)\}/.", path) is not None,
        f"commands: {shown}: --{names[0]}",
        path,
        "must be below {output}, {runs}, {cell} or {run}, so that nothing else is overwritten",
        f"e.g. --{names[0]} {{cell}}/{path.rpartition('/')[2]}",
    )
    return path.rstrip("/")


@functools.cache
def _defaults(config_type: type[Any]) -> dict[str, Any]:
    return dict(presets.flatten(config_type()))


def _changed(settings: Any) -> dict[str, Any]:
    """Setting -> value, of those that are not the default: a setting that a later version adds changes nothing."""
    usual, found = _defaults(type(settings)), dict(presets.flatten(settings))
    return json.loads(
        json.dumps({path: found[path] for path in found if found[path] != usual.get(path)})
    )
