"""What the documentation names exists: files, tests, commands, options, presets, columns."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import re
import shlex
from collections.abc import Iterator

import pytest

from codepmp_jax.config import presets
from codepmp_jax.data.packing import COUNTS
from codepmp_jax.records import schema
from codepmp_jax.training.goodput import PHASES
from docs import reference

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "launch/README.md", *DOCS.rglob("*.md")]
)
CONFIGS = {
    name: config for page in reference.PAGES.values() for name, config in page.commands.items()
}
# Words that stand for a subcommand, or are none.
PLACEHOLDERS = ("--help", "--tyro-print-completion", "SUBCOMMAND", "SCRIPT.py")
SUBCOMMANDS = {name: command for command, name in reference.SCRIPTS.items()}


def code_spans(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", text)


def commands(text: str) -> Iterator[list[str]]:
    """The commands of indented blocks and code spans that run a stage, as `codepmp` words."""
    joined = text.replace("\\\n", " ")
    lines = re.findall(r"^ {4,}((?:codepmp|python launch/).*)$", joined, re.M)
    for line in [*lines, *(span for span in code_spans(text) if "..." not in span)]:
        words = shlex.split(line, comments=True)
        if words[:1] == ["codepmp"]:
            words = words[1:]
        elif words[:1] == ["python"] and words[1:] and words[1].startswith("launch/"):
            script = words[1].removeprefix("launch/")
            words = [SUBCOMMANDS.get(script, script), *words[2:]]
        else:
            continue
        # A command that starts another one, which follows a --.
        own, *inner = " ".join(map(shlex.quote, words)).split(" -- ")
        yield shlex.split(own)
        for rest in inner:
            after = shlex.split(rest)
            yield after[1:] if after[0] == "codepmp" else ["train", *after]


def check_command(words: list[str]) -> None:
    """Fails where a word of the command is none."""
    name = " ".join(words[:2]) if " ".join(words[:2]) in CONFIGS else words[0]
    rest = words[len(name.split()) :]
    # Commands with subcommands are named alone, too.
    if not rest and name in {command.split()[0] for command in CONFIGS}:
        return
    settings = dict(presets.flatten(CONFIGS[name]()))
    options = {"--help", "--print-config", "--config"}
    options |= {reference.option(path, on) for path in settings for on in (False, True)}
    for word, following in itertools.pairwise([*rest, ""]):
        if word.startswith("--"):
            assert word in options, f"{word} is no option of {name}"
        if word == "--config" and "." not in following and following != "NAME":
            assert isinstance(presets.load_preset(following), _preset_type(name))


def _preset_type(name: str) -> type:
    """compile-check and logprobs take the presets of train."""
    return CONFIGS["train"] if name in ("compile-check", "logprobs") else CONFIGS[name]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page):
    for words in commands(page.read_text(encoding="utf-8")):
        if words and words[0] not in PLACEHOLDERS:
            check_command(words)


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--config", "pmp_70b"],
        ["train", "--config", "synth_ngram"],
        ["train", "--data.no-such", "1"],
        ["evaluate", "grade"],
    ],
)
def test_a_command_that_is_none_is_found(words):
    with pytest.raises((AssertionError, KeyError, ValueError)):
        check_command(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_exist(page):
    text = page.read_text(encoding="utf-8")
    named = [
        span
        for span in code_spans(text)
        if re.match(r"(codepmp_jax|tests|launch|configs|benchmarks|docs)/[\w/.-]*$", span)
    ]
    links = (
        re.findall(r"\]\((?!https?:)([^)#\s]+)", text) if page.parent != DOCS / "reference" else []
    )
    assert [path for path in named if not (ROOT / path).exists()] == []
    # Pages of settings are made when the site is built, which checks links to them.
    made = {f"{slug}.md" for slug in reference.PAGES}
    missing = [
        link
        for link in links
        if not (page.parent / link).exists() and pathlib.Path(link).name not in made
    ]
    assert missing == []


def test_the_tour_leads_to_files():
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    stops = re.findall(r"^\| `(codepmp_jax/[\w/]+)` \| (`[^|]*`) \|", page, re.M)
    assert len(stops) > 15
    files = [ROOT / folder / name for folder, names in stops for name in code_spans(names)]
    assert [str(path) for path in files if not path.is_file()] == []


def test_every_promise_names_a_test():
    rows = re.findall(r"^\| (.+) \| (.+) \|$", (DOCS / "promises.md").read_text(), re.M)
    promises = [tests for promise, tests in rows if promise not in ("promise", "---", "---|---")]
    assert len(promises) > 30
    for tests in promises:
        if tests == "test":
            continue
        found = re.findall(r"`(tests/[\w/]+\.py)`", tests)
        assert found
        assert all((ROOT / path).is_file() for path in found), tests


def test_every_script_and_preset_is_in_the_reference():
    assert {path.name for path in (ROOT / "launch").glob("*.py")} == set(SUBCOMMANDS)
    assert set(CONFIGS) == set(reference.COMMANDS)
    made = reference.presets_table()
    for path in presets.CONFIGS.glob("*.py"):
        assert path.stem.startswith("_") or f"## {path.stem}\n" in made


@pytest.mark.parametrize("name", CONFIGS)
def test_every_setting_has_its_row_and_its_help(name):
    (page,) = (page for page in reference.PAGES.values() if name in page.commands)
    inherited = {
        path
        for config in (reference.PAGES[page.same_as].commands.values() if page.same_as else ())
        for path, _ in presets.flatten(config())
    }
    text = reference.settings_page(page)
    for group in reference.groups(CONFIGS[name]()):
        docs = reference.field_docs(group.config_type)
        for field in dataclasses.fields(group.config_type):
            for prefix, config in group.members.items():
                path = f"{prefix}{field.name}"
                if path in inherited or dataclasses.is_dataclass(getattr(config, field.name)):
                    continue
                assert docs.get(field.name), f"{name}: {path} has no help text"
                shown = path if len(group.members) == 1 else f"PASS.{path.partition('.')[2]}"
                options = [reference.option(shown, on) for on in (False, True)]
                assert any(f"`{option}`" in text for option in options), path


@pytest.mark.parametrize(
    "record",
    [
        schema.SourceFile,
        schema.Completion,
        schema.PreferencePair,
        schema.Problem,
        schema.Candidate,
        schema.Score,
    ],
)
def test_every_field_of_a_record_is_explained(record):
    page = (DOCS / "reference" / "formats.md").read_text(encoding="utf-8")
    assert f"{{{{ record {record.__name__} }}}}" in page
    explained = reference.field_docs(record)
    assert [f.name for f in dataclasses.fields(record) if not explained.get(f.name)] == []


def test_columns_and_phases_are_explained():
    page = (DOCS / "reference" / "formats.md").read_text(encoding="utf-8")
    for name in [*(f"data_{count}" for count in COUNTS), *PHASES]:
        assert f"`{name}`" in page, name


def test_every_result_is_on_the_page_of_performance():
    page = (DOCS / "performance.md").read_text(encoding="utf-8")
    for path in reference.RESULTS.glob("*.md"):
        assert f"{{{{ result {path.stem} }}}}" in page
        assert "```json" not in reference.result(path.stem)


def test_markers_are_filled():
    filled = reference.fill("a\n\n{{ record Score }}\n\n{{ exit_codes }}\n")
    assert "| `item_id` | `str` | pair_id or problem_id. |" in filled
    assert "| 75 | `RESUME` |" in filled
    assert "{{" not in filled
