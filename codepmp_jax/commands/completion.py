"""Shell completion of `codepmp`, by tyro: its commands, their options, and the names of presets.

bash, for this shell or in ~/.bashrc:    source <(codepmp --tyro-print-completion bash)
zsh, in ~/.zshrc, after compinit:        source <(codepmp --tyro-print-completion zsh)
fish:                                    codepmp --tyro-print-completion fish | source
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import operator
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import tyro

from codepmp_jax.cli.errors import require
from codepmp_jax.config import presets

SHELLS = ("bash", "zsh", "fish")


def presets_of(config_type: type) -> tuple[str, ...]:
    """Names of the presets that a command with this config takes."""
    names = sorted(path.stem for path in presets.CONFIGS.glob("*.py"))
    return tuple(name for name in names if issubclass(config_type, type(presets.load_preset(name))))


def options_of(config_type: type) -> type:
    """A dataclass whose tyro options are those of a command: its settings, --config and --print-config."""
    names = presets_of(config_type)
    return dataclasses.make_dataclass(
        f"{config_type.__name__}Options",
        [
            ("config", Literal[names] if names else str, names[0] if names else ""),
            ("print_config", tyro.conf.FlagCreatePairsOff[bool], False),
            ("settings", Annotated[config_type, tyro.conf.arg(name="")], config_type()),
        ],
    )


def one_of(options: Mapping[str, type]) -> Any:
    """The type of which tyro makes one subcommand for each name."""
    kinds = [Annotated[kind, tyro.conf.subcommand(name)] for name, kind in options.items()]
    return functools.reduce(operator.or_, kinds)


def completion_script(shell: str, commands: Mapping[str, type]) -> str:
    """The script that makes a shell complete `codepmp`.

    `commands` are the config types of its commands, under names of one word or two. Raises UserError for a shell
    that is none of SHELLS.
    """
    require(
        shell in SHELLS,
        "--tyro-print-completion",
        shell,
        "must name a shell",
        f"give one of {', '.join(SHELLS)}",
    )
    groups: dict[str, dict[str, type]] = {}
    for command, config_type in commands.items():
        name, _, subcommand = command.partition(" ")
        groups.setdefault(name, {})[subcommand] = options_of(config_type)
    options = {
        name: group[""]
        if "" in group
        else dataclasses.make_dataclass(name, [("command", one_of(group))])
        for name, group in groups.items()
    }
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        tyro.cli(
            one_of(options),
            prog="codepmp",
            args=["--tyro-print-completion", shell],
            config=(tyro.conf.OmitSubcommandPrefixes,),
        )
    # The shells read an option a line, so that its help must be one: tyro keeps the line breaks of docstrings.
    return "\n".join(
        line.replace("\\n", " ") if line.startswith("COMPLETION_SPEC = ") else line
        for line in printed.getvalue().splitlines()
    )
