"""From `--config NAME|PATH` and overrides to a config, and from a config to JSON and back.

A preset is a Python module with `get_config() -> Config`; the named ones are in `configs/`. A saved
config (JSON) is a preset too.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import functools
import importlib.util
import itertools
import json
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar, cast

import pydantic
import tyro

from codepmp_jax.cli import streams
from codepmp_jax.cli.errors import UserError, disk_error
from codepmp_jax.config.base import broken_rule, dependent

ConfigT = TypeVar("ConfigT")

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]
# A wheel has the presets in the package (setup.py), a checkout next to it.
CONFIGS = _PACKAGE / "configs" if (_PACKAGE / "configs").is_dir() else _PACKAGE.parent / "configs"


def to_json(config: Any) -> dict[str, Any]:
    """The config as JSON values (lists for tuples)."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_json(config_type: type[ConfigT], value: Any, source: str) -> ConfigT:
    """The config in JSON values; entries that are not there keep their defaults.

    Raises UserError naming `source`, the dotted path, the value and the rule where an entry is unknown,
    of the wrong type, or breaks a rule.
    """
    try:
        return _adapter(config_type).validate_json(json.dumps(value), strict=True)
    except pydantic.ValidationError as error:
        raise UserError(f"{source}: {broken_rule(config_type, error)}") from error


@functools.cache
def _adapter(config_type: type[Any]) -> pydantic.TypeAdapter:
    return pydantic.TypeAdapter(config_type)


def flatten(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted path, value) of every setting."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from flatten(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", value


def describe(config: Any, preset: Any) -> str:
    """The resolved config, a setting a line; a `*` marks what differs from the preset."""
    before = dict(flatten(preset))
    lines = []
    for path, value in flatten(config):
        changed = value != before[path]
        note = f"   (preset: {before[path]!r})" if changed else ""
        lines.append(f"{'*' if changed else ' '} {path} = {value!r}{note}")
    return "\n".join(lines)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A question with the nearest of `names`; empty where none is near."""
    nearest = difflib.get_close_matches(name, list(names), n=1)
    return f"did you mean {nearest[0]}? " if nearest else ""


def load_preset(name: str) -> Any:
    """The config of a preset in `configs/`, of a Python file with get_config(), or of a saved JSON.

    Raises UserError naming the nearest preset where there is none of that name.
    """
    path = pathlib.Path(name)
    if path.suffix not in (".py", ".json"):
        names = sorted(file.stem for file in CONFIGS.glob("*.py"))
        if name not in names:
            hint = did_you_mean(name, names)
            raise UserError(f"--config {name}: no such preset; {hint}there are {', '.join(names)}.")
        path = CONFIGS / f"{name}.py"
    if not path.is_file():
        raise UserError(f"--config {name}: no such file. Remedy: give a preset's name or a path.")
    if path.suffix == ".json":
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise UserError(f"--config {name}: not JSON ({error}).") from error
    spec = importlib.util.spec_from_file_location(f"codepmp_jax_preset_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise UserError(
            f"{path}: has no get_config(). Remedy: define `def get_config() -> Config`."
        )
    return module.get_config()


def parse(
    config_type: type[ConfigT],
    description: str,
    argv: Sequence[str] | None = None,
    prog: str | None = None,
    default: ConfigT | None = None,
    notes: Sequence[str] = (),
    rebase: Callable[[ConfigT, Mapping[str, str]], ConfigT] | None = None,
) -> ConfigT:
    """The config of a command line: preset, then overrides.

    Where an option changes a setting that others of the preset depend on (config.base.OnlyWith), these follow it: the
    rows of `--data.layout padded` have no row_length, even if the preset's have.
    `--print-config` prints the resolved config and exits. A typo or a wrong value prints one error and
    exits with status 2. `default` stands in for the preset where no `--config` is given; `notes` are lines
    that `--print-config` adds. `rebase`, given the preset and the options' values by dotted path, returns what takes
    the preset's place. A config type may take presets of another one, its PRESET, from which its `of_preset` makes its own.
    """
    flags = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    flags.add_argument("--config")
    flags.add_argument("--print-config", action="store_true")
    known, rest = flags.parse_known_args(sys.argv[1:] if argv is None else argv)
    for option in rest:
        nearest = difflib.get_close_matches(option, ["--config", "--print-config"], cutoff=0.8)
        if nearest:
            raise UserError(f"{option}: no such option; did you mean {nearest[0]}?")
    preset = config_type() if default is None else default
    if known.config is not None:
        own: Any = config_type
        preset_type = getattr(own, "PRESET", config_type)
        preset = load_preset(known.config)
        if isinstance(preset, dict):
            preset = from_json(preset_type, preset, known.config)
        if not isinstance(preset, preset_type):
            raise UserError(
                f"--config {known.config}: is a {type(preset).__name__}, but this script takes a "
                f"{preset_type.__name__}. Remedy: give a preset of that type."
            )
        if preset_type is not config_type:
            preset = own.of_preset(preset)
    given = _given(rest)
    if rebase is not None:
        preset = rebase(preset, given)
    config = tyro.cli(
        config_type,
        prog=prog,
        default=_following(preset, given),
        args=rest,
        description=f"{description}\n\n--config NAME|PATH starts from a preset in configs/ (or a file);\n"
        "--print-config shows every setting and exits.",
    )
    if known.print_config:
        print(describe(config, preset), *notes, sep="\n")
        sys.exit(0)
    return config


def _given(options: Sequence[str]) -> dict[str, str]:
    """The options' values by dotted path; empty where none comes directly after."""
    given = {}
    for option, following in itertools.pairwise([*options, ""]):
        if option.startswith("--"):
            path, _, value = option.removeprefix("--").partition("=")
            given[path.replace("-", "_")] = value or following
    return given


def _following(config: ConfigT, given: Mapping[str, str], prefix: str = "") -> ConfigT:
    """The preset, where settings that depend on a value which is no longer theirs have their defaults."""
    changes: dict[str, Any] = {}
    config_type: Any = type(config)
    for field in dataclasses.fields(config_type):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            changes[field.name] = _following(value, given, f"{prefix}{field.name}.")
    for name, only in dependent(config_type).items():
        chosen = given.get(prefix + only.setting, only.values[0])
        if chosen not in only.values and prefix + name not in given:
            changes[name] = config_type.__dataclass_fields__[name].default
    return dataclasses.replace(cast(Any, config), **changes)


def parse_command(
    commands: Mapping[str, tuple[type[Any], str]], argv: Sequence[str] | None = None
) -> tuple[str, Any]:
    """(command, config) of a program whose first argument is one of `commands`: name -> (type, one line).

    The arguments after it are those of `parse`. Raises UserError naming the nearest command where
    there is none of that name; without arguments and with `--help` it prints the commands and exits.
    """
    script = pathlib.Path(sys.argv[0]).name
    name, *rest = (sys.argv[1:] if argv is None else argv) or [""]
    if name in commands:
        config_type, description = commands[name]
        return name, parse(config_type, description, rest, prog=f"{script} {name}")
    if name in ("", "-h", "--help"):
        width = max(len(command) for command in commands)
        lines = [f"  {command:{width}}  {text}" for command, (_, text) in commands.items()]
        print(f"usage: {script} COMMAND [--help] [OPTIONS]\n\ncommands:", *lines, sep="\n")
        sys.exit(0 if name else 2)
    hint = did_you_mean(name, commands)
    raise UserError(f"{script} {name}: no such command; {hint}there are {', '.join(commands)}.")


def split_arguments() -> tuple[list[str], list[str]]:
    """A command's own arguments, and what stands after `--`, which is for another command."""
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    return sys.argv[1:end], sys.argv[end + 1 :]


def run(main: Callable[[], None]) -> None:
    """Runs a command's main; a UserError, or an error of a disk, becomes one line on stderr and its exit status."""
    streams.guard()
    try:
        main()
    except UserError as error:
        _exit_with(error)
    except OSError as error:
        found = disk_error(error)
        if found is None:
            raise
        _exit_with(found)


def _exit_with(error: UserError) -> NoReturn:
    if "tqdm" in sys.modules:
        from codepmp_jax.cli.progress import end_bars

        end_bars()
    print(f"error: {' '.join(str(error).splitlines())}", file=sys.stderr)
    sys.exit(error.status)
