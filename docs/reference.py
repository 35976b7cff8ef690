"""The reference's tables, read from the source: settings, presets, record formats, exit codes.

`docs/hooks.py` puts them into the pages when the site is built, so that they cannot differ from the code. Needs
neither jax nor MkDocs.
"""

from __future__ import annotations

import ast
import collections
import dataclasses
import functools
import inspect
import itertools
import json
import pathlib
import re
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from codepmp_jax.cli import exit_codes
from codepmp_jax.commands.main import STAGES, settings_and_help
from codepmp_jax.config import presets
from codepmp_jax.config.objective import ObjectiveConfig
from codepmp_jax.records import schema

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
# Defaults longer than this are shown below their table.
_LONG = 60


@dataclasses.dataclass(frozen=True)
class Page:
    """A page of settings: the commands on it, each with its config."""

    title: str
    intro: str
    commands: Mapping[str, type[Any]]
    same_as: str = ""
    """Page of the settings that the command takes too (those of its config's base class)."""


def _page(title: str, intro: str, *commands: str, same_as: str = "") -> Page:
    """A page of these commands of `codepmp`, by default of the one in its title."""
    names = commands or (title,)
    return Page(title, intro, {name: settings_and_help(name)[0] for name in names}, same_as)


PAGES = {
    "quickstart": _page("quickstart", "All stages on a CPU, at a small size."),
    "corpus": _page(
        "corpus, train-tokenizer",
        "Source code to `SourceFile` shards, and a tokenizer trained on them.",
        "corpus",
        "train-tokenizer",
    ),
    "synthesize": _page("synthesize", "`SourceFile` shards to `PreferencePair` shards."),
    "rm-data": _page(
        "rm-data",
        "Preference data of others, and judged candidates, to pair shards for RM finetuning.",
    ),
    "pairs": _page(
        "import-pairs, export-pairs",
        "Pair shards from and to JSONL and Parquet files.",
        "import-pairs",
        "export-pairs",
    ),
    "train": _page(
        "train", "PMP pretraining, RM finetuning, policies, and language modelling of documents."
    ),
    "logprobs": _page("logprobs", "Log-probs of pairs under a model, for training policies."),
    "compile-check": _page(
        "compile-check",
        "Compiles the training step for a TPU slice, without a TPU.",
        same_as="train",
    ),
    "convert": _page(
        "convert",
        "Training runs to Hugging Face folders and PEFT adapters, and back.",
        "convert to-hf",
        "convert to-peft",
        "convert from-hf",
        "convert from-gguf",
    ),
    "candidates": _page(
        "candidates",
        "Best-of-N candidates for the problems of a benchmark, or for held-out sources.",
    ),
    "evaluate": _page(
        "evaluate",
        "Problems, judgements, scores, accuracy, Best-of-N, pass@k and a report.",
        "evaluate problems",
        "evaluate judge",
        "evaluate score",
        "evaluate baseline",
        "evaluate tokens",
        "evaluate accuracy",
        "evaluate best-of-n",
        "evaluate benchmark",
        "evaluate pass-at-k",
        "evaluate report",
    ),
    "serve": _page("serve", "A reward model behind HTTP, for RL frameworks."),
    "experiment": _page(
        "experiment", "A grid of training runs with their evaluations, as tables, plots and a page."
    ),
    "improve": _page(
        "improve", "Rounds of writing, judging and training a policy, as one command."
    ),
    "operation": _page(
        "supervise and launchers",
        "Commands that start a training command, and start it again.",
        "supervise",
        "queued-resources",
        "gcluster",
        "jobset",
        "xpk",
    ),
}
COMMANDS = list(itertools.chain.from_iterable(STAGES.values()))
# Subcommand of `codepmp` -> its script in launch/.
SCRIPTS = {
    name: "tpu_pod.py" if name == "train" else f"{name.replace('-', '_')}.py"
    for name in dict.fromkeys(command.split()[0] for command in COMMANDS)
}
# What a page calls the prefix of configs that appear several times, by their class.
_SHARED_PREFIX = "PASS"


# --- reading dataclasses --------------------------------------------------------------------------


@functools.cache
def field_docs(config_type: type[Any]) -> dict[str, str]:
    """Field -> the string literal below it in the class's source, as one line; bases included."""
    found: dict[str, str] = {}
    for base in reversed(config_type.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(body, ast.ClassDef)
        for statement, following in itertools.pairwise(body.body):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
            ):
                found[statement.target.id] = " ".join(str(following.value.value).split())
    return found


def describe_type(hint: Any) -> str:
    """A type as a reader of a command line sees it: choices, bounds, `none`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        # The names that a registry knows, as tyro shows them: {a,b,c}.
        shown = next((entry.metavar for entry in args[1:] if getattr(entry, "metavar", None)), "")
        if shown.startswith("{"):
            return ", ".join(f"`{choice}`" for choice in shown.strip("{}").split(","))
        return " ".join([describe_type(args[0]), *_bounds(args[1:])])
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in args)
    if origin in (typing.Union, types.UnionType):
        kinds = ["none" if arg is type(None) else describe_type(arg) for arg in args]
        return " or ".join(kinds)
    if origin is tuple:
        kinds = ["..." if arg is Ellipsis else describe_type(arg) for arg in args]
        return " ".join(kinds)
    return {"str": "text", "int": "integer", "float": "number", "bool": "flag"}[hint.__name__]


def _bounds(metadata: tuple[Any, ...]) -> list[str]:
    """The bounds in the metadata of an annotated type, e.g. `> 0`; those of pydantic's fields too."""
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    found = []
    for entry in metadata:
        found += _bounds(tuple(getattr(entry, "metadata", ())))
        for name, sign in signs.items():
            if getattr(entry, name, None) is not None:
                found.append(f"{sign} {getattr(entry, name):g}")
    return found


@dataclasses.dataclass
class Group:
    """The settings of one config class within a command: one table."""

    config_type: type[Any]
    members: dict[str, Any]
    """Prefix -> the config that holds the defaults under it; several where a class is used several times."""
    doc: str = ""
    """Help text of the field that holds the config."""


def groups(config: Any) -> list[Group]:
    """The config and those nested in it, outermost first; those of one class are one group."""
    found: dict[type[Any], Group] = {}

    def visit(value: Any, prefix: str, doc: str) -> None:
        group = found.setdefault(type(value), Group(type(value), {}, doc))
        group.members[prefix] = value
        for field in dataclasses.fields(value):
            inner = getattr(value, field.name)
            if dataclasses.is_dataclass(inner):
                visit(inner, f"{prefix}{field.name}.", field_docs(type(value)).get(field.name, ""))

    visit(config, "", "")
    return list(found.values())


def option(path: str, is_flag_on: bool = False) -> str:
    """The option of a dotted path; `is_flag_on` for a flag whose default is on."""
    *parents, name = path.replace("_", "-").split(".")
    return "--" + ".".join([*parents, f"no-{name}" if is_flag_on else name])


# --- Markdown -------------------------------------------------------------------------------------


def escape(text: str) -> str:
    """Text for a cell of a Markdown table; code spans stay."""
    parts = re.split(r"(`[^`]*`)", text.replace("|", "&#124;"))
    return "".join(
        part if part.startswith("`") else part.replace("<", "&lt;").replace("*", "&#42;")
        for part in parts
    )


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _show(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " ".join(f"`{entry}`" for entry in value) or "empty"
    if isinstance(value, str):
        shown = json.dumps(value)[1:-1].replace('\\"', '"')
        return f"`{shown}`" if value else "empty"
    return f"`{value}`"


def _default(field: str, group: Group) -> tuple[str, str]:
    """(cell of the default, what is shown below the table)."""
    by_value: dict[Any, list[str]] = collections.defaultdict(list)
    for prefix, config in group.members.items():
        by_value[getattr(config, field)].append(prefix.split(".")[0])
    cells, below = [], ""
    for value, names in by_value.items():
        where = "" if len(by_value) == 1 else f"{', '.join(names)}: "
        if isinstance(value, str) and len(value) > _LONG:
            cells.append(f"{where}see below")
            below += (
                f"\nDefault of `{'/'.join(names) + '.' if where else ''}{field}`:\n\n"
                f"~~~text\n{value.rstrip()}\n~~~\n"
            )
        else:
            cells.append(f"{where}{_show(value)}")
    return "<br>".join(cells), below


def _row(
    path: str, kind: str, default: str, doc: str, id_prefix: str = "", is_on: bool = False
) -> tuple[str, str, str]:
    """The row of a setting, with an anchor named after its option."""
    shown = option(path, is_flag_on=kind == "flag" and is_on)
    anchor = f'<a id="{id_prefix}{option(path)[2:]}"></a>'
    return f"{anchor}`{shown}`<br><small>{escape(kind)}</small>", default, escape(doc)


def group_table(group: Group, id_prefix: str = "") -> str:
    """The table of a group, with an anchor for each setting, and its long defaults below."""
    hints = typing.get_type_hints(group.config_type, include_extras=True)
    docs = field_docs(group.config_type)
    prefix = next(iter(group.members))
    if len(group.members) > 1:
        prefix = _SHARED_PREFIX + "." + prefix.partition(".")[2]
    rows, below = [], ""
    for field in dataclasses.fields(group.config_type):
        if any(dataclasses.is_dataclass(getattr(c, field.name)) for c in group.members.values()):
            continue
        path = f"{prefix}{field.name}"
        kind = describe_type(hints[field.name])
        values = [getattr(config, field.name) for config in group.members.values()]
        default, more = _default(field.name, group)
        below += more
        doc = docs.get(field.name, "")
        rows.append(_row(path, kind, default, doc, id_prefix, all(values)))
    return table(("Setting", "Default", "Meaning"), rows) + below if rows else ""


def _summary(config_type: type[Any]) -> str:
    """The class's docstring; each paragraph a line."""
    paragraphs = inspect.cleandoc(config_type.__doc__ or "").split("\n\n")
    return escape("\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs))


def _nested_heading(group: Group) -> str:
    names = [prefix.rstrip(".") for prefix in group.members]
    if len(names) == 1:
        return names[0]
    suffix = names[0].partition(".")[2]
    return ", ".join(name.partition(".")[0] for name in names) + (f": {suffix}" if suffix else "")


def settings_page(page: Page) -> str:
    """The Markdown of a page of settings."""
    parts = [f"# {page.title}\n\n{page.intro}\n"]
    for command, config_type in page.commands.items():
        name, _, rest = command.partition(" ")
        script = f"python launch/{SCRIPTS[name]} {rest}".rstrip()
        parts.append(
            f"## codepmp {command}\n\nFrom a checkout: `{script}`. {_summary(config_type)}\n"
        )
        own = groups(config_type())
        if page.same_as:
            base = PAGES[page.same_as]
            inherited = {f.name for b in base.commands.values() for f in dataclasses.fields(b)}
            parts.append(
                f"Takes every setting of [{base.title}]({page.same_as}.md), presets included, and:\n"
            )
            parts.append(_own_table(config_type, inherited))
            continue
        id_prefix = f"{rest or name}." if len(page.commands) > 1 else ""
        for group in own:
            heading = _nested_heading(group)
            if heading:
                shared = (
                    f"`{_SHARED_PREFIX}` stands for each of them.\n\n"
                    if len(group.members) > 1
                    else ""
                )
                doc = " ".join(filter(None, (group.doc, _summary(group.config_type))))
                parts.append(f"### {heading}\n\n{doc}\n\n{shared}")
            parts.append(group_table(group, id_prefix))
            parts += _other_objectives(group)
    return "\n".join(parts)


def _other_objectives(group: Group) -> Iterator[str]:
    """The tables of the objectives that may stand in the place of the group's, which a preset chooses."""
    if not issubclass(group.config_type, ObjectiveConfig):
        return
    for name, kind in ObjectiveConfig.KINDS.items():
        if kind is not group.config_type and kind.__module__.startswith("codepmp_jax."):
            (prefix,) = group.members
            other = Group(kind, {prefix: kind()})
            heading = f"{prefix.rstrip('.')}, objective {name}"
            yield f"### {heading}\n\n{_summary(kind)}\n\n"
            yield group_table(other, f"{name}.")


def _own_table(config_type: type[Any], inherited: set[str]) -> str:
    """The table of the fields that are not `inherited`."""
    hints, docs = typing.get_type_hints(config_type, include_extras=True), field_docs(config_type)
    rows = [
        _row(field.name, describe_type(hints[field.name]), _show(field.default), docs[field.name])
        for field in dataclasses.fields(config_type)
        if field.name not in inherited
    ]
    return table(("Setting", "Default", "Meaning"), rows)


def commands_table() -> str:
    """Every subcommand, its script and its page of settings."""
    rows = []
    for slug, page in PAGES.items():
        for command, config_type in page.commands.items():
            name, _, rest = command.partition(" ")
            script = f"launch/{SCRIPTS[name]} {rest}".rstrip()
            first = _summary(config_type).split("\n")[0]
            rows.append((f"[`codepmp {command}`]({slug}.md)", f"`{script}`", first))
    return table(("Command", "Script", "What it does"), rows)


def presets_table() -> str:
    """Every preset: command, what its docstring says, and the settings that differ from the defaults."""
    parts = []
    for path in sorted(presets.CONFIGS.glob("*.py")):
        if path.stem.startswith("_"):
            continue
        config = presets.load_preset(path.stem)
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        # Indented lines are commands.
        text = re.sub(
            r"(?m)(?:^ {4}.*\n?)+",
            lambda lines: f"```text\n{textwrap.dedent(lines[0]).rstrip()}\n```\n",
            doc,
        )
        rows = [
            (f"`{name}`", _show(value) if len(str(value)) <= 4 * _LONG else "see the preset")
            for name, value in _changed(config, type(config)())
        ]
        parts.append(f"## {path.stem}\n\n{text}\n\n{table(('Setting', 'Value'), rows)}")
    return "\n".join(parts)


def _changed(config: Any, default: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted path, value) of every setting that is not the default."""
    for field in dataclasses.fields(config):
        value, usual = getattr(config, field.name), getattr(default, field.name)
        if isinstance(value, ObjectiveConfig) and type(value) is not type(usual):
            yield f"{prefix}{field.name}.objective", value.objective
            usual = type(value)()
        if dataclasses.is_dataclass(value):
            yield from _changed(value, usual, f"{prefix}{field.name}.")
        elif value != usual:
            yield f"{prefix}{field.name}", value


def record_table(name: str) -> str:
    """The fields of a record or of an object of a JSON line."""
    record = getattr(schema, name)
    docs = field_docs(record)
    rows = [
        (f"`{field.name}`", f"`{field.type}`", escape(docs.get(field.name, "")))
        for field in dataclasses.fields(record)
    ]
    version = getattr(record, "schema_version", None)
    head = f"{_summary(record)}{f' Schema version {version}.' if version else ''}\n\n"
    return head + table(("Field", "Type", "Meaning"), rows)


def exit_codes_table() -> str:
    """The constants of the module of exit codes, with the comment above each."""
    source = inspect.getsource(exit_codes)
    rows = [
        (
            int(status),
            f"`{name}`",
            escape(" ".join(line.strip("# ") for line in comment.splitlines())),
        )
        for comment, name, status in re.findall(r"((?:^#.*\n)+)^([A-Z_]+) = (\d+)$", source, re.M)
    ]
    rows.append((0, "", "The run is done."))
    return table(("Status", "Constant", "Meaning"), [(str(n), *rest) for n, *rest in sorted(rows)])


def result(name: str) -> str:
    """A page of benchmarks/results without its title, its plots, which lie beside it, and its JSON."""
    text = (RESULTS / f"{name}.md").read_text(encoding="utf-8")
    text = re.sub(r"^# .*\n|^!\[.*\n|^```json\n[\s\S]*?\n```\n", "", text, flags=re.M)
    # Its sections are below a section of the page.
    return text.replace("\n## ", "\n#### ").strip("\n")


def layers_table() -> str:
    """The layers of packages in the test of the architecture, top first, with what each package is for."""
    tree = ast.parse((ROOT / "tests" / "test_architecture.py").read_text(encoding="utf-8"))
    (layers,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LAYERS"
    )
    rows = []
    for number, packages in reversed([*enumerate(layers, start=1)]):
        for package in packages:
            source = (ROOT / "codepmp_jax" / package / "__init__.py").read_text(encoding="utf-8")
            first, *_, enters = (ast.get_docstring(ast.parse(source)) or "").split("\n\n")
            enters = " ".join(enters.removeprefix("Enters: ").split())
            rows.append(
                (str(number), f"`{package}`", escape(" ".join(first.split())), escape(enters))
            )
    return table(("Layer", "Package", "What it is for", "What may enter"), rows)


MARKERS = {
    "layers": layers_table,
    "commands": commands_table,
    "presets": presets_table,
    "record": record_table,
    "exit_codes": exit_codes_table,
    "result": result,
}


def fill(markdown: str) -> str:
    """The page with what its markers, `{{ NAME }}` or `{{ NAME ARGUMENT }}` on a line, stand for."""

    def replace(found: re.Match[str]) -> str:
        return MARKERS[found[1]](*found[2].split())

    return re.sub(r"^\{\{ (\w+)(.*) \}\}$", replace, markdown, flags=re.M)
