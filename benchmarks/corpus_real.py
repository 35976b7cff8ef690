"""What the corpus makes of real code: functions found, counts by language and reason.

    python benchmarks/corpus_real.py --input DIR [DIR ...] --compare BEFORE=DIR/report.json

Without --input: the standard library and some packages of the running interpreter. `--compare` shows reports of
other runs, of another commit for example, in columns of their own. Two measurements:

- functions that the corpus finds against those that a tree-sitter query of the language finds, which knows nothing of the
  corpus' own rules (`QUERIES`); Python's against `ast.walk`;
- `corpus` with every filter on, `--unit definition` and `--unit file`: what is kept and dropped, by reason.

Prints tables and one line of JSON, and writes both to `benchmarks/results/corpus_real.md`.
"""

from __future__ import annotations

import argparse
import ast
import collections
import dataclasses
import json
import pathlib
import re
import shutil
import sys
import sysconfig
import time
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

from page import Page

from codepmp_jax.config import CorpusConfig, DecontaminationConfig, DedupConfig, SecretsConfig
from codepmp_jax.corpus import readers
from codepmp_jax.corpus.build import build_corpus
from codepmp_jax.corpus.files import File
from codepmp_jax.text.definitions import Definition, definitions, has_definitions

# Functions with a body, their names where the grammar has a field for them. What lies in another match is left out.
_SCRIPT = """
(function_declaration name: (_) @name) @f
(generator_function_declaration name: (_) @name) @f
(method_definition name: (_) @name) @f
(variable_declarator name: (_) @name value: [(arrow_function) (function_expression)]) @f
(assignment_expression left: (member_expression property: (_) @name)
  right: [(arrow_function) (function_expression)]) @f
(pair key: (_) @name value: [(arrow_function) (function_expression)]) @f
"""
_CPP = """
(function_definition declarator: (_) @name body: (_)) @f
"""
QUERIES = {
    "c": _CPP,
    "c++": _CPP,
    "c-sharp": """
(method_declaration name: (_) @name body: (_)) @f
(constructor_declaration name: (_) @name body: (_)) @f
(operator_declaration body: (_)) @f
""",
    "go": """
(function_declaration name: (_) @name body: (_)) @f
(method_declaration name: (_) @name body: (_)) @f
""",
    "java": """
(method_declaration name: (_) @name body: (_)) @f
(constructor_declaration name: (_) @name body: (_)) @f
""",
    "javascript": _SCRIPT + "(field_definition property: (_) @name value: (arrow_function)) @f",
    "kotlin": "(function_declaration (simple_identifier) @name (function_body)) @f",
    "lua": """
(function_declaration name: (_) @name) @f
(assignment_statement (variable_list) @name (expression_list . (function_definition) .)) @f
""",
    "perl": "(subroutine_declaration_statement name: (_) @name) @f",
    "php": """
(function_definition name: (_) @name body: (_)) @f
(method_declaration name: (_) @name body: (_)) @f
""",
    "ruby": """
(method name: (_) @name) @f
(singleton_method name: (_) @name) @f
""",
    "rust": "(function_item name: (_) @name) @f",
    "scala": "(function_definition name: (_) @name) @f",
    "shell": "(function_definition name: (_) @name) @f",
    "swift": """
(function_declaration "func" . (_) @name (function_body)) @f
(init_declaration (function_body)) @f
""",
    "tsx": _SCRIPT,
    "typescript": _SCRIPT + "(public_field_definition name: (_) @name value: (arrow_function)) @f",
}


_PACKAGES = ("numpy", "networkx", "pygments")


def by_query(code: str, language: str) -> list[tuple[int, str]]:
    """(line, name) of the outermost functions, by the language's query; of Python by ast."""
    if language == "python":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
        found, waiting = [], list(tree.body)
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                decorators = [one.lineno for one in node.decorator_list]
                found.append((min([node.lineno, *decorators]), node.name))
            else:
                waiting += [c for c in ast.iter_child_nodes(node) if not isinstance(c, ast.expr)]
        return found
    import tree_sitter
    import tree_sitter_language_pack

    from codepmp_jax.text.languages import _GRAMMARS

    grammar = tree_sitter_language_pack.get_language(_GRAMMARS[language])  # type: ignore[arg-type]
    root = tree_sitter.Parser(grammar).parse(code.encode(errors="replace")).root_node
    cursor = tree_sitter.QueryCursor(tree_sitter.Query(grammar, QUERIES[language]))
    matches = [
        (found["f"][0], found["name"][0] if "name" in found else None)
        for _, found in cursor.matches(root)
    ]
    matches.sort(key=lambda match: (match[0].start_byte, -match[0].end_byte))
    kept, end = [], -1
    for node, name in matches:
        if node.start_byte >= end:
            text = (name.text or b"").decode(errors="replace") if name is not None else ""
            kept.append(((name or node).start_point[0] + 1, text))
            end = node.end_byte
    return kept


def by_corpus(file: File) -> list[Definition]:
    """The functions that the corpus finds in a file of another language than Python."""
    return [one for one in definitions(file.content, file.language) if one.kind == "function"]


def _files(folder: str, config: CorpusConfig) -> Iterator[File]:
    config = dataclasses.replace(config, input=folder)
    source = readers.open_input(config)
    for part in readers.plan(source, config):
        items = [readers.Item(*item) for item in json.loads(json.dumps(part))]
        for file in readers.read(items, source, config):
            if isinstance(file, File):
                yield file


def functions_found(folders: list[str], config: CorpusConfig) -> list[dict[str, Any]]:
    """A row a language: files, functions by query, those of them found, named alike, described; crashes."""
    rows: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for folder in folders:
        for file in _files(folder, config):
            if file.language not in QUERIES or not has_definitions(file.language):
                continue
            row = rows[file.language]
            row["files"] += 1
            started = time.process_time()
            try:
                ours = by_corpus(file)
            except Exception:
                traceback.print_exc()
                row["crashes"] += 1
                continue
            row["microseconds"] += int((time.process_time() - started) * 1e6)
            row["bytes"] += len(file.content)
            lines: dict[int, set[str]] = collections.defaultdict(set)
            for one in ours:
                row["found"] += 1
                row["described"] += bool(one.comment)
                row["unparsable"] += not one.is_parsable
                row["without_name"] += not one.name
                for line in range(one.line, one.line + one.content.count("\n") + 1):
                    lines[line].add(one.name)
            for line, name in by_query(file.content, file.language):
                row["by_query"] += 1
                row["of_them_found"] += bool(lines[line])
                if file.language in ("c", "c++"):  # up to the parameters
                    called = re.search(r"(operator\s*\W+?|~?\w+)\s*\(", name)
                    name = called[1].replace(" ", "") if called else ""
                bare = name.strip("\"'`").rpartition(".")[2].rpartition(":")[2]
                row["named_alike"] += any(bare in one for one in lines[line])
    return [{"language": language} | row for language, row in sorted(rows.items())]


def counts(folder: str, output: pathlib.Path, unit: str) -> dict[str, Any]:
    """The report of a corpus of one folder, with every filter on."""
    shutil.rmtree(output, ignore_errors=True)
    config = CorpusConfig(
        input=folder,
        output=str(output),
        languages=(),
        exclude=(*CorpusConfig().exclude, ".git"),
        unit=unit,  # type: ignore[arg-type]
        secrets=SecretsConfig(secrets="replace", emails="replace"),
        dedup=DedupConfig(near=True),
        decontamination=DecontaminationConfig(human_eval=True),
        num_workers=1,
    )
    started = time.process_time()
    report = build_corpus(config)
    report["processor_seconds"] = round(time.process_time() - started, 1)
    return report


def function_table(rows: list[dict[str, Any]]) -> str:
    """Markdown: a row a language."""
    lines = [
        "| language | files | by query | of them found | named alike | found in all | with a description | "
        "not parsable | without a name | crashes | ms per kB |",
        "|---" * 11 + "|",
    ]
    for row in rows:
        number = collections.Counter(row)
        cells = [row["language"], number["files"], number["by_query"]]
        cells += [
            f"{number[name]} ({number[name] / max(1, number['by_query']):.1%})"
            for name in ("of_them_found", "named_alike")
        ]
        cells += [
            number["found"],
            f"{number['described']} ({number['described'] / max(1, number['found']):.0%})",
            number["unparsable"],
            number["without_name"],
            number["crashes"],
            f"{number['microseconds'] / max(1, number['bytes']):.2f}",
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def report_table(reports: dict[str, dict[str, Any]]) -> str:
    """Markdown: a row a count, a column a run."""
    rows: dict[str, dict[str, Any]] = collections.defaultdict(dict)
    for name, report in reports.items():
        for part in ("files", "texts"):
            rows[f"{part} found"][name] = report[part]["found"]
            rows[f"{part} kept"][name] = report[part]["kept"]
            for reason, number in report[part]["dropped"].items():
                rows[f"{part} dropped: {reason}"][name] = number
        for language, number in report["languages"].items():
            rows[f"kept in {language}"][name] = number
        if "descriptions" in report:
            share = report["descriptions"]["name_only_share"]
            rows["functions and classes described by name and parameters only"][name] = (
                f"{share:.0%}"
            )
        if "processor_seconds" in report:
            rows["processor ms per kB"][name] = round(
                1e6 * report["processor_seconds"] / max(1, report["files"]["characters"]), 2
            )
    lines = ["| | " + " | ".join(reports) + " |", "|---" * (len(reports) + 1) + "|"]
    for row, cells in rows.items():
        lines.append(
            f"| {row} | " + " | ".join(str(cells.get(name, "")) for name in reports) + " |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measures, prints and writes the page."""
    parser = argparse.ArgumentParser(description="What the corpus makes of real code.")
    packages = pathlib.Path(sysconfig.get_path("purelib"))
    paths = [sysconfig.get_path("stdlib"), *(str(packages / name) for name in _PACKAGES)]
    parser.add_argument("--input", nargs="+", default=paths, help="folders of source code")
    parser.add_argument("--units", nargs="*", default=["definition", "file"])
    parser.add_argument("--compare", nargs="*", default=[], help="NAME=report.json of other runs")
    parser.add_argument("--output", default="runs/corpus_real", help="folder of the runs")
    arguments = parser.parse_args()
    sys.setrecursionlimit(10_000)
    page = Page("corpus_real", "The corpus on real code")
    everything = CorpusConfig(languages=(), exclude=("site-packages", ".git"))
    rows = functions_found(arguments.input, everything)
    print(function_table(rows), flush=True)
    reports = {}
    for folder in arguments.input:
        for unit in arguments.units:
            name = f"{pathlib.Path(folder).name}, {unit}"
            output = pathlib.Path(arguments.output) / f"{pathlib.Path(folder).name}-{unit}"
            for other in arguments.compare:
                label, _, path = other.partition("=")
                if label.startswith(f"{name}, "):
                    reports[label] = json.loads(pathlib.Path(path).read_text())
            reports[name] = counts(folder, output, unit)
            print(report_table(reports), flush=True)
    text = function_table(rows) + "\n\n" + report_table(reports)
    note = (
        "`of them found`: functions of the query whose name is in the lines of a function of the corpus; `found in all` "
        "counts accessors, operators and bound functions, which the queries leave out, too."
    )
    print(page.write(note, text, functions=rows))


if __name__ == "__main__":
    main()
