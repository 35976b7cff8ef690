"""Secrets: what is found of a labelled table of lines, and what is taken for a secret and is none.

    python benchmarks/secrets_table.py

`benchmarks/tables/secrets.txt` says of each line which parts are secrets. A secret counts as found if its whole
text is gone, a line as damaged if anything else of it has changed. Then the cleaning of installed Python packages is
timed, and what it takes for a secret there is counted by kind. Prints tables and one line of JSON, and writes both
to `benchmarks/results/secrets_table.md`. `--before` puts the figures of an earlier run beside them.
"""

from __future__ import annotations

import argparse
import base64
import collections
import json
import pathlib
import random
import re
import string
import sysconfig
import time
import zlib
from typing import Any, NamedTuple

from page import Page

from codepmp_jax.config import SecretsConfig
from codepmp_jax.corpus.secrets import clean

TABLE = pathlib.Path(__file__).parent / "tables" / "secrets.txt"
REPLACE = SecretsConfig(secrets="replace", emails="replace")

_ALPHABETS = {
    "hex": "0123456789abcdef",
    "HEX": "0123456789ABCDEF",
    "alnum": string.ascii_letters + string.digits,
    "lower": string.ascii_lowercase + string.digits,
    "upper": string.ascii_uppercase + string.digits,
    "letters": string.ascii_letters,
    "digits": string.digits,
    "base32": string.ascii_uppercase + "234567",
    "base64": string.ascii_letters + string.digits + "+/",
    "base64url": string.ascii_letters + string.digits + "-_",
    "dna": "ACGT",
}
_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_DRAWN = re.compile(r"⟨(\w+):(\d+)⟩")
_MARKED = re.compile(r"«(.*?)»", re.DOTALL)
_PLACEHOLDER = "<(?:KEY|EMAIL|PASSWORD)>"


class Line(NamedTuple):
    """A line of the table."""

    kind: str
    text: str
    secrets: list[str]
    """What must go, in order."""
    cleaned: re.Pattern[str]
    """What must be left."""


def drawn(alphabet: str, count: int, draw: random.Random) -> str:
    """Random characters; of `crc`, as of GitHub's tokens, the last six are a checksum of the others."""
    if alphabet == "jwt":
        parts = [{"alg": "HS256", "typ": "JWT"}, {"sub": drawn("digits", 10, draw), "name": "Ada"}]
        encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts]
        return ".".join(part.rstrip("=") for part in encoded) + "." + drawn("base64url", 43, draw)
    if alphabet == "crc":
        body = drawn("alnum", count - 6, draw)
        checksum = zlib.crc32(body.encode())
        digits = "".join(_BASE62[checksum // 62**i % 62] for i in range(5, -1, -1))
        return body + digits
    return "".join(draw.choices(_ALPHABETS[alphabet], k=count))


def read(path: pathlib.Path = TABLE, seed: int = 0) -> list[Line]:
    """The lines of the table with its keys drawn."""
    lines = []
    for number, row in enumerate(path.read_text(encoding="utf-8").splitlines()):
        if not row or row.startswith("#"):
            continue
        draw = random.Random(f"{seed}:{number}")
        kind, _, marked = row.partition("\t")
        marked = _DRAWN.sub(lambda found, d=draw: drawn(found[1], int(found[2]), d), marked)
        marked = marked.replace("⏎", "\n")
        kept = map(re.escape, _MARKED.split(marked)[::2])
        lines.append(
            Line(
                kind,
                _MARKED.sub(r"\1", marked),
                _MARKED.findall(marked),
                re.compile(_PLACEHOLDER.join(kept)),
            )
        )
    return lines


def judge(line: Line) -> tuple[int, bool]:
    """(secrets that are gone, whether anything else has changed)."""
    cleaned, _ = clean(line.text, REPLACE)
    assert cleaned is not None
    found = sum(secret not in cleaned for secret in line.secrets)
    if found == len(line.secrets):
        return found, line.cleaned.fullmatch(cleaned) is None
    # A secret that is missed stands where it stood.
    parts = [f"(?:{_PLACEHOLDER}|{re.escape(secret)})" if secret else "" for secret in line.secrets]
    kept = [re.escape(part) for part in _kept(line)]
    pattern = "".join(part for pair in zip(kept, [*parts, ""], strict=True) for part in pair)
    return found, re.fullmatch(pattern, cleaned) is None


def _kept(line: Line) -> list[str]:
    rest, kept = line.text, []
    for secret in line.secrets:
        before, _, rest = rest.partition(secret)
        kept.append(before)
    return [*kept, rest]


def measure(lines: list[Line]) -> dict[str, dict[str, int]]:
    """By kind: lines, secrets, found ones, damaged lines."""
    counts: dict[str, dict[str, int]] = {}
    for line in lines:
        row = counts.setdefault(line.kind, {"lines": 0, "secrets": 0, "found": 0, "damaged": 0})
        found, damaged = judge(line)
        row["lines"] += 1
        row["secrets"] += len(line.secrets)
        row["found"] += found
        row["damaged"] += damaged
    return counts


def totals(counts: dict[str, dict[str, int]]) -> dict[str, float]:
    """Precision (found ones among replacements) and recall over all kinds."""
    found, damaged, secrets = (
        sum(row[name] for row in counts.values()) for name in ("found", "damaged", "secrets")
    )
    return {"precision": found / (found + damaged), "recall": found / secrets}


def real_code(most: int) -> dict[str, Any]:
    """What is found in installed packages, by kind, and the time a kB takes."""
    root = pathlib.Path(sysconfig.get_path("purelib"))
    paths = sorted(path for path in root.rglob("*.py") if path.stat().st_size < 100_000)
    texts = []
    for path in random.Random(0).sample(paths, min(most, len(paths))):
        texts.append(path.read_text(encoding="utf-8", errors="replace"))
    clean("", REPLACE)
    found: collections.Counter[str] = collections.Counter()
    started = time.process_time()
    for text in texts:
        found += clean(text, REPLACE)[1]
    seconds = time.process_time() - started
    size = sum(map(len, texts))
    return {
        "files": len(texts),
        "characters": size,
        "ms_per_kB": round(seconds / size * 1e6, 4),
        "found": dict(found.most_common()),
    }


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description="Measures the detectors of secrets.")
    parser.add_argument("--files", type=int, default=3000, help="files of real code")
    parser.add_argument("--before", type=pathlib.Path, help="JSON of an earlier run")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here and no page")
    arguments = parser.parse_args()
    counts = measure(read())
    figures = {"table": counts, "totals": totals(counts), "code": real_code(arguments.files)}
    if arguments.json:
        arguments.json.write_text(json.dumps(figures))
        return
    runs = {"": figures}
    if arguments.before:
        runs = {"before: ": json.loads(arguments.before.read_text()), "": figures}
    names = ["found", "damaged"]
    heads = [f"{run}{name}" for run in runs for name in names]
    rows = [f"| kind | lines | secrets | {' | '.join(heads)} |", "|---" * (3 + len(heads)) + "|"]
    for kind, row in counts.items():
        cells = [str(run["table"][kind][name]) for run in runs.values() for name in names]
        rows.append(f"| {kind} | {row['lines']} | {row['secrets']} | {' | '.join(cells)} |")
    rows += [
        "",
        "| | precision | recall | ms a kB of real code | found in real code |",
        "|---" * 5 + "|",
    ]
    for name, run in runs.items():
        code = run["code"]
        kinds = ", ".join(f"{count} {kind}" for kind, count in code["found"].items())
        total = run["totals"]
        rows.append(
            f"| {name or 'now'} | {total['precision']:.3f} | {total['recall']:.3f} | "
            f"{code['ms_per_kB']:.3f} | {kinds} |"
        )
    note = (
        "A line is damaged if something else than the marked secrets has changed; each counts as one wrong "
        f"replacement. Real code: {figures['code']['files']} files of installed packages, "
        f"{figures['code']['characters'] / 1e6:.1f} MB."
    )
    print(Page("secrets_table", "Secrets found").write(note, "\n".join(rows), **figures))


if __name__ == "__main__":
    main()
