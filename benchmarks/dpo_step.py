"""Pairs a second of a DPO step with cached references, in each layout, against TRL's DPOTrainer on the same pairs.

    python benchmarks/dpo_step.py --size 10m --write

`trl` is DPOTrainer's loss with precomputed references, its clipping and AdamW, rows padded to the longest of 8 pairs of
similar lengths; `ours_...` codepmp_jax's step in a layout. The processes start from the same parameters; no time is taken
before their losses and gradient norms of a first step agree. Then they take turns, a step each, so that drift hits all of
them. Batches are made beforehand, and nobody computes references. The machine must be idle. Prints a table and one line of
JSON; `--write` writes both to `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics

from dpo_contestants import CONTESTANTS, LOSSES
from page import Page
from step_contestants import SIZES, Setup
from train_step import TOLERANCES, Row, compete, num_params, spread


def figures(about: dict[str, Row], checks: dict[str, Row], rounds: dict[str, list[Row]]):
    """Contestant -> its figures, of all rounds where they are lists."""
    return {
        name: {
            **about[name],
            "pairs_per_second": [turn["pairs"] / turn["seconds"] for turn in turns],
            "cores": [turn["cpu_seconds"] / turn["seconds"] for turn in turns],
            "peak_gib": turns[-1]["peak_bytes"] / 2**30,
            "first_step_seconds": checks[name]["seconds"],
            **{key: checks[name][key] for key in LOSSES},
        }
        for name, turns in rounds.items()
    }


def table(result: dict[str, Row]) -> str:
    """A Markdown table; times are of the first contestant's pairs a second, round by round."""
    first = next(iter(result.values()))
    lines = [
        f"| contestant | pairs/s | times {next(iter(result))} | cores | peak GiB | first step, s |",
        "|---" * 6 + "|",
    ]
    for name, row in result.items():
        both = zip(row["pairs_per_second"], first["pairs_per_second"], strict=True)
        lines.append(
            f"| {name} | {spread(row['pairs_per_second'])} | {spread([a / b for a, b in both])} | "
            f"{statistics.median(row['cores']):.2f} | {row['peak_gib']:.1f} | {row['first_step_seconds']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Runs the contest, then prints and perhaps writes the table."""
    parser = argparse.ArgumentParser(description="Times DPO steps against TRL's.")
    parser.add_argument("--size", choices=SIZES, default="10m")
    parser.add_argument("--step-pairs", type=int, default=16, help="pairs of an optimizer step")
    parser.add_argument("--rounds", type=int, default=5, help="steps timed, of each contestant")
    parser.add_argument("--micro-tokens", type=int, default=8192, help="of our micro batches")
    parser.add_argument("--remat", default="save_mlp_attention", help="model.remat of our step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=[*CONTESTANTS])
    parser.add_argument("--write", action="store_true", help="write to benchmarks/results/")
    options = vars(parser.parse_args())
    page = Page("dpo_step", "Pairs a second of a DPO step, against TRL's DPOTrainer")
    names, write = options.pop("contestants"), options.pop("write")
    setup = Setup(device="cpu", num_turns=options.pop("rounds") + 1, **options)
    result = figures(*compete(names, setup, "dpo_contestants.py", LOSSES))
    if not write:
        print(table(result))
        print(json.dumps(result))
        return
    versions = ", ".join(sorted({row["version"] for row in result.values()}))
    note = (
        f"{versions}. A Qwen2 of {num_params(setup.model) / 1e6:.0f} M parameters in float32, AdamW; "
        f"{setup.step_pairs} pairs a step, or as many packed rows as hold about as many; our remat {setup.remat}. Random "
        "tokens, lengths of `codepmp_jax/text/lengths.py`. Least, **median** and largest over the rounds; ratios are taken "
        f"within a round. `cores` is the CPU time over the wall time; `first step` includes the compilation. {' and '.join(LOSSES)} "
        f"of the first step agree within {TOLERANCES['cpu']:.0e}."
    )
    print(page.write(note, table(result), setup=dataclasses.asdict(setup), contestants=result))


if __name__ == "__main__":
    main()
