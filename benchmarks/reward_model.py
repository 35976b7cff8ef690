"""A reward model, used as its users use it: the tables of the field's benchmarks on programs that a judge has run.

    python benchmarks/reward_model.py --model HF_FOLDER --judged JUDGED.jsonl --name reward_model --write

JUDGED holds judged candidates of code problems, as `codepmp evaluate judge` writes them. Of those of a problem come a row of
RewardBench (a right program against a wrong one, subset hep-python), of RewardBench 2 (a right one and three wrong
ones), of RM-Bench (the two, bare, with a sentence around them, and in Markdown), of JudgeBench (the two in a random
order) and of PPE (all, with five conflict pairs): files with the benchmarks' own columns, which go through the commands that
a user of them types. So the rules and readers are the benchmarks', and the data are not: the figures compare with no
published ones. With `--rewardbench PYTHON` and `--vllm PYTHON`, of environments that have them, RewardBench's own command
evaluates the same pairs with the same folder, and vLLM classifies their texts.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import pathlib
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from page import ROOT, Page

from codepmp_jax.cli.progress import progress
from codepmp_jax.files.json_lines import json_line
from codepmp_jax.records.schema import Problem, read_problems
from codepmp_jax.records.scores import read_scores

NUM_CONFLICTS = 5
SIDES = ("chosen", "rejected")
Rows = dict[str, list[dict[str, Any]]]


def styles(code: str) -> list[str]:
    """RM-Bench's three: concise, detailed, detailed with Markdown."""
    said = "This function does what the description asks for."
    return [code, f"{said}\n\n{code}", f"## Solution\n\n{said}\n\n```python\n{code}\n```"]


def rows_of(problem: Problem, rng: np.random.Generator) -> dict[str, dict[str, Any]]:
    """Task -> the problem's row; none where it has no right, or fewer than three wrong programs."""
    verdicts: dict[str, bool] = {}
    for one in problem.candidates:
        verdicts.setdefault(one.response, bool(one.is_correct))
    right = [text for text, is_right in verdicts.items() if is_right]
    wrong = [text for text, is_right in verdicts.items() if not is_right]
    if not right or len(wrong) < 3:
        return {}
    chosen = right[rng.integers(len(right))]
    others = [wrong[place] for place in rng.permutation(len(wrong))[:3]]
    name, prompt = problem.problem_id, problem.prompt
    is_first = bool(rng.integers(2))
    texts = list(verdicts)
    conflicts = [
        (texts.index(right[rng.integers(len(right))]), texts.index(wrong[rng.integers(len(wrong))]))
        for _ in range(NUM_CONFLICTS)
    ]
    return {
        "rewardbench": {
            "id": name,
            "prompt": prompt,
            "chosen": chosen,
            "rejected": others[0],
            "subset": "hep-python",
        },
        "rewardbench2": {
            "id": name,
            "prompt": prompt,
            "chosen": [chosen],
            "rejected": others,
            "subset": "code",
        },
        "rm_bench": {
            "id": name,
            "prompt": prompt,
            "chosen": styles(chosen),
            "rejected": styles(others[0]),
            "domain": "code",
        },
        "judgebench": {
            "pair_id": name,
            "question": prompt,
            "response_A": chosen if is_first else others[0],
            "response_B": others[0] if is_first else chosen,
            "label": "A>B" if is_first else "B>A",
            "source": "livecodebench",
        },
        "ppe_mbpp_plus": {
            "question_id": name,
            "prompt": prompt,
            **{f"response_{number}": text for number, text in enumerate(texts, 1)},
            "scores": [verdicts[text] for text in texts],
            "sampled_conflict_pairs": conflicts,
            "model_name": "mutants",
        },
    }


def run(words: Sequence[object], folder: str | pathlib.Path | None = None, **variables: str) -> str:
    """What a command prints that is run in a folder to its good end."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run(
        [str(word) for word in words], cwd=folder, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(
            f"{shlex.join(map(str, words))}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        )
    return done.stdout


def codepmp(*words: object) -> None:
    """Runs one of our commands."""
    run([sys.executable, "-P", "-m", "codepmp_jax", *words])


def table_of(
    task: str, rows: pathlib.Path, model: str, max_length: int, dtype: str
) -> tuple[list[str], float]:
    """(the benchmark's table as Markdown cells, seconds of scoring), by the three commands."""
    problems, scores = rows.with_name(f"{task}.jsonl"), rows.with_name(f"{task}_scores.jsonl")
    codepmp("evaluate", "problems", "--task", task, "--input", rows, "--output", problems)
    begin = time.monotonic()
    scoring = ("--model", model, "--input", problems, "--output", scores)
    codepmp(
        "evaluate", "score", *scoring, "--texts.max-length", max_length, "--scorer.dtype", dtype
    )
    seconds = time.monotonic() - begin
    found = rows.with_name(task)
    codepmp(
        "evaluate", "benchmark", "--candidates", problems, "--scores", scores, "--output", found
    )
    with open(found / "benchmark.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    lines = []
    for row in table:
        figures = ", ".join(
            f"{name} {100 * float(value):.1f}"
            for name, value in row.items()
            if name not in ("group", "number") and value not in ("", "nan")
        )
        lines.append(f"| {task} | {row['group']} | {row['number']} | {figures} |")
    return lines, seconds


def by_rewardbench(python: str, rows: pathlib.Path, model: str, max_length: int) -> np.ndarray:
    """(pairs, 2) scores of chosen and rejected, by RewardBench's own command, in float32 on the CPU. It reads conversations."""
    output = rows.resolve().with_name("rewardbench_own")
    output.mkdir(exist_ok=True)
    pairs = output / "pairs.jsonl"
    with open(rows, encoding="utf-8") as file, open(pairs, "w", encoding="utf-8") as target:
        for row in map(json.loads, file):
            asked = {"role": "user", "content": row["prompt"]}
            sides = {side: [asked, {"role": "assistant", "content": row[side]}] for side in SIDES}
            target.write(f"{json_line(sides)}\n")
    run(
        [
            pathlib.Path(python).with_name("rewardbench"),
            # The name of its output begins with this.
            *("--model", pathlib.Path(model).name, "--dataset", pairs, "--load_json"),
            *("--output_dir", f"{output}/", "--not_quantized", "--torch_dtype", "float32"),
            *("--batch_size", 2, "--max_length", max_length),
        ],
        folder=pathlib.Path(model).resolve().parent,
        PYTHONPATH=str(ROOT / "tests" / "e2e" / "rewardbench_on_cpu"),
        HF_DATASETS_CACHE=str(output / "cache"),
        WANDB_MODE="disabled",
    )
    (path,) = output.rglob("*_outputs.jsonl")
    lines = path.read_text(encoding="utf-8").splitlines()
    return np.array([[json.loads(x)[f"scores_{side}"] for side in SIDES] for x in lines])


def by_vllm(python: str, rows: pathlib.Path, model: str) -> np.ndarray:
    """Rewards of the pairs' texts, chosen first, by vLLM's pooling runner in float32."""
    template = json.loads((pathlib.Path(model) / "codepmp_jax.json").read_text())["config"]["data"][
        "template"
    ]
    with open(rows, encoding="utf-8") as file:
        texts = [
            template.replace("{prompt}", row["prompt"]).replace("{response}", row[side])
            for row in map(json.loads, file)
            for side in SIDES
        ]
    path = rows.with_name("texts.json")
    path.write_text(json.dumps(texts), encoding="utf-8")
    script = ROOT / "tests" / "e2e" / "vllm_classify.py"
    printed = run(
        [python, script, pathlib.Path(model).resolve(), path],
        VLLM_CPU_KVCACHE_SPACE="1",
        VLLM_NO_USAGE_STATS="1",
        VLLM_ENABLE_V1_MULTIPROCESSING="0",
    )
    return np.array(json.loads(printed.splitlines()[-1])["scores"])


def main() -> None:
    """Makes the rows, evaluates, prints; with --write, a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="Hugging Face folder of a reward model")
    parser.add_argument("--judged", required=True)
    parser.add_argument("--output", default="runs/reward_model", type=pathlib.Path)
    parser.add_argument("--max-problems", type=int, default=40)
    parser.add_argument("--max-length", type=int, default=512, help="tokens of a text")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rewardbench", help="python of an environment with rewardbench")
    parser.add_argument("--vllm", help="python of an environment with vllm")
    parser.add_argument("--name", default="reward_model")
    parser.add_argument("--note", default="", help="sentences to put above the table")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    page = Page("reward_model", "A reward model on the field's benchmarks", result=arguments.name)
    arguments.output.mkdir(parents=True, exist_ok=True)
    problems = list(read_problems(arguments.judged))
    rng = np.random.default_rng(0)
    made = [rows for problem in problems if (rows := rows_of(problem, rng))]
    chosen = [
        made[place] for place in np.sort(rng.permutation(len(made))[: arguments.max_problems])
    ]
    lines = ["| task | group | rows | figures, % |", "|---|---|---|---|"]
    seconds = {}
    for task in progress(list(chosen[0]), desc="evaluate", unit="task"):
        rows = arguments.output / f"{task}_rows.jsonl"
        rows.write_text("".join(f"{json_line(one[task])}\n" for one in chosen), encoding="utf-8")
        found, seconds[task] = table_of(
            task, rows, arguments.model, arguments.max_length, arguments.dtype
        )
        lines += found
    note = arguments.note
    rows = arguments.output / "rewardbench_rows.jsonl"
    scores = read_scores(arguments.output / "rewardbench_scores.jsonl")
    ours = np.array([score.reward for score in scores])
    if arguments.rewardbench:
        theirs = by_rewardbench(arguments.rewardbench, rows, arguments.model, arguments.max_length)
        accuracy = np.mean(theirs[:, 0] > theirs[:, 1])
        note += (
            f" RewardBench's own command on the same pairs and folder: accuracy {100 * accuracy:.1f} %, its rewards at most "
            f"{np.max(np.abs(ours - theirs.ravel())):.1e} from ours."
        )
    if arguments.vllm:
        theirs = by_vllm(arguments.vllm, rows, arguments.model)
        note += (
            f" vLLM's `classify` on their texts: its rewards are at most {np.max(np.abs(ours - theirs)):.1e} from ours "
            f"(float32; they spread by {np.std(ours):.2f})."
        )
    print("\n".join(lines))
    print(note)
    if arguments.write:
        page.write(
            f"Rows with the benchmarks' columns, made of {len(chosen)} problems' judged programs as "
            f"`benchmarks/reward_model.py` says; the figures compare with no published ones. {note}".strip(),
            "\n".join(lines),
            seconds={task: round(value, 1) for task, value in seconds.items()},
        )


if __name__ == "__main__":
    main()
