"""Near-duplicates: libraries' signatures and indexes beside ours, against exact Jaccard similarity.

    python benchmarks/near_duplicates.py

The texts are functions of the standard library and copies of them with words replaced at several rates.
Needs datasketch beside the extra `corpus`. Prints tables and one line of JSON, and writes both to
`benchmarks/results/near_duplicates.md`.
"""

from __future__ import annotations

import argparse
import ast
import collections
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from page import Page

from codepmp_jax.config import DedupConfig
from codepmp_jax.text.near_duplicates import NearDuplicates, rows_per_band, signature

CONFIG = DedupConfig(near=True)
ROWS = rows_per_band(CONFIG.threshold, CONFIG.num_permutations)
# Lower ends of the ranges of similarity that are told apart; the last one holds 1.
LOWS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9)
BANDS = CONFIG.num_permutations // ROWS


def functions(most: int) -> list[str]:
    """Functions of the standard library of 60 to 1000 words, no two of the same words."""
    found = {}
    for path in sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("**/*.py")):
        if "site-packages" in path.parts or "data" in path.parts:
            continue
        try:
            text = path.read_text(encoding="utf-8")
            tree = ast.parse(text)
        except (SyntaxError, ValueError):
            continue
        lines = text.splitlines(keepends=True)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                code = "".join(lines[node.lineno - 1 : node.end_lineno])
                words = re.findall(r"\w+", code)
                if 60 <= len(words) <= 1000:
                    found.setdefault(tuple(words), code)
    return random.Random(0).sample(list(found.values()), most)


def edited(text: str, rate: float, draw: random.Random) -> str:
    """The text with words replaced at a rate."""
    return re.sub(
        r"\w+", lambda word: f"w{draw.randrange(10**9)}" if draw.random() < rate else word[0], text
    )


def grams(text: str) -> set[str]:
    """The set whose Jaccard similarity counts."""
    words = re.findall(r"\w+", text)
    return {
        " ".join(words[i : i + CONFIG.ngram]) for i in range(max(1, len(words) - CONFIG.ngram + 1))
    }


def jaccard(one: set[str], other: set[str]) -> float:
    """Exact similarity."""
    return len(one & other) / len(one | other)


# --- what is compared: each makes a signature of a text, and an index of signatures ----------------


class Ours:
    """The signature and index of codepmp_jax."""

    def __init__(self) -> None:
        self.index = NearDuplicates(CONFIG)

    def sign(self, text: str) -> Any:
        """A text's signature."""
        return signature(text, CONFIG)

    def random(self, draw: np.random.Generator) -> Any:
        """The signature of a text that is like no other."""
        return draw.bytes(2 * CONFIG.num_permutations)

    def add(self, key: int, signed: Any) -> bool:
        """Whether it repeats one before; it is kept if not."""
        return self.index.add(signed) is not None


class Rensa:
    """rensa's deduplicator; its bands must divide the permutations."""

    def __init__(self) -> None:
        import rensa

        self.rensa: Any = rensa
        self.index = self.rensa.RMinHashDeduplicator(
            CONFIG.threshold, CONFIG.num_permutations, True, CONFIG.num_permutations // 4, 1
        )

    def sign(self, text: str) -> Any:
        """A text's signature."""
        made = self.rensa.RMinHash(CONFIG.num_permutations, 1)
        made.update(list(grams(text)))
        return made

    def random(self, draw: np.random.Generator) -> Any:
        """The signature of a text that is like no other."""
        made = self.rensa.RMinHash(CONFIG.num_permutations, 1)
        made.update(draw.bytes(160).hex(" ", 8).split())
        return made

    def add(self, key: int, signed: Any) -> bool:
        """Whether it repeats one before; it is kept if not."""
        return not self.index.add(str(key), signed)


class Datasketch:
    """datasketch's LSH, its candidates checked against the threshold."""

    def __init__(self) -> None:
        import datasketch  # pyright: ignore[reportMissingImports]

        self.datasketch: Any = datasketch
        self.kept: dict[int, Any] = {}
        self.index = self.datasketch.MinHashLSH(
            CONFIG.threshold, CONFIG.num_permutations, params=(BANDS, ROWS)
        )

    def sign(self, text: str) -> Any:
        """A text's signature."""
        made = self.datasketch.MinHash(CONFIG.num_permutations)
        made.update_batch([gram.encode() for gram in grams(text)])
        return made

    def random(self, draw: np.random.Generator) -> Any:
        """The signature of a text that is like no other."""
        values = draw.integers(0, 2**32, CONFIG.num_permutations, np.uint32)
        return self.datasketch.MinHash(
            CONFIG.num_permutations, hashvalues=values, scheme="affine32"
        )

    def add(self, key: int, signed: Any) -> bool:
        """Whether it repeats one before; it is kept if not."""
        found = self.index.query(signed)
        if any(self.kept[other].jaccard(signed) >= CONFIG.threshold for other in found):
            return True
        self.kept[key] = self.datasketch.LeanMinHash(signed)
        self.index.insert(key, signed, check_duplication=False)
        return False


COMPARED: dict[str, Callable[[], Any]] = {
    "codepmp_jax": Ours,
    "rensa 0.5.0": Rensa,
    "datasketch 2.0.0": Datasketch,
}


def quality(name: str, num_texts: int) -> dict[str, Any]:
    """Microseconds a signature, recall by exact similarity, and precision."""
    texts = functions(num_texts)
    draw = random.Random(1)
    rates = (0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.1, 0.2)
    copies = [edited(text, draw.choice(rates), draw) for text in texts]
    compared = COMPARED[name]()
    compared.sign(texts[0])
    start = time.process_time()
    signed = [compared.sign(text) for text in texts]
    seconds = time.process_time() - start
    found = collections.defaultdict(list)
    for i, (text, copy) in enumerate(zip(texts, copies, strict=True)):
        # An index of the original alone: the other texts can have no part in the answer.
        pair = COMPARED[name]()
        pair.add(i, signed[i])
        exact = jaccard(grams(text), grams(copy))
        low = max(low for low in LOWS if low <= exact)
        found[low].append(pair.add(num_texts + i, pair.sign(copy)))
    right = sum(sum(hits) for low, hits in found.items() if low >= CONFIG.threshold)
    return {
        "microseconds": 1e6 * seconds / num_texts,
        "found": [float(np.mean(found[low])) for low in LOWS],
        "precision": right / sum(map(sum, found.values())),
    }


def memory(name: str, num_texts: int) -> dict[str, float]:
    """Bytes and microseconds a text kept, for texts none of which is like another."""

    def resident() -> int:
        return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf(
            "SC_PAGE_SIZE"
        )

    draw = np.random.default_rng(0)
    compared = COMPARED[name]()
    compared.add(-1, compared.random(draw))
    before, seconds = resident(), 0.0
    for key in range(num_texts):
        signed = compared.random(draw)
        start = time.process_time()
        compared.add(key, signed)
        seconds += time.process_time() - start
    return {
        "bytes": (resident() - before) / num_texts,
        "microseconds": 1e6 * seconds / num_texts,
    }


def in_child(part: str, name: str, size: int) -> dict[str, Any]:
    """A part in a process of its own: its memory is no other part's."""
    command = [sys.executable, __file__, "--part", part, name, str(size)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def report(sizes: list[int], num_texts: int) -> tuple[str, dict[str, Any]]:
    """(tables, figures)"""
    figures: dict[str, Any] = {
        name: {
            "quality": in_child("quality", name, num_texts),
            "memory": {
                # datasketch is shown at the smallest size only.
                str(size): in_child("memory", name, size)
                for size in (sizes[:1] if "datasketch" in name else sizes)
            },
        }
        for name in COMPARED
    }
    ranges = zip(LOWS, (*LOWS[1:], 1.0), strict=True)
    lines = [
        "| | signature, µs a text | precision | "
        + " | ".join(f"found, {low} to {high}" for low, high in ranges)
        + " |",
        "|---" * (3 + len(LOWS)) + "|",
    ]
    for name, figure in figures.items():
        q = figure["quality"]
        shares = " | ".join(f"{share:.1%}" for share in q["found"])
        lines.append(f"| {name} | {q['microseconds']:.0f} | {q['precision']:.1%} | {shares} |")
    lines += ["", "| | texts kept | bytes a text | µs to look up and keep |", "|---|---|---|---|"]
    for name, figure in figures.items():
        for size, m in figure["memory"].items():
            lines.append(f"| {name} | {int(size):,} | {m['bytes']:.0f} | {m['microseconds']:.0f} |")
    return "\n".join(lines), figures


def main() -> None:
    """Measures each in processes of its own, then prints and writes the tables."""
    parser = argparse.ArgumentParser(description="Compares MinHash signatures and indexes.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--num-texts", type=int, default=4000)
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        part, name, size = arguments.part
        print(json.dumps({"quality": quality, "memory": memory}[part](name, int(size))))
        return
    page = Page("near_duplicates", "Near-duplicates: signatures and indexes")
    tables, figures = report(arguments.sizes, arguments.num_texts)
    note = (
        f"Shared with other work; times are of the CPU. {arguments.num_texts} functions of the standard "
        f"library, a copy of each with words replaced; threshold {CONFIG.threshold}, "
        f"{CONFIG.num_permutations} permutations, {BANDS} bands of {ROWS} (rensa's own index: "
        f"{CONFIG.num_permutations // 4} of 4, since its bands must divide the permutations). `found, 0.7 "
        "to 0.8` is the share of copies of that exact similarity that are called repeats of an index that "
        "holds the original; precision is the share of repeats whose exact similarity reaches the "
        "threshold. `bytes a text` is resident memory, of texts of which none is like another. codepmp_jax "
        "takes rensa's signatures, 16 bits a permutation."
    )
    print(page.write(note, tables, figures=figures))


if __name__ == "__main__":
    main()
