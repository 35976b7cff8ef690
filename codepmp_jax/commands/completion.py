"""Shell completion of `codepmp`, by tyro: its commands, their options, and the names of presets.

bash, for this shell or in ~/.bashrc:    source <(codepmp --tyro-print-completion bash)
zsh, in ~/.zshrc, after compinit:        source <(codepmp --tyro-print-completion zsh)
fish:                                    codepmp --tyro-print-completion fish | source
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union

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
    return Union[  # noqa: UP007
        tuple(Annotated[kind, tyro.conf.subcommand(name)] for name, kind in options.items())
    ]


def print_completion(arguments: Sequence[str], commands: Mapping[str, type]) -> None:
    """Prints or writes the script for a shell, as tyro's option in `arguments` asks; then exits.

    `commands` are the config types of `codepmp`, under names of one word or two.
    """
    shell = "".join(arguments[1:2])
    require(
        shell in SHELLS, arguments[0], shell, "must name a shell", f"one of {', '.join(SHELLS)}"
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
    tyro.cli(
        one_of(options),
        prog="codepmp",
        args=arguments,
        config=(tyro.conf.OmitSubcommandPrefixes,),
    )
