"""A grid of training runs with their evaluations."""

from __future__ import annotations

import dataclasses
import re
from typing import Literal

from codepmp_jax.cli.errors import require
from codepmp_jax.config.base import Config, DiskPath, NonNegativeFloat, PositiveInt, StorePath
from codepmp_jax.config.evaluation import ResamplingConfig

_NAME = re.compile(r"[A-Za-z]\w*")
# What a value may be made of: it is a part of a path.
_VALUE = re.compile(r"[\w.+-]+")
_TEXT = re.compile(r"([A-Za-z]\w*)=([\w.+-]+) ([A-Za-z]\w*): ?(.*)", re.DOTALL)
PLACES = ("output", "runs", "cell", "run")
"""Names of paths that every command may use."""


@dataclasses.dataclass(frozen=True)
class ClusterConfig(Config, section="ray"):
    """The cluster of `--engine ray` (extra `ray`), whose nodes must share the output's file system."""

    address: str | None = None
    """Address of the cluster to join; by default that of RAY_ADDRESS, or else a cluster started on this machine."""
    cpus_per_command: NonNegativeFloat = 1.0
    """CPUs that each command requests."""
    gpus_per_command: NonNegativeFloat = 0.0
    """GPUs that each command requests; it sees these only."""


@dataclasses.dataclass(frozen=True)
class ExperimentConfig(Config):
    """A grid of training runs, each with its evaluations; their results as a table, plots and a page.

    A cell of the grid is a value of each axis. Its commands are those of `commands`, in which names in braces stand
    for something: {output} and {runs} for these settings; {cell} and {run} for the cell's own folders in them;
    {NAME} for the path of an input; {AXIS} for the cell's value; {AXIS.KEY} for a text of that value. Double braces are
    braces. Commands that come out equal in several cells are run once.
    """

    output: DiskPath = "runs/experiment"
    """Folder to write everything to: cells/, steps/ (state and log of each command), tables, plots, report.html."""
    runs: StorePath = ""
    """Folder of the training runs, local or gs://; by default the output."""
    axes: tuple[str, ...] = ()
    """Axes of the grid, as NAME=VALUE,VALUE,... each. The first varies slowest."""
    texts: tuple[str, ...] = ()
    """What values stand for, as 'AXIS=VALUE KEY: TEXT' each."""
    inputs: tuple[str, ...] = ()
    """Files and folders that commands read, as NAME=PATH each (a hub name is one, too). A command is run again when
    the content of an input that it names has changed."""
    commands: tuple[str, ...] = ()
    """Commands of a cell, in order, as they are typed. What they write must be below {output} or {runs}."""
    size: str = "pairs"
    """Axis of numbers against which figures are plotted, and in which the data multiplier counts; empty for none."""
    compare: str = "init"
    """Axis whose values are compared; the first one is what the others are compared with. Empty for none."""
    seed: str = "seed"
    """Axis of repetitions, over which means are taken and intervals are resampled; empty for none."""
    parallel: PositiveInt = 1
    """Number of commands to run at once on this machine (engine local)."""
    engine: Literal["local", "ray"] = "local"
    """Where commands run: as processes of this machine, or on the nodes of a Ray cluster."""
    ray: ClusterConfig = ClusterConfig()
    launcher: str = ""
    """Words to put before each training command, such as `srun -N 8` or `codepmp supervise --`."""
    dry_run: bool = False
    """List the cells, what is to be done, and what it is estimated to cost; run nothing."""
    collect: bool = False
    """Only collect the results that are there; run nothing."""
    resampling: ResamplingConfig = ResamplingConfig()

    def __post_init__(self) -> None:
        super().__post_init__()
        values = self.axis_values
        for path, text in (
            ("axes", "NAME=VALUE,VALUE,..."),
            ("inputs", "NAME=PATH"),
        ):
            for entry in getattr(self, path):
                name, equals, rest = entry.partition("=")
                require(
                    bool(equals and rest and _NAME.fullmatch(name)),
                    path,
                    entry,
                    f"must be {text}, with a name of letters and digits",
                    "e.g. pairs=100,200,400" if path == "axes" else "e.g. pairs=gs://BUCKET/pairs",
                )
        names = [entry.partition("=")[0] for entry in (*self.axes, *self.inputs)]
        for name in names:
            require(
                names.count(name) == 1 and name not in PLACES,
                "axes and inputs",
                name,
                f"must be the name of one axis or input, and none of {', '.join(PLACES)}",
                "give it another name",
            )
        for name, found in values.items():
            for value in found:
                require(
                    _VALUE.fullmatch(value) is not None and found.count(value) == 1,
                    f"axes: {name}",
                    value,
                    "must be a value of its own of letters, digits and . + - _, as it names a folder",
                    "give each value once; put longer texts into `texts`",
                )
        self._check_texts()
        self._check_roles()

    def _check_texts(self) -> None:
        for entry in self.texts:
            found = _TEXT.fullmatch(entry)
            # Presets have texts of values that a command line may leave out of the grid.
            require(
                found is not None and found[1] in self.axis_values,
                "texts",
                entry,
                f"must be 'AXIS=VALUE KEY: TEXT' with an axis of {', '.join(self.axis_values) or 'none'}",
                "e.g. 'init=base options: --model.init-from Qwen/Qwen2-7B'",
            )

    def _check_roles(self) -> None:
        for role in ("size", "compare", "seed"):
            name = getattr(self, role)
            if name == getattr(ExperimentConfig, role) and name not in self.axis_values:
                continue  # the default of an experiment without such an axis
            require(
                name == "" or name in self.axis_values,
                role,
                name,
                f"must be an axis, one of {', '.join(self.axis_values) or 'none'}",
                "give one of these, or nothing ('')",
            )
        for value in self.axis_values.get(self.size, ()):
            require(
                is_number(value) and float(value) > 0,
                f"axes: {self.size}",
                value,
                "must be a number above 0, as the axis is the `size`",
                "give numbers, or another --size",
            )

    @property
    def axis_values(self) -> dict[str, list[str]]:
        """Axis -> its values, in order."""
        parts = (entry.partition("=") for entry in self.axes)
        return {name: values.split(",") for name, _, values in parts}

    @property
    def input_paths(self) -> dict[str, str]:
        """Name of an input -> its path."""
        parts = (entry.partition("=") for entry in self.inputs)
        return {name: path for name, _, path in parts}

    @property
    def value_texts(self) -> dict[tuple[str, str, str], str]:
        """(axis, value, key) -> text."""
        found = (_TEXT.fullmatch(entry) for entry in self.texts)
        return {(match[1], match[2], match[3]): match[4] for match in found if match}


def is_number(text: str) -> bool:
    """Whether a value reads as a finite number."""
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text) is not None
