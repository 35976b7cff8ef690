"""Tokens a second of the data loader, by worker processes, against what four TPU v5p chips train on.

    python benchmarks/loader.py --write

Pairs are random snippets of the Python standard library, as long as `codepmp_jax/text/lengths.py` has them, in shards
as `launch/synthesize.py` writes them. Each run takes batches as fast as the loader makes them, shuffled and packed,
with no step beside it. Tokenizers: the embedded one, and one of --vocab-size tokens trained on the same library.
Tokens are useful ones: what both texts of a pair begin with counts once, in every layout. Prints a table and one
line of JSON; `--write` writes both to `benchmarks/results/loader.md`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pathlib
import sysconfig
import tempfile
import time
from typing import Any

import numpy as np
from page import Page

from codepmp_jax.config import DataConfig, TokenizerConfig, presets
from codepmp_jax.corpus.tokenizer import train_tokenizer
from codepmp_jax.data.loader import Loader
from codepmp_jax.devices.chips import CHIPS
from codepmp_jax.models.flops import train_flops
from codepmp_jax.records.schema import PreferencePair, Record, SourceFile, content_id
from codepmp_jax.records.shards import ShardedDataset, write_manifest, write_split
from codepmp_jax.text.lengths import draw_lengths
from codepmp_jax.text.tokenization import Tokenizer

LAYOUTS = ("packed", "shared")
NUM_STREAMS = 4
BATCH_ROWS = 64
# What the loader shall feed: a host's chips.
PRESETS = ("pmp_7b", "pmp_1b5")
CHIPS_A_HOST, MFU, PEAK = 4, 0.62, CHIPS["v5p"].peak_flops or 0.0


def library() -> list[str]:
    """The texts of the Python standard library."""
    paths = sorted(pathlib.Path(sysconfig.get_path("stdlib")).rglob("*.py"))
    texts = [path.read_text(errors="ignore") for path in paths if "site-packages" not in path.parts]
    return [text for text in texts if text.strip()]


def write_shards(folder: pathlib.Path, records: list[Any], record_type: type[Record]) -> None:
    """One split `train`, in a shard for each stream."""
    splits = {"train": write_split(folder, "train", records, NUM_STREAMS)}
    write_manifest(folder, record_type, splits, {})


def make_tokenizer(folder: pathlib.Path, texts: list[str], vocab_size: int) -> None:
    """A tokenizer trained on the texts."""
    sources = [
        SourceFile(content_id(text), text, "", "", "file", "python", "", "", "", 1)
        for text in texts
    ]
    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    write_shards(corpus, sources, SourceFile)
    train_tokenizer(TokenizerConfig(input=str(corpus), output=str(folder), vocab_size=vocab_size))


def make_pairs(
    folder: pathlib.Path, texts: list[str], tokenizer: Tokenizer, num_pairs: int
) -> None:
    """Shards of random snippets, whose characters are as many as tokens of such lengths have on average."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    whole = "".join(texts)
    sample = tokenizer.backend.encode_batch(texts[:: max(1, len(texts) // 200)])
    characters = sum(map(len, texts[:: max(1, len(texts) // 200)]))
    characters_a_token = characters / sum(len(encoding.ids) for encoding in sample)

    def snippet(num_tokens: int) -> str:
        start = rng.integers(len(whole))
        return whole[start : start + max(1, int(num_tokens * characters_a_token))]

    records = []
    for lengths in zip(*draw_lengths(num_pairs, DataConfig().max_length), strict=True):
        prompt, chosen, rejected = map(snippet, lengths)
        pair_id = content_id(prompt, chosen, rejected)
        records.append(PreferencePair(pair_id, prompt, chosen, rejected))
    write_shards(folder, records, PreferencePair)


def measure(
    pairs: pathlib.Path, tokenizer: Tokenizer, config: DataConfig, seconds: float
) -> dict[str, Any]:
    """Useful tokens and pairs a second, and what each pair takes, over at least so many seconds."""
    source = ShardedDataset(pairs, PreferencePair, "train")
    with contextlib.closing(Loader(source, tokenizer, config, batch_rows=BATCH_ROWS)) as loader:
        # Until workers have started, and what they made ahead meanwhile is used up.
        started = time.perf_counter()
        while time.perf_counter() - started < seconds / 3:
            next(loader)
        before, started = loader.counts, time.perf_counter()
        while time.perf_counter() - started < seconds:
            next(loader)
        elapsed = time.perf_counter() - started
        done = {name: number - before[name] for name, number in loader.counts.items()}
    counts: dict[str, Any] = {
        "tokens": done["useful_tokens"],
        "keys": done["useful_keys"],
        "labels": done["labels"],
        "pairs": done["pairs"],
    }
    eaten = {
        preset: MFU * CHIPS_A_HOST * PEAK / train_flops(presets.load_preset(preset).model, **counts)
        for preset in PRESETS
    }
    return {
        "useful_tokens_per_second": done["useful_tokens"] / elapsed,
        "pairs_per_second": done["pairs"] / elapsed,
        "fill": done["tokens"] / done["padded_tokens"],
        "eaten": {preset: times * done["useful_tokens"] for preset, times in eaten.items()},
    }


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table."""
    needs = " | ".join(f"times {preset}" for preset in PRESETS)
    lines = [
        f"| tokenizer | layout | workers | useful tokens/s | pairs/s | fill | {needs} |",
        "|---" * (6 + len(PRESETS)) + "|",
    ]
    for row in rows:
        tokens = row["useful_tokens_per_second"]
        cells = [
            row["tokenizer"],
            row["layout"],
            str(row["workers"]),
            f"{tokens:.0f}",
            f"{row['pairs_per_second']:.0f}",
            f"{row['fill']:.1%}",
            *(f"{tokens / row['eaten'][preset]:.1f}" for preset in PRESETS),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measures every tokenizer, layout and number of workers."""
    parser = argparse.ArgumentParser(description="Times the data loader.")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--vocab-size", type=int, default=32768, help="of the larger tokenizer")
    parser.add_argument("--num-pairs", type=int, default=20000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/loader.md")
    arguments = parser.parse_args()
    page = Page("loader", "Tokens a second of the data loader")
    texts, rows = library(), []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make_tokenizer(folder / "tokenizer", texts, arguments.vocab_size)
        for tokenizer in map(Tokenizer.load, ("embedded", str(folder / "tokenizer"))):
            pairs = folder / f"pairs_{tokenizer.vocab_size}"
            make_pairs(pairs, texts, tokenizer, arguments.num_pairs)
            for layout in LAYOUTS:
                for workers in arguments.workers:
                    config = DataConfig(layout=layout, num_streams=NUM_STREAMS, num_workers=workers)
                    row = measure(pairs, tokenizer, config, arguments.seconds)
                    about = {"layout": layout, "workers": workers}
                    rows.append({"tokenizer": f"{tokenizer.vocab_size} tokens", **about, **row})
    if not arguments.write:
        print(table(rows))
        print(json.dumps(rows))
        return
    note = (
        f"Pairs of snippets of the Python standard library. Without workers the trainer's own process makes the "
        "batches, in as many threads as there are cores; a worker tokenizes in one. More workers than cores share "
        "them, and the process that takes the batches has its part too. `times PRESET` is how many times what four v5p "
        f"chips train that preset on at an MFU of {MFU:.2f}: "
        + ", ".join(f"{preset} {rows[-1]['eaten'][preset]:.0f} tokens/s" for preset in PRESETS)
        + "."
    )
    print(page.write(note, table(rows), rows=rows))


if __name__ == "__main__":
    main()
