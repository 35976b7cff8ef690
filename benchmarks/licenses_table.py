"""Licenses: what is let in as permissive of a table of folders, and what of installed packages.

    python benchmarks/licenses_table.py

The table's folders hold licenses of installed packages and of Debian's /usr/share/common-licenses: as they are, in
other layouts, shortened, and with what restricts them (Commons Clause, a change date, non-commercial use, lists of
third parties) around them. Then the license files of each installed package are compared with what its metadata
declares. A folder is let in if its files pass `--filter.licenses MIT Apache-2.0 BSD-2-Clause BSD-3-Clause ISC`.
Prints tables and one line of JSON, and writes both to `benchmarks/results/licenses_table.md`. `--before` puts the
figures of an earlier run beside them.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import pathlib
import re
import tempfile
import textwrap
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from page import Page

from codepmp_jax.corpus import licenses
from codepmp_jax.corpus.checkouts import license_of

PERMISSIVE = ("MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC")
COMMON = pathlib.Path("/usr/share/common-licenses")

# Packages of the core install and files of theirs.
SOURCES = {"MIT": "annotated-types", "Apache-2.0": "jax", "BSD-3-Clause": "jinja2"}

# {} is the license; each restricts it, or is about something else.
RESTRICTED = {
    "commons clause before": '"Commons Clause" License Condition v1.0\n\nThe Software is provided to you by the '
    "Licensor under the License, as defined below, subject to the following condition: the right to Sell the "
    "Software is not granted.\n\n{}",
    "commons clause behind": "{}\n\nCommons Clause License Condition v1.0: you may not sell the Software.",
    "BUSL": "Business Source License 1.1\n\nLicensor: A Co.\nLicensed Work: B 1.0\nAdditional Use Grant: None\n"
    "Change Date: 2030-01-01\nChange License: as below\n\nOn the Change Date this license applies:\n\n{}",
    "FSL": "# Functional Source License, Version 1.1\n\nA Competing Use is making the Software available to others "
    "in a commercial product.\n\n## Grant of Future License\n\nOn the second anniversary:\n\n{}",
    "non-commercial": "For non-commercial use only.\n\n{}",
    "noncommercial behind": "{}\nThe above permission is limited to noncommercial purposes.",
    "academic": "This software is free for academic and research use.\n\n{}",
    "evaluation": "Evaluation copy. After 30 days of evaluation a license must be bought.\n\n{}",
    "proprietary with notices": "Copyright 2021 Some Company. All rights reserved. No license is granted.\n\nThird "
    "party notices: the file vec.c is under this license:\n\n{}",
    "third parties only": "This product includes third-party software under these licenses.\n\nlibvec 1.2:\n\n{}",
    "one file only": "The file sort.c is under the following license, the rest is not:\n\n{}",
    "enterprise": "The folder ee/ is commercial and needs a subscription. All else:\n\n{}",
    "no military": "{}\nThe Software must not be used for military purposes.",
    "do no harm": "{}\n\nThe software may not be used by organisations that do harm (Hippocratic).",
    "no training": "{}\n\nIt is prohibited to use this code for the training of machine learning models.",
    "no resale": "{}\n\nYou may not sell copies of the Software.",
    "quoted in prose": "Our terms of service\n\nSection 1. You accept these terms by using the product. The product "
    "is ours, you pay for it every month, and we may end your access at any time.\n" * 12 + "\nParts:\n\n{}",
    "additional terms": "{}\n\nAdditional terms: the name of the product must be shown on every page, at least 20 pt.",
}  # fmt: skip
PLAIN = {
    "as it is": "{}",
    "CRLF": "{crlf}",
    "reflowed": "{reflowed}",
    "as a comment": "{comment}",
    "in Markdown": "# License\n\n```\n{}\n```\n",
    "in quotes": "{quoted}",
    "capitals": "{upper}",
    "more owners": "Copyright (c) 2019 Ada\nCopyright (c) 2020-2023 The Authors and contributors\nCopyright 2021 B "
    "Co. All rights reserved.\n\n{}",
    "indented": "{indented}",
    "a project's name before": "Libfoo\n======\n\n{}",
}


class Folder(NamedTuple):
    """A folder of the table."""

    kind: str
    files: dict[str, str]
    is_permissive: bool


def text_of(package: str) -> str:
    """The license file of an installed package."""
    (found,) = [
        path for path in importlib.metadata.files(package) or () if path.name.startswith("LICENSE")
    ]
    return found.read_text(encoding="utf-8")


def _fill(template: str, text: str) -> str:
    forms = {
        "{crlf}": text.replace("\n", "\r\n"),
        "{reflowed}": "\n\n".join(
            textwrap.fill(part, 60) for part in re.split(r"\n\s*\n", text) if part.strip()
        ),
        "{comment}": textwrap.indent(text, "# ", lambda _: True),
        "{quoted}": textwrap.indent(text, "> "),
        "{indented}": textwrap.indent(text, "    "),
        "{upper}": text.upper(),
        "{}": text,
    }
    for name, form in forms.items():
        template = template.replace(name, form)
    return template


def table() -> Iterator[Folder]:
    """The folders."""
    texts = {name: text_of(package) for name, package in SOURCES.items()}
    for text in texts.values():
        for template in RESTRICTED.values():
            yield Folder("restricted", {"LICENSE": _fill(template, text)}, False)
        for template in PLAIN.values():
            yield Folder("permissive", {"LICENSE": _fill(template, text)}, True)
    mit, apache = texts["MIT"], texts["Apache-2.0"]
    for name in sorted(path.name for path in COMMON.iterdir()) if COMMON.is_dir() else ():
        is_permissive = name in ("Apache-2.0", "BSD")
        yield Folder("common", {"COPYING": (COMMON / name).read_text("utf-8")}, is_permissive)
        if not is_permissive:
            copyleft = (COMMON / name).read_text("utf-8")
            yield Folder("several", {"COPYING": copyleft, "LICENSE.txt": mit}, False)
            yield Folder("several", {"LICENSE": copyleft, "LICENSE-fonts": mit}, False)
            yield Folder("several", {"LICENSE": f"{copyleft}\n\n{mit}"}, False)
    for files, is_permissive in (
        ({"LICENSE-MIT": mit, "LICENSE-APACHE": apache}, True),
        ({"LICENSE-MIT": mit, "LICENSE-COMMERCIAL": "Ask us."}, False),
        ({"LICENSE": mit, "LICENSE-docs": "CC BY-NC 4.0"}, True),
        ({"LICENSE": mit, "package.json": '{"license": "MIT"}'}, True),
        ({"LICENSE": mit, "package.json": '{"license": "UNLICENSED"}'}, False),
        ({"LICENSE": mit, "package.json": '{"license": "GPL-3.0-only"}'}, False),
        ({"package.json": '{"license": "(MIT OR GPL-3.0)"}'}, True),
        ({"package.json": '{"license": "SEE LICENSE IN EULA.txt"}'}, False),
        ({"package.json": '{"name": "a"}'}, False),
        ({"Cargo.toml": '[package]\nlicense = "MIT OR Apache-2.0"\n'}, True),
        ({"Cargo.toml": '[package]\nlicense = "MIT AND GPL-2.0-only"\n'}, False),
        ({"pyproject.toml": '[project]\nlicense = "BSD-3-Clause"\n'}, True),
        ({"pyproject.toml": '[project]\nlicense = {text = "Proprietary"}\n'}, False),
        ({"a.gemspec": "Gem::Specification.new do |s|\n  s.licenses = ['MIT']\nend\n"}, True),
        ({"LICENSE": "SPDX-License-Identifier: MIT OR GPL-2.0-only\n"}, True),
        ({"LICENSE": "SPDX-License-Identifier: MIT AND GPL-3.0-only\n"}, False),
        ({"LICENSE": "SPDX-License-Identifier: LicenseRef-Proprietary\n"}, False),
        ({"LICENSE": "All rights reserved.\n"}, False),
        ({"LICENSE": "MIT\n"}, False),
        ({"LICENSE": "See the file COPYING.\n"}, False),
        ({"README.md": "MIT licensed"}, False),
    ):
        yield Folder("several" if len(files) > 1 else "declared", files, is_permissive)


_PERMISSIVE = frozenset(name.lower() for name in PERMISSIVE)


def is_let_in(files: dict[str, str]) -> tuple[bool, str]:
    """(whether the folder's code passes the filter, its license)."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for file, text in files.items():
            (folder / file).write_text(text, encoding="utf-8", newline="")
        found = license_of(folder)
    return licenses.allows(found, _PERMISSIVE), found


def measure() -> dict[str, dict[str, int]]:
    """By kind: folders, permissive ones, those let in rightly and wrongly."""
    counts: dict[str, dict[str, int]] = {}
    for folder in table():
        row = counts.setdefault(
            folder.kind, {"folders": 0, "permissive": 0, "rightly": 0, "wrongly": 0}
        )
        let_in, _ = is_let_in(folder.files)
        row["folders"] += 1
        row["permissive"] += folder.is_permissive
        row["rightly" if folder.is_permissive else "wrongly"] += let_in
    return counts


def totals(counts: dict[str, dict[str, int]]) -> dict[str, float]:
    """Precision and recall of what is let in."""
    rightly, wrongly, permissive = (
        sum(row[name] for row in counts.values()) for name in ("rightly", "wrongly", "permissive")
    )
    return {"precision": rightly / (rightly + wrongly), "recall": rightly / permissive}


def packages() -> dict[str, Any]:
    """Of installed packages with a license file and SPDX metadata: what is let in by files, and by metadata."""
    counts = {"packages": 0, "permissive": 0, "rightly": 0, "wrongly": 0}
    wrong, seconds = [], 0.0
    for package in importlib.metadata.distributions():
        declared = "".join(package.metadata.get_all("License-Expression") or ())
        texts = [
            path
            for path in package.files or ()
            if ".dist-info" in str(path)
            and re.match(r"licen[cs]e|copying", path.name, re.IGNORECASE)
            and len(path.parts) <= 3
        ]
        if not declared or not texts:
            continue
        files = {path.name: path.read_binary().decode(errors="replace") for path in texts}
        is_permissive = licenses.allows(declared, _PERMISSIVE)
        started = time.process_time()
        let_in, found = is_let_in(files)
        seconds += time.process_time() - started
        counts["packages"] += 1
        counts["permissive"] += is_permissive
        if let_in:
            counts["rightly" if is_permissive else "wrongly"] += 1
        if let_in != is_permissive:
            wrong.append(f"{package.name} (declares {declared}, files {found or 'nothing'})")
    return counts | {"ms": round(seconds / counts["packages"] * 1000, 2), "differ": sorted(wrong)}


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description="Measures the recognition of licenses.")
    parser.add_argument("--before", type=pathlib.Path, help="JSON of an earlier run")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here and no page")
    arguments = parser.parse_args()
    counts = measure()
    figures = {"table": counts, "totals": totals(counts), "packages": packages()}
    if arguments.json:
        arguments.json.write_text(json.dumps(figures))
        return
    runs = {"": figures}
    if arguments.before:
        runs = {"before: ": json.loads(arguments.before.read_text()), "": figures}
    names = ("rightly", "wrongly")
    heads = [f"{run}let in {name}" for run in runs for name in names]
    rows = [
        f"| folders | number | permissive | {' | '.join(heads)} |",
        "|---" * (3 + len(heads)) + "|",
    ]
    for kind, row in counts.items():
        cells = [str(run["table"][kind][name]) for run in runs.values() for name in names]
        rows.append(f"| {kind} | {row['folders']} | {row['permissive']} | {' | '.join(cells)} |")
    row = figures["packages"]
    cells = [str(run["packages"][name]) for run in runs.values() for name in names]
    rows.append(
        f"| installed packages | {row['packages']} | {row['permissive']} | {' | '.join(cells)} |"
    )
    rows += ["", "| table | precision | recall | ms a folder |", "|---" * 4 + "|"]
    for name, run in runs.items():
        total = run["totals"]
        rows.append(
            f"| {name.rstrip(': ') or 'now'} | {total['precision']:.3f} | {total['recall']:.3f} | {run['packages']['ms']} |"
        )
    rows += ["", "Packages whose files and metadata differ: " + "; ".join(row["differ"]) + "."]
    note = f"Let in are {', '.join(PERMISSIVE)}. Of installed packages the metadata's expression counts as right."
    print(Page("licenses_table", "Licenses let in").write(note, "\n".join(rows), **figures))


if __name__ == "__main__":
    main()
