"""Load test of `codepmp serve`: right answers and even memory under many clients, and how many texts a second.

    python benchmarks/serving.py --seconds 600 --vllm .venv-vllm/bin/python --write

A Qwen2 of random weights, or the converted folder `--model`, is served on this machine. Clients ask for the rewards of candidates that share a prompt, in
mixed sizes and lengths, for `--seconds`; meanwhile some send malformed requests, some go away in the middle, and once
the process that holds the model is killed. Every reward is compared with the one that scoring alone gave, to the bit. Then
one client asks alone, and, with `--vllm PYTHON`, vLLM's own server is asked by as many clients for the same texts on the
same folder; its rewards are compared too, and are not equal to the bit. Prints a table and one line of JSON; `--write` writes them to `benchmarks/results/serving.md`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import http.client
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from page import RESULTS, Page
from transformers import AutoModelForSequenceClassification, Qwen2Config

from codepmp_jax.config import DataConfig, ModelConfig, ScoreConfig, TrainConfig, presets
from codepmp_jax.evaluation.scorers.load import load_scorer
from codepmp_jax.evaluation.scorers.scorer import Scorer
from codepmp_jax.serving.texts import TextReader, distinct
from codepmp_jax.text.tokenization import Tokenizer

MAX_LENGTH = 512
# Of a request: how many candidates it has, as often as they are listed.
SIZES = (1, 1, 2, 4, 8, 16)
_WORDS = [
    "return",
    "value",
    "total",
    "index",
    "list",
    "number",
    "of",
    "the",
    "first",
    "element",
    "and",
    "sum",
    "over",
    "range",
    "in",
    "for",
    "if",
]


@dataclasses.dataclass
class Counts:
    """What clients saw, under `lock`."""

    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    texts: int = 0
    requests: int = 0
    wrong: int = 0
    lost: int = 0
    refused: int = 0
    malformed: int = 0
    gone: int = 0
    elapsed: float = 0.0
    """Seconds until the last answer."""
    difference: float = 0.0
    """The largest of an answer from the reward of scoring alone."""
    seconds: list[float] = dataclasses.field(default_factory=list)


def write_model(folder: pathlib.Path, layers: int, width: int) -> None:
    """A reward model of random weights, as conversion writes one."""
    tokenizer = Tokenizer.load("embedded")
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=tokenizer.vocab_size,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=2,
        pad_token_id=tokenizer.pad_id,
        initializer_range=0.1,
        problem_type="regression",
    )
    config.num_labels = 1
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer.save(str(folder))
    data = DataConfig(max_length=MAX_LENGTH)
    run = TrainConfig(data=data, model=ModelConfig(vocab_size=config.vocab_size))
    made = {"config": presets.to_json(run), "step": 1}
    (folder / "codepmp_jax.json").write_text(json.dumps(made))


def make_questions(number: int, max_length: int) -> list[tuple[str, list[str]]]:
    """(prompt, its candidates): texts of 20 tokens to four fifths of a model's length."""
    chosen = random.Random(0)
    longest = max_length * 5 // 8

    def text(words: int) -> str:
        return " ".join(chosen.choices(_WORDS, k=chosen.randint(5, words)))

    return [
        (f"{text(longest * 3 // 8)}\n", [text(longest * 5 // 8) for _ in range(max(SIZES))])
        for _ in range(number)
    ]


def rewards_alone(
    scorer: Scorer, questions: Sequence[tuple[str, list[str]]]
) -> tuple[list[list[float]], float]:
    """(the rewards of each question's candidates, seconds a text, each scored on its own)."""
    reader = TextReader(scorer.tokenizer, scorer.form, scorer.vocab_size)
    found = []
    for prompt, answers in questions:
        rows, own = distinct(reader.answers([prompt] * len(answers), answers).rows)
        values = np.zeros(len(rows), np.float32)
        for indices, rewards in scorer.rewards(rows):
            values[indices] = rewards
        found.append(values[own].tolist())
    started = time.monotonic()
    for prompt, answers in questions:
        (row,) = reader.answers([prompt], answers[:1]).rows
        list(scorer.rewards([row]))
    return found, (time.monotonic() - started) / len(questions)


@contextlib.contextmanager
def running(command: Sequence[object], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A server, once it answers /health."""
    # vLLM's, on a CPU.
    variables = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, env=variables)
    try:
        deadline = time.monotonic() + 900
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if post(port, "/health", None)[0] == 200:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command[0]}: did not start")
            time.sleep(0.5)
        yield process
    finally:
        process.terminate()
        process.wait(120)


def post(port: int, path: str, body: object) -> tuple[int, dict]:
    """(status, JSON) of an answer; a GET where there is no body."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=300)) as link:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        link.request("GET" if body is None else "POST", path, data, headers)
        answer = link.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text[:1] == b"{" else {}


def client(
    port: int,
    number: int,
    questions: Sequence[tuple[str, list[str]]],
    expected: Sequence[Sequence[float]],
    deadline: float,
    counts: Counts,
    ask: Callable[[int, str, list[str]], tuple[int, list[float]]],
    disturbs: bool,
) -> None:
    """Asks until the deadline."""
    chosen = random.Random(number)
    while time.monotonic() < deadline:
        if disturbs and chosen.random() < 0.05:
            try:
                disturb(port, chosen, counts)
            except (OSError, http.client.HTTPException):
                with counts.lock:
                    counts.lost += 1
        place = chosen.randrange(len(questions))
        size = chosen.choice(SIZES)
        first = chosen.randrange(max(SIZES) - size + 1)
        prompt, answers = questions[place]
        started = time.monotonic()
        try:
            status, rewards = ask(port, prompt, answers[first : first + size])
        except (OSError, http.client.HTTPException):
            status, rewards = 0, []
        seconds = time.monotonic() - started
        with counts.lock:
            counts.requests += 1
            if status == 200:
                counts.texts += size
                counts.seconds.append(seconds)
                right = expected[place][first : first + size]
                counts.wrong += rewards != list(right)
                if len(rewards) == size:
                    apart = max(abs(a - b) for a, b in zip(rewards, right, strict=True))
                    counts.difference = max(counts.difference, apart)
            elif status == 0:
                counts.lost += 1
            else:
                counts.refused += 1


def disturb(port: int, chosen: random.Random, counts: Counts) -> None:
    """Sends something malformed, or goes away in the middle."""
    if chosen.random() < 0.5:
        status, _ = post(port, "/get_reward", chosen.choice([{}, {"query": "a"}, {"query": [1]}]))
        with counts.lock:
            counts.malformed += 1
            counts.wrong += status not in (400, 429, 503)
        return
    body = json.dumps({"query": ["for " * chosen.randint(1, 200)] * 8}).encode()
    head = f"POST /get_reward HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=60) as link:
        link.sendall(head.encode() + body[: chosen.randint(1, len(body))])
    with counts.lock:
        counts.gone += 1


def ask_ours(port: int, prompt: str, answers: list[str]) -> tuple[int, list[float]]:
    """Rewards by /get_reward."""
    body = {"prompts": [prompt] * len(answers), "responses": answers}
    status, answer = post(port, "/get_reward", body)
    return status, answer.get("rewards", [])


def ask_vllm(template: str, port: int, prompt: str, answers: list[str]) -> tuple[int, list[float]]:
    """Rewards by vLLM's /classify."""
    texts = [template.format(prompt=prompt, response=answer) for answer in answers]
    status, answer = post(port, "/classify", {"input": texts})
    return status, [row["probs"][0] for row in answer.get("data", [])]


def load(
    port: int, num_clients: int, seconds: float, questions, expected, ask, disturbs: bool
) -> Counts:
    """What so many clients see in that time."""
    counts = Counts()
    started = time.monotonic()
    deadline = started + seconds
    threads = [
        threading.Thread(
            target=client,
            args=(port, number, questions, expected, deadline, counts, ask, disturbs),
        )
        for number in range(num_clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts.elapsed = time.monotonic() - started
    return counts


def family(pid: int) -> list[int]:
    """A process and its children."""
    found = [pid]
    for path in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, path.read_text().split())
    return found


def resident_mib(pid: int) -> float:
    """Memory of a process and its children."""
    total = 0
    for member in family(pid):
        with contextlib.suppress(OSError):
            total += int(pathlib.Path(f"/proc/{member}/statm").read_text().split()[1])
    return total * os.sysconf("SC_PAGE_SIZE") / 2**20


def watch(pid: int, seconds: float, samples: list[float], stop: threading.Event) -> None:
    """Kills the model's process, which must be there, after half of the time; samples memory every second."""
    started = time.monotonic()
    killed = False
    while not stop.wait(1.0):
        samples.append(resident_mib(pid))
        if not killed and time.monotonic() - started > seconds / 2:
            for child in family(pid)[1:]:
                with contextlib.suppress(OSError):
                    if b"spawn_main" in pathlib.Path(f"/proc/{child}/cmdline").read_bytes():
                        os.kill(child, signal.SIGKILL)
                        killed = True


def row(name: str, counts: Counts) -> list[str]:
    """A line of the table."""
    half, most = np.quantile(counts.seconds, [0.5, 0.99]) if counts.seconds else (0.0, 0.0)
    cells = [counts.requests, counts.texts, f"{counts.texts / counts.elapsed:.1f}"]
    cells += [f"{half:.2f}", f"{most:.2f}", counts.wrong, counts.lost, counts.refused]
    return [name, *map(str, cells)]


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def restarts(port: int) -> int:
    """How often the server has started the model's process again."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as link:
        link.request("GET", "/metrics")
        text = link.getresponse().read().decode()
    (count,) = re.findall(r"^codepmp_worker_restarts_total (.+)$", text, re.MULTILINE)
    return int(float(count))


def measure(options: argparse.Namespace, folder: pathlib.Path) -> tuple[str, list[list[str]], dict]:
    """(note, table, figures) of a model. Raises SystemExit where an answer is wrong or lost, or nothing was killed."""
    scorer = load_scorer(ScoreConfig(model=str(folder)))
    questions = make_questions(options.questions, scorer.form.max_length)
    expected, alone = rewards_alone(scorer, questions)
    port, memory = free_port(), []
    short = min(options.seconds, 60.0)
    serve = [sys.executable, "-m", "codepmp_jax", "serve", "--model", folder, "--port", port]
    with running(serve, port) as server:
        stop = threading.Event()
        watcher = threading.Thread(target=watch, args=(server.pid, options.seconds, memory, stop))
        watcher.start()
        counts = load(port, options.clients, options.seconds, questions, expected, ask_ours, True)
        stop.set()
        watcher.join()
        killed = restarts(port)
        single = load(port, 1, short, questions, expected, ask_ours, False)
    table = [row(f"{options.clients} clients", counts), row("1 client", single)]
    compared = ""
    if options.vllm:
        port = free_port()
        # Not by the command vllm, which asks for the version of a package of that name: its CPU build has another.
        vllm = [options.vllm, "-m", "vllm.entrypoints.openai.api_server", "--model", folder]
        vllm += ["--runner", "pooling", "--dtype", "float32", "--host", "127.0.0.1", "--port", port]
        vllm += ["--max-model-len", scorer.form.max_length, "--enforce-eager"]
        ask = functools.partial(ask_vllm, scorer.form.template)
        with running(vllm, port):
            theirs = load(port, options.clients, short, questions, expected, ask, False)
        table.append(row(f"vLLM, {options.clients} clients", theirs))
        compared = f" vLLM's rewards differ from these by at most {theirs.difference:.1e}."
    quarter = max(1, len(memory) // 4)
    # Before the kill, and at the end.
    before = max(memory[quarter : 2 * quarter], default=0.0)
    after = max(memory[-quarter:], default=0.0)
    model = options.model or f"of {options.layers} layers and width {options.width}, random weights"
    note = (
        f"The model ({model}) in float32; requests of {min(SIZES)} to {max(SIZES)} candidates of one prompt, of at most "
        f"{scorer.form.max_length} tokens. {counts.malformed} malformed requests, {counts.gone} clients that went away, "
        f"{killed} SIGKILL to the model's process. `wrong` counts answers that are not, to the bit, those of scoring "
        f"alone. Memory of the server: at most {before:.0f} MiB in the second quarter, {after:.0f} MiB in the last. "
        f"Texts scored one by one without a server: {1 / alone:.1f} texts/s.{compared}"
    )
    figures = {"memory_mib": memory, "alone_texts_per_second": 1 / alone, "rows": table}
    if counts.wrong or counts.lost or single.wrong or single.lost or killed != 1:
        raise SystemExit(f"{note}\n{table}\nwrong or lost answers, or not one restart")
    return note, table, figures


def main() -> None:
    """Serves, asks, prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--questions", type=int, default=64)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--model", type=pathlib.Path, help="a converted folder, not random weights")
    parser.add_argument("--vllm", help="Python that has vLLM, e.g. .venv-vllm/bin/python")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    page = Page("serving", "The server of rewards under load")
    with tempfile.TemporaryDirectory() as name:
        folder = options.model or pathlib.Path(name)
        if options.model is None:
            write_model(folder, options.layers, options.width)
        note, table, figures = measure(options, folder)
    header = [
        "who",
        "requests",
        "texts",
        "texts/s",
        "s, median",
        "s, 99 %",
        "wrong",
        "lost",
        "refused",
    ]
    tables = "\n".join(
        f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *table]
    )
    if options.write:
        print(page.write(note, tables, **figures))
        print(f"-> {RESULTS / 'serving.md'}")
    else:
        print(note, tables, json.dumps(figures), sep="\n\n")


if __name__ == "__main__":
    main()
